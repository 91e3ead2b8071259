"""The story's eight indexes: they exist, and DuckDB goes by them exactly where docs/indexes.md says so.

One comparison with constants, on one indexed column, met by few rows: an index scan. Anything else: none.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from indexer import migrations
from indexer.benchmarks.generated import generate
from indexer.benchmarks.plans import INDEX_MARK, explain
from indexer.database import STORAGE_OPTIONS
from indexer.duckdb_file import attach
from indexer.published import READER_SETTINGS, hold

STORY = {
    "idx_agents_name": ("agents", "name"),
    "idx_models_vendor": ("models", "vendor"),
    "idx_parts_type": ("parts", "part_type"),
    "idx_parts_session": ("parts", "session_id"),
    "idx_tools_name": ("tools", "tool_name"),
    "idx_messages_session": ("messages", "session_id"),
    "idx_exchanges_session": ("exchanges", "session_id"),
    "idx_traces_exchange": ("exchange_traces", "exchange_id"),
}
# What is looked up by each of them, and by the keys.
LOOKUPS = {
    **{name: (table, column) for name, (table, column) in STORY.items() if name != "idx_parts_type"},
    "key of parts": ("parts", "part_id"),
    "key of part_bodies": ("part_bodies", "part_id"),
    "key of messages": ("messages", "message_id"),
    "key of sessions": ("sessions", "session_id"),
    "key of exchanges": ("exchanges", "exchange_id"),
    "key of exchange_traces": ("exchange_traces", "trace_id"),
    "key of session_stats": ("session_stats", "session_id"),
    "key of tool_calls": ("tool_calls", "part_id"),
    "key of failures": ("failures", "failure_id"),
    "key of request_chain": ("request_chain", "request_id"),
}
Connection = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def index_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up index of 3,000 parts, in one file that nobody writes."""
    folder = tmp_path_factory.mktemp("indexes")
    generate(folder / "index.duckdb", 3_000)
    (folder / "held").mkdir()
    return hold(folder / "index.duckdb", folder / "held")


@pytest.fixture
def con(index_file: Path) -> Iterator[Connection]:
    """The index, opened as the dashboard does."""
    opened = attach(index_file, index_file, "READ_ONLY", READER_SETTINGS)
    yield opened
    opened.close()


@pytest.fixture
def writable(index_file: Path, tmp_path: Path) -> Iterator[Connection]:
    """A copy to make other indexes in."""
    copy = tmp_path / "copy.duckdb"
    shutil.copyfile(index_file, copy)
    wal = index_file.with_name(f"{index_file.name}.wal")
    if wal.exists():
        shutil.copyfile(wal, copy.with_name(f"{copy.name}.wal"))
    opened = attach(copy, copy, STORAGE_OPTIONS, READER_SETTINGS)
    yield opened
    opened.close()


def some(con: Connection, table: str, column: str) -> str:
    """Return a value that few rows have."""
    row = con.execute(f"SELECT {column} FROM {table} GROUP BY 1 ORDER BY count(*), 1 LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


def test_indexes_the_eight_of_the_story_exist(con: Connection) -> None:
    """By name, table and column."""
    found = con.execute("SELECT index_name, table_name, expressions FROM duckdb_indexes()").fetchall()

    assert {name: (table, column.strip("[]'\"")) for name, table, column in found} == STORY


def test_indexes_migration_makes_the_same(con: Connection) -> None:
    """An older index gets them from `add_indexes`; a new one from the schema."""
    made = {migration.name: migration.up for migration in migrations.known()}["add_indexes"]

    assert all(f"CREATE INDEX {name} ON {table} ({column});" in made for name, (table, column) in STORY.items())


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("condition", ["= $value", "IN ($value, 'another')", "BETWEEN $value AND $value"])
def test_indexes_lookup_by_one_column_is_an_index_scan(con: Connection, name: str, condition: str) -> None:
    """One comparison with constants that few rows meet."""
    table, column = LOOKUPS[name]

    plan = explain(con, f"SELECT * FROM {table} WHERE {column} {condition}", {"value": some(con, table, column)})

    assert plan.is_index_used, plan.text
    assert plan.rows > 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM parts WHERE session_id = $session AND part_type = 'tool'",
        "SELECT * FROM parts WHERE session_id = $session AND NOT is_failed",
        "SELECT * FROM parts WHERE session_id = $session OR part_type = 'patch'",
        "SELECT * FROM parts WHERE session_id LIKE $session || '%'",
        "SELECT * FROM parts WHERE lower(session_id) = $session",
        "SELECT session_id, count(*) FROM parts WHERE session_id <> $session GROUP BY session_id",
        "SELECT part_type, count(*) FROM parts WHERE session_id <> $session GROUP BY part_type",
        "SELECT * FROM parts WHERE session_id <> $session ORDER BY session_id LIMIT 5",
    ],
)
def test_indexes_anything_else_is_a_scan(con: Connection, sql: str) -> None:
    """A second condition, a pattern, an expression, groups, an order: none goes by an index."""
    plan = explain(con, sql, {"session": some(con, "parts", "session_id")})

    assert not plan.is_index_used, plan.text


def test_indexes_type_of_many_parts_is_a_scan(con: Connection) -> None:
    """At 1M parts every type has more than 0.1 % of the rows; the limits stand for that many here."""
    sql = "SELECT avg(output_bytes) FROM parts WHERE part_type = 'tool'"
    few = explain(con, sql, {})

    con.execute("SET index_scan_max_count = 100")
    many = explain(con, sql, {})

    assert (few.is_index_used, many.is_index_used) == (True, False)


def test_indexes_composite_is_never_used(writable: Connection) -> None:
    """The story asks for it; DuckDB builds it, pays for it, and never reads it."""
    values = {"session": some(writable, "parts", "session_id")}
    writable.execute("CREATE INDEX idx_composite ON parts (session_id, part_type)")
    writable.execute("DROP INDEX idx_parts_session")
    writable.execute("DROP INDEX idx_parts_type")

    together = explain(writable, "SELECT * FROM parts WHERE session_id = $session AND part_type = 'tool'", values)
    first = explain(writable, "SELECT * FROM parts WHERE session_id = $session", values)

    assert not together.is_index_used, together.text
    assert not first.is_index_used, first.text


def test_indexes_further_condition_after_a_materialized_lookup_keeps_the_index(con: Connection) -> None:
    """The way round: first the rows of the session, then what else is asked."""
    plan = explain(
        con,
        "WITH own AS MATERIALIZED (SELECT * FROM parts WHERE session_id = $session) "
        "SELECT * FROM own WHERE part_type = 'tool'",
        {"session": some(con, "parts", "session_id")},
    )

    assert INDEX_MARK in plan.text


def test_indexes_switched_off_is_a_scan(con: Connection) -> None:
    """What the benchmark compares with: the same file, the same query."""
    con.execute("SET index_scan_max_count = 0")
    con.execute("SET index_scan_percentage = 0")

    plan = explain(con, "SELECT * FROM parts WHERE part_id = $id", {"id": some(con, "parts", "part_id")})

    assert not plan.is_index_used
    assert plan.rows == 1
