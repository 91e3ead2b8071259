"""What was measured, as the page asks for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from indexer.benchmarks import results
from indexer.benchmarks.results import Run
from indexer.published import IndexReader
from queries.benchmarks import (
    NO_INDEX,
    STORY,
    VARIANTS,
    benchmark_runs,
    comparisons,
    measured_plans,
    past_results,
)
from tests import benchmark_runs as made
from tests.benchmark_runs import FASTER, RUN_ID, SEARCH, SLOWER, STARTED_AT

Benchmarked = Callable[..., duckdb.DuckDBPyConnection]


@pytest.fixture
def benchmarked(build_index: Callable[..., Path]) -> Iterator[Benchmarked]:
    """Keep benchmarks in an index and return a connection that reads it."""
    readers: list[IndexReader] = []

    def build(*runs: Run) -> duckdb.DuckDBPyConnection:
        """Keep what is given."""
        path = build_index()
        for run in runs:
            results.keep(path, run)
        readers.append(IndexReader(path))
        return readers[-1].connection()

    yield build
    for reader in readers:
        reader.close()


def test_benchmark_runs_none_yet_is_empty(benchmarked: Benchmarked) -> None:
    """Before the first one."""
    con = benchmarked()

    assert (benchmark_runs(con), comparisons(con, RUN_ID, STORY), measured_plans(con, RUN_ID, FASTER)) == ([], [], [])
    assert past_results(con, FASTER) == []


def test_benchmark_runs_newest_first(benchmarked: Benchmarked) -> None:
    """With the number of queries, not of results."""
    con = benchmarked(made.run(), made.run("later", days_later=1, data="generated"))

    found = benchmark_runs(con)

    assert [(run.run_id, run.data, run.queries) for run in found] == [("later", "generated", 3), (RUN_ID, "own", 3)]
    assert found[1].started_at == STARTED_AT


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (NO_INDEX, [(SEARCH, 1.0), (SLOWER, 0.5), (FASTER, 1.1)]),
        (STORY, [(SEARCH, 2.0), (SLOWER, 4.0), (FASTER, 50.0)]),
    ],
)
def test_comparisons_slowest_first_with_what_became_of_them(
    benchmarked: Benchmarked, before: str, expected: list[tuple[str, float]]
) -> None:
    """Slower is a speed-up below 1."""
    con = benchmarked(made.run(), made.run("later", days_later=1, factor=3))

    rows = comparisons(con, RUN_ID, before)

    assert [(row.query, round(row.speedup, 6)) for row in rows] == expected
    assert [row.is_text_search for row in rows] == [True, False, False]
    assert [row.is_index_used for row in rows] == [False, True, False]
    assert not any(row.before_is_index_used for row in rows)


def test_measured_plans_are_in_the_order_of_the_variants(benchmarked: Benchmarked) -> None:
    """As it is, first."""
    con = benchmarked(made.run())

    found = measured_plans(con, RUN_ID, SLOWER)

    assert tuple(each.variant for each in found) == VARIANTS
    assert [each.plan[0] for each in found] == ["▶", "S", "S"]


def test_past_results_newest_first(benchmarked: Benchmarked) -> None:
    """One row a benchmark."""
    con = benchmarked(made.run(), made.run("later", days_later=1, factor=2))

    found = past_results(con, FASTER)

    assert [(row.run_id, row.median_ms, row.no_index_ms, row.story_ms) for row in found] == [
        ("later", 8.0, 8.8, 400.0),
        (RUN_ID, 4.0, 4.4, 200.0),
    ]
