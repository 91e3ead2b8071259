"""OpenCode's database file, read politely while OpenCode writes it."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import orjson

from indexer import stamps
from indexer.documents import Document
from indexer.exceptions import SourceUnusable
from indexer.json_values import clean, fingerprint
from indexer.sources import NEXT, Inventory

BUSY_TIMEOUT_S = 5.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
DAMAGE = "lies in a damaged place of the database file"
ROWS_PER_READ = 500
# sums of remainders, as those of whole numbers of any size may overflow; text counts as 0
UPDATED, PLACE = f"time_updated % {1 << 32}", f"rowid % {1 << 32}"
Value = bytes | int | float | None
Numbers = tuple[Value, ...]  # of rows with one owner: how many, newest update time, sums of update times and places
Row = Mapping[str, Value]
_Taken = TypeVar("_Taken")


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

    @property
    def is_copy(self) -> bool:
        """Tell whether a copy is read, to which nobody writes."""
        return self._copy is not None

    def rows(self, sql: str, values: Sequence[str] = ()) -> list[Row]:
        """Run one query in a transaction of its own and fetch everything.

        Args:
            sql: A SELECT or PRAGMA.
            values: For its question marks.

        Returns:
            One mapping per row; texts as bytes, so that one bad byte in one row does not fail the others.
        """
        names, found = self._fetch(sql, values, _whole)
        return [dict(zip(names, row, strict=True)) for row in found]

    def tuples(self, sql: str, values: Sequence[str | int] = ()) -> list[tuple[Value, ...]]:
        """Do the same as `rows`, for many rows or many calls."""
        return self._fetch(sql, values, _whole)[1]

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
            raise SourceUnusable(f"{self.shown} is empty: it has no tables yet. {NEXT}")
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
        # some columns change without the update time, so the stamp is of all; they are short
        stamp = fingerprint([body])
        return Document(kind, document_id, f"{self.name}:{table}:{document_id}", body, stamp=stamp)

    def projects(self, wanted: Collection[str] | None) -> Iterator[Document]:
        """Read project rows; None: all. With the checkouts that OpenCode was started in, which older releases lack."""
        directories: dict[str, list[Mapping[str, object]]] = {}
        if {"project_id", "directory", "strategy"} <= self.columns("project_directory"):
            for row in self.rows("SELECT project_id, directory, strategy FROM project_directory ORDER BY directory"):
                opened = {"directory": row["directory"], "strategy": row["strategy"]}
                directories.setdefault(name_of(row["project_id"]), []).append(opened)
        return self._composed_rows(
            "project", "project", wanted, lambda row: _project(row, directories.get(name_of(row["id"]), []))
        )

    def sessions(self, table: str, wanted: Collection[str] | None) -> Iterator[Document]:
        """Read session rows; None: all. Older releases lack columns."""
        return self._composed_rows("session", table, wanted, _session)

    def _composed_rows(
        self, kind: str, table: str, wanted: Collection[str] | None, fields_of: Callable[[Row], Mapping[str, object]]
    ) -> Iterator[Document]:
        """Read rows of a table as JSON documents, one by one where the file is damaged."""
        ids = self.ids(Inventory(), kind, table) if wanted is None else list(wanted)
        for chunk in _chunks(ids):
            sql = f"SELECT * FROM {table} WHERE id IN ({', '.join('?' * len(chunk))})"
            for document_id, row in self.each(sql, chunk):
                if row is None:
                    yield self.problem(kind, table, document_id, DAMAGE)
                else:
                    yield self.composed(kind, table, document_id, fields_of(row))

    def row_stamps(self, found: Inventory, documents: Iterable[Document]) -> None:
        """Note what projects or sessions look like."""
        for document in documents:
            if document.stamp is not None:
                found.stamps[document.kind][document.document_id] = document.stamp

    def message_stamps(
        self, found: Inventory, message_table: str, part_table: str | None, ids: Collection[str]
    ) -> None:
        """Note what messages look like, with their parts where these are rows of their own.

        Args:
            found: Takes the stamps.
            message_table: Of the messages.
            part_table: Of their parts, if there is one.
            ids: Of the messages.
        """
        now_ms = time.time_ns() // 1_000_000
        every: dict[str, list[int | None]] = {}
        for table, owner in tables_of_messages(message_table, part_table):
            for chunk in _chunks(ids):
                for value, numbers in self.row_numbers(table, owner, chunk).items():
                    if (message_id := id_of(value)) is not None:
                        every.setdefault(message_id, []).append(row_stamp(numbers, now_ms))
        note_stamps(found, every)

    def messages_of(self, found: Inventory, table: str, session_ids: Collection[str]) -> None:
        """List the messages of some sessions."""
        for chunk in _chunks(session_ids):
            sql = f"SELECT id, session_id FROM {table} WHERE session_id IN ({', '.join('?' * len(chunk))})"
            found.messages |= {
                message_id: name_of(session_id)
                for value, session_id in self.tuples(sql, chunk)
                if (message_id := id_of(value)) is not None
            }

    def part_owners(self, session_ids: Collection[str], messages: Collection[str]) -> list[str]:
        """List the messages that parts of some sessions name and that are none of these."""
        owners: dict[str, None] = {}
        for chunk in _chunks(session_ids):
            marks = ", ".join("?" * len(chunk))
            for row in self.rows(f"SELECT DISTINCT message_id AS id FROM part WHERE session_id IN ({marks})", chunk):
                message_id = id_of(row["id"])
                if message_id is not None and message_id not in messages:
                    owners[message_id] = None
        return list(owners)

    def ids(self, found: Inventory, kind: str, table: str) -> list[str]:
        """List the ids of a table; rows without one are problems of the inventory."""
        return [document_id for document_id, _ in self.owned_ids(found, kind, table, "NULL")]

    def owned_ids(self, found: Inventory, kind: str, table: str, owner: str, order: str = "") -> list[tuple[str, str]]:
        """List the ids of a table with the id of what each row belongs to; "" where damage hides that."""
        owners: dict[Value, str] = {}  # one text for all that belong to one: of 260,000 that saves 20 MB
        lost: list[Value] = []

        def pair(row: tuple[Value, ...]) -> tuple[str, str] | None:
            """Take what is wanted of a row as it comes: all rows at once would be 150 MB of 260,000."""
            place, value, owner_id = row
            document_id = id_of(value)
            if document_id is None:
                lost.append(place)
                return None
            return document_id, owners.setdefault(owner_id, name_of(owner_id))

        # an id of another type than text is not found again by its text
        columns = "rowid, CASE WHEN typeof(id) = 'text' THEN id END"
        try:
            _, pairs = self._fetch(f"SELECT {columns}, {owner} FROM {table} {order}", (), pair)
        except DamagedFile:  # the ids are in an index of their own, which may be intact
            lost.clear()
            _, pairs = self._fetch(f"SELECT {columns}, NULL FROM {table}", (), pair)
        found.problems += (
            self.problem(kind, table, f"row {name_of(place)}", "has no id that is text") for place in lost
        )
        return [each for each in pairs if each]

    @property
    def _wal(self) -> Path:
        """Where SQLite keeps the write-ahead log: beside the file itself, not beside a link to it."""
        return Path(f"{os.path.realpath(self.path)}-wal")

    def stamp(self) -> str | None:
        """Return what changes with every write to the file or its write-ahead log; None if there is none."""
        try:
            main = self.path.stat()
        except OSError:
            return None
        try:
            wal = self._wal.stat()
        except OSError:
            wal = None
        files = (main, *([wal] if wal and wal.st_size else []))
        if not all(stamps.is_settled(status.st_mtime_ns // 1_000_000) for status in files):
            return None
        # a copy that is put back in its place keeps its modification time, not the time of change
        return " ".join(
            f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}" for status in files
        )

    def row_numbers(
        self, table: str, owner: str, owner_ids: Sequence[str] | None = None, session_id: str | None = None
    ) -> dict[Value, Numbers]:
        """Tell what the rows of each owner look like from outside, without their content.

        Args:
            table: With `time_updated`.
            owner: Column by which the rows are grouped.
            owner_ids: Whose rows to look at; None: those of all, in the session.
            session_id: In which session; None: in all.
        """
        if owner == "id":  # of each row one: grouping takes twice as long
            numbered, grouped = f"1, time_updated, {UPDATED}, {PLACE}", ""
        else:
            numbered, grouped = f"count(*), max(time_updated), sum({UPDATED}), sum({PLACE})", f"GROUP BY {owner}"
        conditions: list[str] = []
        if owner_ids is not None:
            conditions.append(f"{owner} IN ({', '.join('?' * len(owner_ids))})")
        if session_id is not None:  # the plus: not by the index of sessions, which has thousands of rows for one
            conditions.append("session_id = ?" if owner_ids is None else "+session_id = ?")
        sql = f"SELECT {owner}, {numbered} FROM {table} WHERE {' AND '.join(conditions)} {grouped}"
        values = [*(owner_ids or ()), *([] if session_id is None else [session_id])]
        return {owner_id: tuple(numbers) for owner_id, *numbers in self.tuples(sql, values)}

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read meanwhile be of one moment. For some ten milliseconds at most, see the class."""
        self.tuples("SELECT 1")  # which opens it
        connection = self._connection
        assert connection is not None, "it was opened just now"
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:  # some errors end it
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection and remove the copy, if one was needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _fetch(
        self, sql: str, values: Sequence[str | int], take: Callable[[tuple[Value, ...]], _Taken]
    ) -> tuple[list[str], list[_Taken]]:
        """Run one query; the names of its columns, and what is taken of each row."""
        try:
            if self._connection is None:
                self._connection = self._open()
            cursor = self._connection.execute(sql, values)
            return [column[0] for column in cursor.description], list(map(take, cursor))
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in DAMAGED:
                raise DamagedFile(
                    f"Cannot read {self.shown}: {error}. The file is damaged; `sqlite3 FILE .recover` may save it. "
                    f"{NEXT}"
                ) from error
            advice = "Another program has locked it. " if code == sqlite3.SQLITE_BUSY else ""
            raise SourceUnusable(f"Cannot read {self.shown}: {error}. {advice}{NEXT}") from error

    def _open(self) -> sqlite3.Connection:
        """Open the database, or a copy where its folder cannot be written and SQLite needs a `-shm` file there."""
        if not os.path.isfile(self.path):  # Path.is_file raises where its folder may not be searched
            raise SourceUnusable(
                f"{self.shown} does not exist, is no file, or is a symbolic link that leads nowhere. {NEXT}"
            )
        try:
            return _connect(self.path)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        self.close()
        try:
            self._copy = tempfile.TemporaryDirectory(prefix="opencode-analytics-")
            shutil.copyfile(self.path, Path(self._copy.name) / self.path.name)
            if self._wal.exists():
                shutil.copyfile(self._wal, Path(self._copy.name) / f"{self.path.name}-wal")
        except OSError as error:
            raise SourceUnusable(
                f"Cannot read {self.shown}: {error.strerror}. Check its permissions. It is copied into the folder for "
                f"temporary files, which needs the space. {NEXT}"
            ) from error
        return _connect(Path(self._copy.name) / self.path.name)


def _whole(row: tuple[Value, ...]) -> tuple[Value, ...]:
    """Take all of a row."""
    return row


def _chunks(values: Collection[str]) -> Iterator[list[str]]:
    """Cut a list into pieces that one statement takes: a long read would pin OpenCode's write-ahead log."""
    listed = list(values)
    for start in range(0, len(listed), ROWS_PER_READ):
        yield listed[start : start + ROWS_PER_READ]


def tables_of_messages(message_table: str, part_table: str | None) -> list[tuple[str, str]]:
    """Name the tables of messages and their parts, if these are rows of their own, with the column of the message."""
    return [(message_table, "id"), *([(part_table, "message_id")] if part_table else [])]


def row_stamp(numbers: Numbers, now_ms: int) -> int | None:
    """Return the stamp of rows of which `row_numbers` told the numbers; None where one changed only just now."""
    newest = numbers[1]
    is_settled = isinstance(newest, int) and stamps.is_settled(newest, now_ms)
    return hash(numbers) if is_settled else None


def note_stamps(found: Inventory, every: Mapping[str, Sequence[int | None]]) -> None:
    """Note the stamps of messages that are made of several ones; none where one of these is missing."""
    for message_id, each in every.items():
        if (stamp := combined_stamp(each)) is None:
            found.stamps["message"].pop(message_id, None)
        else:
            found.stamps["message"][message_id] = stamp


def combined_stamp(each: Iterable[int | None]) -> int | None:
    """Combine the stamps of the row of a message and of its parts."""
    known = list(each)
    settled = [stamp for stamp in known if stamp is not None]
    return stamps.combined(settled) if len(settled) == len(known) else None


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


def _project(row: Row, directories: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """Put the columns of a project where the JSON tree has them; beside them its checkouts, which no JSON tree has."""
    return {
        "name": row.get("name"),
        "worktree": row.get("worktree"),
        "vcs": row.get("vcs"),
        "sandboxes": _value(row.get("sandboxes")),
        "directories": directories,
        "time": {"created": row.get("time_created"), "updated": row.get("time_updated")},
    }


def _value(column: Value) -> object:
    """Read a column of JSON text; what is none stays as it is."""
    try:
        return orjson.loads(column) if isinstance(column, bytes) else column
    except orjson.JSONDecodeError:
        return column


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
