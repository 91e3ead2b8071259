"""A query of the user's own: what is answered, what is refused, where it ends."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow
import pytest

from indexer.published import open_apart
from queries import console
from queries.console import Answer, Refusal
from tests.agreement import fresh_index
from tests.builders import assistant, project, session, user, write_json_tree

# What harms, or tells what is none of the index's: each is refused, whoever refuses it.
WRITES = [
    "CREATE TABLE copied AS SELECT * FROM sessions",
    "CREATE TEMP TABLE copied AS SELECT 1",
    "CREATE VIEW copied AS SELECT 1",
    "CREATE MACRO spend() AS 1",
    "INSERT INTO agents VALUES ('x')",
    "UPDATE sessions SET title = 'x'",
    "DELETE FROM sessions",
    "DROP TABLE sessions",
    "ALTER TABLE sessions ADD COLUMN x INTEGER",
    "TRUNCATE sessions",
    "WITH gone AS (DELETE FROM agents RETURNING *) FROM gone",
    "WITH made AS (INSERT INTO agents VALUES ('x') RETURNING *) FROM made",
    "EXPLAIN ANALYZE CREATE TABLE memory.main.made (a INTEGER)",
    "EXPLAIN ANALYZE DELETE FROM sessions",
    "FROM query('CREATE TABLE memory.main.made (a INTEGER)')",
    "CHECKPOINT",
    "VACUUM",
]
SETTINGS = [
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET VARIABLE x = 1",
    "PRAGMA enable_profiling",
    "PRAGMA version",
    "USE memory",
    "CALL enable_logging()",
    "FROM enable_logging()",
    "FROM enable_profiling()",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
]
FILES = [
    "ATTACH '{file}' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "COPY sessions TO '{file}'",
    "COPY agents FROM '{file}'",
    "EXPORT DATABASE '{folder}'",
    "IMPORT DATABASE '{folder}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}.new'",
    "FROM '{file}'",
    "FROM read_csv('{file}')",
    "FROM read_text('{file}')",
    "FROM read_blob('{file}')",
    "FROM read_json('{file}')",
    "FROM read_ndjson_objects('{file}')",
    "FROM read_parquet('{file}')",
    "FROM parquet_scan('{file}')",
    "FROM parquet_metadata('{file}')",
    "FROM parquet_schema('{file}')",
    "FROM sniff_csv('{file}')",
    "FROM glob('{folder}/*')",
    "FROM read_duckdb('{file}')",
    "FROM sqlite_scan('{file}', 'x')",
    "FROM read_text('/proc/self/environ')",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "FROM query('FROM read_text(''{file}'')')",
    "FROM query_table('{file}')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{file}'')'))",
    "FROM duckdb_secrets()",
    "FROM duckdb_extensions()",
    "SELECT getenv('HOME')",
]
NETWORK = [
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial FROM community",
    "FROM 'http://127.0.0.1:9/x.csv'",
    "FROM read_csv('https://127.0.0.1:9/x.csv')",
    "FROM read_parquet('s3://bucket/x.parquet')",
    "FROM postgres_scan('host=127.0.0.1', 'public', 'x')",
    "FROM iceberg_scan('http://127.0.0.1:9/')",
    "ATTACH 'http://127.0.0.1:9/x.duckdb' AS other",
    "CREATE SECRET (TYPE s3, KEY_ID 'x', SECRET 'y')",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one session, for all tests: none may change it."""
    folder = tmp_path_factory.mktemp("console")
    docs = [project(), session(title="Fix the parser"), user(), assistant(cost=0.25)]
    return fresh_index(folder / "index.duckdb", [write_json_tree(folder / "opencode", docs)])


@pytest.fixture
def con(index: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The index as the process of a query opens it."""
    with closing(open_apart(index).cursor()) as opened:
        yield opened


def rows(found: Answer | Refusal) -> list[dict[str, object]]:
    """Return the rows of an answer."""
    assert isinstance(found, Answer), found.reason
    return found.rows.to_pylist()


def reason(found: Answer | Refusal) -> str:
    """Return why there is no answer."""
    assert isinstance(found, Refusal), found
    return found.reason


@pytest.mark.parametrize(
    "query",
    [
        "SELECT title FROM sessions",
        "FROM sessions SELECT title;",
        "-- mine\nWITH found AS (SELECT title FROM sessions) SELECT * FROM found",
        "(SELECT title FROM sessions)",
    ],
)
def test_answer_query_returns_rows(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """However it is written."""
    found = console.answer(con, query)

    assert rows(found) == [{"title": "Fix the parser"}]


@pytest.mark.parametrize(
    "query",
    [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE FROM spend",
        "DESCRIBE spend",
        "SHOW TABLES",
        "SUMMARIZE spend",
        "VALUES (1)",
    ],
)
def test_answer_other_questions_are_answered(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """What only asks is welcome."""
    assert rows(console.answer(con, query))


def test_answer_values_keep_their_types(con: duckdb.DuckDBPyConnection) -> None:
    """Numbers, text and times as they are; what tables and charts do not take comes as text."""
    found = console.answer(
        con,
        "SELECT 1 AS a, 2 AS a, 0.5::DECIMAL(18, 12) AS cost, sum(1) AS total, TIMESTAMP '2026-01-02 03:04:05' AS at, "
        "DATE '2026-01-02' AS day, [1, 2] AS list, {'x': 'y'} AS struct, INTERVAL 3 DAY AS span, "
        "'\\xAA'::BLOB AS bytes, NULL AS nothing",
    )

    assert rows(found) == [
        {
            "a": 1,
            "a_1": 2,
            "cost": Decimal("0.5"),
            "total": Decimal(1),
            "at": datetime(2026, 1, 2, 3, 4, 5),
            "day": date(2026, 1, 2),
            "list": "[1, 2]",
            "struct": "{'x': y}",
            "span": "3 days",
            "bytes": "\\xAA",
            "nothing": None,
        }
    ]


def test_answer_no_rows_has_columns(con: duckdb.DuckDBPyConnection) -> None:
    """An empty result is an answer."""
    found = console.answer(con, "SELECT session_id FROM sessions WHERE false")

    assert isinstance(found, Answer)
    assert (found.rows.column_names, found.rows.num_rows, found.is_cut) == (["session_id"], 0, False)


@pytest.mark.parametrize("query", [*WRITES, *SETTINGS, *FILES, *NETWORK])
def test_answer_what_does_more_than_ask_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path, query: str) -> None:
    """No write, no setting, no file, no network; and the next query finds everything as it was."""
    secret = tmp_path / "secret.csv"
    secret.write_text("name,word\nme,hunter2\n")
    before = sorted(tmp_path.rglob("*"))
    text = query.replace("{file}", str(secret)).replace("{folder}", str(tmp_path))

    found = console.answer(con, text)

    assert "hunter2" not in reason(found)
    assert sorted(tmp_path.rglob("*")) == before
    assert rows(console.answer(con, "SELECT title FROM sessions")) == [{"title": "Fix the parser"}]
    assert rows(console.answer(con, "SELECT table_name FROM duckdb_tables() WHERE database_name <> 'index_db'")) == []


def test_answer_python_variables_are_no_tables(con: duckdb.DuckDBPyConnection) -> None:
    """DuckDB in Python would look for a frame of the caller."""
    leaked = pyarrow.table({"word": ["hunter2"]})

    found = console.answer(con, "FROM leaked")

    assert leaked.num_rows == 1
    assert "Table with name leaked does not exist" in reason(found)


@pytest.mark.parametrize("query", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE sessions"])
def test_answer_several_statements_are_refused(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """None of them is run."""
    assert reason(console.answer(con, query)) == "One statement at a time: these are 2."


@pytest.mark.parametrize("query", ["", " \n", "-- only a comment", ";"])
def test_answer_nothing_is_refused(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """Not an error of DuckDB."""
    assert reason(console.answer(con, query)) == "There is nothing to run."


def test_answer_write_is_refused_by_its_name(con: duckdb.DuckDBPyConnection) -> None:
    """The reader learns what may be run."""
    found = reason(console.answer(con, "DELETE FROM sessions"))

    assert found.startswith("DELETE is not run here. The index is read-only")


def test_answer_pivot_is_told_apart(con: duckdb.DuckDBPyConnection) -> None:
    """DuckDB makes several statements of it, unless its values are named."""
    open_ended = console.answer(con, "PIVOT spend ON model USING sum(total_tokens)")
    named = console.answer(con, "PIVOT (SELECT 1 AS a, 5 AS b) ON a IN (1, 2) USING sum(b)")

    assert "ON column IN" in reason(open_ended)
    assert rows(named) == [{"1": 5, "2": None}]


def test_answer_syntax_error_names_the_place(con: duckdb.DuckDBPyConnection) -> None:
    """The line and a mark below the word."""
    assert reason(console.answer(con, "SELECT title\nFORM sessions")).endswith("FORM sessions\n             ^^^^^^^^")


def test_answer_error_between_two_rows_is_explained(con: duckdb.DuckDBPyConnection) -> None:
    """Of a query that had begun to answer."""
    found = console.answer(con, "SELECT if(range = 9000, 'x', '1')::INTEGER FROM range(10000)")

    assert "Could not convert string 'x' to INT32" in reason(found)


def test_answer_many_rows_are_cut(con: duckdb.DuckDBPyConnection) -> None:
    """Endless results end, in the order asked for."""
    found = console.answer(con, "SELECT range FROM range(1000000000000)", max_rows=2)
    exact = console.answer(con, "SELECT range FROM range(2)", max_rows=2)

    assert (rows(found), isinstance(found, Answer) and found.is_cut) == ([{"range": 0}, {"range": 1}], True)
    assert isinstance(exact, Answer)
    assert not exact.is_cut


def test_answer_long_texts_are_cut(con: duckdb.DuckDBPyConnection) -> None:
    """Rows are counted, and bytes."""
    found = console.answer(con, "SELECT repeat('x', 1000) AS x FROM range(10000)", max_bytes=100_000)

    assert isinstance(found, Answer)
    assert found.is_cut
    assert 100_000 < found.rows.nbytes < 3_000_000


def test_answer_endless_query_is_stopped(con: duckdb.DuckDBPyConnection) -> None:
    """And the connection goes on."""
    found = console.answer(con, "SELECT count(*) FROM range(1000000000000)", max_s=0.2)

    assert reason(found) == "Stopped: it ran for more than 0.2 s."
    assert rows(console.answer(con, "SELECT 1 AS a")) == [{"a": 1}]


def test_answer_long_query_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    """No address could hold it."""
    found = console.answer(con, f"SELECT '{'x' * console.MAX_QUERY_CHARS}'")

    assert reason(found) == "The query has 5,009 characters; 5,000 are the limit."


@pytest.mark.parametrize(
    "found", [Refusal("Line 1\nline 2"), Answer(pyarrow.table({"a": [1, 2], "b": ["x", None]}), True, 7, 1.5)]
)
def test_unpack_packed_is_the_same(found: Answer | Refusal) -> None:
    """What one process writes the other reads."""
    assert console.unpack(console.pack(found)) == found


@pytest.mark.parametrize("data", [b"", b"{", b'{"is_cut": true, "revision": 1, "duration_ms": 1}\n'])
def test_unpack_torn_raises(data: bytes) -> None:
    """The other process may have died while it wrote."""
    with pytest.raises(ValueError, match=r"JSON|Expecting|schema|stream"):
        console.unpack(data)
