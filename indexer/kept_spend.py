"""Spend that only the index still has: what OpenCode deleted, in a small file beside the index, in case it is lost.

Everything else can be read from OpenCode again. `FILE.kept-spend` is a zip, whose checksums tell a damaged one, of one
Parquet table each for sources, sessions, messages and parts. It holds numbers, names of agents, models and tools, and
the places of OpenCode's storages; no titles, no texts.
"""

import json
import logging
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from indexer import derive

if TYPE_CHECKING:  # see rows.py
    import pyarrow as pa

log = logging.getLogger(__name__)

_PROGRAM = "opencode-analytics kept spend"
_FORMAT = 1
_MANIFEST = "manifest.json"
_ROWS_PER_BATCH = 50_000
_ROW_TABLES = {"sessions": "session_id", "messages": "message_id", "parts": "part_id"}

# What numbers do not need. All but the directory is gone from deleted rows anyway.
_LEFT_OUT = {
    "sessions": "title, slug, directory",
    "messages": "error_data",
    "parts": "title, error_data, target",
}

# Changes whenever another set of rows is deleted. Reads only the row groups with deleted rows in them.
_FINGERPRINT = " UNION ALL ".join(
    f"SELECT '{table}' AS name, count(*), coalesce(bit_xor(hash({key}, deleted_at)), 0) FROM {table} "
    "WHERE deleted_at IS NOT NULL"
    for table, key in _ROW_TABLES.items()
)


# What DuckDB says of rows that do not fit. A full disk is something else: it must not cost the backup.
_BAD_ROWS = (duckdb.DataError, duckdb.IntegrityError, duckdb.ProgrammingError, duckdb.NotSupportedError)

LOSS = "What OpenCode deleted before now, and the index does not have, is lost: totals are smaller by it"


@dataclass(frozen=True, slots=True)
class KeptSpend:
    """What a backup holds.

    Attributes:
        fingerprint: Of the deleted rows in it.
        rows: Table to number of rows.
        is_sample: Whether it belongs to the bundled sample data.
    """

    fingerprint: str
    rows: dict[str, int]
    is_sample: bool


class Unusable(Exception):
    """The file is damaged, or none of this program's."""


def kept_spend_path(index: Path) -> Path:
    """Return where the backup of an index lies: not in its folder, which is what gets deleted with it."""
    return index.with_name(index.name + ".kept-spend")


def save(con: duckdb.DuckDBPyConnection, index: Path) -> bool:
    """Write the backup if other rows are deleted than at the last time.

    Call it between transactions: after a batch that deleted something, at the end of a pass and at stop. What cannot
    be written is logged and tried again by the next call; the backup from before stays.

    Args:
        con: The index.
        index: What readers open.

    Returns:
        Whether it was written.
    """
    file = kept_spend_path(index)
    now = _of_index(con)
    try:
        before = read(file)
    except Unusable as error:
        _set_aside(file, f"{error} A new one is written from the index, which has it all")
        before = None
    if before == now or (before is None and not any(now.rows.values())):
        return False
    fresh = file.with_name(file.name + ".new")
    try:
        _write(con, fresh, now)
        os.replace(fresh, file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        log.warning("what OpenCode deleted is only in the index: its copy %s cannot be written: %s", file, error)
        return False
    log.debug("kept a copy of %s", _counted(now.rows))
    return True


def restore(con: duckdb.DuckDBPyConnection, index: Path) -> int:
    """Add what the backup holds and the index lacks, in one transaction of its own.

    To be called at every start: it costs a look where both agree, mends an index that was killed while it was made, and
    one that went back to an older copy. Rows that the index has in any version stay as they are. A session that is in
    OpenCode's storage again comes back to life as any other. A backup that cannot be used is kept aside, and never
    fatal.

    Args:
        con: The index, of the newest schema version, outside of a transaction.
        index: What readers open.

    Returns:
        The number of messages restored.
    """
    file = kept_spend_path(index)
    now = _of_index(con)
    try:
        kept = read(file)
        if kept is None:
            _tell_missing(con, index)
            return 0
        if kept.is_sample != now.is_sample:
            raise Unusable(f"{file} belongs to {'the sample data' if kept.is_sample else 'other data'}.")
        if kept == now:
            return 0
        with zipfile.ZipFile(file) as archive, _transaction(con):
            restored = _add(con, archive)
    except _unusable_backup() as error:
        reason = str(error) if isinstance(error, Unusable) else f"{file} cannot be read ({error})."
        _set_aside(file, f"{reason} {LOSS}")
        return 0
    if any(restored.values()):
        log.warning("the index lacked what OpenCode deleted earlier: restored %s from %s", _counted(restored), file)
    return restored["messages"]


def read(file: Path) -> KeptSpend | None:
    """Read what a backup says of itself.

    Args:
        file: The backup.

    Returns:
        Its description. None if there is no such file.

    Raises:
        Unusable: It is damaged, or another program's, or a newer version's.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = json.loads(archive.read(_MANIFEST))
            if found["program"] != _PROGRAM or found["format"] != _FORMAT:
                raise Unusable(f"{file} was written by another program, or a newer version of this one.")
            return KeptSpend(str(found["fingerprint"]), dict(found["rows"]), bool(found["is_sample"]))
    except FileNotFoundError:
        return None
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{file} cannot be read ({error}).") from error


def verify(file: Path) -> KeptSpend | None:
    """Read a backup to its end.

    Returns:
        What it says of itself. None if there is no such file.

    Raises:
        Unusable: As `read`, or its content is damaged.
    """
    found = read(file)
    if found is None:
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise Unusable(f"{file} cannot be read ({error}).") from error
    if damaged is not None:
        raise Unusable(f"{file} is damaged: its table {damaged} fails its checksum.")
    return found


def is_current(con: duckdb.DuckDBPyConnection, kept: KeptSpend) -> bool:
    """Tell whether a backup holds exactly what is deleted in the index."""
    return kept == _of_index(con)


def _of_index(con: duckdb.DuckDBPyConnection) -> KeptSpend:
    """Describe what is deleted in an index."""
    rows = con.execute(f"{_FINGERPRINT} ORDER BY name").fetchall()
    sample = con.execute("SELECT is_sample FROM sync_state").fetchone()
    fingerprint = " ".join(f"{count}:{digest:x}" for _, count, digest in rows)
    return KeptSpend(fingerprint, {name: count for name, count, _ in rows}, bool(sample and sample[0]))


def _write(con: duckdb.DuckDBPyConnection, file: Path, kept: KeptSpend) -> None:
    """Write a whole backup, and wait until it is on the disk: it is for the day on which power fails."""
    manifest = {
        "program": _PROGRAM,
        "format": _FORMAT,
        "fingerprint": kept.fingerprint,
        "rows": kept.rows,
        "is_sample": kept.is_sample,
        "saved_ms": time.time_ns() // 1_000_000,
    }
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    cursor = con.cursor()  # results that are not fetched to their end would block the connection
    with closing(cursor), os.fdopen(descriptor, "wb") as out:
        cursor.execute("USE index_db")
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(_MANIFEST, json.dumps(manifest))
            _write_table(cursor, archive, "sources", "SELECT source_id, data_dir, kind, path FROM sources")
            for table, left_out in _LEFT_OUT.items():
                sql = f"SELECT * EXCLUDE ({left_out}) FROM {table} WHERE deleted_at IS NOT NULL"
                _write_table(cursor, archive, table, sql)
        out.flush()
        os.fsync(out.fileno())


def _write_table(cursor: duckdb.DuckDBPyConnection, archive: zipfile.ZipFile, table: str, sql: str) -> None:
    """Write the rows of a query as one table, a batch at a time."""
    import pyarrow.parquet as pq

    batches = cursor.sql(sql).to_arrow_reader(_ROWS_PER_BATCH)
    with archive.open(table, "w") as out, pq.ParquetWriter(out, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _add(con: duckdb.DuckDBPyConnection, archive: zipfile.ZipFile) -> dict[str, int]:
    """Insert what the index lacks, inside a transaction, and everything that follows from it.

    Returns:
        Table to number of rows.
    """
    _add_sources(con, archive)
    con.execute("CREATE OR REPLACE TEMP TABLE known_messages AS SELECT message_id FROM index_db.messages")
    touched: set[str] = set()
    restored = {}
    for table, key in _ROW_TABLES.items():
        lacking = f"{key} NOT IN (SELECT {key} FROM {table})"
        if table == "parts":  # the index knows better which parts the messages have that it knew before
            lacking += " AND message_id NOT IN (SELECT message_id FROM known_messages)"
        sessions = [session for rows in _tables(archive, table) for session in _insert(con, table, rows, lacking)]
        restored[table] = len(sessions)
        touched.update(session for session in sessions if session is not None)
    con.execute("DROP TABLE known_messages")
    con.execute("DROP TABLE renumbered")
    derive.refresh(con, touched)
    return restored


def _add_sources(con: duckdb.DuckDBPyConnection, archive: zipfile.ZipFile) -> None:
    """Number the storages that the rows name, as new ones where the index does not know them.

    Leaves the temporary table `renumbered`: number in the backup to number in the index.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE renumbered (old_id INTEGER, new_id INTEGER)")
    for rows in _tables(archive, "sources"):
        for source in rows.to_pylist():
            place = {"kind": source["kind"], "path": source["path"]}
            known = con.execute("SELECT source_id FROM sources WHERE kind = $kind AND path = $path", place).fetchone()
            if known is None:
                known = con.execute(
                    """
                    INSERT INTO sources BY NAME
                    SELECT (SELECT coalesce(max(source_id), 0) + 1 FROM sources) AS source_id, $data_dir AS data_dir,
                           $kind AS kind, $path AS path, 'empty' AS state, 0 AS sessions, 0 AS messages, 0 AS parts,
                           now()::TIMESTAMP AS indexed_at
                    RETURNING source_id
                    """,
                    {**place, "data_dir": source["data_dir"]},
                ).fetchone()
            assert known is not None, "INSERT RETURNING has one row"
            con.execute("INSERT INTO renumbered VALUES ($old, $new)", {"old": source["source_id"], "new": known[0]})


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: "pa.Table", lacking: str) -> Sequence[str | None]:
    """Insert rows of a backup, in whatever version of the schema it was written.

    Args:
        con: The index.
        table: Name of the table.
        rows: Columns by name. One that the table does not have any more is left out.
        lacking: Condition on the rows that are wanted.

    Returns:
        The session of each row inserted.
    """
    if not {_ROW_TABLES[table], "deleted_at"} <= set(rows.column_names):
        raise zipfile.BadZipFile(f"its {table} are none")
    con.register("kept_rows", rows)
    try:
        values = [f'{value} AS "{name}"' for name, value in _values(con, table, rows.column_names)]
        sql = (
            f"INSERT INTO {table} BY NAME SELECT {', '.join(values)} FROM kept_rows WHERE {lacking} "
            f"QUALIFY row_number() OVER (PARTITION BY {_ROW_TABLES[table]}) = 1 RETURNING session_id"
        )
        return [session for (session,) in con.execute(sql).fetchall()]
    finally:
        con.unregister("kept_rows")


def _values(con: duckdb.DuckDBPyConnection, table: str, kept: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Say where each column of a table gets its value: from the backup, or none, as far as the table allows that."""
    columns = con.execute(
        """
        SELECT column_name, data_type, is_nullable FROM duckdb_columns()
        WHERE database_name = 'index_db' AND table_name = $table
        """,
        {"table": table},
    ).fetchall()
    for name, data_type, is_nullable in columns:
        if name == "source_id" and name in kept:
            yield name, "(SELECT new_id FROM renumbered WHERE old_id = source_id)"
        elif name in kept:
            yield name, f'"{name}"'
        elif not is_nullable:
            empty = "''" if data_type == "VARCHAR" else "0"
            yield name, f"{empty}::{data_type}"


def _tables(archive: zipfile.ZipFile, table: str) -> "Iterator[pa.Table]":
    """Read a table of a backup, some rows at a time. Its checksum is verified before the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = archive.read(table)
    except KeyError as error:
        raise zipfile.BadZipFile(f"it has no table {table}") from error
    for batch in pq.ParquetFile(BytesIO(content)).iter_batches(_ROWS_PER_BATCH):
        yield pa.Table.from_batches([batch])


def _unusable_backup() -> tuple[type[Exception], ...]:
    """List what a backup that cannot be used raises. Asked for only when something is raised."""
    import pyarrow as pa

    return Unusable, zipfile.BadZipFile, pa.ArrowException, *_BAD_ROWS


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Do all or nothing."""
    con.execute("BEGIN")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise


def _tell_missing(con: duckdb.DuckDBPyConnection, index: Path) -> None:
    """Say what a new index cannot know. Whether there was an earlier one, nobody can tell."""
    if con.execute("SELECT 1 FROM sessions LIMIT 1").fetchone() is None:
        log.info(
            "%s is a new index, made from OpenCode's data alone. If an earlier one was lost with its %s, the spend of "
            "sessions and messages that OpenCode deleted before now is lost with it.",
            index,
            kept_spend_path(index).name,
        )


def _set_aside(file: Path, reason: str) -> None:
    """Keep a file that cannot be used under another name."""
    aside = file.with_name(f"{file.name}.unusable-{time.strftime('%Y-%m-%dT%H%M%S', time.gmtime())}")
    try:
        os.replace(file, aside)
    except OSError as error:
        log.warning("%s. It cannot be moved away: %s", reason, error)
    else:
        log.warning("%s. Kept as %s", reason, aside)


def _counted(rows: dict[str, int]) -> str:
    """Write numbers of rows as text."""
    return ", ".join(f"{rows[table]:,} {table}" for table in _ROW_TABLES)
