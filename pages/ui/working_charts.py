"""Rows in, the charts of the Activity page out. No colours: the theme has them."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pages.ui import charts, display, working_tables
from queries.activity import WeekHour
from queries.speeds import ModelSpeed

MODELS = 16


def week(rows: Sequence[WeekHour], measure: str, basis: str, first_weekday: int) -> go.Figure:
    """Draw a heat map: weekdays down, hours across. Hours without anything stay empty.

    Args:
        rows: At most one for each hour.
        measure: messages, tokens or cost.
        basis: Of costs; one of `costs.BASES`.
        first_weekday: On top; Monday is 0.
    """
    amounts = working_tables.grid(rows, measure, basis)
    order = working_tables.weekdays(first_weekday)
    hours = [f"{hour:02d}" for hour in range(24)]
    figure = charts.Parts()
    figure.add(
        "heatmap",
        x=hours,
        y=[working_tables.WEEKDAYS[day] for day in order],
        z=[[_drawn(amounts.get((day, hour))) for hour in range(24)] for day in order],
        zmin=0,
        xgap=2,
        ygap=2,
        hovertext=[
            [
                f"{working_tables.WEEKDAYS[day]} {hour:02d}:00 to {hour + 1:02d}:00<br>"
                f"{working_tables.written(measure)(amounts.get((day, hour)))}"
                for hour in range(24)
            ]
            for day in order
        ],
        hoverinfo="text",
        showscale=False,
    )
    return figure.laid_out(
        height=460,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        xaxis={
            "type": "category",
            "tickmode": "array",
            "tickvals": hours[::3],
            "tickangle": 0,
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
            "automargin": True,
            "fixedrange": True,
            "ticksuffix": " ",
        },
        hovermode="closest",
    )


def speeds(rows: Sequence[ModelSpeed]) -> go.Figure:
    """Draw a bar from the 10th to the 90th percentile for each model, and a mark at the median.

    Args:
        rows: Those with timed answers; the first is on top.
    """
    labels = charts.distinct([row.model for row in rows], 30)
    hover = [
        f"{charts.safe(row.model)}<br>p10 {display.count(row.p10)} · median {display.count(row.p50)} · "
        f"p90 {display.count(row.p90)} tokens/s<br>{display.counted(row.timed_answers, 'timed answer')}"
        for row in rows
    ]
    figure = charts.Parts()
    figure.add(
        "bar",
        orientation="h",
        y=labels,
        base=[row.p10 for row in rows],
        x=[(row.p90 or 0.0) - (row.p10 or 0.0) for row in rows],
        width=charts.span_width(len(rows)),
        hovertext=hover,
        hoverinfo="text",
    )
    figure.add(
        "scatter",
        x=[row.p50 for row in rows],
        y=labels,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 14, "line": {"width": 3}},
        hovertext=hover,
        hoverinfo="text",
    )
    return figure.laid_out(
        height=max(170, 60 + 24 * len(rows)),
        margin={"l": 4, "r": 16, "t": 8, "b": 4},
        showlegend=False,
        xaxis={"rangemode": "tozero", "nticks": 6, "ticksuffix": "/s", "fixedrange": True},
        yaxis=charts.named_axis(labels),
        hovermode="closest",
    )


def _drawn(amount: object) -> float | None:
    """Return an amount as it is drawn: nothing leaves the place empty."""
    return float(amount) if isinstance(amount, (int, float)) and amount else None
