"""Opens a DuckDB file, and refuses one that is no index of this version."""

import shlex
from pathlib import Path

import duckdb

from indexer import failures, migrations, sql
from indexer.exceptions import (
    COMMAND,
    IndexBroken,
    IndexDamaged,
    IndexForeign,
    IndexNewer,
    IndexOlder,
    IndexUnavailable,
    IndexUnwritable,
)
from indexer.index_files import private_folder

SCHEMA_VERSION = 15  # of the newest migration
SCHEMA = Path(__file__).with_name("schema.sql")
_ROWS_COPIED = 1 << 18  # at once

Settings = dict[str, str | bool | int | float | list[str]]  # as duckdb.connect takes them
# For every connection, reading or writing.
SETTINGS: Settings = {
    # Nothing may be fetched from the network; what is needed (json, icu) is built in.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
    # DuckDB 2.0.0 takes the estimate of a tiny group for a bound of its sum: 100 + 100 came back as -56, and a HAVING
    # on such a sum lost rows (seen with count(DISTINCT) and ORDER BY in one query). Planning a filtered ORDER BY ..
    # LIMIT without rows may crash, too (duckdb issue 25886). Totals must be exact; no cost was measured.
    "disabled_optimizers": "statistics_propagation,compressed_materialization",
}


def attach(file: Path, index: Path, option: str, settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file as the database `index_db` of a new in-memory connection.

    Never `duckdb.connect(file)`: it replays the file's WAL before the json extension is loaded, and then fails for
    ever on a WAL that holds a JSON column's change.

    Args:
        file: The DuckDB file.
        index: What the user calls it; named in errors.
        option: One option of ATTACH.
        settings: DuckDB settings.

    Returns:
        A connection that uses the file.

    Raises:
        IndexDamaged: Its content is not what was written.
        IndexUnwritable: The disk is full, or the like.
        IndexBroken: DuckDB cannot open it for another reason.
    """
    con = duckdb.connect(config=SETTINGS | settings)
    con.execute("SET enable_progress_bar = false")  # it would be drawn into the log
    try:
        con.execute(f"ATTACH {quoted(file)} AS index_db ({option})")
        con.execute("USE index_db")
    except duckdb.Error as error:
        con.close()
        if "Could not set lock" in str(error):
            raise IndexBroken(f"Another program holds {file} open: {error}. Close it and try again.") from error
        raise not_openable(index, error) from error
    return con


def check_schema(con: duckdb.DuckDBPyConnection, path: Path, *, is_older_usable: bool = False) -> None:
    """Refuse what is not an index of this version.

    Args:
        con: A connection that uses the index.
        path: What the user calls it; named in errors.
        is_older_usable: Accept an older schema too: the writer migrates it.

    Raises:
        IndexForeign: Another program's database.
        IndexOlder: Its schema is older than `SCHEMA_VERSION`.
        IndexNewer: Its schema is newer.
    """
    if not {"schema_migrations", "sync_state", "sync_events"} <= tables_of(con):
        raise IndexForeign(f"{path} is a DuckDB database of another program. Choose another file with --db.")
    version = migrations.version_of(con)
    if version > SCHEMA_VERSION:
        raise IndexNewer(
            f"The index at {path} has schema version {version}, newer than this program's {SCHEMA_VERSION}. "
            "Update the program, or choose another file with --db."
        )
    if version < SCHEMA_VERSION and not is_older_usable:
        raise IndexOlder(
            f"The index at {path} has schema version {version}, older than this program's {SCHEMA_VERSION}. "
            f"Bring it up to date with `{COMMAND} migrate --db {shlex.quote(str(path))}`, or start the indexer."
        )


def contents(con: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, int, int]]:
    """Read everything in an attached database.

    Args:
        con: A connection that has it attached.
        name: What it is attached as.

    Returns:
        Each table with the number and a hash of its rows, in order of names.

    Raises:
        duckdb.Error: Something cannot be read.
    """
    found = []
    for table in sorted(tables_of(con, name)):
        sql = f"SELECT count(*), coalesce(bit_xor(hash(rows)), 0) FROM {name}.{quoted_name(table)} AS rows"
        count, digest = con.execute(sql).fetchone() or (0, 0)
        found.append((table, int(count), int(digest)))
    return found


def copy_index(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Copy schema and rows of `index_db` into another attached database, and write them into its file.

    Rows keep the order in which they arrived, which is what makes pages fast. They are copied some at a time: as one
    transaction, what DuckDB keeps of all keys until a commit was more than the indexer's 256 MB where the index had a
    million parts.

    Args:
        con: The connection.
        name: What the other database is attached as; an empty one.

    Raises:
        duckdb.Error: It did not work.
    """
    con.execute(f"COPY FROM DATABASE index_db TO {name} (SCHEMA)")
    (is_ordered,) = con.execute("SELECT current_setting('preserve_insertion_order')").fetchone() or (True,)
    con.execute("SET preserve_insertion_order = true")
    try:
        for table in map(quoted_name, sorted(tables_of(con))):
            (last,) = con.execute(f"SELECT coalesce(max(rowid), -1) FROM index_db.{table}").fetchone() or (-1,)
            for first in range(0, last + 1, _ROWS_COPIED):
                rows = f"FROM index_db.{table} WHERE rowid BETWEEN {first} AND {first + _ROWS_COPIED - 1}"
                con.execute(f"INSERT INTO {name}.{table} {rows}")
                con.execute(f"CHECKPOINT {name}")
    finally:
        con.execute(f"SET preserve_insertion_order = {is_ordered}")
    con.execute(f"CHECKPOINT {name}")


def tables_of(con: duckdb.DuckDBPyConnection, name: str = "index_db") -> set[str]:
    """Return the names of the tables of an attached database."""
    sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = $name"
    rows = con.execute(sql, {"name": name}).fetchall()
    return {str(name) for (name,) in rows}


def quoted(path: Path) -> str:
    """Return a path as an SQL string."""
    return sql.text(str(path))


def quoted_name(name: str) -> str:
    """Return an SQL identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def not_openable(index: Path, error: duckdb.Error) -> IndexUnavailable:
    """Say why an index cannot be opened."""
    if failures.is_damage(error):
        return damaged(index, error)
    if failures.is_outside(error):
        return IndexUnwritable(
            f"The index at {index} cannot be opened: {failures.describe(error, private_folder(index))}"
        )
    return IndexBroken(f"The index at {index} cannot be opened ({error}). {rebuild_advice(index)}")


def damaged(index: Path, reason: object) -> IndexDamaged:
    """Say that an index is damaged, and what mends it."""
    return IndexDamaged(
        f"The index at {index} is damaged ({reason}). Start the indexer, or run `{COMMAND} bulk --db "
        f"{shlex.quote(str(index))}`: what is damaged is kept aside or published anew, and the sources are read again.",
        str(reason),
    )


def rebuild_advice(path: Path) -> str:
    """Say how to get a fresh index."""
    return f"Move {path} and {private_folder(path)} away and build it again with `{COMMAND} bulk`."
