"""Figures of one session in, Plotly figures out. No colours: the theme gives the nth series its nth colour."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import plotly.graph_objects as go

from pages.ui import charts, display
from queries.session_figures import ContextPoint, ExchangeCost

MAX_BARS = 120
_HEIGHT = 260
_DELEGATION = 5  # the colour of delegations everywhere
_KINDS = (
    ("Cache read", "cache_read_tokens"),
    ("Cache write", "cache_write_tokens"),
    ("Input", "input_tokens"),
)


def context(points: Sequence[ContextPoint]) -> go.Figure:
    """Draw what each model request was sent, in order, with compactions marked above their bar.

    Args:
        points: By step. Where there are more than fit, neighbours share a bar: the largest of them.

    Returns:
        Three series: read from the cache, written to it, neither; and the marks.
    """
    groups = _groups(points)
    shown = [max(group, key=lambda point: point.context_tokens) for group in groups]
    labels = [_steps(group[0].number, group[-1].number) for group in groups]
    figure = charts.Parts()
    for name, counter in _KINDS:
        values = [getattr(point, counter) for point in shown]
        figure.add(
            "bar",
            x=labels,
            y=values,
            name=name,
            showlegend=any(values),
            hovertext=[_sent(label, point) for label, point in zip(labels, shown, strict=True)],
            hoverinfo="text",
        )
    compacted = [index for index, group in enumerate(groups) if any(point.is_compaction for point in group)]
    figure.add(
        "scatter",
        x=[labels[index] for index in compacted],
        y=[shown[index].context_tokens for index in compacted],
        name="Compaction",
        mode="markers+text",
        text=["▼"] * len(compacted),
        textposition="top center",
        marker={"opacity": 0},
        showlegend=False,
        hovertext=[f"{labels[index]}: the context was summarised" for index in compacted],
        hoverinfo="text",
        cliponaxis=False,
    )
    return _laid_out(figure, labels, {"tickformat": "~s"})


def costs(rows: Sequence[ExchangeCost]) -> go.Figure:
    """Draw what each exchange cost: itself, and the sessions that it delegated to.

    Args:
        rows: By number. Where there are more than fit, neighbours share a bar: their sum.

    Returns:
        Five series, those between the two empty.
    """
    groups = _groups(rows)
    labels = [_numbers(group[0].number, group[-1].number) for group in groups]
    figure = charts.Parts()
    nothing = [0.0] * len(groups)
    for name, amounts in (
        ("The session itself", [_sum(row.cost_usd for row in group) for group in groups]),
        *((" " * number, nothing) for number in range(2, _DELEGATION)),  # series n has colour n: that of delegations
        ("Delegated", [_sum(row.delegated_cost_usd for row in group) for group in groups]),
    ):
        figure.add(
            "bar",
            x=labels,
            y=[amount or None for amount in amounts],
            name=name,
            showlegend=any(amounts),
            hovertext=[
                f"{label}: {display.usd(amount, 4)}<br>{charts.safe(group[0].label) if len(group) == 1 else ''}"
                for label, amount, group in zip(labels, amounts, groups, strict=True)
            ],
            hoverinfo="text",
        )
    return _laid_out(figure, labels, {"tickprefix": "$"})


def _laid_out(figure: charts.Parts, labels: Sequence[str], amounts: Mapping[str, str]) -> go.Figure:
    """Lay a figure out as all others are.

    Args:
        figure: Its series.
        labels: Of its bars.
        amounts: How the axis of amounts writes them.
    """
    return figure.laid_out(
        barmode="stack",
        bargap=0.15 if len(labels) > 30 else 0.3,
        height=_HEIGHT,
        margin={"l": 4, "r": 4, "t": 16, "b": 4},
        legend={"orientation": "h", "y": -0.18, "x": 0, "yanchor": "top", "traceorder": "normal"},
        xaxis=charts.category_axis(labels),
        yaxis={
            "rangemode": "tozero",
            "automargin": True,
            "nticks": 5,
            "fixedrange": True,
            **amounts,
        },
        hovermode="closest",
    )


def bar_size(rows: Sequence) -> int:
    """Return how many neighbours share a bar, so that there are few enough of them; the last bar may have fewer."""
    return max(1, -(-len(rows) // MAX_BARS))


def _groups(rows: Sequence) -> list[Sequence]:
    """Put neighbours together."""
    size = bar_size(rows)
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def _sum(costs: object) -> float:
    """Add up costs for showing; what is not recorded adds nothing."""
    return float(sum((cost for cost in costs if cost is not None), Decimal(0)))  # type: ignore[attr-defined]


def _steps(first: int, last: int) -> str:
    """Name one step or a few."""
    return f"Step {first}" if first == last else f"Steps {first}–{last}"


def _numbers(first: int, last: int) -> str:
    """Name one exchange or a few."""
    return f"#{first}" if first == last else f"#{first}–{last}"


def _sent(label: str, point: ContextPoint) -> str:
    """Say what a request was sent."""
    return (
        f"{label}, exchange {point.exchange}<br>{display.tokens(point.context_tokens)} tokens: "
        f"{display.tokens(point.cache_read_tokens)} from the cache, "
        f"{display.tokens(point.cache_write_tokens)} put into it, {display.tokens(point.input_tokens)} new"
        f"<br>{charts.safe(point.model)}"
    )
