"""Measured queries in, a Plotly figure out. No colours: the theme gives the nth series its nth colour."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from pages.ui import charts, display
from queries.benchmarks import GOAL_MS, Comparison

MAX_QUERIES = 30  # two marks and a line each
_ROW = 30
_TICKS = (0.1, 1, 10, 100, 1_000, 10_000)


def dumbbells(rows: Sequence[Comparison], before: str) -> go.Figure:
    """Draw each query as two points on a logarithmic axis, joined by a line, and the goal.

    Args:
        rows: From top to bottom; at most `MAX_QUERIES` are drawn.
        before: What to call what they are compared with.

    Returns:
        Two series, now and before, in the first two colours; lines and goal in that of Other. A query that is slower
        now is a triangle.
    """
    shown = rows[:MAX_QUERIES]
    places = list(range(len(shown)))
    hover = [_told(row, before) for row in shown]
    figure = charts.Parts()
    for name, values, symbols in (
        ("Now", [row.median_ms for row in shown], ["circle" if row.speedup >= 1 else "triangle-up" for row in shown]),
        (before.capitalize(), [row.before_median_ms for row in shown], ["circle-open"] * len(shown)),
    ):
        figure.add(
            "scatter",
            x=values,
            y=places,
            name=name,
            mode="markers",
            marker={"size": 11, "symbol": symbols, "line": {"width": 2}},
            hovertext=hover,
            hoverinfo="text",
            zorder=2,
        )
    for number in range(charts.SLOTS - 2):  # series n has colour n: lines are grey
        figure.add("scatter", x=[], y=[], name=" " * (number + 1), showlegend=False)
    figure.add(
        "scatter",
        x=[x for row in shown for x in (row.median_ms, row.before_median_ms, None)],
        y=[y for place in places for y in (place, place, None)],
        mode="lines",
        line={"width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add(
        "scatter",
        x=[GOAL_MS, GOAL_MS],
        y=[-0.8, len(shown) - 0.4],
        name=f"{GOAL_MS:.0f} ms, the goal",
        mode="lines",
        line={"width": 2, "dash": "dash"},
        hoverinfo="skip",
    )
    times = [GOAL_MS, *(ms for row in shown for ms in (row.median_ms, row.before_median_ms))]
    return figure.laid_out(
        height=90 + _ROW * len(shown),
        margin={"l": 4, "r": 12, "t": 8, "b": 4},
        legend={"orientation": "h", "y": 1.0, "x": 0, "yanchor": "bottom", "traceorder": "normal"},
        xaxis={
            "type": "log",
            "range": [math.log10(min(times)) - 0.1, math.log10(max(times)) + 0.1],
            "tickvals": _TICKS,
            "ticktext": [display.fine_duration(ms) if ms < 1 else display.duration(ms) for ms in _TICKS],
            "fixedrange": True,
        },
        yaxis={
            "tickvals": places,
            "ticktext": [charts.safe(row.query) for row in shown],
            "ticklabelposition": "inside top",
            "range": [len(shown) - 0.4, -0.9],
            "fixedrange": True,
            "zeroline": False,
        },
        hovermode="closest",
    )


def _told(row: Comparison, before: str) -> str:
    """Say what a mark stands for."""
    return (
        f"{charts.safe(row.query)}<br>now {display.fine_duration(row.median_ms)}, p95 "
        f"{display.fine_duration(row.p95_ms)}<br>{before} {display.fine_duration(row.before_median_ms)}, p95 "
        f"{display.fine_duration(row.before_p95_ms)}<br>{change(row)}"
    )


def change(row: Comparison) -> str:
    """Write what became of a query: `×12 faster`, `×1.8 slower`."""
    if row.speedup >= 1:
        return f"{display.times(row.speedup)} faster"
    return f"{display.times(1 / row.speedup)} slower"
