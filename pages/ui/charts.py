"""Rows in, Plotly figure out. No colours: the theme gives the nth series its nth colour, light or dark."""

import html
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import plotly.graph_objects as go

from pages.ui import display
from queries.cache import CachePoint
from queries.costs import CostPoint, RankedKey
from queries.failures import FailurePoint

SLOTS = 6  # identities with a colour of their own; the seventh is Other
OTHER = "Other"
MAX_MARKS = 400
MAX_STEPS = 124
CONFIG = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtons": [["resetScale2d", "toImage"]],
    "scrollZoom": False,
}
_HEIGHT = 300
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "circle-open")  # told apart without colour


class Timed(Protocol):
    """Something in one step of time."""

    @property
    def step_at(self) -> datetime:
        """Start of the step in the viewer's zone, naive."""


class Point(Timed, Protocol):
    """An amount of one key in one step of time."""

    @property
    def key(self) -> str:
        """What it is of."""

    @property
    def amount(self) -> float:
        """How much; for drawing only."""


class Parts:
    """What a figure is made of: Plotly checks a whole figure in a quarter of the time that it takes part by part."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._traces: list[dict[str, Any]] = []

    def add(self, kind: str, **trace: Any) -> None:
        """Add a series.

        Args:
            kind: What Plotly calls it: bar, scatter, heatmap.
            trace: Its attributes.
        """
        self._traces.append({"type": kind, **trace})

    def laid_out(self, **layout: Any) -> go.Figure:
        """Return the figure with a layout."""
        return go.Figure(self._traces, layout)


def steps_for(first: datetime | None, last: datetime | None, finest: str) -> list[str]:
    """List the steps that a time axis may have, finest first.

    Args:
        first: Start of the axis. None: there is nothing with a known time.
        last: Its end.
        finest: The finest step wanted: hour, day, week or month.

    Returns:
        The finest step and coarser ones that make at most `MAX_STEPS` steps; always one.
    """
    lengths = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 28.0}
    wanted = list(lengths)[list(lengths).index(finest) :]
    span_days = (last - first).total_seconds() / 86_400 if first and last else 0.0
    return [step for step in wanted if span_days / lengths[step] <= MAX_STEPS] or wanted[-1:]


def fits(points: Sequence[Point], ranks: Sequence[RankedKey]) -> bool:
    """Tell whether points make few enough marks to be drawn quickly."""
    slot = {entry.key: min(entry.rank, SLOTS + 1) for entry in ranks}
    return len({(point.step_at, slot.get(point.key)) for point in points}) <= MAX_MARKS


def steps(
    points: Sequence[Timed], step: str, first: datetime | None, last: datetime | None, first_weekday: int = 0
) -> list[datetime]:
    """List every step of an axis, empty ones too.

    Args:
        points: What is drawn; always inside the result.
        step: hour, day, week or month.
        first: Local time the axis begins with, where the filters say.
        last: Local time it ends with.
        first_weekday: Weeks begin on it; Monday is 0.

    Returns:
        Starts of the steps, in order. Empty if there is nothing to draw.
    """
    marks = [*(point.step_at for point in points), *(_floor(at, step, first_weekday) for at in (first, last) if at)]
    if not marks:
        return []
    found, end = [min(marks)], max(marks)
    while found[-1] < end:
        found.append(_next(found[-1], step))
    return found


def spread(points: Sequence[Point], axis: Sequence[datetime]) -> dict[str, list[float]]:
    """Put the points of each key on an axis, 0 where it has none."""
    place = {at: index for index, at in enumerate(axis)}
    found: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * len(axis))
    for point in points:
        found[point.key][place[point.step_at]] += point.amount
    return dict(found)


def cost_over_time(
    points: Sequence[CostPoint],
    axis: Sequence[datetime],
    step: str,
    ranks: Sequence[RankedKey],
    names: Mapping[str, str],
    today: date,
) -> go.Figure:
    """Draw stacked bars: recorded cost per step; see `_over_time`."""
    return _over_time(points, axis, step, ranks, names, today, lambda cost: display.usd(cost, 4), {"tickprefix": "$"})


def errors_over_time(
    points: Sequence[FailurePoint], axis: Sequence[datetime], step: str, ranks: Sequence[RankedKey], today: date
) -> go.Figure:
    """Draw stacked bars: failures per step; see `_over_time`."""
    return _over_time(points, axis, step, ranks, {}, today, display.count, {"tickformat": ",d"})


def hits_over_time(
    points: Sequence[CachePoint], axis: Sequence[datetime], step: str, ranks: Sequence[RankedKey], today: date
) -> go.Figure:
    """Draw lines: of what was sent in a step, the share that was read from caches. Where nothing was sent is a gap.

    Args:
        points: What was sent and read per step and key.
        axis: Every step to draw.
        step: hour, day, week or month.
        ranks: Places of all keys: place n has colour n, whatever the filters.
        today: In the viewer's zone; named as such.

    Returns:
        Seven series in the order of their colours, those without a value hidden from the legend.
    """
    labels = axis_labels(axis, step, today)
    figure = Parts()
    for (name, keys), symbol in zip(_slots(ranks), _SYMBOLS, strict=True):
        own = [point for point in points if point.key in keys]
        sent, read = Counter[datetime](), Counter[datetime]()
        for point in own:
            sent[point.step_at] += point.sent_tokens
            read[point.step_at] += point.cache_read_tokens
        label = safe(name)
        figure.add(
            "scatter",
            x=labels,
            y=[read[at] / sent[at] if sent[at] else None for at in axis],
            mode="lines+markers",
            name=label,
            marker={"size": 7, "symbol": symbol},
            cliponaxis=False,
            showlegend=bool(own),
            hovertext=[
                f"{at_label}<br>{label}: {display.percent(read[at] / sent[at])} of {display.tokens(sent[at])} tokens"
                if sent[at]
                else ""
                for at_label, at in zip(labels, axis, strict=True)
            ],
            hoverinfo="text",
        )
    return figure.laid_out(
        height=_HEIGHT + 40,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        legend={"orientation": "h", "y": -0.16, "x": 0, "yanchor": "top"},
        xaxis=category_axis(labels),
        yaxis={"range": [0, 1.04], "tickformat": ".0%", "automargin": True, "fixedrange": True},
        hovermode="closest",
    )


def _over_time(
    points: Sequence[Point],
    axis: Sequence[datetime],
    step: str,
    ranks: Sequence[RankedKey],
    names: Mapping[str, str],
    today: date,
    write: Callable[[float], str],
    amounts: Mapping[str, str],
) -> go.Figure:
    """Draw stacked bars.

    Args:
        points: Amount per step and key.
        axis: Every step to draw.
        step: hour, day, week or month.
        ranks: Places of all keys: place n has colour n, whatever the filters.
        names: What to call a key; a key without a name is called by itself.
        today: In the viewer's zone; named as such.
        write: Writes an amount.
        amounts: How the axis writes them.

    Returns:
        Seven series in the order of their colours, those without a value hidden from the legend.
    """
    labels = axis_labels(axis, step, today)
    series = spread(points, axis)
    figure = Parts()
    for name, keys in _slots(ranks):
        values = [sum(series[key][index] for key in keys if key in series) for index in range(len(axis))]
        label = safe(names.get(name, name))
        figure.add(
            "bar",
            x=labels,
            y=[value or None for value in values],  # no mark where there is nothing
            name=label,
            width=min(0.75, 0.1 * len(axis)),  # one day alone is not a wall
            showlegend=any(values),
            hovertext=[
                f"{at}<br>{label}: {write(value)}" if value else "" for at, value in zip(labels, values, strict=True)
            ],
            hoverinfo="text",
        )
    return figure.laid_out(
        barmode="stack",
        bargap=0.25,
        height=_HEIGHT + 40,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        legend={"orientation": "h", "y": -0.16, "x": 0, "yanchor": "top", "traceorder": "normal"},
        xaxis=category_axis(labels),
        yaxis={"rangemode": "tozero", "automargin": True, "nticks": 5, **amounts},
        hovermode="closest",
    )


def category_axis(labels: Sequence[str]) -> dict[str, object]:
    """Describe an axis of labels, of which few are written."""
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": few(labels),
        "tickangle": 0,
        "automargin": True,
        "fixedrange": True,
    }


def few(labels: Sequence[str]) -> list[str]:
    """Choose the labels to write on an axis: the theme lets them overlap on a phone. The last one is always there."""
    longest = max((len(label) for label in labels), default=0)
    every = max(1, -(-len(labels) // (6 if longest <= 8 else 4)))
    return [labels[index] for index in range(len(labels) - 1, -1, -every)][::-1]


def _bar_text(cost_usd: float, share: float | None) -> str:
    """Write what stands beside a bar."""
    return safe(display.usd(cost_usd) + ("" if share is None else f" · {display.percent(share, 0)}"))


def cost_ranking(rows: Sequence[tuple[str, str, float, float | None]], ranks: Sequence[RankedKey] | None) -> go.Figure:
    """Draw ranked bars: the dearest on top, each with its cost and its share, if it has one.

    Args:
        rows: Key, name, cost in USD and share; dearest first.
        ranks: Places of all keys, where keys have colours of their own; else one colour for all.

    Returns:
        One bar a row, in the colour its key has everywhere.
    """
    slot = {entry.key: min(entry.rank, SLOTS + 1) for entry in ranks or ()}
    labels = distinct([name for _, name, _, _ in rows], 30)
    figure = Parts()
    for number in range(1, SLOTS + 2):
        own = [index for index, (key, *_) in enumerate(rows) if slot.get(key, SLOTS + 1 if ranks else 1) == number]
        figure.add(
            "bar",
            orientation="h",
            width=min(0.65, 0.1 + 0.11 * len(rows)),
            y=[labels[index] for index in own],
            x=[rows[index][2] for index in own],
            text=[_bar_text(rows[index][2], rows[index][3]) for index in own],
            textposition="outside",
            cliponaxis=False,
            hovertext=[
                f"{safe(display.one_line(rows[index][1]))}<br>{display.usd(rows[index][2], 4)}" for index in own
            ],
            hoverinfo="text",
            showlegend=False,
        )
    top = max((cost for _, _, cost, _ in rows), default=0.0) or 1.0
    return figure.laid_out(
        barmode="overlay",
        bargap=0.35,
        height=max(170, 24 + (30 if len(rows) <= 10 else 18) * len(rows)),
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        xaxis={"visible": False, "range": [0, top * 1.55], "fixedrange": True},
        yaxis=named_axis(labels),
        hovermode="closest",
    )


def distinct(names: Sequence[str], limit: int) -> list[str]:
    """Make the label of each bar from its name; equal ones are numbered: their bars would lie on each other.

    Args:
        names: Untrusted.
        limit: Characters of a label at most, before its number.
    """
    found: dict[str, None] = {}
    for name in names:
        label = unique = safe(display.one_line(name, limit))
        number = 1
        while unique in found:
            number += 1
            unique = f"{label} ({number})"
        found[unique] = None
    return list(found)


def named_axis(labels: Sequence[str]) -> dict[str, object]:
    """Describe the axis of bars that lie on their side, the first label on top."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": labels[::-1],
        "automargin": True,
        "fixedrange": True,
        "ticksuffix": " ",
    }


def span_width(bars: int) -> float:
    """Return how much of its place a bar from one value to another takes: few are no thicker than many."""
    return min(0.5, 0.11 * bars)


def condensed(values: Sequence[float], most: int = 24) -> list[float]:
    """Add up neighbours until a table cell can show the values: whole groups from the end, the rest first."""
    size = max(1, -(-len(values) // most))
    head = len(values) % size
    groups = [values[:head], *(values[at : at + size] for at in range(head, len(values), size))]
    return [sum(group) for group in groups if group]


def axis_labels(axis: Sequence[datetime], step: str, today: date) -> list[str]:
    """Write the labels of a time axis, each once: `Nov 3`, `Nov 3 2025` if years differ, the last `Today`."""
    years = {at.year for at in axis}
    with_year = len(years) > 1
    labels = []
    for at in axis:
        if step == "month":
            labels.append(f"{at:%b %Y}" if with_year else f"{at:%b}")
        elif step == "hour":
            labels.append(f"{at:%b} {at.day}, {at:%H}:00")
        elif step == "day" and at.date() == today:
            labels.append("Today")
        else:
            labels.append(f"{at:%b} {at.day}" + (f" {at.year}" if with_year else ""))
    return labels


def safe(label: str) -> str:
    """Escape a label: Plotly takes some HTML and links."""
    return html.escape(display.one_line(label, 60), quote=False)


def _slots(ranks: Sequence[RankedKey]) -> list[tuple[str, list[str]]]:
    """Give the first keys a slot each and the others one together: name of the slot, its keys."""
    named = [(entry.key, [entry.key]) for entry in ranks[:SLOTS]]
    # Names that no key has: an invisible series must not claim one.
    empty: list[tuple[str, list[str]]] = [(f" {number}", []) for number in range(SLOTS - len(named))]
    return [*named, *empty, (OTHER, [entry.key for entry in ranks[SLOTS:]])]


def _floor(at: datetime, step: str, first_weekday: int) -> datetime:
    """Return the start of the step a local time is in."""
    if step == "hour":
        return at.replace(minute=0, second=0, microsecond=0)
    start = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if step == "week":
        return start - timedelta(days=(start.weekday() - first_weekday) % 7)
    return start.replace(day=1) if step == "month" else start


def _next(at: datetime, step: str) -> datetime:
    """Return the start of the next step."""
    if step == "month":
        return (at + timedelta(days=32)).replace(day=1)
    return at + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[step]
