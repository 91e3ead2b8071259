"""Run one query of the user's own on the index: it only reads, and ends at its limits.

Half of the fence is the connection: no file and no network can be reached, and no setting changed (`indexer.publish`).
The other half is here: one statement that asks, in a transaction that may not write, a limit on time, rows and bytes.
What is left (memory, a crash) can harm one process only, in which nothing else runs: `queries.apart`.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow
import pyarrow.compute

MAX_QUERY_CHARS = 5_000  # of any script: percent-encoded, servers and browsers take it as an address
MAX_ROWS = 10_000
MAX_BYTES = 16 << 20
MAX_S = 10.0

_ASKING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)  # SHOW, DESCRIBE, SUMMARIZE count as SELECT
_BATCH_ROWS = 1_000
# Types that tables, charts and files take as they are. All others come as the text that DuckDB writes.
_PLAIN_TYPES = (
    *("boolean", "varchar", "date", "timestamp", "float", "double", "decimal"),
    *("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query returned.

    Attributes:
        rows: Its columns as numbers, text, dates and naive UTC times; what is none of these as text. Names are unique.
        is_cut: Whether there are more rows than `MAX_ROWS`, or more bytes than `MAX_BYTES`.
        revision: Of the index that was asked.
        duration_ms: Until the last row was there.
    """

    rows: pyarrow.Table
    is_cut: bool
    revision: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer.

    Attributes:
        reason: For the reader. DuckDB's own words, if it has any: the line, and a mark below the place.
    """

    reason: str


def answer(
    con: duckdb.DuckDBPyConnection,
    query: str,
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
    max_s: float = MAX_S,
) -> Answer | Refusal:
    """Run a query.

    Args:
        con: The index, open for reading, without a transaction. Nobody else may use its database: a query may leave
            temporary tables and variables there.
        query: One statement.
        max_rows: Rows that are returned at most.
        max_bytes: Bytes after which no more rows are fetched.
        max_s: Seconds after which it is stopped.
    """
    statement = _statement(con, query)
    if isinstance(statement, Refusal):
        return statement
    started = time.monotonic()
    # A SELECT may hold an INSERT, and EXPLAIN ANALYZE runs what it explains.
    con.execute("BEGIN TRANSACTION READ ONLY")
    try:
        with _time_limit(con, max_s) as is_over:
            try:
                rows, is_cut = _fetch(con.sql(statement), max_rows, max_bytes)
            except (duckdb.Error, OSError, MemoryError) as error:  # Arrow turns errors between two rows into OSError
                if is_over.is_set():
                    return Refusal(f"Stopped: it ran for more than {max_s:g} s.")
                return Refusal(_explained(error))
        row = con.execute("SELECT revision FROM sync_state").fetchone()
    finally:
        con.rollback()
    return Answer(rows, is_cut, int(row[0]) if row else 0, 1000 * (time.monotonic() - started))


def too_long(query: str) -> Refusal | None:
    """Refuse a text that no address can hold. None if it is short enough."""
    if len(query) <= MAX_QUERY_CHARS:
        return None
    return Refusal(f"The query has {len(query):,} characters; {MAX_QUERY_CHARS:,} are the limit.")


def pack(found: Answer | Refusal) -> bytes:
    """Write an answer for another process: a line of JSON, then the rows."""
    if isinstance(found, Refusal):
        return json.dumps({"reason": found.reason}).encode() + b"\n"
    head = {"is_cut": found.is_cut, "revision": found.revision, "duration_ms": found.duration_ms}
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, found.rows.schema) as writer:
        writer.write_table(found.rows)
    return b"%s\n%s" % (json.dumps(head).encode(), sink.getvalue().to_pybytes())


def unpack(data: bytes) -> Answer | Refusal:
    """Read what `pack` wrote.

    Raises:
        ValueError: It is not whole.
    """
    line, _, rows = data.partition(b"\n")
    head = json.loads(line)
    if "reason" in head:
        return Refusal(head["reason"])
    return Answer(pyarrow.ipc.open_stream(rows).read_all(), **head)


def _statement(con: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement | Refusal:
    """Read the only statement of a text, and refuse what does more than ask."""
    if refused := too_long(query):
        return refused
    try:
        statements = con.extract_statements(query)
    except (duckdb.Error, UnicodeEncodeError) as error:
        return Refusal(str(error))
    if not statements:
        return Refusal("There is nothing to run.")
    if len(statements) > 1:
        return Refusal(f"One statement at a time: these are {len(statements)}.")
    (statement,) = statements
    if statement.type is duckdb.StatementType.MULTI:
        return Refusal("PIVOT without its values makes several statements. Name them: ON column IN ('a', 'b').")
    if statement.type not in _ASKING:
        return Refusal(
            f"{statement.type.name} is not run here. The index is read-only: what runs is SELECT (also WITH, FROM, "
            "VALUES), EXPLAIN, DESCRIBE, SHOW and SUMMARIZE."
        )
    return statement


def _fetch(found: duckdb.DuckDBPyRelation, max_rows: int, max_bytes: int) -> tuple[pyarrow.Table, bool]:
    """Fetch the first rows of a result as they are made, and tell whether there are more."""
    columns = [
        f"#{number}" if kind.id in _PLAIN_TYPES else f"#{number}::VARCHAR AS {_quoted(name)}"
        for number, (name, kind) in enumerate(zip(found.columns, found.types, strict=True), 1)
    ]
    reader = found.limit(max_rows + 1).project(", ".join(columns)).to_arrow_reader(_BATCH_ROWS)
    batches: list[pyarrow.RecordBatch] = []
    for batch in reader:
        batches.append(batch)
        if sum(fetched.nbytes for fetched in batches) > max_bytes:
            break
    rows = pyarrow.Table.from_batches(batches, reader.schema)
    is_cut = rows.num_rows > max_rows or rows.nbytes > max_bytes
    first = rows.slice(0, max_rows)
    return pyarrow.table([_holdable(column) for column in first.columns], names=first.column_names), is_cut


def _holdable(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Turn times that Python cannot hold, such as infinity, into text, with all others of their column."""
    if not pyarrow.types.is_temporal(column.type):
        return column
    try:
        pyarrow.compute.min_max(column).as_py()
    except (ValueError, OverflowError):
        return column.cast(pyarrow.string())
    return column


@contextmanager
def _time_limit(con: duckdb.DuckDBPyConnection, max_s: float) -> Iterator[threading.Event]:
    """Stop what runs on a connection after some time; the event tells that it was."""
    is_over = threading.Event()

    def stop() -> None:
        """Stop it."""
        is_over.set()
        con.interrupt()

    timer = threading.Timer(max_s, stop)
    timer.daemon = True
    timer.start()
    try:
        yield is_over
    finally:
        timer.cancel()


def _explained(error: Exception) -> str:
    """Say what went wrong. What DuckDB advises against a lack of memory cannot be done here."""
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "Out of Memory" in str(error):
        return "It needs more memory than a query may have. Ask for less at a time: fewer columns, a shorter period."
    return str(error)


def _quoted(name: str) -> str:
    """Write a name of a column."""
    return '"' + name.replace('"', '""') + '"'
