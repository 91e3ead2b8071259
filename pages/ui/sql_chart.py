"""The result of a query as a chart."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import plotly.graph_objects as go
import pyarrow

from pages.ui import charts, display

BARS, LINE = KINDS = ("bar", "line")


def numeric(rows: pyarrow.Table) -> list[str]:
    """Name the columns that can be drawn as amounts."""
    return [field.name for field in rows.schema if _is_numeric(field.type)]


def draw(rows: pyarrow.Table, x: str, y: str, kind: str) -> go.Figure:
    """Draw one column over another, in the order of the rows.

    Args:
        rows: The result.
        x: A column to draw along: whatever it holds becomes a label.
        y: A numeric column.
        kind: One of `KINDS`.

    Returns:
        One mark a row, for the first `charts.MAX_MARKS` rows; none where there is no number.
    """
    first = rows.slice(0, charts.MAX_MARKS)
    labels = [charts.safe(_label(value)) for value in first.column(x).to_pylist()]
    amounts = [None if value is None else float(value) for value in first.column(y).to_pylist()]
    places = list(range(len(labels)))  # equal labels must not lie on each other
    hover = [f"{label}<br>{charts.safe(y)}: {_amount(at)}" for label, at in zip(labels, amounts, strict=True)]
    figure = charts.Parts()
    if kind == LINE:
        figure.add("scatter", x=places, y=amounts, mode="lines+markers", hovertext=hover, hoverinfo="text")
    else:
        figure.add("bar", x=places, y=amounts, hovertext=hover, hoverinfo="text", width=min(0.75, 0.1 * len(places)))
    ticks = _ticks(labels)
    return figure.laid_out(
        height=320,
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        showlegend=False,
        xaxis={
            "tickmode": "array",
            "tickvals": ticks,
            "ticktext": [labels[place] for place in ticks],
            "tickangle": 0,
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "range": [-0.5, len(labels) - 0.5],
        },
        yaxis={"rangemode": "tozero", "automargin": True, "nticks": 5},
        hovermode="closest",
    )


def _is_numeric(kind: pyarrow.DataType) -> bool:
    """Tell whether a type holds numbers."""
    types = pyarrow.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _label(value: object) -> str:
    """Write what stands below a mark."""
    match value:
        case None:
            return display.MISSING
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value.normalize():f}"
        case _:
            return display.one_line(str(value), 24)


def _amount(number: float | None) -> str:
    """Write an amount, whatever its unit is."""
    return display.MISSING if number is None else f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"


def _ticks(labels: Sequence[str]) -> list[int]:
    """Choose the places that are labelled: the theme lets labels overlap."""
    longest = max((len(label) for label in labels), default=0)
    every = max(1, -(-len(labels) // (8 if longest <= 8 else 4)))
    return list(range(0, len(labels), every))
