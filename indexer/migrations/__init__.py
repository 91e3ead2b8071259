"""Numbered changes of the schema, each with a way back: `NNN_name.up.sql` and `NNN_name.down.sql` in this folder.

`schema.sql` is the newest version in one piece, from which new indexes are made; a test holds both ways to the same
result. A released migration is never edited: what an index went through is recorded with a checksum, and a program with
another text refuses to go on. Each runs in one transaction, so a file holds no BEGIN and no COMMIT, and never
`ALTER COLUMN ... TYPE`, which fails on an indexed table.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from indexer.exceptions import COMMAND, IndexAltered

FOLDER = Path(__file__).parent
_FILE_NAME = re.compile(r"(\d{3})_(\w+)\.up\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered change of the schema.

    Attributes:
        version: What the schema is at afterwards, from 1.
        up: SQL that brings the version before to this one.
        down: SQL that brings this version back to the one before. None for the first: there is nothing before it.
    """

    version: int
    name: str
    up: str
    down: str | None

    @property
    def label(self) -> str:
        """Name it as its files do."""
        return f"{self.version:03}_{self.name}"

    @property
    def checksum(self) -> str:
        """Identify what it does. The way back is no part: it may be mended after a release."""
        return hashlib.sha256(self.up.encode()).hexdigest()


def known(folder: Path = FOLDER) -> list[Migration]:
    """Read the migrations of this program.

    Args:
        folder: Where their files are.

    Returns:
        Versions 1, 2, ... without a gap.

    Raises:
        ValueError: A number is missing or occurs twice, or a way back is missing.
    """
    found = []
    for file in sorted(folder.glob("*.sql")):
        name = _FILE_NAME.fullmatch(file.name)
        if name:
            down = file.with_name(file.name.replace(".up.", ".down."))
            # universal newlines: the same checksum on every system
            way_back = down.read_text(encoding="utf-8") if down.is_file() else None
            found.append(Migration(int(name[1]), name[2], file.read_text(encoding="utf-8"), way_back))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder} does not number its migrations 001, 002, ...: {[each.label for each in found]}")
    without = [migration.label for migration in found[1:] if migration.down is None]
    if without:
        raise ValueError(f"{folder} has no way back for {without}")
    return found


def version_of(con: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of the index that a connection uses; 0 if none is recorded."""
    row = con.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()
    return int(row[0]) if row else 0


def record(con: duckdb.DuckDBPyConnection, migrations: Sequence[Migration], now: datetime) -> None:
    """Record that an index went through migrations, or was made as if it had.

    Args:
        con: The index, inside a transaction.
        migrations: Which.
        now: The time, naive UTC.
    """
    for migration in migrations:
        con.execute(
            "INSERT INTO schema_migrations BY NAME "
            "SELECT $version AS version, $name AS name, $now AS applied_at, $checksum AS checksum",
            {"version": migration.version, "name": migration.name, "now": now, "checksum": migration.checksum},
        )


def apply(con: duckdb.DuckDBPyConnection, migration: Migration, now: datetime) -> None:
    """Bring the schema from the version before to that of a migration.

    Args:
        con: The index, inside a transaction.
        migration: The next one.
        now: The time, naive UTC.
    """
    con.execute(migration.up)
    record(con, [migration], now)


def revert(con: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    """Bring the schema back to the version before a migration.

    Args:
        con: The index, inside a transaction.
        migration: The last one applied; never the first.
    """
    assert migration.down is not None, "the first version has none before it"
    con.execute(migration.down)
    con.execute("DELETE FROM schema_migrations WHERE version = $version", {"version": migration.version})


def check_history(con: duckdb.DuckDBPyConnection, migrations: Sequence[Migration], path: Path) -> None:
    """Refuse an index that went through other migrations than this program has.

    Args:
        con: The index, no newer than this program.
        migrations: Those of this program.
        path: What the user calls the index; named in errors.

    Raises:
        IndexAltered: It did.
    """
    try:
        rows = con.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version").fetchall()
    except duckdb.BinderException as error:
        raise IndexAltered(f"The index at {path} was made before the first release. {_ADVICE}") from error
    for (version, name, checksum), migration in zip(rows, migrations, strict=False):
        if version != migration.version:
            raise IndexAltered(f"The index at {path} never went through the migration {migration.label}. {_ADVICE}")
        if checksum != migration.checksum:
            raise IndexAltered(
                f"The index at {path} went through another version of the migration {migration.label} than this "
                f"program has (it was called {name}; checksum {checksum[:12]}, now {migration.checksum[:12]}). "
                f"A released migration must not be edited: restore its file. {_ADVICE}"
            )


_ADVICE = (
    "Use the program that made it, or move the index and the folder beside it away and build it again with "
    f"`{COMMAND} bulk`."
)
