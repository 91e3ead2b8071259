"""What is timed, and what is told of how it ran."""

from pathlib import Path

import duckdb
import pytest

from indexer.benchmarks import measuring
from indexer.benchmarks.cases import Subjects
from indexer.benchmarks.measuring import LEAST_RUNS, Statement, plan_of, record, time_question, time_slowest
from indexer.benchmarks.plans import INDEX_MARK, explain
from indexer.duckdb_file import attach
from indexer.published import hold
from queries import narrow, timeline, transcript


def test_explain_key_of_a_part_marks_the_index_scan(con: duckdb.DuckDBPyConnection, subjects: Subjects) -> None:
    """One filter, by `=`, on an indexed column."""
    sql = "SELECT * FROM parts WHERE part_id = $id"

    plan = explain(con, sql, {"id": subjects.biggest.trace_id})

    assert plan.is_index_used
    assert plan.rows == 1
    assert plan.text.startswith(f"{INDEX_MARK} INDEX SCAN parts")


def test_explain_aggregate_has_no_index_scan(con: duckdb.DuckDBPyConnection) -> None:
    """Every row is read; what feeds an operator stands below it, further in."""
    plan = explain(con, "SELECT part_type, count(*) AS n FROM parts GROUP BY 1 ORDER BY n DESC", {})

    lines = plan.text.splitlines()
    assert not plan.is_index_used
    assert plan.rows == 6
    assert lines[0].startswith("ORDER BY")
    assert lines[-1].lstrip().startswith("SEQUENTIAL SCAN parts")
    assert [len(line) - len(line.lstrip()) for line in lines] == [2 * depth for depth in range(len(lines))]


def test_record_statements_are_those_of_the_question(con: duckdb.DuckDBPyConnection, subjects: Subjects) -> None:
    """With their parameters, in order; a relation counts, too."""
    statements = record(con, lambda con: timeline.timeline(con, subjects.typical.session_id))

    assert len(statements) > 5
    assert Statement("SELECT session_id", None) not in statements
    assert all(each.sql.strip().startswith(("SELECT", "WITH")) for each in statements)


@pytest.mark.parametrize("threads", [1, 2])
def test_record_text_search_can_be_run_again(
    con: duckdb.DuckDBPyConnection, subjects: Subjects, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Its last statement reads what the first ones found; other threads look at the rest of the texts."""
    monkeypatch.setattr(
        narrow, "_portions", lambda con: [range(1_000_000 * part, 1_000_000 * (part + 1)) for part in range(threads)]
    )

    statements = record(con, lambda con: narrow.hits(con, subjects.text.text))

    assert [each.sql.split()[0] for each in statements] == ["SELECT", "WITH"]
    assert time_slowest(con, statements) > 0
    assert plan_of(con, statements).rows > 0


def test_plan_of_several_statements_adds_up(con: duckdb.DuckDBPyConnection, subjects: Subjects) -> None:
    """Plans one below the other, an index scan in any of them."""
    statements = record(con, lambda con: transcript.piece(con, subjects.biggest.trace_id))

    plan = plan_of(con, [*statements, Statement("SELECT 42", None)])

    assert len(plan.text.split("\n\n")) == len(statements) + 1
    assert plan.is_index_used


def test_time_question_slow_query_has_fewer_runs(generated: Path, tmp_path: Path) -> None:
    """The time is bounded, but some runs there are."""
    file = hold(generated, tmp_path)
    asked = []

    def ask(con: duckdb.DuckDBPyConnection) -> object:
        """Count the calls."""
        asked.append(con)
        return con.execute("SELECT count(*) FROM parts").fetchone()

    timing = time_question(lambda: attach(file, generated, "READ_ONLY", {}), ask, runs=7)

    assert timing.runs == 7
    assert len(asked) == 1 + 7  # a cold one
    assert len({id(con) for con in asked}) == 1
    assert 0 < timing.median_ms <= timing.p95_ms


def test_time_question_over_the_budget_still_runs_a_few_times(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing left of the time."""
    monkeypatch.setattr(measuring, "BUDGET_S", 0.0)
    file = hold(generated, tmp_path)

    timing = time_question(
        lambda: attach(file, generated, "READ_ONLY", {}), lambda con: con.execute("SELECT 1").fetchall(), runs=100
    )

    assert timing.runs == LEAST_RUNS


def test_time_slowest_is_the_slowest_of_all(con: duckdb.DuckDBPyConnection) -> None:
    """Not their sum, nor the last."""
    slow = Statement("SELECT count(*) FROM range(3000000) t(i) WHERE hash(i) % 7 = 0", None)
    fast = Statement("SELECT 1", None)

    assert time_slowest(con, [fast, slow, fast]) > 10 * time_slowest(con, [fast])
