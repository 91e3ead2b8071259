"""What the indexer does, what it reads, and what it could not read."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from queries.health import SIZES
from queries.rows import fetch_row, fetch_rows

# An earlier estimate would come from the first moments of a pass.
_LEAST_ELAPSED = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Indexing:
    """What the indexer does. Times are naive UTC.

    Attributes:
        phase: What it did last: bulk, real-time, stopped or failed. A killed indexer leaves it behind.
        message: The newest line of its history. None if it has none.
        pass_started_at: Begin of the newest full pass; a killed indexer leaves its phase, not its pass. None if there
            was none.
        documents_total: Messages that the running or last pass has to look at. None before it is known.
        last_full_pass_at: End of the last complete pass. None while the first one runs.
        has_first_totals: What was spent is complete, although the first pass has not ended.
        last_reconciled_at: End of the last comparison of everything with the sources. None: there was none yet.
        updated_at: Time of the last batch.
        unreadable: Documents without a row.
        incomplete: Documents with a row that lacks values.
        size_bytes: Of the published database file, its log of the newest batches left out.
    """

    revision: int
    phase: str
    phase_since: datetime
    message: str | None
    pass_started_at: datetime | None
    documents_total: int | None
    documents_done: int
    last_full_pass_at: datetime | None
    has_first_totals: bool
    last_reconciled_at: datetime | None
    updated_at: datetime
    sessions: int
    messages: int
    parts: int
    unreadable: int
    incomplete: int
    size_bytes: int

    @property
    def compared_at(self) -> datetime | None:
        """Return when everything was last compared with the sources; a full pass does that, too. None: not yet."""
        return max((at for at in (self.last_full_pass_at, self.last_reconciled_at) if at), default=None)

    @property
    def remaining(self) -> timedelta | None:
        """Return how much longer the running pass takes at its pace so far, as of `updated_at`.

        None where the pace says nothing: no pass runs, its size is not known, or it has only just begun.
        """
        return self._remaining(self.pass_started_at, 0)

    def remaining_since(self, earlier: "Indexing") -> timedelta | None:
        """Return how much longer the running pass takes at its pace since an earlier moment of it; see `remaining`."""
        is_same_pass = earlier.pass_started_at == self.pass_started_at
        return self._remaining(earlier.updated_at, earlier.documents_done) if is_same_pass else None

    def _remaining(self, began_at: datetime | None, done_before: int) -> timedelta | None:
        """Return how much longer the running pass takes at its pace since a moment when so much was done."""
        if self.phase != "bulk" or not self.documents_total or not began_at:
            return None
        elapsed, done = self.updated_at - began_at, self.documents_done - done_before
        if elapsed < _LEAST_ELAPSED or done <= 0:
            return None
        return elapsed * max(self.documents_total - self.documents_done, 0) / done


@dataclass(frozen=True, slots=True)
class SourceState:
    """A storage that the indexer looked at, and what is in it.

    Attributes:
        kind: json_tree, sqlite_v1 or sqlite_v2.
        state: ok, empty or unreadable.
        reason: Why it is not ok, and what to do. None if it is.
        newest_at: Newest time recorded in it, in the viewer's zone, naive. None if there is none.
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
class DocumentProblem:
    """A document that could not be read, or only in part. Times are naive UTC.

    Attributes:
        key: Its path inside the data folder, or database:table:id.
        kind: project, session, message, part or database.
        source_path: The storage it is in. None if that is not listed any more.
        state: unreadable (no row) or partial (a row without some values).
        size_bytes: None if it is not known.
    """

    key: str
    kind: str
    source_path: str | None
    state: str
    reason: str
    size_bytes: int | None
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class PhaseEvent:
    """A line of the indexer's history, its time in the viewer's zone, naive."""

    occurred_at: datetime
    phase: str
    message: str


def indexing(con: duckdb.DuckDBPyConnection) -> Indexing:
    """Read what the indexer does. Cheap: single rows and table sizes."""
    sql = f"""
        WITH {SIZES}
        SELECT revision, phase, phase_since, documents_total, documents_done, last_full_pass_at, last_reconciled_at,
               updated_at, message, pass_started_at, unreadable, incomplete, sizes.*,
               (SELECT block_size * total_blocks FROM pragma_database_size()
                WHERE database_name = current_database()) AS size_bytes
        FROM sync_state, sizes,
             (SELECT arg_max(message, occurred_at)                      AS message,
                     max(occurred_at) FILTER (phase = 'bulk')           AS pass_started_at
              FROM sync_events),
             (SELECT count(*) FILTER (state = 'unreadable')             AS unreadable,
                     count(*) FILTER (state <> 'unreadable')            AS incomplete
              FROM documents)
    """
    return fetch_row(con, sql, {}, Indexing)


def source_states(con: duckdb.DuckDBPyConnection, tz: str) -> list[SourceState]:
    """List the storages that were looked at, by path, newest generation first. Empty if it has not looked yet."""
    sql = """
        SELECT kind, path, state, reason, sessions, messages, parts,
               newest_at AT TIME ZONE 'UTC' AT TIME ZONE $tz AS newest_at
        FROM sources
        ORDER BY data_dir, path, kind DESC, source_id
    """
    return fetch_rows(con, sql, {"tz": tz}, SourceState)


def document_problems(
    con: duckdb.DuckDBPyConnection, limit: int | None = None, offset: int = 0
) -> list[DocumentProblem]:
    """List the documents that could not be read, or only in part.

    Args:
        con: The index, open for reading.
        limit: Rows at most. None: all.
        offset: Rows to leave out first.

    Returns:
        Unreadable ones before incomplete ones, last seen first, then by key.
    """
    sql = """
        SELECT key, document_kind AS kind, path AS source_path, d.state, d.reason, size_bytes,
               first_seen_at, last_seen_at
        FROM documents d LEFT JOIN sources USING (source_id)
        ORDER BY d.state = 'unreadable' DESC, d.last_seen_at DESC, source_id, key
        LIMIT $limit::BIGINT OFFSET $offset::BIGINT
    """
    return fetch_rows(con, sql, {"limit": limit, "offset": offset}, DocumentProblem)


def history(con: duckdb.DuckDBPyConnection, tz: str, limit: int | None = None) -> list[PhaseEvent]:
    """List what the indexer did, newest first; all of it without a limit."""
    sql = """
        SELECT occurred_at AT TIME ZONE 'UTC' AT TIME ZONE $tz AS occurred_at, phase, message
        FROM sync_events
        ORDER BY sync_events.occurred_at DESC, rowid DESC
        LIMIT $limit::BIGINT
    """
    return fetch_rows(con, sql, {"tz": tz, "limit": limit}, PhaseEvent)
