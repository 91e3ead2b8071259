"""Rows in, the charts of the Tools page out. Durations stand on logarithmic axes: one tool takes ms, another hours."""

import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import plotly.graph_objects as go

from pages.ui import charts, display
from queries.tool_reports import CallReport, LatencyBin, LatencyPoint, bin_start

_LEAST_MS = 1.0  # a logarithmic axis has no 0
_TICKS_MS = (1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 360_000_000)
_FEW_TICKS = 3  # with fewer than these, an axis has ticks in between, too
_TICKS_BETWEEN_MS = (
    *(digit * 10**zeros for zeros in range(4) for digit in (2, 5)),
    *(minutes * 60_000 for minutes in (0.5, 2, 5, 30, 120, 300)),
)


def ranges(rows: Sequence[CallReport]) -> go.Figure:
    """Draw a bar from the median to the 95th percentile for each row, and a mark at the 99th.

    Args:
        rows: Those with timed calls; the first is on top.
    """
    labels = charts.distinct([row.key for row in rows], 24)
    low = [_positive(row.p50_ms) for row in rows]
    high = [max(_positive(row.p95_ms), start * 1.04) for row, start in zip(rows, low, strict=True)]
    last = [max(_positive(row.p99_ms), end) for row, end in zip(rows, high, strict=True)]  # of a few calls both are one
    hover = [
        f"{charts.safe(row.key)}<br>p50 {display.duration(row.p50_ms)} · p95 {display.duration(row.p95_ms)} · "
        f"p99 {display.duration(row.p99_ms)}<br>{display.counted(row.timed_calls, 'timed call')}"
        for row in rows
    ]
    figure = charts.Parts()
    figure.add(
        "bar",
        orientation="h",
        y=labels,
        base=low,
        x=[end - start for start, end in zip(low, high, strict=True)],
        width=charts.span_width(len(rows)),
        name="p50 to p95",
        hovertext=hover,
        hoverinfo="text",
    )
    figure.add(
        "scatter",
        x=last,
        y=labels,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 14, "line": {"width": 3}},
        name="p99",
        hovertext=hover,
        hoverinfo="text",
    )
    return figure.laid_out(
        height=max(170, 60 + 24 * len(rows)),
        margin={"l": 4, "r": 16, "t": 8, "b": 4},
        showlegend=False,
        xaxis=_duration_axis([*low, *high, *last]),
        yaxis=charts.named_axis(labels),
        hovermode="closest",
    )


def durations(rows: Sequence[LatencyBin]) -> go.Figure:
    """Draw how many calls took how long: one bar a bin, also where a bin in between is empty."""
    calls = {row.place: row.calls for row in rows}
    places = range(min(calls), max(calls) + 1)
    labels = [f"{display.duration(bin_start(place))}" for place in places]
    ends = [display.duration(bin_start(place + 1)) for place in places]
    counts = [calls.get(place, 0) for place in places]
    figure = charts.Parts()
    figure.add(
        "bar",
        x=list(places),
        y=[count or None for count in counts],
        width=0.9,
        hovertext=[
            f"{start} to {end}<br>{display.counted(count, 'call')}"
            for start, end, count in zip(labels, ends, counts, strict=True)
        ],
        hoverinfo="text",
    )
    wanted = set(charts.few(labels))
    shown = [(place, label) for place, label in zip(places, labels, strict=True) if label in wanted]
    return figure.laid_out(
        height=280,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        showlegend=False,
        xaxis={
            "tickmode": "array",
            "tickvals": [place - 0.5 for place, _ in shown],
            "ticktext": [label for _, label in shown],
            "tickangle": 0,
            "fixedrange": True,
        },
        yaxis={"rangemode": "tozero", "automargin": True, "nticks": 5, "tickformat": ",d"},
    )


def course(points: Sequence[LatencyPoint], axis: Sequence[datetime], step: str, today: date) -> go.Figure:
    """Draw median and 95th percentile over time; steps without a call leave a gap.

    Args:
        points: What is known of some steps.
        axis: Every step to draw.
        step: hour, day, week or month.
        today: In the viewer's zone; named as such.
    """
    labels = charts.axis_labels(axis, step, today)
    known = {point.step_at: point for point in points}
    figure = charts.Parts()
    for name, field in (("median", "p50_ms"), ("p95", "p95_ms")):
        values = [_positive(getattr(known[at], field)) if at in known else None for at in axis]
        figure.add(
            "scatter",
            x=labels,
            y=values,
            mode="lines+markers",
            name=name,
            marker={"size": 5},
            hovertext=[
                f"{label}<br>{name} {display.duration(value)} of {display.counted(known[at].calls, 'call')}"
                if value is not None
                else ""
                for label, at, value in zip(labels, axis, values, strict=True)
            ],
            hoverinfo="text",
        )
    every = [_positive(value) for point in points for value in (point.p50_ms, point.p95_ms)]
    return figure.laid_out(
        height=280,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        legend={"orientation": "h", "y": -0.16, "x": 0, "yanchor": "top"},
        xaxis=charts.category_axis(labels),
        yaxis=_duration_axis(every),
        hovermode="closest",
    )


def _positive(ms: float | None) -> float:
    """Return a duration that a logarithmic axis can show."""
    return max(_LEAST_MS, ms or 0.0)


def _duration_axis(values: Sequence[float]) -> dict[str, Any]:
    """Lay out a logarithmic axis of durations, a little wider than what is on it."""
    low, high = min(values, default=_LEAST_MS), max(values, default=_LEAST_MS)
    bounds = [math.log10(low) - 0.1, math.log10(high) + 0.15]
    ticks = _ticks(_TICKS_MS, bounds)
    if len(ticks) < _FEW_TICKS:
        ticks = _ticks(sorted([*_TICKS_MS, *_TICKS_BETWEEN_MS]), bounds)
    return {
        "type": "log",
        "range": bounds,
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [display.duration(ms) for ms in ticks],
        "automargin": True,
        "fixedrange": True,
    }


def _ticks(durations: Sequence[float], bounds: Sequence[float]) -> list[float]:
    """Choose what is on a logarithmic axis.

    Args:
        durations: Milliseconds.
        bounds: Decimal logarithms of the first and the last value on the axis.
    """
    return [ms for ms in durations if bounds[0] <= math.log10(ms) <= bounds[1]]
