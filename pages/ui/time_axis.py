"""The time axis of a chart: what it spans, and the finest step that it can be drawn in."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from pages.ui import charts, data
from queries.period import Scope

TimedPoint = TypeVar("TimedPoint", bound=charts.Timed)
Span = tuple[datetime | None, datetime | None]


def follow(
    ask: Callable[[str], list[TimedPoint]],
    is_drawable: Callable[[Sequence[TimedPoint]], bool],
    scope: Scope,
    known: Span,
    finest: str | None = None,
) -> tuple[str, list[TimedPoint], list[datetime]]:
    """Ask for a course in the finest step that makes few enough marks.

    Args:
        ask: Returns the points in a step: hour, day, week or month.
        is_drawable: Tells whether points are few enough.
        scope: The filters.
        known: First and last time that the filters leave, naive UTC: what the axis spans where they name no period.
        finest: The finest step wanted. None: hours for a day or two, else days.

    Returns:
        The step, its points, and every step of the axis, empty ones too: none if there is no point.
    """
    first, last = _extent(scope, known)
    for step in charts.steps_for(first, last, finest or _finest(scope)):
        points = ask(step)
        if is_drawable(points):
            break
    bounds = (first, last) if not scope.period.is_all else (None, None)
    return step, points, charts.steps(points, step, *bounds, scope.first_weekday) if points else []


def today(tz: str) -> date:
    """Return the present day in a zone."""
    return data.now().replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).date()


def _extent(scope: Scope, known: Span) -> Span:
    """Return the local times that the chart spans: those of the filters, else those of the data."""
    start = scope.period.start or known[0]
    end = scope.period.end - timedelta(microseconds=1) if scope.period.end else known[1]
    zone = ZoneInfo(scope.tz)
    local = [at.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) if at else None for at in (start, end)]
    return local[0], local[1]


def _finest(scope: Scope) -> str:
    """Return the finest step worth drawing: hours for a day or two."""
    start, end = scope.period.start, scope.period.end
    return "hour" if start and end and end - start <= timedelta(days=2) else "day"
