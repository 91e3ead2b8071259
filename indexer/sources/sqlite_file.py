"""OpenCode's database file, read politely while OpenCode writes it."""

import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import orjson

from indexer.documents import Document
from indexer.exceptions import SourceUnusable

BUSY_TIMEOUT_S = 5.0

Value = bytes | int | float | None
Row = Mapping[str, Value]


class SqliteFile:
    """One database: `mode=ro`, one short transaction a call, every row fetched before it ends.

    A long read would pin OpenCode's write-ahead log; `immutable` would not see it. Every method raises SourceUnusable
    where the file cannot be read, with what to do.
    """

    def __init__(self, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def rows(self, sql: str, values: Sequence[str] = ()) -> list[Row]:
        """Run one query in a transaction of its own and fetch everything.

        Args:
            sql: A SELECT or PRAGMA.
            values: For its question marks.

        Returns:
            One mapping per row; texts as bytes, so that one bad byte in one row does not fail the others.
        """
        try:
            if self._connection is None:
                self._connection = self._open()
            cursor = self._connection.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as error:
            raise SourceUnusable(
                f"Cannot read {self.path}: {error}. Other sources are not affected; it is tried again at every start."
            ) from error

    def tables(self) -> set[str]:
        """List the names of the tables."""
        return {name_of(row["name"]) for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def columns(self, table: str) -> set[str]:
        """List the columns of a table; none if it does not exist."""
        return {name_of(row["name"]) for row in self.rows(f"PRAGMA table_info({table})")}

    def require(self, needed: Mapping[str, set[str]]) -> None:
        """Refuse a database that is none of OpenCode's, naming what was found instead of showing nothing.

        Args:
            needed: Table to columns.
        """
        tables = self.tables()
        for table, columns in needed.items():
            if table not in tables:
                names = ", ".join(sorted(tables)) or "none"
                raise SourceUnusable(
                    f"{self.path} has no table '{table}' (tables found: {names}). It is not a database of a known "
                    "OpenCode version; nothing was taken from it."
                )
            found = self.columns(table)
            if missing := columns - found:
                raise SourceUnusable(
                    f"{self.path}: the table '{table}' lacks the columns {', '.join(sorted(missing))} (found: "
                    f"{', '.join(sorted(found))}). This OpenCode version is not known; nothing was taken from it."
                )

    def stored(self, kind: str, table: str, row: Row) -> Document:
        """Take the JSON text of a row as it is; a column of another type is a document that cannot be read."""
        document_id, body = name_of(row["id"]), row["data"]
        key = f"{self.path.name}:{table}:{document_id}"
        if isinstance(body, bytes):
            return Document(kind, document_id, key, body)
        return Document(kind, document_id, key, None, f"the column data holds {type(body).__name__}, not JSON text")

    def composed(self, kind: str, table: str, document_id: str, fields: Mapping[str, object]) -> Document:
        """Write columns as the JSON document that the JSON tree has for them, so that one parser reads both."""
        body = orjson.dumps(fields, default=lambda value: value.decode("utf-8", "replace"))
        return Document(kind, document_id, f"{self.path.name}:{table}:{document_id}", body)

    def projects(self) -> list[Document]:
        """Read every project row."""
        return [
            self.composed(
                "project",
                "project",
                name_of(row["id"]),
                {
                    "name": row.get("name"),
                    "worktree": row.get("worktree"),
                    "vcs": row.get("vcs"),
                    "time": {"created": row.get("time_created"), "updated": row.get("time_updated")},
                },
            )
            for row in self.rows("SELECT * FROM project")
        ]

    def sessions(self, table: str) -> list[Document]:
        """Read every session row. Older releases lack columns."""
        return [
            self.composed("session", table, name_of(row["id"]), _session(row))
            for row in self.rows(f"SELECT * FROM {table}")
        ]

    def ids(self, table: str) -> list[str]:
        """List the ids of a table."""
        return [name_of(row["id"]) for row in self.rows(f"SELECT id FROM {table}")]

    def close(self) -> None:
        """Close the connection and remove the copy, if one was needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _open(self) -> sqlite3.Connection:
        """Open the database, or a copy where its folder cannot be written and SQLite needs a `-shm` file there."""
        if not self.path.is_file():
            raise SourceUnusable(f"{self.path} does not exist or is no file.")
        try:
            return _connect(self.path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        self._copy = tempfile.TemporaryDirectory(prefix="opencode-analytics-")
        try:
            for name in (self.path.name, f"{self.path.name}-wal"):
                if (original := self.path.with_name(name)).exists():
                    shutil.copyfile(original, Path(self._copy.name) / name)
        except OSError as error:
            raise SourceUnusable(f"Cannot read {self.path}: {error.strerror}. Check its permissions.") from error
        return _connect(Path(self._copy.name) / self.path.name)


def name_of(value: Value) -> str:
    """Read an id or a name."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _session(row: Row) -> Mapping[str, object]:
    """Put the columns of a session where the JSON tree has them."""
    return {
        "projectID": row.get("project_id"),
        "parentID": row.get("parent_id"),
        "forkSessionID": row.get("fork_session_id"),
        "title": row.get("title"),
        "slug": row.get("slug"),
        "directory": row.get("directory"),
        "version": row.get("version"),
        "time": {
            "created": row.get("time_created"),
            "updated": row.get("time_updated"),
            "archived": row.get("time_archived"),
        },
        "summary": {
            "additions": row.get("summary_additions"),
            "deletions": row.get("summary_deletions"),
            "files": row.get("summary_files"),
        },
        "cost": row.get("cost"),
        "tokens": {
            "input": row.get("tokens_input"),
            "output": row.get("tokens_output"),
            "reasoning": row.get("tokens_reasoning"),
            "cache": {"read": row.get("tokens_cache_read"), "write": row.get("tokens_cache_write")},
        },
    }


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading and prove that it can be read."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False
    )
    connection.text_factory = bytes
    connection.isolation_level = None
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
