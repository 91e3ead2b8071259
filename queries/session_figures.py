"""The figures of one session: how its context grew, what each exchange cost, where its time went, what it touched.

Of the session itself: child sessions have figures of their own. Fork copies are left out of tokens and costs, as
everywhere; in the context they are there, flagged, since the model was sent them.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import duckdb
import numpy as np
import numpy.typing as npt

from queries import code_changes, edits, traced
from queries.rows import fetch_rows
from queries.session_tree import tree_below
from queries.traced_sessions import OK, calls_of, traced_sessions


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """What one model request was sent.

    Attributes:
        number: Of the request in the session, from 1.
        trace_id: The step's id in the timeline.
        exchange: Number of its exchange.
        at: When it began, naive UTC. None: unknown.
        context_tokens: input + cache read + cache write.
        output_tokens: As recorded: may contain reasoning.
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
        delegated_cost_usd: Alike. None: nothing recorded.
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
        total_ms: Of the timed ones, added up, also where they ran at once. None without any.
        slowest_ms: None without a timed call.
        slowest_trace_id: That call in the timeline.
        slowest_label: What it did, one line.
    """

    name: str
    calls: int
    failed_calls: int
    unfinished_calls: int
    timed_calls: int
    total_ms: int | None
    slowest_ms: int | None
    slowest_trace_id: str | None
    slowest_label: str | None


@dataclass(frozen=True, slots=True)
class FileTouched:
    """A file that the session read or changed.

    Attributes:
        path: Below the session's folder where it is there, else as recorded.
        edits: Calls that changed it, or tried to.
        failed_edits: Those that failed; they are not in the lines.
        reads: Calls that read it.
        snapshots: Steps after which OpenCode saw it changed, by whatever means.
        additions: Lines that calls asked to add, from their arguments. None: no call tells.
        deletions: Lines that calls asked to delete, alike.
        uncounted_edits: Edits that are not wholly in the lines: what a `write` replaced is not known, nor how often a
            text that was replaced everywhere occurred.
        first_trace_id: The first event about it in the timeline.
    """

    path: str
    edits: int
    failed_edits: int
    reads: int
    snapshots: int
    additions: int | None
    deletions: int | None
    uncounted_edits: int
    first_trace_id: str


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """All figures of a session.

    Attributes:
        context: By request. Requests whose usage is not known are left out.
        compactions: How often the context was summarised.
        exchanges: By number.
        tools: By total time, longest first.
        files: Most edits first; files that were only read last.
        recorded_additions: OpenCode's own count for the session; None: not recorded. So are the next two.
        cost_usd: Equal to `session_stats`. None: nothing recorded.
        unrecorded_messages: Requests whose cost is not recorded.
        missing_usage_messages: Requests whose usage is not known.
    """

    session_id: str
    context: list[ContextPoint]
    compactions: int
    tokens: TokenKinds
    cost_usd: Decimal | None
    unrecorded_messages: int
    missing_usage_messages: int
    exchanges: list[ExchangeCost]
    time: TimeSplit
    tools: list[ToolTime]
    files: list[FileTouched]
    recorded_additions: int | None
    recorded_deletions: int | None
    recorded_files: int | None


@dataclass(frozen=True, slots=True)
class _Totals:
    """The row of the session."""

    directory: str | None
    recorded_additions: int | None
    recorded_deletions: int | None
    recorded_files: int | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    cost_usd: Decimal | None
    unrecorded_messages: int
    missing_usage_messages: int


@dataclass(frozen=True, slots=True)
class _ExchangeRow:
    """An exchange as it is stored."""

    exchange_id: str
    number: int
    kind: str
    status: str
    started_at: datetime | None
    cost_usd: Decimal | None
    tokens: int
    is_fork_copy: bool


@dataclass(frozen=True, slots=True)
class _FileCall:
    """An event that names files."""

    trace_id: str
    kind: str
    name: str
    is_failed: bool
    arguments: str | None


@dataclass(slots=True)
class _FileCounts:
    """What is known of one file so far."""

    first_trace_id: str
    edits: int = 0
    failed_edits: int = 0
    reads: int = 0
    snapshots: int = 0
    uncounted_edits: int = 0
    additions: list[int | None] = field(default_factory=list)
    deletions: list[int | None] = field(default_factory=list)


def session_figures(con: duckdb.DuckDBPyConnection, session_id: str) -> SessionFigures | None:
    """Work out the figures of a session.

    Args:
        con: The index, open for reading.
        session_id: Any session.

    Returns:
        The figures. None if the index has no such session.
    """
    values = {"sessions": [session_id]}
    found = fetch_rows(con, _TOTALS, values, _Totals)
    if not found:
        return None
    totals, context = found[0], fetch_rows(con, _CONTEXT, values, ContextPoint)
    return SessionFigures(
        session_id=session_id,
        context=context,
        compactions=sum(point.is_compaction for point in context),
        tokens=TokenKinds(
            totals.input_tokens,
            totals.output_tokens,
            totals.reasoning_tokens,
            totals.cache_read_tokens,
            totals.cache_write_tokens,
            totals.total_tokens,
        ),
        cost_usd=totals.cost_usd,
        unrecorded_messages=totals.unrecorded_messages,
        missing_usage_messages=totals.missing_usage_messages,
        exchanges=_exchange_costs(con, session_id),
        time=time_split(con, session_id),
        tools=fetch_rows(con, _TOOLS, values, ToolTime),
        files=_files(fetch_rows(con, _FILES, values, _FileCall), totals.directory),
        recorded_additions=totals.recorded_additions,
        recorded_deletions=totals.recorded_deletions,
        recorded_files=totals.recorded_files,
    )


# --- cost of the exchanges


def _exchange_costs(con: duckdb.DuckDBPyConnection, session_id: str) -> list[ExchangeCost]:
    """List the exchanges with their costs, and those of the sessions that their calls ran first."""
    delegated = _delegated(con, session_id)
    labels = traced.exchange_labels(con, [session_id])
    return [
        ExchangeCost(
            exchange_id=row.exchange_id,
            number=row.number,
            kind=row.kind,
            status=row.status,
            label=labels.get(row.exchange_id, ""),
            started_at=row.started_at,
            cost_usd=row.cost_usd,
            tokens=row.tokens,
            delegated_tokens=delegated.get(row.exchange_id, (0, None))[0],
            delegated_cost_usd=delegated.get(row.exchange_id, (0, None))[1],
            is_fork_copy=row.is_fork_copy,
        )
        for row in fetch_rows(con, _EXCHANGES, {"sessions": [session_id]}, _ExchangeRow)
    ]


def _delegated(con: duckdb.DuckDBPyConnection, session_id: str) -> dict[str, tuple[int, Decimal | None]]:
    """Add up tokens and costs of the child sessions by the exchange that called them first."""
    nodes = [node for node in tree_below(con, session_id) if node.depth <= 1]
    calls = calls_of(con, [session_id])
    exchanges = {call.trace_id: call.exchange_id for call in calls}
    sums: dict[str, tuple[int, Decimal | None]] = {}
    for child in traced_sessions(con, nodes, calls)[1:]:
        if child.link == OK and child.delegating_trace_id is not None:
            exchange_id = exchanges[child.delegating_trace_id]
            tokens, cost_usd = sums.get(exchange_id, (0, None))
            if child.subtree_cost_usd is not None:
                cost_usd = child.subtree_cost_usd + (cost_usd or 0)
            sums[exchange_id] = (tokens + (child.subtree_tokens or 0), cost_usd)
    return sums


# --- time

Spans = npt.NDArray[np.int64]


def time_split(con: duckdb.DuckDBPyConnection, session_id: str) -> TimeSplit:
    """Split the time from the first to the last event of a session.

    Args:
        con: The index, open for reading.
        session_id: Any session; one that the index does not have took no time.
    """
    values = {"sessions": [session_id]}
    spans: dict[str, list[tuple[int, int]]] = {"exchange": [], "model": [], "tool": [], "delegation": []}
    open_ended = 0
    for what, start, end in con.execute(_SPANS, values).fetchall():
        if end is None:
            open_ended += what != "exchange"
        else:
            spans[what].append((start, end))
    edges = [edge for span in spans["exchange"] for edge in span]
    first, last = (min(edges), max(edges)) if edges else (0, 0)
    delegations, tools, model, asked = (
        np.clip(np.array(found, dtype=np.int64).reshape(-1, 2), first, last)
        for found in (
            spans["delegation"],
            spans["tool"] + spans["delegation"],
            spans["tool"] + spans["delegation"] + spans["model"],
            [span for found in spans.values() for span in found],
        )
    )
    in_tools, in_either, in_exchanges = _covered(tools), _covered(model), _covered(asked)
    return TimeSplit(
        model_ms=in_either - in_tools,
        tools_ms=in_tools,
        between_ms=last - first - in_exchanges,
        unknown_ms=in_exchanges - in_either,
        delegated_ms=_covered(delegations),
        wall_ms=last - first,
        open_ended=open_ended,
    )


def _covered(spans: Spans) -> int:
    """Measure what spans cover together, overlaps once.

    Args:
        spans: Start and end of each, one row a span. A span that ends before it starts covers nothing.
    """
    spans = spans[spans[:, 1] > spans[:, 0]]
    if not len(spans):
        return 0
    spans = spans[np.argsort(spans[:, 0])]
    ends = np.maximum.accumulate(spans[:, 1])
    gaps = np.maximum(spans[1:, 0] - ends[:-1], 0)
    return int(ends[-1] - spans[0, 0] - gaps.sum())


# --- files


def _files(calls: Sequence[_FileCall], directory: str | None) -> list[FileTouched]:
    """Count what happened to each file.

    Args:
        calls: Events that name files, in order.
        directory: Of the session.
    """
    counts: dict[str, _FileCounts] = {}
    for call in calls:
        if call.kind == "patch":
            for path in edits.patched_paths(call.arguments):
                _counts(counts, path, directory, call).snapshots += 1
        elif call.name in edits.READ_TOOLS:
            for path in edits.paths(call.name, call.arguments):
                _counts(counts, path, directory, call).reads += 1
        else:
            _count_edits(counts, call, directory)
    rows = [
        FileTouched(
            path=path,
            edits=each.edits,
            failed_edits=each.failed_edits,
            reads=each.reads,
            snapshots=each.snapshots,
            additions=_sum(each.additions),
            deletions=_sum(each.deletions),
            uncounted_edits=each.uncounted_edits,
            first_trace_id=each.first_trace_id,
        )
        for path, each in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row.edits, -row.snapshots, -row.reads, row.path))


def _count_edits(counts: dict[str, _FileCounts], call: _FileCall, directory: str | None) -> None:
    """Count one call that edits files; a failed one changed nothing."""
    for path in edits.paths(call.name, call.arguments):
        found = _counts(counts, path, directory, call)
        found.edits += 1
        found.failed_edits += call.is_failed
    if not call.is_failed:
        for diff in edits.diffs(call.name, call.arguments, with_text=False):
            found = _counts(counts, diff.path, directory, call)
            found.additions.append(diff.additions)
            found.deletions.append(diff.deletions)
            found.uncounted_edits += diff.additions is None or diff.deletions is None


def _counts(counts: dict[str, _FileCounts], path: str, directory: str | None, call: _FileCall) -> _FileCounts:
    """Find the counts of a file, under one name however calls write it."""
    if directory:
        whole = posixpath.normpath(posixpath.join(directory, path))
        inside = f"{directory.rstrip('/')}/"
        path = whole[len(inside) :] if whole.startswith(inside) else whole
    return counts.setdefault(path, _FileCounts(call.trace_id))


def _sum(lines: Sequence[int | None]) -> int | None:
    """Add up the lines that are known; None if none are."""
    known = [count for count in lines if count is not None]
    return sum(known) if known else None


_IN = traced.IN_SESSIONS

_TOTALS = f"""
    WITH {code_changes.recorded("session_id = $sessions[1]")}
    SELECT directory, recorded.additions AS recorded_additions, recorded.deletions AS recorded_deletions,
           recorded.files_changed AS recorded_files,
           coalesce(input_tokens, 0) AS input_tokens, coalesce(output_tokens, 0) AS output_tokens,
           coalesce(reasoning_tokens, 0) AS reasoning_tokens, coalesce(cache_read_tokens, 0) AS cache_read_tokens,
           coalesce(cache_write_tokens, 0) AS cache_write_tokens, coalesce(total_tokens, 0) AS total_tokens,
           cost_recorded_usd AS cost_usd, coalesce(unrecorded_messages, 0) AS unrecorded_messages,
           coalesce(missing_usage_messages, 0) AS missing_usage_messages
    FROM sessions LEFT JOIN session_stats USING (session_id) LEFT JOIN recorded USING (session_id)
    WHERE session_id = $sessions[1]
"""

_EXCHANGES = f"""
    SELECT exchange_id, number, kind, status, started_at, cost_recorded_usd AS cost_usd, total_tokens AS tokens,
           is_fork_copy
    FROM exchanges WHERE {_IN}
    ORDER BY number
"""

# Steps have the counters; where a message lost those of its steps, its own count for the last of them. In the third
# generation a compaction is a request of its own.
_CONTEXT = f"""
    WITH steps AS (
        SELECT *, count(input_tokens) OVER (PARTITION BY message_id) AS counted,
               row_number() OVER (PARTITION BY message_id ORDER BY position DESC) AS from_last
        FROM exchange_traces
        WHERE {_IN} AND (kind = 'step' OR (kind = 'compaction' AND input_tokens IS NOT NULL))
    ),
    own AS (SELECT * FROM messages WHERE {_IN} AND has_usage AND NOT is_usage_missing),
    numbers AS (SELECT exchange_id, number AS exchange FROM exchanges WHERE {_IN}),
    requests AS (
        SELECT steps.trace_id, exchange, steps.position, coalesce(steps.started_at, own.created_at) AS at,
               coalesce(steps.input_tokens, own.input_tokens) AS input_tokens,
               coalesce(steps.cache_read_tokens, own.cache_read_tokens) AS cache_read_tokens,
               coalesce(steps.cache_write_tokens, own.cache_write_tokens) AS cache_write_tokens,
               coalesce(steps.output_tokens, own.output_tokens) AS output_tokens,
               coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown') AS model,
               is_summary AS is_compaction, is_fork_copy
        FROM steps JOIN own USING (message_id) JOIN numbers USING (exchange_id)
        WHERE steps.input_tokens IS NOT NULL OR (counted = 0 AND from_last = 1)
    )
    SELECT * EXCLUDE (position), row_number() OVER (ORDER BY position) AS number,
           input_tokens + cache_read_tokens + cache_write_tokens AS context_tokens
    FROM requests
    ORDER BY number
"""

_SPANS = f"""
    SELECT what, epoch_ms(started_at) AS start_ms, epoch_ms(ended_at) AS end_ms
    FROM (
        SELECT 'exchange' AS what, started_at, coalesce(ended_at, started_at) AS ended_at FROM exchanges WHERE {_IN}
        UNION ALL
        SELECT 'model', created_at, completed_at FROM messages WHERE {_IN} AND role = 'assistant'
        UNION ALL
        SELECT kind, started_at, ended_at FROM exchange_traces
        WHERE {_IN} AND {traced.IS_CALL}
    )
    WHERE started_at IS NOT NULL
"""

# Clocks that went backwards measure nothing.
_TOOLS = f"""
    WITH calls AS (
        SELECT *, if(ended_at >= started_at AND NOT is_unfinished,
                     date_diff('millisecond', started_at, ended_at), NULL) AS ms
        FROM exchange_traces
        WHERE {_IN} AND {traced.IS_CALL}
    ),
    grouped AS (
        SELECT name, count(*) AS calls, count(*) FILTER (is_failed) AS failed_calls,
               count(*) FILTER (is_unfinished) AS unfinished_calls, count(ms) AS timed_calls,
               sum(ms)::BIGINT AS total_ms, max(ms) AS slowest_ms,
               arg_min(trace_id, (-ms, position)) FILTER (ms IS NOT NULL) AS slowest_trace_id,
               arg_min_null(title, (-ms, position)) FILTER (ms IS NOT NULL) AS title
        FROM calls GROUP BY name
    ),
    given AS (SELECT part_id, left(input, 2000) AS input_start FROM part_bodies WHERE {_IN}),
    worded AS (
        SELECT grouped.*, {traced.call_words("name", "title", "input_start")} AS words
        FROM grouped LEFT JOIN given ON part_id = slowest_trace_id
    )
    SELECT * EXCLUDE (title, words), {traced.one_line("words")} AS slowest_label
    FROM worded
    ORDER BY total_ms DESC NULLS LAST, calls DESC, name
"""

_NAMED = ", ".join(f"'{tool}'" for tool in (*edits.EDIT_TOOLS, *edits.READ_TOOLS))

_FILES = f"""
    SELECT trace_id, kind, name, is_failed, input AS arguments
    FROM (SELECT * FROM exchange_traces WHERE {_IN} AND (kind = 'patch' OR name IN ({_NAMED})))
         JOIN (SELECT part_id AS trace_id, input FROM part_bodies WHERE {_IN}) USING (trace_id)
    ORDER BY position
"""
