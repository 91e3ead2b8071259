"""Tables as CSV: every row, full precision, safe to open in a spreadsheet."""

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import duckdb

from queries.costs import TIME_GROUPINGS, CostRow
from queries.errors import ErrorEvent
from queries.failures import FailurePoint
from queries.indexing import DocumentProblem
from queries.period import Period, Scope, local_day
from queries.sessions import SessionModel, SessionRow
from queries.tool_reports import LatencyPoint
from queries.tools import ToolSpeed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger(__name__)

Cell = str | int | float | bool | Decimal | datetime | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text(cell: Cell) -> str:
    """Write one cell. Text that a spreadsheet would take for a formula gets a leading quote; numbers never do."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case Decimal():
            return f"{cell:f}"
        case datetime():
            return cell.isoformat(timespec="milliseconds")
        case str():
            # A lone surrogate cannot be written as UTF-8.
            clean = cell.encode("utf-8", "replace").decode("utf-8")
            return f"'{clean}" if clean.startswith(_FORMULA) else clean
        case _:
            return repr(cell)


def csv_bytes(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bytes:
    """Write a table: UTF-8 with byte order mark, LF, quoted as RFC 4180 says."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows([text(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def safely(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """Wrap a download so that it never raises: the browser would then show nothing at all.

    Args:
        make: Makes the file.

    Returns:
        The same, or a one-line file that says what went wrong.
    """

    def download() -> bytes:
        """Make the file."""
        try:
            return make()
        except LookupError as error:  # of `data.source`: the index is gone
            log.warning("download failed: the index is unavailable")
            return csv_bytes(["error"], [[str(error)]])
        except (duckdb.Error, ValueError, OSError, MemoryError) as error:
            log.exception("download failed")
            return csv_bytes(
                ["error"], [[f"The export failed ({type(error).__name__}). Reload the page and try again."]]
            )

    return download


def costs_csv(rows: Sequence[CostRow], by: str, tz: str, names: Mapping[str, str]) -> bytes:
    """Write the Costs table.

    Args:
        rows: All rows of the grouping.
        by: The grouping; names the first column.
        tz: Where days are cut; a column of the groupings by time.
        names: What to call a key that has no label of its own.
    """
    is_time, has_label = by in TIME_GROUPINGS, by in ("project", "session")
    key = {"project": "project_id", "session": "session_id"}.get(by, by)
    label = {"project": "project", "session": "title"}.get(by, by)
    header = [
        *([key, label] if has_label else [key]),
        *(["tz"] if is_time else []),
        *("cost_recorded_usd", "cost_share", "sessions", "cost_recorded_usd_per_session", "messages"),
        *("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"),
        *("total_tokens", "errors", "unrecorded_messages", "missing_usage_messages"),
    ]
    return csv_bytes(
        header,
        [
            [
                *(
                    [row.key, row.label or names.get(row.key or "")]
                    if has_label
                    else ["unknown time" if row.key is None else row.key]
                ),
                *([tz] if is_time else []),
                *(row.cost_recorded_usd, row.share, row.sessions, row.cost_per_session_usd, row.messages),
                *(row.input_tokens, row.output_tokens, row.reasoning_tokens),
                *(row.cache_read_tokens, row.cache_write_tokens, row.total_tokens),
                *(row.errors, row.unrecorded_messages, row.missing_usage_messages),
            ]
            for row in rows
        ],
    )


def sessions_csv(rows: Sequence[SessionRow], tz: str) -> bytes:
    """Write the Sessions table.

    Args:
        rows: All rows of the list.
        tz: Zone of the times.
    """
    zone = ZoneInfo(tz)
    header = [
        *("session_id", "title", "agent", "model", "project_id", "project", "started_at", "tz", "active_ms"),
        *("exchanges", "tool_calls", "errors", "total_tokens", "cost_recorded_usd"),
        *("session_total_tokens", "session_cost_recorded_usd", "inherited_total_tokens", "child_sessions"),
        *("fork_copies", "is_child", "is_deleted", "is_archived", "is_missing_in_newer", "has_no_session_document"),
        "match",
    ]
    return csv_bytes(
        header,
        [
            [
                *(row.session_id, row.title, row.agent, row.model, row.project_id, row.project_name),
                row.started_utc.replace(tzinfo=UTC).astimezone(zone) if row.started_utc else None,
                *(tz, row.active_ms, row.exchanges, row.tool_calls, row.errors),
                *(row.total_tokens, row.cost_recorded_usd, row.session_tokens, row.session_cost_usd),
                *(row.inherited_tokens, row.children, row.fork_copies, row.is_child, row.is_deleted),
                *(row.is_archived, row.is_missing_in_newer, row.is_placeholder),
                f"{row.hit_place}: {row.hit}" if row.hit else None,
            ]
            for row in rows
        ],
    )


def tools_csv(rows: Sequence[ToolSpeed]) -> bytes:
    """Write how fast tools are and how often they fail."""
    return csv_bytes(
        ["tool", "calls", "failed_calls", "failed_share", "unfinished_calls", "timed_calls", "p95_ms"],
        [
            [
                *(row.tool_name, row.calls, row.failed_calls, row.failed_share),
                *(row.unfinished_calls, row.timed_calls, row.p95_ms),
            ]
            for row in rows
        ],
    )


def errors_csv(rows: Sequence[ErrorEvent], tz: str) -> bytes:
    """Write what failed.

    Args:
        rows: All of it.
        tz: Zone of the times.
    """
    zone = ZoneInfo(tz)
    return csv_bytes(
        ["occurred_at", "tz", "kind", "name", "exit_code", "message", "session_id", "session", "error_id"],
        [
            [
                row.occurred_at.replace(tzinfo=UTC).astimezone(zone) if row.occurred_at else None,
                *(tz, "tool call" if row.is_call else "answer", row.name, row.exit_code, row.message),
                *(row.session_id, row.session_title, row.error_id),
            ]
            for row in rows
        ],
    )


def problems_csv(rows: Sequence[DocumentProblem], tz: str) -> bytes:
    """Write the documents that could not be read in full.

    Args:
        rows: All of them.
        tz: Zone of the times.
    """
    zone = ZoneInfo(tz)
    return csv_bytes(
        ["document", "kind", "source", "state", "reason", "size_bytes", "first_seen_at", "last_seen_at"],
        [
            [
                *(row.key, row.kind, row.source_path, row.state, row.reason, row.size_bytes),
                *(at.replace(tzinfo=UTC).astimezone(zone) for at in (row.first_seen_at, row.last_seen_at)),
            ]
            for row in rows
        ],
    )


def file_name(table: str, scope: Scope, first: datetime | None = None, last: datetime | None = None) -> str:
    """Name a file: `opencode-costs_by-model_2026-10-20_2026-11-18_agent-build.csv`, ASCII, 120 characters at most.

    Args:
        table: What it holds.
        scope: The filters.
        first: Time of the first row, naive UTC: where the period is open.
        last: Time of the last row, alike.
    """
    filters = [
        *(f"agent-{name}" for name in scope.agents),
        *(f"model-{name}" for name in scope.models),
        *(f"project-{name[:8]}" for name in scope.projects),
        *([f"text-{scope.text}"] if scope.text else []),
    ]
    days = [_days(scope.period, first, last, scope.tz)]
    stem = "_".join(_plain(word) for word in [f"opencode-{table}", *days, *filters] if word)
    return f"{stem[:116].rstrip('_-')}.csv"


def _days(period: Period, first: datetime | None, last: datetime | None, tz: str) -> str:
    """Write the first and last local day of a period, as far as they are known."""
    start = period.start or first
    end = period.end - timedelta(microseconds=1) if period.end else last
    return "_".join(local_day(at, tz).isoformat() for at in (start, end) if at)


def _plain(word: str) -> str:
    """Keep what every file system takes."""
    ascii_word = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_word).strip("-.")


def session_models_csv(rows: Sequence[SessionModel], session_id: str) -> bytes:
    """Write what each agent of a session used on each model."""
    header = [
        *("session_id", "agent", "model", "messages", "cost_recorded_usd", "input_tokens", "output_tokens"),
        *("reasoning_tokens", "cache_read_tokens", "cache_write_tokens", "total_tokens"),
    ]
    return csv_bytes(
        header,
        [
            [
                *(session_id, row.agent, row.model, row.messages, row.cost_recorded_usd, row.input_tokens),
                *(row.output_tokens, row.reasoning_tokens, row.cache_read_tokens, row.cache_write_tokens),
                row.total_tokens,
            ]
            for row in rows
        ],
    )


def rows_csv(rows: Sequence["DataclassInstance"], tz: str, derived: Sequence[str] = ()) -> bytes:
    """Write rows as they are: their fields are the columns, those of a dataclass inside them too.

    Args:
        rows: Of one dataclass. Times are naive UTC; several values of one field are divided by blanks.
        tz: Zone that times are written in.
        derived: Properties of the rows that are columns, too, after all fields.
    """
    zone = ZoneInfo(tz)
    found = [{**dict(_flat(row, zone)), **{name: getattr(row, name) for name in derived}} for row in rows]
    return csv_bytes(list(found[0]) if found else [], [list(row.values()) for row in found])


def course_csv(rows: Sequence[FailurePoint] | Sequence[LatencyPoint], step: str, tz: str) -> bytes:
    """Write a course over time: the start of each step, the zone it is local to, then the other fields.

    Args:
        rows: Their times are local.
        step: hour, day, week or month; names the first column.
        tz: The zone.
    """
    zone = ZoneInfo(tz)
    found = []
    for row in rows:
        start = row.step_at.replace(tzinfo=zone) if step == "hour" else row.step_at.date().isoformat()
        others = {name: cell for name, cell in _flat(row, zone) if name != "step_at"}
        found.append({step: start, "tz": tz, **others})
    return csv_bytes(list(found[0]) if found else [], [list(row.values()) for row in found])


def _flat(row: "DataclassInstance", zone: ZoneInfo) -> Iterator[tuple[str, Cell]]:
    """Write every value of a row: the name of its field, and its cell."""
    for field in fields(row):
        match getattr(row, field.name):
            case datetime() as at:
                yield field.name, at.replace(tzinfo=UTC).astimezone(zone)
            case tuple() as several:
                yield field.name, " ".join(map(str, several))
            case str() | int() | float() | Decimal() | None as plain:
                yield field.name, plain
            case inner:
                yield from _flat(inner, zone)


def plain_name(stem: str) -> str:
    """Name a file: ASCII, 120 characters at most."""
    return f"{_plain(stem)[:116]}.csv"
