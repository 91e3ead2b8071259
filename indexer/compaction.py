"""Rewriting the working file without what was deleted from it.

DuckDB marks deleted rows and reuses their blocks some day: the bytes of a deleted text stay in the file, through
checkpoints and VACUUM. So everything that is left is copied into a new file, which then takes the old one's place.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import duckdb

from indexer.database import STORAGE_OPTIONS, Database
from indexer.duckdb_file import contents, copy_index, quoted
from indexer.exceptions import IndexUnwritable

log = logging.getLogger(__name__)

FRESH_NAME = "compact.duckdb"  # in the private folder, while it is written
# Of what is copied. Rows of the last row group of a table are spilt, uncompressed, before they are written.
_ROOM = 2.0
_MIN_ROOM_BYTES = 16 << 20

_SCHEMA = """
    SELECT 'table' AS kind, table_name AS name, sql FROM duckdb_tables() WHERE database_name = $name
    UNION ALL SELECT 'view', view_name, sql FROM duckdb_views() WHERE database_name = $name AND NOT internal
    UNION ALL SELECT 'index', index_name, sql FROM duckdb_indexes() WHERE database_name = $name
    UNION ALL SELECT 'constraint', table_name, constraint_text FROM duckdb_constraints() WHERE database_name = $name
    ORDER BY ALL
"""


def compact(database: Database) -> None:
    """Rewrite the working file and forget the note that deleted texts wait for it. Publish with a new base afterwards.

    Nothing can be written meanwhile: about 3 s at 150,000 parts, 40 s at a million. Killed or failed at any
    moment, the old file or the new one is the working file, and both hold the same.

    Args:
        database: The open index, outside of a transaction.

    Raises:
        IndexUnwritable: The disk is full, or the like. Unless the database is still usable, close and open it anew.
        IndexDamaged: Something in the old file cannot be read.
    """
    with database.lock:
        if database.in_transaction:
            raise RuntimeError("compact() inside a transaction: half of it would be kept")
        database.check_in_place()
        started = time.monotonic()
        fresh = database.folder / FRESH_NAME
        remove_leftovers(database.folder)
        try:
            database.checkpoint()
            before = os.fstat(database.main_fd).st_size  # with what was in the WAL
            with database.explained("compacted"):
                _check_room(database)
                _rewrite(database.con, fresh)
            database.exchange(fresh)
        finally:
            remove_leftovers(database.folder)
        after = os.fstat(database.main_fd).st_size
        seconds = time.monotonic() - started
        log.info("compacted the index from %.0f to %.0f MB in %.1f s", before / 1e6, after / 1e6, seconds)


def remove_leftovers(folder: Path) -> None:
    """Remove what a compaction that did not come to its end left in the private folder."""
    for name in (FRESH_NAME, f"{FRESH_NAME}.wal"):
        (folder / name).unlink(missing_ok=True)


def texts_deleted_at(database: Database) -> datetime | None:
    """Return since when deleted texts wait to be wiped out of the file; None if none do."""
    try:
        row = database.con.execute("SELECT texts_deleted_at FROM sync_state").fetchone()
    except duckdb.BinderException:
        if database.schema_version < 4:  # which knows of none; such an index is published after a rollback
            return None
        raise
    return row[0] if row else None


def free_share(database: Database) -> tuple[float, int]:
    """Return the share of unused blocks in the working file, and its size in bytes."""
    free, total, size = _blocks(database)
    return (free / total if total else 0.0), total * size


def _blocks(database: Database) -> tuple[int, int, int]:
    """Return the number of free blocks of the working file, of all, and the size of one."""
    sql = "SELECT free_blocks, total_blocks, block_size FROM pragma_database_size() WHERE database_name = 'index_db'"
    free, total, size = database.con.execute(sql).fetchone() or (0, 0, 0)
    return int(free), int(total), int(size)


def _check_room(database: Database) -> None:
    """Refuse to begin what will not fit on the disk.

    Raises:
        IndexUnwritable: It will not.
    """
    free_blocks, blocks, size = _blocks(database)
    wanted = max(int(_ROOM * (blocks - free_blocks) * size), _MIN_ROOM_BYTES)
    free = shutil.disk_usage(database.folder).free
    if free < wanted:
        raise IndexUnwritable(
            f"The index at {database.path} cannot be compacted, so texts that were deleted stay in its file: it takes "
            f"about {wanted / 1e6:,.0f} MB beside it, and {free / 1e6:,.0f} MB are free. Free some space: it is tried "
            "again by itself."
        )


def _rewrite(con: duckdb.DuckDBPyConnection, fresh: Path) -> None:
    """Copy the index into a new file, and compare the two.

    Raises:
        duckdb.Error, OSError: It did not work.
    """
    # Without a WAL: there is nothing to recover, and it would be as long as all texts.
    options = f"{STORAGE_OPTIONS}, RECOVERY_MODE no_wal_writes"
    with _attached(con, fresh, options):
        con.execute("SET disabled_compression_methods = 'none'")  # live checkpoints are in a hurry, this is not
        copy_index(con, "fresh")
    expected = _everything(con, "index_db")
    with _attached(con, fresh, "READ_ONLY"):
        if _copied(con, fresh) != expected:
            raise OSError(errno.EIO, "what was written is not what can be read", str(fresh))
    with _attached(con, fresh, options):
        con.execute("UPDATE fresh.sync_state SET texts_deleted_at = NULL")
        con.execute("CHECKPOINT fresh")
    descriptor = os.open(fresh, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _everything(con: duckdb.DuckDBPyConnection, name: str) -> list[object]:
    """Describe the schema and the rows of an attached database."""
    return [con.execute(_SCHEMA, {"name": name}).fetchall(), contents(con, name)]


def _copied(con: duckdb.DuckDBPyConnection, fresh: Path) -> list[object]:
    """Describe the copy. That it cannot be read is no damage of the index."""
    try:
        return _everything(con, "fresh")
    except duckdb.Error as error:
        raise OSError(errno.EIO, f"what was written cannot be read: {error}", str(fresh)) from error


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, file: Path, option: str) -> Iterator[None]:
    """Attach a file as `fresh`."""
    con.execute(f"ATTACH {quoted(file)} AS fresh ({option})")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # of the same cause, told worse
            con.execute("DETACH fresh")
        raise
    con.execute("DETACH fresh")
