"""The budgets of the Activity page."""

import streamlit as st

from pages.ui import blocks, data, display, export
from queries import budgets as spending
from queries import costs, forecasts
from queries.forecasts import Budget, Limits
from queries.period import Period, Scope

_TITLES = {forecasts.MONTH: "This month", forecasts.WEEK: "This week", forecasts.FIVE_HOURS: "5-hour window"}
_BASES = {costs.RECORDED: "as OpenCode recorded it", costs.LIST: "at list prices"}
_KEYS = "month_usd, week_usd and five_hours_usd of [budgets]"
_METHOD = (
    "All that is spent counts, whatever the filters. The forecast is what is spent plus what the rest of the period "
    "may cost. That is looked up in the past 12 weeks: the same stretch of time 1, 2, 3 … days earlier, or what "
    "earlier 5-hour windows still cost from there on. The middle one is the forecast; the range leaves out the lowest "
    f"and the highest tenth. Below {forecasts.FEWEST_STRETCHES} such stretches there is none. Stretches in which "
    "something was used and no cost is known are left out; “at least” means that some of the cost is not known."
)
_WINDOW = (
    " A window begins at the full hour (UTC) of the first request after the last one ended, and lasts five hours: the "
    "way providers limit sessions, as far as it is known."
)


def basis() -> str:
    """Let the user choose which costs are meant on this page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="basis_line"):
        st.markdown("**Costs**", width="content")
        return blocks.choice("Basis", costs.BASES, "basis")


def budgets(basis: str, scope: Scope) -> None:
    """Draw the budgets that are set, or say how one is set.

    Args:
        basis: One of `costs.BASES`.
        scope: Only how it cuts days and weeks.
    """
    limits = _limits()
    if limits == Limits():
        st.caption(f"No budget is set: {display.md(_KEYS)} in the settings file.")
        return
    now = data.now()
    quarters = data.load(spending.spend_quarters, forecasts.history_start(now, scope.tz))
    found, others = (
        forecasts.budgets(quarters, limits, each, now, scope.tz, scope.first_weekday) for each in (basis, _other(basis))
    )
    with blocks.headed("Budgets", _METHOD + (_WINDOW if limits.five_hours_usd else "")):
        export.offer_rows(lambda: found, scope, "budgets", "budgets_export", "Budgets", ("spent_share",))
    columns = st.columns(len(found), gap="medium")
    for column, budget, other in zip(columns, found, others, strict=True):
        with column.container(border=True, height="stretch", key=f"budget_{budget.name.replace(' ', '_')}"):
            _card(budget, other, scope.tz)


def verdict(budget: Budget) -> str:
    """Say in a few words, with an icon, how a budget fares. Markdown."""
    if budget.spent_usd is None:
        return ":material/question_mark: Not known: no cost is known of what was used"
    limit, left = budget.limit_usd, budget.limit_usd - budget.spent_usd
    if budget.is_exceeded:
        return f":material/error: **{display.md(f'Over budget by {display.usd(-left)}')}**"
    words = f"{display.usd(left)} left"
    if budget.middle_usd is not None and budget.middle_usd > limit:
        return f":material/warning: **{display.md(f'Likely to go over; {words}')}**"
    if budget.high_usd is not None and budget.high_usd > limit:
        return f":material/warning: {display.md(f'May go over; {words}')}"
    within = "Within budget as far as is known" if budget.is_least else "Within budget"
    return f":material/check_circle: {display.md(f'{within}; {words}')}"


def expectation(budget: Budget) -> str:
    """Write the forecast of a period, with its range, or why there is none."""
    if budget.start_at is None:
        return "No window is open: the next request begins one."
    if budget.spent_usd is None:
        return "No forecast: what is spent so far is not known."
    if budget.middle_usd is None:
        stretches = display.counted(budget.stretches, "such stretch", "such stretches")
        return (
            f"No forecast yet: it takes {forecasts.FEWEST_STRETCHES} stretches of the past as long as the rest of this "
            f"period whose cost is known, and there {'is' if budget.stretches == 1 else 'are'} {stretches}."
        )
    low, high = display.usd(budget.low_usd), display.usd(budget.high_usd)
    least = "at least " if budget.is_least else ""
    return f"Forecast {least}{display.usd(budget.middle_usd)}, 8 of 10 times {low} to {high} (n {budget.stretches})"


def period_words(budget: Budget, tz: str) -> str:
    """Write the period of a budget. Empty if it has none now."""
    if budget.start_at is None or budget.end_at is None:
        return ""
    if budget.name == forecasts.FIVE_HOURS:
        start, end = (display.local(at, tz) for at in (budget.start_at, budget.end_at))
        return f"{start:%b} {start.day}, {start:%H:%M} to {end:%H:%M}"
    return display.span(Period(budget.start_at, budget.end_at), tz)


def _card(budget: Budget, other: Budget, tz: str) -> None:
    """Draw one budget.

    Args:
        budget: On the chosen basis.
        other: The same on the other one.
        tz: Zone of the times.
    """
    st.metric(
        f"{_TITLES[budget.name]}, {budget.basis}",
        display.usd(budget.spent_usd),
        help=f"Spent in it, {_BASES[budget.basis]}.",
    )
    share = f"{display.percent(budget.spent_share)} of {display.usd(budget.limit_usd)}"
    st.progress(min(max(budget.spent_share or 0.0, 0.0), 1.0), text=display.md(share))
    st.markdown(verdict(budget))
    st.text(expectation(budget))
    if words := period_words(budget, tz):
        st.caption(display.md(words))
    if other.spent_usd not in (budget.spent_usd, None):
        st.caption(display.md(f"{display.usd(other.spent_usd)} {_BASES[other.basis]}"))
    if budget.uncounted_messages:
        messages = display.counted(budget.uncounted_messages, "message")
        unknown = "no known list price" if budget.basis == costs.LIST else "no recorded cost"
        st.caption(f"Not in it: {messages} with {unknown}.")


def _limits() -> Limits:
    """Return the budgets of the settings."""
    chosen = data.settings().budgets
    return Limits(chosen.month_usd, chosen.week_usd, chosen.five_hours_usd)


def _other(basis: str) -> str:
    """Return the basis that was not chosen."""
    return next(each for each in costs.BASES if each != basis)
