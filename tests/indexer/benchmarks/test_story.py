"""The story's schema holds the same data in the plainest way, and the plain queries give the pages' numbers."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from indexer.benchmarks import story
from indexer.benchmarks.cases import CASES, Case, Subjects
from indexer.duckdb_file import attach
from indexer.published import hold
from queries import costs, errors, overview, sessions, tools

Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def plain(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The made-up index in the story's schema."""
    folder = tmp_path_factory.mktemp("story")
    story.build(hold(generated, folder), folder / "story.duckdb", generated)
    con = attach(folder / "story.duckdb", generated, "READ_ONLY", {})
    yield con
    con.close()


def case(name: str) -> Case:
    """Find a case by its name."""
    return next(each for each in CASES if each.name == name)


def asked(plain: duckdb.DuckDBPyConnection, found: Case, subjects: Subjects) -> Rows:
    """Ask the story's schema what it is asked instead of a case; return the rows by column."""
    answer = found.ask_story(subjects)(plain)
    assert isinstance(answer, list)
    names = [name for name, *_ in plain.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer]


def test_build_tables_without_keys_indexes_and_rollups(plain: duckdb.DuckDBPyConnection) -> None:
    """The rows are all there, and nothing else."""
    constraints = plain.execute("SELECT count(*) FROM duckdb_constraints() WHERE database_name = 'index_db'").fetchone()
    indexes = plain.execute("SELECT count(*) FROM duckdb_indexes()").fetchone()
    tables = {name for (name,) in plain.execute("SELECT table_name FROM duckdb_tables()").fetchall()}

    assert (constraints, indexes) == ((0,), (0,))
    assert {"messages", "parts", "exchanges"} <= tables
    assert not tables & set(story.ROLLUPS)


def test_build_rows_are_the_same_in_another_order(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection
) -> None:
    """Every part once; neighbours are not of one session."""
    sql = "SELECT count(*), bit_xor(hash(p)) FROM parts p"
    first = "SELECT count(DISTINCT session_id) FROM (SELECT session_id FROM parts LIMIT 50)"

    assert plain.execute(sql).fetchone() == con.execute(sql).fetchone()
    assert (plain.execute(first).fetchone() or (0,)) > (con.execute(first).fetchone() or (0,))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM request_chain ORDER BY request_id",
        "SELECT part_id, enters_at FROM tool_calls WHERE enters_at IS NOT NULL ORDER BY part_id",
    ],
)
def test_build_requests_follow_each_other_as_derived(
    sql: str, plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection
) -> None:
    """The plain schema tells their order for each question: by other means than the indexer."""
    derived = con.execute(sql).fetchall()

    assert plain.execute(sql).fetchall() == derived
    assert derived


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_ask_story_every_case_runs_without_rollups(
    plain: duckdb.DuckDBPyConnection, subjects: Subjects, each: Case
) -> None:
    """A query that reads a rollup needs a plain one in indexer/benchmarks/story.py."""
    assert each.ask_story(subjects)(plain) is not None


@pytest.mark.parametrize("period", ["all time", "30 days"])
@pytest.mark.parametrize("by", costs.GROUPINGS)
def test_cost_rows_plain_query_gives_the_same_costs_and_errors(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects, by: str, period: str
) -> None:
    """Or the comparison would be of two different things."""
    found = case(f"cost_rows: by {by}, {period}")
    scope = subjects.everything if period == "all time" else subjects.month
    expected = {row.key: (row.cost_recorded_usd, row.sessions, row.errors) for row in costs.cost_rows(con, by, scope)}

    rows = asked(plain, found, subjects)

    assert {row["key"]: (row["cost_recorded_usd"], row["sessions"], row["errors"]) for row in rows} == expected
    assert expected


def test_cost_totals_plain_query_gives_the_same_sums(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects
) -> None:
    """Cost, tokens and what is not recorded."""
    expected = costs.cost_totals(con, subjects.month)

    (row,) = asked(plain, case("cost_totals: 30 days"), subjects)

    names = ("cost_recorded_usd", "total_tokens", "sessions", "messages", "unrecorded_messages", "first_at", "last_at")
    assert {name: row[name] for name in names} == {name: getattr(expected, name) for name in names}


@pytest.mark.parametrize("dimension", costs.DIMENSIONS)
def test_cost_series_plain_query_gives_the_same_points(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects, dimension: str
) -> None:
    """As many points, and the same sum."""
    expected = costs.cost_series(con, dimension, "day", subjects.everything)

    rows = asked(plain, case(f"cost_series: {dimension} by day, all time"), subjects)

    assert len(rows) == len(expected)
    assert sum(float(str(row["cost_usd"])) for row in rows) == pytest.approx(sum(point.cost_usd for point in expected))


@pytest.mark.parametrize("dimension", costs.DIMENSIONS)
def test_cost_ranks_plain_query_gives_the_same_order(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects, dimension: str
) -> None:
    """Dearest first."""
    expected = [entry.key for entry in costs.cost_ranks(con, dimension)]

    rows = asked(plain, case(f"cost_ranks: {dimension}"), subjects)

    assert [row["key"] for row in rows] == expected


def test_overview_plain_query_gives_the_same_numbers(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects
) -> None:
    """Everything together, and by agent."""
    found = overview.overview(con, subjects.everything)

    rows = asked(plain, case("overview: all time"), subjects)

    expected = [(row.agent, row.answers, row.errors, row.calls) for row in (found.now, *found.agents)]
    plainly = [(row["name"], row["answers"], add(row, "failed_answers", "failed_calls"), row["calls"]) for row in rows]
    assert sorted(plainly, key=str) == sorted(expected, key=str)


def add(row: dict[str, object], *names: str) -> int:
    """Add up counts of a row."""
    return sum(int(str(row[name])) for name in names)


@pytest.mark.parametrize("about", ["newest, all time", "text search"])
def test_session_list_plain_query_gives_the_same_sums(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects, about: str
) -> None:
    """Rows of the list, child sessions folded."""
    scope = subjects.text if about == "text search" else subjects.everything
    expected = sessions.session_list(con, scope, True, "newest")

    rows = asked(plain, case(f"session_list: {about}"), subjects)

    names = ("root_session_id", "cost_recorded_usd", "total_tokens")
    assert sorted(tuple(row[name] for name in names) for row in rows) == sorted(
        (row.session_id, row.cost_recorded_usd, row.total_tokens) for row in expected.rows
    )
    assert len(rows) == expected.total.sessions > 0


def test_slowest_tools_plain_query_gives_the_same_speeds(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects
) -> None:
    """Calls, failures and the 95th percentile of each tool in the list."""
    expected = {
        row.tool_name: (row.calls, row.failed_calls, row.p95_ms)
        for row in tools.slowest_tools(con, subjects.everything)
    }

    rows = asked(plain, case("slowest_tools: all time"), subjects)

    assert rows
    assert all((row["calls"], row["failed_calls"], row["p95_ms"]) == expected[str(row["tool_name"])] for row in rows)


def test_newest_errors_plain_query_gives_the_same_errors(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects
) -> None:
    """The newest of all."""
    expected = [row.error_id for row in errors.newest_errors(con, subjects.everything, 8)]

    rows = asked(plain, case("newest_errors: all time"), subjects)

    assert [row["error_id"] for row in rows] == expected


@pytest.mark.parametrize(
    "each", [each for each in CASES if each.page in ("Errors", "Tools")], ids=lambda each: each.name
)
def test_ask_story_views_for_rollups_give_the_same_rows(
    plain: duckdb.DuckDBPyConnection, con: duckdb.DuckDBPyConnection, subjects: Subjects, each: Case
) -> None:
    """What the indexer keeps is what messages and parts tell."""
    assert each.ask_story(subjects)(plain) == each.ask(subjects)(con)
