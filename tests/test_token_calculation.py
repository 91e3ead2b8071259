"""Root tokens and every other counter, from one document (story DQ-001)."""

import math
from typing import Any

import pytest

from indexer.parsers import Tokens, extract_root_tokens, extract_tokens, sum_tokens
from tests.builders import tokens


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"usage": {"input_tokens": 100, "output_tokens": 50}}, 150),
        ({"tokens": {"input": 7, "output": 5, "reasoning": 3, "cache": {"read": 11, "write": 13}}}, 12),
        ({"usage": {"input_tokens": 100, "output_tokens": 50}, "tokens": {"input": 1, "output": 2}}, 150),
        ({"usage": {"input_tokens": 100}, "tokens": {"input": 1, "output": 2}}, 102),
        ({"usage": {"input_tokens": 0, "output_tokens": 0}, "tokens": {"input": 1, "output": 2}}, 0),
        ({"usage": {"input_tokens": "many"}, "tokens": {"input": 1}}, 1),
        ({"usage": None, "tokens": {"input": 4, "output": 2}}, 6),
        ({"tokens": {"input": -40, "output": 10}}, -30),
        ({"tokens": {"input": 3.0, "output": 4.0}}, 7),
        ({"tokens": {"input": 2**40, "output": 1}}, 2**40 + 1),
        ({"tokens": {"input": "12", "output": True}}, 0),
        ({"tokens": {"input": math.nan, "output": math.inf}}, 0),
        ({"tokens": {"input": None}}, 0),
        ({"tokens": {}}, 0),
        ({"tokens": [1, 2]}, 0),
        ({"tokens": 12}, 0),
        ({}, 0),
        (None, 0),
        ([], 0),
        ("text", 0),
    ],
)
def test_extract_root_tokens_any_document_counts_input_and_output(document: object, expected: int) -> None:
    """Only numbers count, `usage` comes before `tokens`."""
    found = extract_root_tokens(document)

    assert found == expected
    assert type(found) is int


def test_extract_tokens_total_without_reasoning_finds_it_inside_output() -> None:
    """1.1 counts reasoning inside output: the total is reached without adding it."""
    found = extract_tokens({"tokens": tokens(100, 50, 20, 10, 5, total=165)}, is_reasoning_included_by_default=False)

    assert found == Tokens(100, 50, 20, 10, 5, reasoning_in_output=20, root=150)
    assert found.total == 165


def test_extract_tokens_total_with_reasoning_finds_it_apart() -> None:
    """1.18 counts reasoning beside output."""
    found = extract_tokens({"tokens": tokens(100, 50, 20, 10, 5, total=185)}, is_reasoning_included_by_default=True)

    assert found == Tokens(100, 50, 20, 10, 5, reasoning_in_output=0, root=150)
    assert found.total == 185


def test_extract_tokens_total_that_fits_neither_way_is_flagged_and_apart() -> None:
    """An odd total is no reason to lose tokens."""
    found = extract_tokens({"tokens": tokens(100, 50, 20, total=999)}, is_reasoning_included_by_default=True)

    assert found == Tokens(100, 50, 20, root=150, is_mismatch=True)
    assert found.total == 170


@pytest.mark.parametrize(
    ("reasoning", "is_default_included", "expected_total"), [(20, True, 150), (20, False, 170), (60, True, 210)]
)
def test_extract_tokens_without_total_goes_by_the_writer(
    reasoning: int, is_default_included: bool, expected_total: int
) -> None:
    """Included only where the writer counts so, and only if it can be."""
    found = extract_tokens({"tokens": tokens(100, 50, reasoning)}, is_reasoning_included_by_default=is_default_included)

    assert found.total == expected_total
    assert not found.is_mismatch


@pytest.mark.parametrize("document", [{}, {"tokens": None}, {"tokens": "none"}, {"tokens": tokens()}, {"usage": {}}])
def test_extract_tokens_no_usage_is_zero_and_missing(document: dict[str, Any]) -> None:
    """Zeros without a total are what a client writes that saw no usage."""
    found = extract_tokens(document, is_reasoning_included_by_default=False)

    assert found == Tokens(is_missing=True)
    assert found.total == 0


def test_extract_tokens_zeros_with_a_total_are_not_missing() -> None:
    """A recorded total of 0 is a record."""
    found = extract_tokens({"tokens": tokens(total=0)}, is_reasoning_included_by_default=False)

    assert not found.is_missing


def test_extract_tokens_absurd_counter_counts_as_zero() -> None:
    """One counter of 10^18 would spoil every sum."""
    found = extract_tokens({"tokens": tokens(10**18, 50)}, is_reasoning_included_by_default=False)

    assert (found.input, found.output, found.root) == (0, 50, 50)


def test_extract_tokens_usage_of_the_story_fills_input_and_output() -> None:
    """Root tokens are always the sum of the two counters beside them."""
    found = extract_tokens({"usage": {"input_tokens": 3, "output_tokens": 4}}, is_reasoning_included_by_default=False)

    assert (found.input, found.output, found.root, found.is_missing) == (3, 4, 7, False)


def test_sum_tokens_two_steps_adds_each_by_its_own_rule() -> None:
    """Each step decides for itself whether its output contains reasoning."""
    steps = [
        extract_tokens({"tokens": tokens(10, 5, 2, total=15)}, is_reasoning_included_by_default=False),
        extract_tokens({"tokens": tokens(20, 6, 3, total=29)}, is_reasoning_included_by_default=False),
    ]

    found = sum_tokens(steps)

    assert (found.input, found.output, found.reasoning, found.reasoning_in_output) == (30, 11, 5, 2)
    assert found.total == 15 + 29


def test_sum_tokens_one_missing_step_marks_the_sum() -> None:
    """What one step lacks is unknown for the message."""
    found = sum_tokens([Tokens(input=1, root=1), Tokens(is_missing=True)])

    assert found.is_missing
    assert found.root == 1


def test_sum_tokens_no_steps_is_zero() -> None:
    """An empty sum is no usage."""
    assert sum_tokens([]) == Tokens()
