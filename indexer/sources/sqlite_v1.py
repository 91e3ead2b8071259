"""Second generation: `opencode.db` with message and part rows (OpenCode since 1.2)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.sources import USAGE_MARK, Inventory
from indexer.sources.session_looks import SessionLooks
from indexer.sources.sqlite_file import DAMAGE, DamagedFile, Row, SqliteFile, id_of, name_of

RESTAMP_GAP_MS = 60_000  # a live row is stamped within seconds of the times it records
# empty where no usage is recorded: what such rows are stamped with counts all the same
_USAGE = f"CASE WHEN instr(data, '{USAGE_MARK.decode()}') THEN data ELSE '' END"
NEEDED_COLUMNS = {
    "session": {"id", "project_id", "title", "version", "time_created", "time_updated"},
    "message": {"id", "session_id", "time_created", "time_updated", "data"},
    "part": {"id", "message_id", "session_id", "time_created", "time_updated", "data"},
    "project": {"id", "worktree"},
}


class SqliteV1:
    """Reader of the tables project, session, message and part. No other table is ever named."""

    kind = "sqlite_v1"
    generation = Generation.MESSAGE_ROWS

    def __init__(self, data_dir: Path, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.data_dir = data_dir
        self.path = path
        self._file = SqliteFile(path)
        self._looks = SessionLooks(self._file, "message", "part")

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """List the ids of every table."""
        self._file.require(NEEDED_COLUMNS)
        found = Inventory()
        found.projects = self._file.ids(found, "project", "project")
        found.sessions = self._file.ids(found, "session", "session")
        found.messages = dict(self._file.owned_ids(found, "message", "message", "session_id"))
        orphans = self._file.rows(
            "SELECT DISTINCT message_id AS id FROM part "
            "WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.id = part.message_id)"
        )
        ids = [id_of(row["id"]) for row in orphans]
        found.orphans = [message_id for message_id in ids if message_id is not None]
        if None in ids:
            found.problems.append(
                self._file.problem("part", "part", "rows without message", "has no message id that is text")
            )
        if with_stamps:
            self._file.row_stamps(found, [*self.projects(), *self.sessions()])
            self._add_stamps(found, [*found.messages, *found.orphans])
        return found

    def messages_of(self, session_ids: Collection[str]) -> Inventory:
        """List the messages of some sessions, and what parts that name them belong to, with stamps."""
        found = Inventory()
        self._file.messages_of(found, "message", session_ids)
        try:
            owners = self._looks.list_stamps(found, session_ids)
        except DamagedFile:
            found.stamps["message"].clear()
            found.orphans = self._file.part_owners(session_ids, found.messages)
        else:
            found.orphans = sorted(owners - found.messages.keys())
            self._add_stamps(found, found.orphans)  # of their message, if there is one, it is another session
        return found

    def renewed(self, session_id: str, doubtful: Collection[str]) -> dict[str, int | None] | None:
        """Tell which messages of a session may look different since it was listed, unless only a list tells."""
        return self._looks.renewed(session_id, doubtful)

    def projects(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read project rows."""
        return self._file.projects(ids)

    def sessions(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read session rows."""
        return self._file.sessions("session", ids)

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read message rows with their part rows, in the order they were written."""
        message_ids = list(ids)
        seen = Inventory()
        self._add_stamps(seen, message_ids)  # before the content: a later write looks different
        try:
            found = self._together(
                self._message_rows(message_ids), self._part_rows(message_ids), message_ids, source_id
            )
        except DamagedFile:  # one bad page must not hide the rows beside it
            return [found for message_id in message_ids for found in self._one_of_a_damaged_file(message_id, source_id)]
        stamps = seen.stamps["message"]
        return [replace(documents, stamp=stamps.get(documents.message_id)) for documents in found]

    def usage(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read message rows with the part rows that may record usage; no text of another part leaves the file."""
        message_ids = list(ids)
        try:
            rows, parts = self._message_rows(message_ids), self._part_rows(message_ids, _USAGE)
        except DamagedFile:
            return self.messages(ids, source_id)
        found = self._together(rows, parts, message_ids, source_id)
        return [replace(each, parts=tuple(part for part in each.parts if part.body)) for each in found]

    def file_stamp(self) -> str | None:
        """Return what changes with every write to the database."""
        return self._file.stamp()

    def close(self) -> None:
        """Close the database."""
        self._file.close()

    def _add_stamps(self, found: Inventory, ids: Collection[str]) -> None:
        """Note what messages and their parts look like; nothing, where the file is damaged."""
        try:
            self._file.message_stamps(found, "message", "part", ids)
        except DamagedFile:
            found.stamps["message"].clear()

    def _message_rows(self, message_ids: Sequence[str]) -> list[Row]:
        """Read message rows, each with the version of the client that created its session."""
        marks = ", ".join("?" * len(message_ids))
        return self._file.rows(
            "SELECT m.id, m.session_id, m.time_updated, m.data, s.version FROM message m "
            f"LEFT JOIN session s ON s.id = m.session_id WHERE m.id IN ({marks})",
            message_ids,
        )

    def _part_rows(self, message_ids: Sequence[str], data: str = "data") -> list[Row]:
        """Read part rows in the order they were written, with their text or what is made of it."""
        marks = ", ".join("?" * len(message_ids))
        return self._file.rows(
            f"SELECT id, message_id, session_id, time_created, {data} AS data FROM part "
            f"WHERE message_id IN ({marks}) ORDER BY rowid",
            message_ids,
        )

    def _one_of_a_damaged_file(self, message_id: str, source_id: int) -> list[MessageDocuments]:
        """Read what can be read of one message, and name what cannot."""
        rows: list[Row] = []
        part_rows: list[Row] = []
        problems: list[Document] = []
        try:
            rows = self._message_rows([message_id])
        except DamagedFile:
            problems.append(self._file.problem("message", "message", message_id, DAMAGE))
        try:
            part_rows = self._part_rows([message_id])
        except DamagedFile:
            problems.append(self._file.problem("part", "part", f"parts of {message_id}", DAMAGE))
        found = self._together(rows, part_rows, [message_id], source_id)
        if not found:
            found = [MessageDocuments(message_id, None, source_id, self.generation, None, ())] if problems else []
        return [
            replace(
                documents,
                message=documents.message or next((lost for lost in problems if lost.kind == "message"), None),
                parts=(*documents.parts, *(lost for lost in problems if lost.kind == "part")),
            )
            for documents in found
        ]

    def _together(
        self, rows: Sequence[Row], part_rows: Sequence[Row], message_ids: Sequence[str], source_id: int
    ) -> list[MessageDocuments]:
        """Put messages and parts together, in the order of the ids."""
        messages = {name_of(row["id"]): row for row in rows}
        parts: dict[str, list[Row]] = {}
        for row in part_rows:
            parts.setdefault(name_of(row["message_id"]), []).append(row)
        return [
            self._message(message_id, messages.get(message_id), parts.get(message_id, []), source_id)
            for message_id in message_ids
            if message_id in messages or message_id in parts
        ]

    def _message(self, message_id: str, row: Row | None, parts: Sequence[Row], source_id: int) -> MessageDocuments:
        """Put the rows of one message together."""
        owner = row or parts[0]
        is_restamped = row is not None and _is_restamped(row, parts)
        if is_restamped:  # the migration inserted parts in no order
            parts = sorted(parts, key=lambda part: name_of(part["id"]))
        return MessageDocuments(
            message_id=message_id,
            session_id=name_of(owner["session_id"]) or None,
            source_id=source_id,
            generation=self.generation,
            message=self._file.stored("message", "message", row) if row else None,
            parts=tuple(
                self._file.stored("part", "part", part, f"{message_id}, part {number}")
                for number, part in enumerate(parts, 1)
            ),
            is_restamped=is_restamped,
        )


class Unprobed(SqliteV1):
    """A database that could not be read when its generations were looked for: it tells why, and nothing else.

    To guess a generation would drop the rows of another one in silence.
    """

    def __init__(self, data_dir: Path, path: Path, error: SourceUnusable) -> None:
        """Keep the error."""
        super().__init__(data_dir, path)
        self._error = error

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """Raise the error that was met."""
        raise self._error

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Raise the error that was met."""
        raise self._error


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
    is_version = len(numbers) == 2 and all(number.isdigit() and len(number) < 10 for number in numbers)
    return is_version and tuple(map(int, numbers)) < (1, 2)
