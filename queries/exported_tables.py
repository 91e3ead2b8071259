"""What exported tables hold whose columns are not simply the fields of their rows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from queries.costs import TIME_GROUPINGS, CostRow, per_session
from queries.table_files import Kind, Table

if TYPE_CHECKING:  # only rows are read: a report in the terminal runs none of these queries
    from queries.activity import WeekHour
    from queries.errors import ErrorEvent
    from queries.indexing import DocumentProblem
    from queries.overview import Activity
    from queries.sessions import SessionDetail, SessionModel, SessionRow
    from queries.tools import ToolSpeed

_TOKENS: dict[str, Kind] = dict.fromkeys(
    ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens", "total_tokens"),
    int,
)

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def costs(rows: Sequence[CostRow], by: str, basis: str, tz: str, names: Mapping[str, str]) -> Table:
    """Return the Costs table.

    Args:
        rows: All rows of the grouping.
        by: The grouping; names the first column.
        basis: What the share goes by.
        tz: Where days are cut; a column of the groupings by time.
        names: What to call a key that has no label of its own.
    """
    is_time, has_label = by in TIME_GROUPINGS, by in ("project", "session")
    key = {"project": "project_id", "session": "session_id"}.get(by, by)
    label = {"project": "project", "session": "title"}.get(by, by)
    columns: dict[str, Kind] = {
        **dict.fromkeys([key, label] if has_label else [key], str),
        **({"tz": str} if is_time else {}),
        "cost_recorded_usd": Decimal,
        "cost_list_usd": Decimal,
        f"cost_{basis}_share": float,
        "sessions": int,
        "cost_recorded_usd_per_session": Decimal,
        "cost_list_usd_per_session": Decimal,
        "messages": int,
        **_TOKENS,
        "errors": int,
        "unrecorded_messages": int,
        "missing_usage_messages": int,
        "unpriced_messages": int,
    }
    return Table(
        columns,
        [
            [
                *(
                    [row.key, row.label or names.get(row.key or "")]
                    if has_label
                    else ["unknown time" if row.key is None else row.key]
                ),
                *([tz] if is_time else []),
                *(row.cost_recorded_usd, row.cost_list_usd, row.share, row.sessions),
                *(per_session(cost, row.sessions) for cost in (row.cost_recorded_usd, row.cost_list_usd)),
                row.messages,
                *(row.input_tokens, row.output_tokens, row.reasoning_tokens),
                *(row.cache_read_tokens, row.cache_write_tokens, row.total_tokens),
                *(row.errors, row.unrecorded_messages, row.missing_usage_messages, row.unpriced_messages),
            ]
            for row in rows
        ],
        tz,
    )


def sessions(rows: "Sequence[SessionRow]", tz: str) -> Table:
    """Return the Sessions table.

    Args:
        rows: All rows of the list.
        tz: Zone of the times.
    """
    flags = ("is_child", "is_deleted", "is_archived", "is_missing_in_newer", "has_no_session_document")
    columns: dict[str, Kind] = {
        **dict.fromkeys(("session_id", "title", "agent", "model", "project_id", "project"), str),
        **dict.fromkeys(("started_at", "last_active_at"), datetime),
        "tz": str,
        **dict.fromkeys(("active_ms", "exchanges", "tool_calls", "errors", "total_tokens"), int),
        "cost_recorded_usd": Decimal,
        "session_total_tokens": int,
        "session_cost_recorded_usd": Decimal,
        **dict.fromkeys(("inherited_total_tokens", "child_sessions", "fork_copies"), int),
        **dict.fromkeys(flags, bool),
        "match": str,
    }
    zone = ZoneInfo(tz)
    return Table(
        columns,
        [
            [
                *(row.session_id, row.title, row.agent, row.model, row.project_id, row.project_name),
                *(zoned(row.started_utc, zone), zoned(row.last_active_utc, zone)),
                *(tz, row.active_ms, row.exchanges, row.tool_calls, row.errors),
                *(row.total_tokens, row.cost_recorded_usd, row.session_tokens, row.session_cost_usd),
                *(row.inherited_tokens, row.children, row.fork_copies, row.is_child, row.is_deleted),
                *(row.is_archived, row.is_missing_in_newer, row.is_placeholder),
                f"{row.hit_place}: {row.hit}" if row.hit else None,
            ]
            for row in rows
        ],
        tz,
    )


def hours(rows: "Sequence[WeekHour]", tz: str) -> Table:
    """Return the hours of the week.

    Args:
        rows: All of them.
        tz: Zone of the clock.
    """
    columns: dict[str, Kind] = {
        "weekday": str,
        "hour": int,
        "tz": str,
        **dict.fromkeys(("messages", "total_tokens"), int),
        **dict.fromkeys(("cost_recorded_usd", "cost_list_usd"), Decimal),
    }
    return Table(
        columns,
        [
            [
                *(_WEEKDAYS[row.weekday], row.hour, tz, row.messages, row.total_tokens),
                *(row.cost_recorded_usd, row.cost_list_usd),
            ]
            for row in rows
        ],
        tz,
    )


def agents(rows: "Sequence[Activity]") -> Table:
    """Return what each agent did, and how much of it failed."""
    counts = ("answers", "failed_answers", "aborted_answers", "unfinished_answers", "calls", "failed_calls", "errors")
    columns: dict[str, Kind] = {
        "agent": str,
        "cost_recorded_usd": Decimal,
        **dict.fromkeys(("total_tokens", "sessions", "child_sessions", *counts), int),
        "error_share": float,
    }
    return Table(
        columns,
        [
            [
                *(row.agent, row.cost_recorded_usd, row.total_tokens, row.sessions, row.child_sessions),
                *(row.answers, row.failed_answers, row.aborted_answers, row.unfinished_answers),
                *(row.calls, row.failed_calls, row.errors, row.error_rate),
            ]
            for row in rows
        ],
    )


def tools(rows: "Sequence[ToolSpeed]") -> Table:
    """Return how fast tools are and how often they fail."""
    columns: dict[str, Kind] = {
        "tool": str,
        "calls": int,
        "failed_calls": int,
        "failed_share": float,
        "unfinished_calls": int,
        "timed_calls": int,
        "p95_ms": float,
    }
    return Table(
        columns,
        [
            [
                *(row.tool_name, row.calls, row.failed_calls, row.failed_share),
                *(row.unfinished_calls, row.timed_calls, row.p95_ms),
            ]
            for row in rows
        ],
    )


def errors(rows: "Sequence[ErrorEvent]", tz: str) -> Table:
    """Return what failed.

    Args:
        rows: All of it.
        tz: Zone of the times.
    """
    columns: dict[str, Kind] = {
        "occurred_at": datetime,
        "tz": str,
        **dict.fromkeys(("kind", "name", "exit_code", "message", "session_id", "session", "error_id"), str),
    }
    zone = ZoneInfo(tz)
    return Table(
        columns,
        [
            [
                *(zoned(row.occurred_at, zone), tz, "tool call" if row.is_call else "answer"),
                *(row.name, row.exit_code, row.message, row.session_id, row.session_title, row.error_id),
            ]
            for row in rows
        ],
        tz,
    )


def problems(rows: "Sequence[DocumentProblem]", tz: str) -> Table:
    """Return the documents that could not be read in full.

    Args:
        rows: All of them.
        tz: Zone of the times.
    """
    columns: dict[str, Kind] = {
        **dict.fromkeys(("document", "kind", "source", "state", "reason"), str),
        "size_bytes": int,
        "first_seen_at": datetime,
        "last_seen_at": datetime,
    }
    zone = ZoneInfo(tz)
    return Table(
        columns,
        [
            [
                *(row.key, row.kind, row.source_path, row.state, row.reason, row.size_bytes),
                *(zoned(row.first_seen_at, zone), zoned(row.last_seen_at, zone)),
            ]
            for row in rows
        ],
        tz,
    )


def session_models(rows: "Sequence[SessionModel]", session_id: str) -> Table:
    """Return what each agent of a session used on each model."""
    columns: dict[str, Kind] = {
        "session_id": str,
        "agent": str,
        "model": str,
        "messages": int,
        "cost_recorded_usd": Decimal,
        **_TOKENS,
    }
    return Table(
        columns,
        [
            [
                *(session_id, row.agent, row.model, row.messages, row.cost_recorded_usd, row.input_tokens),
                *(row.output_tokens, row.reasoning_tokens, row.cache_read_tokens, row.cache_write_tokens),
                row.total_tokens,
            ]
            for row in rows
        ],
    )


def session_numbers(detail: "SessionDetail") -> Table:
    """Return what a session used: of its own, copied from the session it was forked from, with child sessions."""
    columns: dict[str, Kind] = {"session_id": str, "of": str, "cost_recorded_usd": Decimal, **_TOKENS}
    return Table(
        columns,
        [
            [
                *(detail.session_id, of, getattr(detail, f"{prefix}cost_recorded_usd")),
                *(getattr(detail, f"{prefix}{counter}") for counter in _TOKENS),
            ]
            for of, prefix in (("own", ""), ("inherited", "inherited_"), ("with child sessions", "subtree_"))
        ],
    )


def zoned(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return a naive UTC time in a zone."""
    return None if at is None else at.replace(tzinfo=UTC).astimezone(zone)
