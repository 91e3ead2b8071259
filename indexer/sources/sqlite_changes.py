"""Which sessions of OpenCode's database changed since the last look, told without reading any content.

The client updates most rows in place and writes several times a second while it answers. A look costs a few
microseconds where nothing was committed. After a commit these signs are compared with the last look:

- the session and project tables, by id, update time and what changes without it: new, changed and vanished rows;
- the newest row of every other table, by place and id: what is above it was inserted. The client's log of events is one
  of these tables, where there is one: it names the session of every write, also of a message that was deleted;
- of the sessions that changed last: number, places and update times of their rows, spend of the session.
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from indexer.changes import Changes
from indexer.exceptions import SourceUnusable
from indexer.sources.sqlite_file import DamagedFile, SqliteFile, Value, id_of, name_of

log = logging.getLogger(__name__)

# A session that is renamed or archived keeps its update time.
SESSION_KEY = ("id", "time_updated", "time_archived", "title", "project_id")
COMPARED_COLUMNS = {  # the first names the session or project
    "project": ("id", "time_updated", "worktree", "vcs", "name", "sandboxes"),
    "project_directory": ("project_id", "directory", "strategy"),
    "session": SESSION_KEY,
    "session_v2": SESSION_KEY,
}
PROJECT_TABLES = {"project", "project_directory"}
SESSION_COLUMN = {
    "message": "session_id",
    "part": "session_id",
    "session_message": "session_id",
    "event": "aggregate_id",
}
ACTIVE_S = 600.0  # a tool that runs longer without a word ends with new rows all the same
MOST_ACTIVE = 32
ACTIVE_AT_START = 10
# Rows that are updated twice in one millisecond look the same. The client takes the time, then waits up to 5 s for
# other writers.
SETTLING_S = 6.0
# Looks take at most a fifth of one processor, whatever the size of the database: a pause follows, so much longer.
PAUSE_FACTOR = 4.0
LONGEST_PAUSE_S = 5.0
COPY_EVERY_S = 5.0
# To compare 8,300 sessions takes 7 ms. What a client says is found by its rows; a mere change of a name can wait.
LARGE_TABLE = 1_000
LARGE_EVERY_S = 1.0
CHECKPOINT_S = 1.0
MARKS = 64
# Sums must not overflow, and text must not fail: update times as whole numbers of 42 bits, up to the year 2109.
SIGNATURE = "count(*), max(time_updated), sum(time_updated & 4398046511103), sum(rowid & 4398046511103)"

Key = tuple[Value, ...]


@dataclass(slots=True)
class _Seen:
    """What the last look found.

    Attributes:
        owners: Tables that are looked through for inserted rows, with the column that names the session.
        compared: SELECT of each table that is compared as a whole.
        signed: SELECTs of the signature of sessions; `{marks}` stands for their ids.
        keys: Rows of the compared tables.
        compared_at: When each of these tables was compared last.
        overdue: Tables that were left out of a look after a commit, because they are large.
        marks: Rows that were the newest of their table once, oldest first: (rowid, id). As long as one is there, what
            was inserted since lies above it.
        changed_at: When sessions were last seen to change, in that order.
        signatures: Of the sessions that changed lately and were not named in this look anyway.
        looked_at: Of the last look at these tables.
    """

    data_version: Value
    schema_version: Value
    looked_at: float
    owners: dict[str, str] = field(default_factory=dict)
    compared: dict[str, str] = field(default_factory=dict)
    signed: list[str] = field(default_factory=list)
    keys: dict[str, list[Key]] = field(default_factory=dict)
    compared_at: dict[str, float] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    marks: dict[str, list[Key]] = field(default_factory=dict)
    changed_at: dict[str, float] = field(default_factory=dict)
    signatures: dict[str, list[Key]] = field(default_factory=dict)


class DatabaseChanges:
    """Follows one database file, whatever generations are in it. For one thread, to be asked every 100 ms.

    It holds no transaction between two calls, so it never keeps the client from emptying its write-ahead log.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, work: Callable[[], float] = time.thread_time
    ) -> None:
        """Point at a database file; it is opened by the first call.

        Args:
            path: Of the database.
            clock: In seconds; never goes back.
            work: Processor time of this thread, in seconds: a look that waits for the processor costs nobody anything.
        """
        self._file = SqliteFile(path)
        self._path = path
        self._clock = clock
        self._work = work
        self._files = _Files(path)
        self._seen: _Seen | None = None
        self._was_asked = False
        self._pause_until = clock()

    def poll(self) -> Changes:
        """Tell what changed since the last call. The first call notes what there is, and names nothing.

        Returns:
            Sessions of which a row was written or deleted, each also as a document of its own, as its spend changes
            without notice; projects. All of them may be gone by now, or unchanged. Everything, if the file was
            replaced or could not be followed for a while.

        Raises:
            SourceUnusable: The file is not there or cannot be read; the message says why. Ask again later.
        """
        started, worked_s = self._clock(), self._work()
        if started < self._pause_until:
            return Changes()
        try:
            return self._look(started)
        finally:
            worked_s = self._work() - worked_s
            self._pause_until = self._clock() + min(worked_s * PAUSE_FACTOR, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Close the database. If asked again, it names everything."""
        self._file.close()
        self._seen = None

    def _look(self, now: float) -> Changes:
        """Compare with the last look, or begin anew where that is not possible."""
        if self._seen is not None:
            try:
                if not self._is_replaced(self._seen, now):
                    data_version = self._number("data_version")
                    if data_version == self._seen.data_version and not self._is_due(self._seen, now):
                        return Changes()
                    if self._number("schema_version") == self._seen.schema_version:
                        return self._compare(self._seen, data_version, now)
                log.info("%s was replaced or got another layout: everything in it is compared", self._path)
            except SourceUnusable as error:  # a new connection may cure it; if not, the next line raises
                log.info("%s; it is opened again", error)
        return self._begin(now)

    def _begin(self, now: float) -> Changes:
        """Open the file anew and note what there is."""
        self.close()
        is_first, self._was_asked = not self._was_asked, True
        self._files = _Files(self._path)
        seen = _Seen(self._number("data_version"), self._number("schema_version"), now)
        self._files.note_opened()
        self._find_tables(seen)
        for table, sql in seen.compared.items():
            seen.keys[table], seen.compared_at[table] = self._file.tuples(sql), now
        seen.marks = {table: self._first_marks(table) for table in seen.owners}
        seen.changed_at = dict.fromkeys(self._newest_sessions(seen), now)
        self._seen = seen
        return Changes(is_everything=not is_first)

    def _compare(self, seen: _Seen, data_version: Value, now: float) -> Changes:
        """Name what a commit may have changed."""
        self._files.note_commit()
        changed: set[str] = set()
        projects: set[str] = set()
        for table in seen.compared:
            (projects if table in PROJECT_TABLES else changed).update(self._changed_keys(seen, table, now))
        for table in seen.owners:
            changed |= self._inserted(seen, table)
        changed |= self._changed_signatures(seen, changed, now)
        # a commit from here on has another number
        seen.data_version, seen.looked_at = data_version, now
        return Changes(projects=projects, sessions=changed, touched_sessions=set(changed))

    def _is_due(self, seen: _Seen, now: float) -> bool:
        """Tell whether a table that was left out after a commit may be compared now."""
        return any(now - seen.compared_at[table] >= LARGE_EVERY_S for table in seen.overdue)

    def _is_replaced(self, seen: _Seen, now: float) -> bool:
        """Tell whether the file has to be opened anew: SQLite would not notice by itself."""
        if self._file.is_copy:
            return now - seen.looked_at >= COPY_EVERY_S and self._files.are_written()
        return self._files.are_replaced(now)

    def _find_tables(self, seen: _Seen) -> None:
        """Compose the queries for the tables and columns that this file has."""
        found = {name: self._file.columns(name) for name in self._file.tables() & {*COMPARED_COLUMNS, *SESSION_COLUMN}}
        for table, wanted in COMPARED_COLUMNS.items():
            columns = found.get(table, set())
            if wanted[0] in columns:
                seen.compared[table] = f"SELECT {', '.join(name for name in wanted if name in columns)} FROM {table}"
                if spent := sorted(name for name in columns if name == "cost" or name.startswith("tokens_")):
                    seen.signed.append(f"SELECT id, {', '.join(spent)} FROM {table} WHERE id IN ({{marks}})")
        for table, owner in SESSION_COLUMN.items():
            columns = found.get(table, set())
            if {"id", owner} <= columns:
                seen.owners[table] = owner
                if "time_updated" in columns:
                    sql = f"SELECT {owner}, {SIGNATURE} FROM {table} WHERE {owner} IN ({{marks}}) GROUP BY {owner}"
                    seen.signed.append(sql)

    def _changed_keys(self, seen: _Seen, table: str, now: float) -> set[str]:
        """Name the rows of a table that are new, changed or gone; of a large table, once a second."""
        if len(seen.keys[table]) > LARGE_TABLE and now - seen.compared_at[table] < LARGE_EVERY_S:
            seen.overdue.add(table)
            return set()
        seen.overdue.discard(table)
        seen.compared_at[table] = now
        before, seen.keys[table] = seen.keys[table], self._file.tuples(seen.compared[table])
        # to compare lists takes 1 ms for 8,000 sessions, sets 5
        return set() if seen.keys[table] == before else _ids(set(before) ^ set(seen.keys[table]))

    def _inserted(self, seen: _Seen, table: str) -> set[str]:
        """Name the sessions of rows that were inserted.

        SQLite gives a new row the place above the highest one, so that places are used again where the highest rows
        were deleted. VACUUM and a rebuilt table move rows: then their marks are not found either.
        """
        marks, newest = seen.marks[table], self._row(table)
        if newest == (marks[-1] if marks else None):
            return set()
        while marks and self._row(table, f"rowid = {marks[-1][0]!r}") != marks[-1]:
            marks.pop()
        above = f"WHERE rowid > {marks[-1][0]!r}" if marks else ""
        # the index of the sessions would be read from end to end
        sessions = self._file.tuples(f"SELECT DISTINCT {seen.owners[table]} FROM {table} NOT INDEXED {above}")
        if newest is not None:
            marks.append(newest)
        if len(marks) > MARKS:
            del marks[1 : MARKS // 2 : 2]  # the older, the sparser
        return _ids(sessions)

    def _first_marks(self, table: str) -> list[Key]:
        """Mark the newest row and rows below it, in doubling distances."""
        newest = self._row(table)
        if newest is None:
            return []
        highest = newest[0]
        assert isinstance(highest, int)
        below = [self._row(table, f"rowid <= {highest - (1 << power)}") for power in range(40)]
        return [row for row in reversed(below) if row is not None] + [newest]

    def _row(self, table: str, condition: str = "1") -> Key | None:
        """Read place and id of the highest row for which a condition holds."""
        rows = self._file.tuples(f"SELECT rowid, id FROM {table} WHERE {condition} ORDER BY rowid DESC LIMIT 1")
        return rows[0] if rows else None

    def _changed_signatures(self, seen: _Seen, changed: set[str], now: float) -> set[str]:
        """Name the sessions that changed in place, and those that may have changed again in the same millisecond.

        Args:
            seen: What the last look found; brought up to date.
            changed: Sessions of which a change was noticed by other signs in this look.
            now: Time of this look.
        """
        settling = {name for name, at in seen.changed_at.items() if seen.looked_at - at < SETTLING_S}
        named = settling | changed
        seen.changed_at = {
            name: at for name, at in seen.changed_at.items() if seen.looked_at - at < ACTIVE_S and name not in changed
        } | dict.fromkeys(changed, now)
        newest = set(list(seen.changed_at)[-MOST_ACTIVE:])
        before = seen.signatures  # compared once more, however long nobody looked and whatever else changed meanwhile
        found = self._signatures(seen, [n for n in seen.changed_at if n not in named and (n in newest or n in before)])
        seen.signatures = {name: signature for name, signature in found.items() if name in newest}
        # a session that was named without a look at its rows is named once more, for what it did since
        differing = {name for name, signature in found.items() if before.get(name) != signature}
        for name in differing & before.keys():
            del seen.changed_at[name]
            seen.changed_at[name] = now
        return settling | differing

    def _signatures(self, seen: _Seen, sessions: Collection[str]) -> dict[str, list[Key]]:
        """Tell what the rows of some sessions look like from outside."""
        signatures: dict[str, list[Key]] = {name: [] for name in sessions}
        for place, sql in enumerate(seen.signed if signatures else ()):  # for `IN ()` SQLite reads the whole index
            try:
                rows = self._file.tuples(sql.format(marks=", ".join("?" * len(sessions))), list(sessions))
            except DamagedFile:  # told by who reads the rows; other signs and tables remain
                rows = []
            for name, *numbers in rows:
                if name_of(name) in signatures:
                    signatures[name_of(name)].append((place, *numbers))
        return signatures

    def _newest_sessions(self, seen: _Seen) -> list[str]:
        """Name the sessions that were updated last: one may be in use without new rows."""
        rows: list[Key] = []
        for table, sql in seen.compared.items():
            if table not in PROJECT_TABLES and "time_updated" in sql:
                rows += self._file.tuples(
                    f"SELECT time_updated, id FROM {table} WHERE typeof(time_updated) = 'integer' "
                    f"ORDER BY time_updated DESC LIMIT {ACTIVE_AT_START}"
                )
        newest = sorted(rows, key=lambda row: row[0] if isinstance(row[0], int) else 0, reverse=True)
        return list(dict.fromkeys(name for _, value in newest if (name := id_of(value)) is not None))[:ACTIVE_AT_START]

    def _number(self, pragma: str) -> Value:
        """Read a number of the database. `data_version` changes with every commit of another connection."""
        return self._file.tuples(f"PRAGMA {pragma}")[0][0]


class _Files:
    """The files of a database. SQLite does not look at them again once they are open, but people replace them."""

    def __init__(self, path: Path) -> None:
        """Note the files as they are, before they are opened."""
        self._path = path
        real = os.path.realpath(path)  # SQLite keeps its files beside the real one
        self._wal, self._shm = f"{real}-wal", f"{real}-shm"
        self._main = _stamp(path)
        self._main_and_wal = (self._main, _stamp(self._wal))
        self._inodes: dict[str, tuple[int, ...]] = {}
        self._checkpoint = b""
        self._suspicion: tuple[tuple[int, ...], float] | None = None

    def note_opened(self) -> None:
        """Note the files that opening the database may create."""
        self._checkpoint = self._checkpoint_state()
        self._have_others_inodes()

    def note_commit(self) -> None:
        """Note that SQLite wrote something; where there is no log, into the main file."""
        if not self._checkpoint:
            self._main = _stamp(self._path)

    def are_written(self) -> bool:
        """Tell whether anything was written since. For databases of which a copy is open."""
        return (_stamp(self._path), _stamp(self._wal)) != self._main_and_wal

    def are_replaced(self, now: float) -> bool:
        """Tell whether other files lie there, or somebody wrote the main file behind SQLite's back."""
        main = _stamp(self._path)
        if main is None or self._main is None or main[:2] != self._main[:2] or self._have_others_inodes():
            return True
        if main == self._main:
            return False
        return main[2] < self._main[2] or not self._is_by_sqlite(main, now)

    def _have_others_inodes(self) -> bool:
        """Tell whether the log, or its index, is another file than the one that is open. Both may appear later."""
        for path in (self._wal, self._shm):
            found = _inode(path)
            if found != self._inodes.setdefault(path, found):
                if self._inodes[path]:
                    return True
                self._inodes[path] = found
        return False

    def _is_by_sqlite(self, main: tuple[int, ...], now: float) -> bool:
        """Tell whether the main file was written by a checkpoint, which changes nothing that a reader sees.

        A checkpoint that is still at work is noted at its end: the verdict waits until the file has been still a while.
        """
        checkpoint = self._checkpoint_state()
        if checkpoint != self._checkpoint:
            self._main, self._checkpoint, self._suspicion = _stamp(self._path), checkpoint, None
            return True
        if self._suspicion is None or self._suspicion[0] != main:
            self._suspicion = (main, now)
        return now - self._suspicion[1] < CHECKPOINT_S

    def _checkpoint_state(self) -> bytes:
        """Read what changes with a checkpoint: salts and progress, in the log's index (sqlite.org/walformat.html)."""
        try:
            descriptor = _held_open(self._shm)
            os.lseek(descriptor, 0, os.SEEK_SET)
            head = os.read(descriptor, 136)
        except OSError:  # there is no log
            return b""
        return head[32:40] + head[96:100] + head[128:132]


_DESCRIPTORS: dict[str, int] = {}  # by path


def _held_open(path: str) -> int:
    """Return a descriptor of a file that SQLite has locks on; it stays open for as long as the file is there.

    To close any descriptor of a file takes away all locks that the process has on it (POSIX). Without SQLite's own, the
    next program that opens the database takes itself for the first one, and cuts off the log's index, which SQLite has
    mapped here: the process would end by SIGBUS (sqlite.org/howtocorrupt.html, 2.2).
    """
    for known, descriptor in [*_DESCRIPTORS.items()]:
        if _inode(known) != _inode(descriptor):  # nobody opens that one any more
            os.close(_DESCRIPTORS.pop(known))
    if path not in _DESCRIPTORS:
        _DESCRIPTORS[path] = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    return _DESCRIPTORS[path]


def _inode(file: str | Path | int) -> tuple[int, ...]:
    """Tell files apart, by path or descriptor: device and inode; nothing if there is none."""
    stamp = _stamp(file)
    return stamp[:2] if stamp else ()


def _stamp(file: str | Path | int) -> tuple[int, ...] | None:
    """Return device, inode, size and modification time of a file; None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _ids(rows: Iterable[Key]) -> set[str]:
    """Take the ids from the first column; what is no text is found by nobody."""
    return {name for row in rows if (name := id_of(row[0])) is not None}
