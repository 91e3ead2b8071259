"""OpenCode's database file, read politely while OpenCode writes it."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import orjson

from indexer.documents import Document
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean
from indexer.sources import Inventory

BUSY_TIMEOUT_S = 5.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
DAMAGE = "lies in a damaged place of the database file"
ROWS_PER_READ = 500
NEXT = "Other sources are not affected, rows read before stay; it is read again at the next start."

Value = bytes | int | float | None
Row = Mapping[str, Value]


class DamagedFile(SourceUnusable):
    """A part of the database is damaged; another part may still be read."""


class SqliteFile:
    """One database: `mode=ro`, one short transaction a call, every row fetched before it ends.

    A long read would pin OpenCode's write-ahead log; `immutable` would not see it. Every method raises SourceUnusable
    where the file cannot be read, with what to do.
    """

    def __init__(self, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.path = path
        # a name need not be UTF-8, but what is told of it and stored must be
        self.name, self.shown = clean(path.name), clean(str(path))
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
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in DAMAGED:
                raise DamagedFile(
                    f"Cannot read {self.shown}: {error}. The file is damaged; `sqlite3 FILE .recover` may save it. "
                    f"{NEXT}"
                ) from error
            advice = "Another program has locked it. " if code == sqlite3.SQLITE_BUSY else ""
            raise SourceUnusable(f"Cannot read {self.shown}: {error}. {advice}{NEXT}") from error

    def each(self, sql: str, ids: Sequence[str]) -> list[tuple[str, Row | None]]:
        """Read rows by their ids, one by one where the file is damaged.

        Args:
            sql: A SELECT of rows with `id`, with one question mark for each id.
            ids: Of the rows.

        Returns:
            Id and row; None for a row that lies in a damaged place. Rows that are gone are left out.
        """
        try:
            return [(name_of(row["id"]), row) for row in self.rows(sql, ids)]
        except DamagedFile:
            marks = ", ".join("?" * len(ids))
            if len(ids) == 1:
                return [(ids[0], None)]
            return [found for one in ids for found in self.each(sql.replace(f"({marks})", "(?)"), [one])]

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
        if not tables:
            raise SourceUnusable(f"{self.shown} is empty: it has no tables yet. It is read again at the next start.")
        for table, columns in needed.items():
            if table not in tables:
                raise SourceUnusable(
                    f"{self.shown} has no table '{table}' (tables found: {', '.join(sorted(tables))}). It is not a "
                    f"database of a known OpenCode version; nothing was taken from it. {NEXT}"
                )
            found = self.columns(table)
            if missing := columns - found:
                raise SourceUnusable(
                    f"{self.shown}: the table '{table}' lacks the columns {', '.join(sorted(missing))} (found: "
                    f"{', '.join(sorted(found))}). This OpenCode version is not known; nothing was taken from it. "
                    f"{NEXT}"
                )

    def stored(self, kind: str, table: str, row: Row, otherwise: str = "") -> Document:
        """Take the JSON text of a row as it is; a column of another type is a document that cannot be read.

        Args:
            kind: Of the document.
            table: Of the row.
            row: With `id` and `data`.
            otherwise: Names a row without an id.
        """
        document_id, body = id_of(row["id"]), row["data"]
        if document_id is None:
            return self.problem(kind, table, otherwise, "has no id that is text")
        if isinstance(body, bytes):
            return Document(kind, document_id, f"{self.name}:{table}:{document_id}", body)
        held = "nothing (NULL)" if body is None else "a number"
        return self.problem(kind, table, document_id, f"has {held} in its column data, where JSON text is expected")

    def problem(self, kind: str, table: str, document_id: str, problem: str) -> Document:
        """Name a row that cannot be read."""
        return Document(kind, document_id, f"{self.name}:{table}:{document_id}", None, problem)

    def composed(self, kind: str, table: str, document_id: str, fields: Mapping[str, object]) -> Document:
        """Write columns as the JSON document that the JSON tree has for them, so that one parser reads both."""
        body = orjson.dumps(fields, default=lambda value: value.decode("utf-8", "replace"))
        return Document(kind, document_id, f"{self.name}:{table}:{document_id}", body)

    def projects(self) -> Iterator[Document]:
        """Read every project row."""
        return self._composed_rows("project", "project", _project)

    def sessions(self, table: str) -> Iterator[Document]:
        """Read every session row. Older releases lack columns."""
        return self._composed_rows("session", table, _session)

    def _composed_rows(
        self, kind: str, table: str, fields_of: Callable[[Row], Mapping[str, object]]
    ) -> Iterator[Document]:
        """Read every row of a table as a JSON document, one by one where the file is damaged."""
        ids = self.ids(Inventory(), kind, table)
        for start in range(0, len(ids), ROWS_PER_READ):
            chunk = ids[start : start + ROWS_PER_READ]
            sql = f"SELECT * FROM {table} WHERE id IN ({', '.join('?' * len(chunk))})"
            for document_id, row in self.each(sql, chunk):
                if row is None:
                    yield self.problem(kind, table, document_id, DAMAGE)
                else:
                    yield self.composed(kind, table, document_id, fields_of(row))

    def ids(self, found: Inventory, kind: str, table: str) -> list[str]:
        """List the ids of a table; rows without one are problems of the inventory."""
        return [document_id for document_id, _ in self.owned_ids(found, kind, table, "NULL")]

    def owned_ids(self, found: Inventory, kind: str, table: str, owner: str, order: str = "") -> list[tuple[str, str]]:
        """List the ids of a table with the id of what each row belongs to; "" where damage hides that."""
        # an id of another type than text is not found again by its text
        columns = "rowid AS place, CASE WHEN typeof(id) = 'text' THEN id END AS id"
        try:
            rows = self.rows(f"SELECT {columns}, {owner} AS owner FROM {table} {order}")
        except DamagedFile:  # the ids are in an index of their own, which may be intact
            rows = self.rows(f"SELECT {columns}, NULL AS owner FROM {table}")
        listed = []
        for row in rows:
            document_id = id_of(row["id"])
            if document_id is None:
                found.problems.append(
                    self.problem(kind, table, f"row {name_of(row['place'])}", "has no id that is text")
                )
            else:
                listed.append((document_id, name_of(row["owner"])))
        return listed

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
            raise SourceUnusable(
                f"{self.shown} does not exist, is no file, or is a symbolic link that leads nowhere. {NEXT}"
            )
        try:
            return _connect(self.path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        self.close()
        self._copy = tempfile.TemporaryDirectory(prefix="opencode-analytics-")
        try:
            for name in (self.path.name, f"{self.path.name}-wal"):
                if (original := self.path.with_name(name)).exists():
                    shutil.copyfile(original, Path(self._copy.name) / name)
        except OSError as error:
            raise SourceUnusable(
                f"Cannot read {self.shown}: {error.strerror}. Check its permissions. {NEXT}"
            ) from error
        return _connect(Path(self._copy.name) / self.path.name)


def name_of(value: Value) -> str:
    """Read a name; anything can be named, NULL by no text."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def id_of(value: Value) -> str | None:
    """Read the id of a row; None if it is no text by which the row is found again."""
    if not isinstance(value, bytes):
        return None
    try:
        return value.decode() or None
    except UnicodeDecodeError:
        return None


def _project(row: Row) -> Mapping[str, object]:
    """Put the columns of a project where the JSON tree has them."""
    return {
        "name": row.get("name"),
        "worktree": row.get("worktree"),
        "vcs": row.get("vcs"),
        "time": {"created": row.get("time_created"), "updated": row.get("time_updated")},
    }


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
        f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False
    )
    connection.text_factory = bytes
    connection.isolation_level = None
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
