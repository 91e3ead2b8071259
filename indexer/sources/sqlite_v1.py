"""Second generation: `opencode.db` with message and part rows (OpenCode since 1.2), read while OpenCode writes."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import orjson

from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.sources import Inventory

BUSY_TIMEOUT_S = 5.0
RESTAMP_GAP_MS = 60_000  # a live row is stamped within seconds of the times it records
NEEDED_COLUMNS = {
    "session": {"id", "project_id", "title", "version", "time_created", "time_updated"},
    "message": {"id", "session_id", "time_created", "time_updated", "data"},
    "part": {"id", "message_id", "session_id", "time_created", "time_updated", "data"},
}

Value = bytes | int | float | None
Row = Mapping[str, Value]


class SqliteV1:
    """Reader of one database: `mode=ro`, one short transaction a call, every row fetched before it ends.

    A long read would pin OpenCode's write-ahead log; `immutable` would not see it. Only the tables project, session,
    message and part are ever named.
    """

    kind = "sqlite_v1"
    generation = Generation.MESSAGE_ROWS

    def __init__(self, data_dir: Path, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.data_dir = data_dir
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def inventory(self) -> Inventory:
        """List the ids of every table.

        Raises:
            SourceUnusable: The file is no database, is locked for good, or lacks the tables of this generation.
        """
        self._check_tables()
        found = Inventory(
            projects=[_id(row["id"]) for row in self._rows("SELECT id FROM project")],
            sessions=[_id(row["id"]) for row in self._rows("SELECT id FROM session")],
        )
        for row in self._rows("SELECT id, session_id FROM message"):
            found.messages[_id(row["id"])] = _id(row["session_id"])
        orphans = "SELECT DISTINCT message_id AS id FROM part WHERE message_id NOT IN (SELECT id FROM message)"
        found.orphans = [_id(row["id"]) for row in self._rows(orphans)]
        return found

    def projects(self) -> Iterator[Document]:
        """Read every project row as the document that the JSON tree has for it."""
        for row in self._rows("SELECT * FROM project"):
            document = {
                "name": row.get("name"),
                "worktree": row.get("worktree"),
                "vcs": row.get("vcs"),
                "time": {"created": row.get("time_created"), "updated": row.get("time_updated")},
            }
            yield self._document("project", _id(row["id"]), document)

    def sessions(self) -> Iterator[Document]:
        """Read every session row as the document that the JSON tree has for it. Older releases lack columns."""
        for row in self._rows("SELECT * FROM session"):
            document = {
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
            yield self._document("session", _id(row["id"]), document)

    def messages(self, message_ids: Sequence[str], source_id: int) -> list[MessageDocuments]:
        """Read message rows with their part rows, in the order they were written."""
        marks = ", ".join("?" * len(message_ids))
        rows = self._rows(
            "SELECT m.id, m.session_id, m.time_updated, m.data, s.version FROM message m "
            f"LEFT JOIN session s ON s.id = m.session_id WHERE m.id IN ({marks})",
            message_ids,
        )
        part_rows = self._rows(
            "SELECT rowid, id, message_id, session_id, time_created, data FROM part "
            f"WHERE message_id IN ({marks}) ORDER BY rowid",
            message_ids,
        )
        messages = {_id(row["id"]): row for row in rows}
        parts: dict[str, list[Row]] = {}
        for row in part_rows:
            parts.setdefault(_id(row["message_id"]), []).append(row)
        return [
            self._message(message_id, messages.get(message_id), parts.get(message_id, []), source_id)
            for message_id in message_ids
            if message_id in messages or message_id in parts
        ]

    def close(self) -> None:
        """Close the connection and remove the copy, if one was needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _message(self, message_id: str, row: Row | None, parts: Sequence[Row], source_id: int) -> MessageDocuments:
        """Put the rows of one message together."""
        owner = row or parts[0]
        is_restamped = row is not None and _is_restamped(row, parts)
        if is_restamped:  # the migration inserted parts in no order
            parts = sorted(parts, key=lambda part: _id(part["id"]))
        return MessageDocuments(
            message_id=message_id,
            session_id=_id(owner["session_id"]) if owner["session_id"] is not None else None,
            source_id=source_id,
            generation=self.generation,
            message=self._stored("message", row) if row else None,
            parts=tuple(self._stored("part", part) for part in parts),
            is_restamped=is_restamped,
        )

    def _stored(self, kind: str, row: Row) -> Document:
        """Take the JSON text of a row as it is; a column of another type is a document that cannot be read."""
        document_id, body = _id(row["id"]), row["data"]
        key = f"{self.path.name}:{kind}:{document_id}"
        if isinstance(body, bytes):
            return Document(kind, document_id, key, body)
        return Document(kind, document_id, key, None, f"the column data holds {type(body).__name__}, not JSON text")

    def _document(self, kind: str, document_id: str, fields: Mapping[str, object]) -> Document:
        """Write columns as the JSON document that the same parser reads."""
        body = orjson.dumps(fields, default=lambda value: value.decode("utf-8", "replace"))
        return Document(kind, document_id, f"{self.path.name}:{kind}:{document_id}", body)

    def _check_tables(self) -> None:
        """Refuse a database that is none of OpenCode's, naming what was found instead of showing nothing."""
        tables = {_id(row["name"]) for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, needed in NEEDED_COLUMNS.items():
            if table not in tables:
                names = ", ".join(sorted(tables)) or "none"
                raise SourceUnusable(
                    f"{self.path} has no table '{table}' (tables found: {names}). It is not a database of a known "
                    "OpenCode version; nothing was taken from it."
                )
            columns = {_id(row["name"]) for row in self._rows(f"PRAGMA table_info({table})")}
            if missing := needed - columns:
                raise SourceUnusable(
                    f"{self.path}: the table '{table}' lacks the columns {', '.join(sorted(missing))} (found: "
                    f"{', '.join(sorted(columns))}). This OpenCode version is not known; nothing was taken from it."
                )

    def _rows(self, sql: str, values: Sequence[str] = ()) -> list[Row]:
        """Run one query in a transaction of its own and fetch everything.

        Raises:
            SourceUnusable: The database cannot be read.
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
            for name in (self.path.name, f"{self.path.name}-wal"):
                if (original := self.path.with_name(name)).exists():
                    shutil.copyfile(original, Path(self._copy.name) / name)
            return _connect(Path(self._copy.name) / self.path.name)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading and prove that it can be read."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False
    )
    connection.text_factory = bytes  # one bad byte in one row must not fail the whole query
    connection.isolation_level = None
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_restamped(message: Row, parts: Sequence[Row]) -> bool:
    """Tell whether OpenCode's migration wrote this row from the JSON tree of a client before 1.2.

    The migration stamps the rows of messages and parts with the moment it ran; the documents keep their own times.
    """
    stamp, version = message["time_updated"], message["version"]
    if not isinstance(stamp, int) or not isinstance(version, bytes) or not _is_before_1_2(version):
        return False
    body = message["data"]
    try:
        times = orjson.loads(body)["time"] if isinstance(body, bytes) else {}
        recorded = times.get("completed") or times["created"]
        late_ms = stamp - recorded
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False
    return bool(late_ms > RESTAMP_GAP_MS or (late_ms > 0 and any(part["time_created"] == stamp for part in parts)))


def _is_before_1_2(version: bytes) -> bool:
    """Compare a client version such as 1.1.65 with 1.2; an unreadable one is not before."""
    numbers = version.split(b".")[:2]
    return len(numbers) == 2 and all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) < (1, 2)


def _id(value: Value) -> str:
    """Read an id or a name."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
