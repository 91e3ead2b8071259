"""Third generation: `session_message` rows in the same file (OpenCode 2.0, and the second API of 1.18).

The layout of 2.0 is known from its source only; the rows of 1.18's second API are in the real data and nearly the same.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from indexer.documents import Document, Generation, MessageDocuments
from indexer.sources import Inventory
from indexer.sources.session_looks import SessionLooks
from indexer.sources.sqlite_file import DAMAGE, DamagedFile, Row, SqliteFile, Value, name_of

NEEDED_COLUMNS = {"session_message": {"id", "session_id", "type", "time_created", "time_updated", "data"}}
_ORDER = "seq"  # OpenCode 1.14 and 1.15 have the table without it: their rows are in the order of their times


class SqliteV2:
    """Reader of `session_message` with the sessions it belongs to.

    Sessions are in `session_v2` (2.0) and in `session`, which the reader of the second generation reads where the file
    holds that one, too.
    """

    kind = "sqlite_v2"
    generation = Generation.SESSION_MESSAGE_ROWS

    def __init__(self, data_dir: Path, path: Path) -> None:
        """Point at a database file; it is opened by the first call."""
        self.data_dir = data_dir
        self.path = path
        self._file = SqliteFile(path)
        self._looks = SessionLooks(self._file, "session_message")

    def inventory(self, *, with_stamps: bool = False) -> Inventory:
        """List the ids of every table."""
        self._file.require(NEEDED_COLUMNS)
        found = Inventory()
        found.projects = self._file.ids(found, "project", "project") if "project" in self._file.tables() else []
        for table in self._session_tables():
            found.sessions += self._file.ids(found, "session", table)
        order = f"ORDER BY session_id, {_ORDER if self._has_order() else 'time_created, id'}"
        rows = self._file.owned_ids(found, "message", "session_message", "session_id", order)
        found.messages = dict(rows)
        if with_stamps:
            self._file.row_stamps(found, [*self.projects(), *self.sessions()])
            self._add_stamps(found, found.messages)
        return found

    def messages_of(self, session_ids: Collection[str]) -> Inventory:
        """List the rows of some sessions with their stamps."""
        found = Inventory()
        self._file.messages_of(found, "session_message", session_ids)
        try:
            self._looks.list_stamps(found, session_ids)
        except DamagedFile:
            found.stamps["message"].clear()
        return found

    def renewed(self, session_id: str, doubtful: Collection[str]) -> dict[str, int | None] | None:
        """Tell which messages of a session may look different since it was listed, unless only a list tells."""
        return self._looks.renewed(session_id, doubtful)

    def projects(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read project rows."""
        return self._file.projects(ids) if "project" in self._file.tables() else []

    def sessions(self, ids: Collection[str] | None = None) -> Iterable[Document]:
        """Read session rows."""
        return [document for table in self._session_tables() for document in self._file.sessions(table, ids)]

    def messages(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read rows; the parts of an answer are inside its document."""
        message_ids = list(ids)
        seen = Inventory()
        self._add_stamps(seen, message_ids)  # before the content: a later write looks different
        marks = ", ".join("?" * len(message_ids))
        order = _ORDER if self._has_order() else f"NULL AS {_ORDER}"
        sql = f"SELECT id, session_id, type, {order}, data FROM session_message WHERE id IN ({marks})"
        return [
            self._message(message_id, row, source_id, seen.stamps["message"].get(message_id))
            for message_id, row in self._file.each(sql, message_ids)
        ]

    def usage(self, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Read rows: what they record of usage is in their one document."""
        return self.messages(ids, source_id)

    def file_stamp(self) -> str | None:
        """Return what changes with every write to the database."""
        return self._file.stamp()

    def close(self) -> None:
        """Close the database."""
        self._file.close()

    def _has_order(self) -> bool:
        """Tell whether rows are numbered inside their session; asked anew, as a newer client adds that."""
        return _ORDER in self._file.columns("session_message")

    def _session_tables(self) -> list[str]:
        """Name the tables of sessions that nobody else reads: the reader of message rows has the table session."""
        tables = self._file.tables()
        is_alone = not {"message", "part"} <= tables
        return [name for name in ("session", "session_v2") if name in tables and (is_alone or name == "session_v2")]

    def _add_stamps(self, found: Inventory, ids: Collection[str]) -> None:
        """Note what rows look like; nothing, where the file is damaged."""
        try:
            self._file.message_stamps(found, "session_message", None, ids)
        except DamagedFile:
            found.stamps["message"].clear()

    def _message(self, message_id: str, row: Row | None, source_id: int, stamp: int | None) -> MessageDocuments:
        """Take one row; None lies in a damaged place."""
        if row is None:
            lost = self._file.problem("message", "session_message", message_id, DAMAGE)
            return MessageDocuments(message_id, None, source_id, self.generation, lost, (), row_type="")
        return MessageDocuments(
            message_id=message_id,
            session_id=name_of(row["session_id"]),
            source_id=source_id,
            generation=self.generation,
            message=self._file.stored("message", "session_message", row),
            parts=(),
            row_type=name_of(row["type"]),
            seq=_place(row[_ORDER]),
            stamp=stamp,
        )


def _place(seq: Value) -> int | None:
    """Return the place of a row inside its session; None if rows are not numbered."""
    if seq is None or isinstance(seq, int):
        return seq
    return 0
