"""The pieces of the What if page: the same tokens at the list prices of other models."""

from dataclasses import dataclass
from decimal import Decimal

import streamlit as st

from pages.ui import blocks, charts, data, display, export, tables
from queries import costs, what_if
from queries.costs import CostTotals
from queries.period import Scope
from queries.what_if import Alternative, ListPrice

USED_FIRST = 4  # of the models in use, those with the most tokens are compared without being asked for
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """All requests of the filters on one model.

    Attributes:
        cost_list_usd: None if no price of it is known.
        difference_usd: To what the requests cost at the list prices of their own models. None if either is unknown, or
            known of some requests only.
        input_usd_per_million: Newest price, of short requests. So with the others.
    """

    model: str
    cost_list_usd: Decimal | None
    difference_usd: Decimal | None
    requests: int
    unpriced_requests: int
    input_usd_per_million: Decimal | None
    output_usd_per_million: Decimal | None
    cache_read_usd_per_million: Decimal | None
    cache_write_usd_per_million: Decimal | None


def caveat() -> None:
    """Say what the numbers are, and what they are not."""
    st.caption(
        "Every request of these filters, priced again: the same tokens at list prices of other models at that time, "
        "cached tokens at their prices for cached ones. An estimate: another model would have used other numbers of "
        "tokens, steps and cache reads, and counts tokens in its own way."
    )


def choose(scope: Scope) -> list[str]:
    """Let the user choose models: those in use, and all of the public price list.

    Args:
        scope: The filters.

    Returns:
        Names, `provider/model`.
    """
    rows = data.load(costs.cost_rows, "model", scope)
    # A model that was sent nothing has no unpriced message, and no price.
    used = [row.key for row in rows if row.key and not row.unpriced_messages and row.cost_list_usd is not None]
    default = used[:USED_FIRST]
    asked = [*st.query_params.get_all("compare"), *st.session_state.get("compare", [])]
    options = list(dict.fromkeys([*used, *data.public_models(), *asked]))
    return st.multiselect(
        "Compare with",
        options,
        default=default,
        key="compare",
        bind="query-params",
        placeholder="Models of the public price list",
        max_selections=12,
        select_all=False,
    )


def compare(models: list[str], scope: Scope) -> list[Alternative]:
    """Price the requests of the filters on some models, cheapest first; those without a price last."""
    prices = [price for model in models for price in data.list_prices(model)]
    return data.load(what_if.alternatives, models, prices, scope)


def figures(totals: CostTotals, found: list[Alternative]) -> None:
    """Draw the headline: what it costs now, and on the cheapest of the models."""
    with st.container(key="kpis"):
        recorded, at_list, cheapest = st.columns(3, gap="small")
    recorded.metric(
        "Cost, recorded (USD)",
        display.usd(totals.cost_recorded_usd),
        border=True,
        help="What OpenCode itself stored, each request once.",
    )
    at_list.metric(
        "Own models, list prices (USD)",
        display.usd(totals.cost_usd(costs.LIST)),
        border=True,
        help="The requests at the list prices of the models they went to. Requests of unpriced models are not in it.",
    )
    best = next((each for each in found if each.cost_list_usd is not None and each.is_complete), None)
    cheapest.metric(
        f"Cheapest: {display.md(best.model)}" if best else "Cheapest",
        display.usd(best.cost_list_usd if best else None),
        border=True,
        help="All requests at the list prices of the cheapest of the chosen models. One without a price for some of "
        "them is left out.",
    )


def chart(found: list[Alternative], totals: CostTotals) -> None:
    """Draw the models as bars, beside what the requests cost on their own models."""
    bars = [
        (each.model, _bar_name(each.model, is_complete=each.is_complete), float(each.cost_list_usd))
        for each in found
        if each.cost_list_usd is not None
    ]
    if (own_usd := totals.cost_usd(costs.LIST)) is not None:
        bars.append(("own", _bar_name("own models", is_complete=not totals.unpriced_messages), float(own_usd)))
    if not bars:
        st.text("No list price is known of these models. You can add prices in the settings file.")
        return
    bars.sort(key=lambda bar: -bar[2])
    with st.container(border=True, key="what_if_bars"):
        st.markdown("**Cost at list prices, USD**")
        st.plotly_chart(
            charts.cost_ranking([(key, name, cost, None) for key, name, cost in bars], None),
            key="what_if_chart",
            config=charts.CONFIG,
            alt="Bars of what the same tokens cost on each model. The table below has the numbers.",
            theme="streamlit",
        )


def _bar_name(name: str, *, is_complete: bool) -> str:
    """Name a bar; one that lacks requests is not to be compared with the others."""
    return name if is_complete else f"{name} (in part)"


def table(found: list[Alternative], totals: CostTotals, scope: Scope) -> None:
    """Draw the table of the models, with their newest prices."""
    rows = [_row(each, totals) for each in found]
    with blocks.headed(display.counted(len(rows), "model")):
        export.offer_rows(lambda: rows, scope, "what-if", "what_if_export", "What if on other models")
    cells: tables.Columns = {"Model": [display.one_line(row.model) for row in rows]}
    cells["Cost"] = tables.money(row.cost_list_usd for row in rows)
    cells["Difference"] = tables.money(row.difference_usd for row in rows)
    cells["Unpriced"] = tables.ints(row.unpriced_requests for row in rows)
    for label, field in _PRICES.items():
        cells[label] = tables.money(getattr(row, field) for row in rows)
    formats = {
        **dict.fromkeys(("Cost", "Difference"), lambda value: display.usd(Decimal(str(value)))),
        "Unpriced": display.count,
        **dict.fromkeys(_PRICES, tables.usd4),
    }
    config = {
        "Model": st.column_config.TextColumn(width=260),
        "Cost": tables.number("Cost at list prices", "All requests of the filters at this model's prices, USD."),
        "Difference": tables.number(
            "Against own models",
            "To what the requests cost at list prices of their own models, USD. A dash: one of these is unknown, or "
            "known of some requests only.",
        ),
        "Unpriced": tables.number("Requests without price", "Of times for which no price of this model is known."),
        **{
            label: tables.number(label, f"{label}: the newest price, of requests that are not long.")
            for label in _PRICES
        },
    }
    blocks.table(tables.styled(cells, formats), config, "what_if_table", "What the same tokens cost on each model")


_PRICES = {
    "Input, USD per million": "input_usd_per_million",
    "Output": "output_usd_per_million",
    "Cache read": "cache_read_usd_per_million",
    "Cache write": "cache_write_usd_per_million",
}


def _row(found: Alternative, totals: CostTotals) -> ComparedModel:
    """Put a model beside what the requests cost on their own models."""
    newest = _newest(data.list_prices(found.model))
    difference = None
    is_complete = found.is_complete and not totals.unpriced_messages
    if found.cost_list_usd is not None and totals.cost_list_usd is not None and is_complete:
        difference = found.cost_list_usd - totals.cost_list_usd
    return ComparedModel(
        model=found.model,
        cost_list_usd=found.cost_list_usd,
        difference_usd=difference,
        requests=found.requests,
        unpriced_requests=found.unpriced_requests,
        input_usd_per_million=newest.input_usd * MILLION if newest else None,
        output_usd_per_million=newest.output_usd * MILLION if newest else None,
        cache_read_usd_per_million=newest.cache_read_usd * MILLION if newest else None,
        cache_write_usd_per_million=newest.cache_write_usd * MILLION if newest else None,
    )


def _newest(prices: list[ListPrice]) -> ListPrice | None:
    """Return the price of today, of requests that are not long. None if there is none."""
    return next((price for price in prices if price.until_at is None and price.over_tokens is None), None)
