"""The figures of one session: how its context grew, what each exchange cost, where its time went, what it touched.

Of the session itself: child sessions have figures of their own. Fork copies are left out of tokens and costs, as
everywhere; in the context they are there, flagged, since the model was sent them.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """What one model request was sent.

    Attributes:
        number: Of the step in the session, from 1.
        trace_id: The step's id in the timeline.
        exchange: Number of its exchange.
        at: When it began, naive UTC. None: unknown.
        context_tokens: input + cache read + cache write.
        model: `provider/model`.
        is_compaction: The request that made a summary: the context is smaller afterwards.
        is_fork_copy: Counted in another session.
    """

    number: int
    trace_id: str
    exchange: int
    at: datetime | None
    context_tokens: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    model: str
    is_compaction: bool
    is_fork_copy: bool


@dataclass(frozen=True, slots=True)
class TokenKinds:
    """Tokens of the session by kind, equal to `session_stats`.

    Attributes:
        output_tokens: As recorded: may contain reasoning.
        total_tokens: Every token once.
    """

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int

    @property
    def cache_read_share(self) -> float | None:
        """Return cache reads as part of everything that was sent to a model, 0 to 1. None if nothing was."""
        sent = self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
        return self.cache_read_tokens / sent if sent > 0 else None


@dataclass(frozen=True, slots=True)
class ExchangeCost:
    """What one exchange cost; all of them add up to the session.

    Attributes:
        label: The first line of what was asked.
        cost_usd: None: nothing recorded.
        tokens: Every token once.
        delegated_tokens: Of the child sessions that its calls ran first, with all below them; in no other number.
        delegated_cost_usd: Alike.
    """

    exchange_id: str
    number: int
    kind: str
    status: str
    label: str
    started_at: datetime | None
    cost_usd: Decimal | None
    tokens: int
    delegated_tokens: int
    delegated_cost_usd: Decimal | None
    is_fork_copy: bool


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Where the time from the first to the last event went. The four parts add up to `wall_ms`.

    Attributes:
        model_ms: A model request was open and no tool ran.
        tools_ms: A tool ran, or waited for approval: OpenCode does not tell the two apart. Tools that ran at once
            count once.
        between_ms: Between the exchanges: nothing was asked.
        unknown_ms: Inside an exchange, and neither a request nor a tool is recorded.
        delegated_ms: The part of `tools_ms` in which a delegation ran.
        wall_ms: 0 if no time is known.
        open_ended: Answers and calls without an end: their time is in `unknown_ms` as far as it is inside an exchange.
    """

    model_ms: int
    tools_ms: int
    between_ms: int
    unknown_ms: int
    delegated_ms: int
    wall_ms: int
    open_ended: int


@dataclass(frozen=True, slots=True)
class ToolTime:
    """How long one tool took in the session.

    Attributes:
        calls: All calls.
        timed_calls: Those whose start and end are known.
        total_ms: Of the timed ones.
        slowest_ms: None without a timed call.
        slowest_trace_id: That call in the timeline.
        slowest_title: What it did, one line.
    """

    name: str
    calls: int
    failed_calls: int
    unfinished_calls: int
    timed_calls: int
    total_ms: int
    slowest_ms: int | None
    slowest_trace_id: str | None
    slowest_title: str | None


@dataclass(frozen=True, slots=True)
class FileTouched:
    """A file that calls of the session edited.

    Attributes:
        path: As recorded.
        edits: Calls that changed it, or tried to.
        failed_edits: Those that failed; they are not in the lines.
        reads: Calls that read it.
        additions: Lines that the calls asked to add. None: not known for all of them.
        deletions: Lines that the calls asked to delete. None: not known for all, as when a file was written over.
        first_trace_id: The first call on it in the timeline.
    """

    path: str
    edits: int
    failed_edits: int
    reads: int
    additions: int | None
    deletions: int | None
    first_trace_id: str


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """All figures of a session.

    Attributes:
        context: By step.
        compactions: How often the context was summarised.
        exchanges: By number.
        tools: By total time, longest first.
        files: Most edits first; read-only files last.
        recorded_additions: OpenCode's own count for the session; None: not recorded. So are the next two.
        cost_usd: Equal to `session_stats`. None: nothing recorded.
    """

    session_id: str
    context: list[ContextPoint]
    compactions: int
    tokens: TokenKinds
    cost_usd: Decimal | None
    unrecorded_messages: int
    exchanges: list[ExchangeCost]
    time: TimeSplit
    tools: list[ToolTime]
    files: list[FileTouched]
    recorded_additions: int | None
    recorded_deletions: int | None
    recorded_files: int | None


def session_figures(con: duckdb.DuckDBPyConnection, session_id: str) -> SessionFigures | None:
    """Work out the figures of a session.

    Args:
        con: The index, open for reading.
        session_id: Any session.

    Returns:
        The figures. None if the index has no such session.
    """
    raise NotImplementedError
