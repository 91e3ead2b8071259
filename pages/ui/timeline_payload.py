"""Rows of the timeline's queries in, the shapes that the components take out. Pure; numbers stay raw."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pyarrow as pa

from pages.ui import display, trace_viewer
from queries import timeline, waste
from queries.timeline import Timeline, TracedExchange
from queries.traced_sessions import TracedSession
from queries.transcript import Piece
from queries.waste import Finding, WasteReport

_EPOCH = datetime(1970, 1, 1)
_STATUS = {"answered": "ok", "unanswered": "unknown"}
_MARKS = {waste.LOOP: "loop", waste.EDIT_FAIL_EDIT: "edit", waste.FAILED: "ended", waste.ABORTED: "ended"}
# What of an event's flags is known of a piece: which are waste, the waterfall says.
_FLAGS = (
    ("is_fork_copy", timeline.FORK_COPY),
    ("is_deleted", timeline.DELETED),
    ("is_clock_backwards", timeline.CLOCK_BACKWARDS),
)
_NAMED_BY_LABEL = ("tool", "delegation", "patch", "other")  # where OpenCode has no title, as of calls that failed


def viewer(
    found: Timeline, report: WasteReport, version: str, opened: trace_viewer.Opened, tz: str, is_running: bool
) -> trace_viewer.ViewerPayload:
    """Make what the waterfall gets.

    Args:
        found: The session and everything below it.
        report: What was spent for nothing in it.
        version: Names this state of the data.
        opened: What the address asks for.
        tz: Zone of the viewer.
        is_running: Whether the session still works.
    """
    session_id = found.head.session_id
    return {
        "view": session_id,
        "version": version,
        "link": f"/timeline?{urlencode({'session': session_id})}",
        "head": {
            "session_id": session_id,
            "title": found.head.title,
            "origin_ms": _since(found.origin_at, _EPOCH),
            "tz": tz,
            "is_running": is_running,
            "is_partial": is_partial(found.marker),
        },
        "opened": opened,
        "sessions": sessions(found.sessions, found.origin_at, is_running),
        "marks": marks(report),
        "events": trace_viewer.events_frame(found.events),
        "exchanges": trace_viewer.exchanges_frame(
            [{**_exchange(row, ""), "session": row.session} for row in found.exchanges]
        ),
    }


def growth(
    grown: timeline.Growth, version: str, serial: int, report: WasteReport, is_running: bool
) -> trace_viewer.Growth:
    """Make what the waterfall gains.

    Args:
        grown: Everything since the viewer's payload was made.
        version: Of the viewer's payload.
        serial: Counts up with every newer growth.
        report: All waste as it is now.
        is_running: Whether the session still works.
    """
    return {
        "serial": serial,
        "version": version,
        "events": [_event(row, grown.exchanges[row["exchange"]].exchange_id) for row in grown.events.to_pylist()],
        "exchanges": [_exchange(row, grown.sessions[row.session].session_id) for row in grown.exchanges],
        "sessions": sessions(grown.sessions, grown.marker.origin_at, is_running),
        "marks": marks(report),
        "is_running": is_running,
    }


def is_partial(marker: timeline.Marker) -> bool:
    """Tell whether a session has too many events to be drawn whole."""
    return not marker.has_events


def opened_events(
    grown: trace_viewer.Growth | None, events: pa.Table, exchange_id: str, version: str, serial: int, is_running: bool
) -> trace_viewer.Growth:
    """Make what the waterfall of a very large session gets of the exchange that is open.

    Args:
        grown: What else it gains. None: nothing.
        events: Those of the exchange, as `timeline.events_of` returns them.
        exchange_id: The exchange.
        version: Of the viewer's payload.
        serial: Counts up with everything that is newer or of another exchange.
        is_running: Whether the session still works.
    """
    empty: trace_viewer.Growth = {
        "serial": serial,
        "version": version,
        "events": [],
        "exchanges": [],
        "sessions": [],
        "marks": None,
        "is_running": is_running,
    }
    return {**(grown or empty), "serial": serial, "events": [_event(row, exchange_id) for row in events.to_pylist()]}


def sessions(
    rows: Sequence[TracedSession], origin_at: datetime | None, is_running: bool
) -> list[trace_viewer.SessionRow]:
    """Make the list of the tree's sessions.

    Args:
        rows: The sessions.
        origin_at: What times count from.
        is_running: Whether the tree still works: what has no end is then running, else it was cut off.
    """
    return [
        {
            "session_id": row.session_id,
            "parent": -1 if row.parent is None else row.parent,
            "depth": row.depth,
            "title": row.title,
            "agent": row.agent,
            "model": row.model,
            "event": row.delegating_trace_id,
            "link": row.link,
            "status": status(row.status, is_running),
            "started_ms": _since(row.started_at, origin_at),
            "ended_ms": _since(row.ended_at, origin_at),
            "own_tokens": row.own_tokens,
            "own_cost_usd": _usd(row.own_cost_usd),
            "subtree_tokens": row.subtree_tokens,
            "subtree_cost_usd": _usd(row.subtree_cost_usd),
            "is_deleted": row.is_deleted,
        }
        for row in rows
    ]


def status(of_exchange: str | None, is_running: bool) -> str:
    """Say how a session stands, from how its last exchange ended (None: it has none)."""
    if of_exchange == "unfinished" and is_running:
        return "running"
    return _STATUS.get(of_exchange or "unanswered", of_exchange or "unknown")


def marks(report: WasteReport) -> list[trace_viewer.MarkRow]:
    """Make the marks on the waterfall."""
    return [
        {
            "kind": _MARKS[each.finding.category],
            "exchange_id": each.finding.exchange_id,
            "events": list(each.finding.trace_ids),
            "text": sentence(each.finding),
            "tokens": each.tokens,
            "cost_usd": _usd(each.cost_usd),
        }
        for each in report.findings
    ]


def sentence(found: Finding) -> str:
    """Say in one sentence what was spent for nothing. Plain text."""
    name = display.one_line(found.name, 80)
    match found.category:
        case waste.LOOP:
            return f"{name} with the same arguments {found.count} times"
        case waste.EDIT_FAIL_EDIT:
            return f"{name} edited {found.count} times, with a failure between"
        case waste.ABORTED:
            return "The exchange was cut short"
        case _:
            return f"The exchange failed: {name}"


def pieces(rows: Sequence[Piece], origin_at: datetime | None) -> list[trace_viewer.PieceRow]:
    """Make the transcript of one exchange.

    Args:
        rows: Its pieces; those asked for as a whole are whole.
        origin_at: What times count from.
    """
    return [_piece(row, origin_at) for row in rows]


def _piece(row: Piece, origin_at: datetime | None) -> trace_viewer.PieceRow:
    """Make one piece."""
    ids = (("Part", row.part_id), ("Message", row.message_id), ("Call", row.call_id), ("Session", row.session_id))
    return {
        "id": row.trace_id,
        "kind": row.kind,
        "name": row.name,
        "title": row.title or (row.label if row.kind in _NAMED_BY_LABEL else None),
        "status": row.status,
        "text": row.text if row.exit_code is None else _ended(row),
        "text_bytes": row.text_bytes,
        "input": row.input_json,
        "input_bytes": row.input_bytes,
        "output": row.output,
        "output_bytes": row.output_bytes,
        "is_cut": row.is_cut,
        "is_lost": row.is_shortened,
        "diff": "\n".join(f"Index: {diff.path}\n{diff.text}" for diff in row.diffs) or None,
        "is_diff_cut": any(diff.is_cut for diff in row.diffs),
        "attachments": [
            {"name": each.name, "mime": each.mime, "size_bytes": each.size_bytes} for each in row.attachments
        ],
        "tokens": _tokens(row),
        "cost_usd": _usd(row.cost_usd),
        "start_ms": _since(row.started_at, origin_at),
        "end_ms": _since(row.ended_at, origin_at),
        "child_session_id": row.child_session_id,
        "flags": sum(bit for name, bit in _FLAGS if getattr(row, name)),
        "ids": [{"label": label, "value": value} for label, value in ids if value],
    }


def _ended(row: Piece) -> str:
    """Say how a program ended, before what else is said about it."""
    how = "Stopped: there is no exit code" if row.exit_code == "none" else f"Exit code {row.exit_code}"
    return f"{how}\n{row.text}" if row.text else how


def _tokens(row: Piece) -> dict[str, int | None] | None:
    """Return the counters of a step, as far as it has them; None for anything else."""
    if row.tokens is None:
        return None
    return {
        "input": row.input_tokens,
        "output": row.output_tokens,
        "reasoning": row.reasoning_tokens,
        "cache_read": row.cache_read_tokens,
        "cache_write": row.cache_write_tokens,
        "total": row.tokens,
    }


def _event(row: dict, exchange_id: str) -> trace_viewer.GrowthEvent:
    """Make one new or changed event."""
    return {
        "id": row["id"],
        "exchange_id": exchange_id,
        "parent_id": row["parent_id"],
        "kind": row["kind"],
        "name": row["name"],
        "label": row["label"],
        "start_ms": row["start_ms"],
        "end_ms": row["end_ms"],
        "status": row["status"],
        "tokens": row["tokens"],
        "cost_usd": row["cost_usd"],
        "flags": row["flags"],
    }


def _exchange(row: TracedExchange, session_id: str) -> trace_viewer.GrowthExchange:
    """Make one exchange."""
    return {
        "id": row.exchange_id,
        "session_id": session_id,
        "number": row.number,
        "kind": row.kind,
        "status": row.status,
        "start_ms": row.start_ms,
        "end_ms": row.end_ms,
        "tools": row.tools,
        "delegations": row.delegations,
        "steps": row.steps,
        "errors": row.errors,
        "tokens": row.tokens,
        "cost_usd": _usd(row.cost_usd),
        "is_fork_copy": row.is_fork_copy,
        "label": row.label,
    }


def _since(at: datetime | None, origin_at: datetime | None) -> float | None:
    """Return the milliseconds from one moment to another. None if one of them is not known."""
    return None if at is None or origin_at is None else (at - origin_at) / timedelta(milliseconds=1)


def _usd(cost: Decimal | None) -> float | None:
    """Return a cost for showing only: sums are made in SQL, as decimals."""
    return None if cost is None else float(cost)
