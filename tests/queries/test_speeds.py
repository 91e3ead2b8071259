"""Output tokens per second: what is timed, and what is not."""

from pathlib import Path
from typing import Any

import pytest

from queries.period import Scope
from queries.speeds import FEW_ANSWERS, ModelSpeed, model_speeds
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    session,
    step_finish,
    tokens,
    user,
    write_session_messages,
)
from tests.conftest import OpenIndex


def answered(number: int, output: int, seconds: float, reasoning: int = 0, **fields: Any) -> list[Doc]:
    """Make an answer of one step; 1.1 counts reasoning in its output."""
    name, created = f"msg_{number:03}", START_MS + number * 1_000_000
    usage = tokens(output=output, reasoning=reasoning, total=output)
    completed = created + round(seconds * 1000)
    return [
        assistant(name, created=created, completed=completed, usage=usage, **fields),
        step_finish(f"prt_{number:03}", usage, name),
    ]


def test_model_speeds_eleven_answers_have_percentiles_that_one_can_count(open_index: OpenIndex) -> None:
    """0 to 100 tokens a second in steps of ten, but for 0: that one made nothing."""
    con = open_index(session(), user(), *(doc for n in range(11) for doc in answered(n, n * 20, 2)))

    (found,) = model_speeds(con, Scope())

    assert (found.model, found.answers, found.timed_answers) == ("acme/nova", 10, 10)
    assert (found.p10, found.p50, found.p90) == (19.0, 55.0, 91.0)
    assert (found.output_tokens, found.duration_ms, found.is_rare) == (1_100, 20_000, True)


def test_model_speeds_reasoning_counts_once(open_index: OpenIndex) -> None:
    """60 of the 100 tokens were reasoning."""
    con = open_index(session(), user(), *answered(1, 100, 4, reasoning=60))

    (found,) = model_speeds(con, Scope())

    assert (found.p50, found.output_tokens) == (25.0, 100)


@pytest.mark.parametrize(
    "docs",
    [
        [*answered(1, 100, 4), part("prt_t", "tool", "msg_001", tool="bash", callID="c", state={"status": "pending"})],
        [*answered(1, 100, 4), step_finish("prt_2", tokens(output=5), "msg_001")],
        [assistant("msg_001", usage=tokens(output=100))],
        answered(1, 100, 0),
        answered(1, 100, -4),
    ],
    ids=["tool call", "two requests", "no step", "no time", "clock went back"],
)
def test_model_speeds_what_says_nothing_of_the_model_is_not_timed(docs: list[Doc], open_index: OpenIndex) -> None:
    """It is counted."""
    con = open_index(session(), user(), *docs)

    (found,) = model_speeds(con, Scope())

    assert (found.answers, found.timed_answers, found.p50, found.duration_ms) == (1, 0, None, 0)


def test_model_speeds_unfinished_failed_and_copied_answers_are_left_out(open_index: OpenIndex) -> None:
    """Neither timed nor counted."""
    told = answered(1, 100, 4)
    con = open_index(
        session(),
        user(),
        *told,
        *answered(2, 100, 4, error={"name": "APIError", "data": {"message": "no"}}),
        assistant("msg_003", completed=None, usage=tokens(output=100)),
        session("ses_2", created=START_MS + 1),
        *copied(told, "ses_2", "x"),
    )

    (found,) = model_speeds(con, Scope())

    assert (found.answers, found.timed_answers) == (1, 1)


def test_model_speeds_third_generation_row_is_one_request(open_index: OpenIndex, tmp_path: Path) -> None:
    """It has no steps: 50 tokens in half a second; one with a tool call in its content is not timed."""
    call = {
        "type": "tool",
        "id": "call_1",
        "name": "bash",
        "state": {"status": "completed", "input": {}, "content": []},
    }
    folder = write_session_messages(
        tmp_path / "two",
        [
            session(version="2.0.0"),
            answer("msg_1", 1, usage=tokens(output=50)),
            answer("msg_2", 2, usage=tokens(output=50), content=[call]),
        ],
    )

    (found,) = model_speeds(open_index(folder), Scope())

    assert (found.answers, found.timed_answers, found.p50) == (2, 1, 100.0)


def test_model_speeds_enough_answers_come_before_few_fast_ones(open_index: OpenIndex) -> None:
    """A single fast answer is no record."""
    slow = [doc for n in range(FEW_ANSWERS) for doc in answered(n, 20, 2)]
    con = open_index(session(), user(), *slow, *answered(99, 2_000, 2, modelID="flash"))

    found = model_speeds(con, Scope())

    assert [(row.model, row.is_rare) for row in found] == [("acme/nova", False), ("acme/flash", True)]
    assert found[1] == ModelSpeed("acme/flash", 1, 1, 1000.0, 1000.0, 1000.0, 2_000, 2_000)
