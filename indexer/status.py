"""State of an index: what `python -m indexer status` prints, also of one that cannot be used."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from indexer.activity import Activity
from indexer.checks import NOTE, PROBLEM, Check, Place, Writer, damage, find_writer, from_ms, local, quick
from indexer.exceptions import IndexUnavailable
from indexer.published import IndexReader


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One storage that was looked at.

    Attributes:
        state: ok, empty or unreadable.
        newest_at: Latest time recorded in it, naive UTC.
    """

    kind: str
    path: str
    state: str
    reason: str | None
    sessions: int
    messages: int
    parts: int
    newest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    """State of an index.

    Attributes:
        documents_total: Messages that the running or last pass had to look at; None before it is known.
        last_full_pass_at: End of the last complete pass, naive UTC; None while the first one runs.
        unreadable: Documents without a row; `partial` ones have a row that lacks values.
        size_bytes: Of the working file, everything published and what else lies beside it.
    """

    path: str
    revision: int
    phase: str
    phase_since: datetime
    updated_at: datetime
    last_full_pass_at: datetime | None
    documents_done: int
    documents_total: int | None
    is_sample: bool
    sessions: int
    messages: int
    parts: int
    unreadable: int
    partial: int
    sources: tuple[SourceStatus, ...]
    size_bytes: int

    def as_json(self) -> dict[str, object]:
        """Return everything as JSON values; times are ISO 8601 in UTC."""
        return {name: _json_value(value) for name, value in asdict(self).items()}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name every value for a person; times are local."""
        yield "index", self.path
        yield "revision", f"{self.revision:,}, written {local(self.updated_at)}"
        yield "phase", f"{self.phase} since {local(self.phase_since)}"
        if self.phase == "bulk" and self.documents_total is not None:
            yield "progress", f"{self.documents_done:,} of {self.documents_total:,} messages"
        complete = self.last_full_pass_at
        yield "last full pass", local(complete) if complete else "none yet: totals are partial"
        yield "content", f"{self.sessions:,} sessions, {self.messages:,} messages, {self.parts:,} parts"
        yield "unreadable documents", f"{self.unreadable:,} ({self.partial:,} more lack values)"
        yield "size", f"{self.size_bytes / 1e6:,.1f} MB"
        for source in self.sources:
            newest = f", newest {local(source.newest_at)}" if source.newest_at else ""
            yield f"source {source.kind}", f"{source.path}: {source.state}, {source.messages:,} messages{newest}"
            if source.reason:
                yield "", source.reason


@dataclass(frozen=True, slots=True)
class Report:
    """State of an index, of who writes it, and what is wrong.

    Attributes:
        status: None if the index cannot be read: the first of `checks` says why.
        checks: What is worth knowing, with the commands that mend what is wrong.
    """

    path: str
    status: Status | None
    writer: Writer
    checks: tuple[Check, ...]

    @property
    def excluded(self) -> dict[str, int]:
        """Count what the settings left out when an indexer ran last; zeros if none did."""
        said = self.writer.activity
        return {"projects": said.excluded_projects if said else 0, "sessions": said.excluded_sessions if said else 0}

    def as_json(self) -> dict[str, object]:
        """Return everything as JSON values; times are ISO 8601 in UTC, those of the activity ms since 1970."""
        status = self.status.as_json() if self.status else {"path": self.path}
        activity = asdict(self.writer.activity) if self.writer.is_there and self.writer.activity else None
        problems = [asdict(check) for check in self.checks if check.state == PROBLEM]
        return {
            **status,
            "is_running": self.writer.is_there,
            "pid": self.writer.pid,
            "activity": activity,
            "excluded": self.excluded,
            "problems": problems,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name every value for a person; times are local."""
        if self.status is None:
            yield "index", f"{self.path} cannot be read"
        else:
            yield from self.status.lines()
        if any(self.excluded.values()):
            projects, sessions = self.excluded["projects"], self.excluded["sessions"]
            yield "excluded", f"{projects:,} projects, {sessions:,} sessions: the settings leave them out"
        yield from _writer_lines(self.writer)
        for check in self.checks:
            if check.state == PROBLEM or (check.state == NOTE and check.remedy):
                yield check.state, f"{check.name}: {check.text}"
                if check.remedy:
                    yield "  mend it with" if check.state == PROBLEM else "  to go on", check.remedy
        if not any(check.state == PROBLEM for check in self.checks):
            yield "problems", "none; `python -m indexer check` compares everything with OpenCode's data"


def report(path: Path) -> Report:
    """Read the state of an index, whatever is left of it.

    Args:
        path: What readers open, absolute.
    """
    place, status, unread = Place(path), None, None
    with closing(IndexReader(path)) as reader:
        try:
            with closing(reader.connection()) as con:
                status = read_status(con, path, size_bytes=reader.sizes()[1])
        except IndexUnavailable:
            status = None  # what is wrong with it, the checks say
        except duckdb.Error as error:
            unread = damage(place, error)  # perhaps of a table that no quick check reads
    found = quick(place)
    if unread and not any(check.state == PROBLEM for check in found):
        found.append(unread)
    return Report(str(path), status, find_writer(path), tuple(found))


def has_read(path: Path, folders: Iterable[Path]) -> bool:
    """Tell whether an index was made from any of some data folders, which may be gone now.

    Args:
        path: What readers open, absolute.
        folders: OpenCode data folders, absolute.
    """
    with closing(IndexReader(path)) as reader:
        try:
            with closing(reader.connection()) as con:
                found = con.execute("SELECT DISTINCT data_dir FROM sources").fetchall()
        except (IndexUnavailable, duckdb.Error):
            return False
    return not {name for (name,) in found}.isdisjoint(map(str, folders))


def read_status(con: duckdb.DuckDBPyConnection, path: Path, *, size_bytes: int) -> Status:
    """Read the state of an index.

    Args:
        con: The index, open for reading.
        path: Where it is.
        size_bytes: Of all its files.

    Returns:
        Its state.
    """
    state = con.execute(
        """
        SELECT revision, phase, phase_since, updated_at, last_full_pass_at, documents_done, documents_total, is_sample,
               (SELECT count(*) FROM sessions) AS sessions,
               (SELECT count(*) FROM messages) AS messages,
               (SELECT count(*) FROM parts) AS parts,
               (SELECT count(*) FROM documents WHERE state = 'unreadable') AS unreadable,
               (SELECT count(*) FROM documents WHERE state = 'partial') AS partial
        FROM sync_state
        """
    )
    names = [column[0] for column in state.description or ()]
    values = dict(zip(names, state.fetchone() or (), strict=True))
    sources = con.execute(
        "SELECT kind, path, state, reason, sessions, messages, parts, newest_at FROM sources ORDER BY source_id"
    ).fetchall()
    every = tuple(SourceStatus(*source) for source in sources)
    return Status(path=str(path), sources=every, size_bytes=size_bytes, **values)


def _writer_lines(writer: Writer) -> Iterator[tuple[str, str]]:
    """Tell what the indexer does right now."""
    if not writer.is_there:
        yield "indexer", "none runs"
        return
    activity = writer.activity
    if activity is None or activity.pid != writer.pid:
        yield "indexer", f"process {writer.pid}"
        return
    yield (
        "indexer",
        f"process {activity.pid}, {activity.phase}, {activity.documents_per_second:,.1f} documents a second",
    )
    yield "queue", _queue(activity)
    if activity.latency_ms is not None:
        yield "latency", f"{activity.latency_ms:,} ms from the last change to readers"
    for watched in activity.watched:
        yield f"follows by {watched.how}", watched.path + (f" ({watched.reason})" if watched.reason else "")
    if activity.next_comparison_at_ms is not None:
        took = f"; the last one took {activity.last_comparison_ms:,} ms" if activity.last_comparison_ms else ""
        yield "next comparison", f"{local(from_ms(activity.next_comparison_at_ms))}{took}"


def _queue(activity: Activity) -> str:
    """Tell what waits, and since when."""
    if not activity.queue or activity.waiting_since_ms is None:
        return "nothing waits"
    waiting_ms = max(0, time.time_ns() // 1_000_000 - activity.waiting_since_ms)
    return f"{activity.queue:,} documents wait, the oldest for {waiting_ms / 1000:,.1f} s"


def _json_value(value: object) -> object:
    """Write times as ISO 8601 with the zone, and what holds them."""
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds") + "Z"
        case dict():
            return {name: _json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [_json_value(item) for item in value]
        case _:
            return value
