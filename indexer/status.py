"""State of an index: what `python -m indexer status` prints."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from indexer.database import private_folder


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
        size_bytes: Of the working file and everything published.
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
        yield "revision", f"{self.revision:,}, written {_local(self.updated_at)}"
        yield "phase", f"{self.phase} since {_local(self.phase_since)}"
        if self.phase == "bulk" and self.documents_total is not None:
            yield "progress", f"{self.documents_done:,} of {self.documents_total:,} messages"
        complete = self.last_full_pass_at
        yield "last full pass", _local(complete) if complete else "none yet: totals are partial"
        yield "content", f"{self.sessions:,} sessions, {self.messages:,} messages, {self.parts:,} parts"
        yield "unreadable documents", f"{self.unreadable:,} ({self.partial:,} more lack values)"
        yield "size", f"{self.size_bytes / 1e6:,.1f} MB"
        for source in self.sources:
            newest = f", newest {_local(source.newest_at)}" if source.newest_at else ""
            yield f"source {source.kind}", f"{source.path}: {source.state}, {source.messages:,} messages{newest}"
            if source.reason:
                yield "", source.reason


def read_status(con: duckdb.DuckDBPyConnection, path: Path) -> Status:
    """Read the state of an index.

    Args:
        con: The index, open for reading.
        path: Where it is.

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
    size = sum(file.stat().st_size for file in private_folder(path).rglob("*") if file.is_file())
    return Status(path=str(path), sources=tuple(SourceStatus(*source) for source in sources), size_bytes=size, **values)


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


def _local(moment: datetime) -> str:
    """Write a naive UTC time in local time."""
    return moment.replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
