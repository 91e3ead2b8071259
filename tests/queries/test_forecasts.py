"""Budgets, checked by hand: periods and clock changes, 5-hour windows, forecasts, no data, too little of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from queries.budgets import SpendQuarter
from queries.forecasts import (
    FEWEST_STRETCHES,
    FIVE_HOURS,
    MONTH,
    WEEK,
    Forecast,
    Ledger,
    Limits,
    Span,
    budgets,
    forecast,
    history_start,
    month_of,
    rests_of_days,
    rests_of_windows,
    week_of,
    windows,
)
from tests.builders import usd

BERLIN, SAO_PAULO = "Europe/Berlin", "America/Sao_Paulo"
LIMITS = Limits(month_usd=usd("100"), week_usd=usd("20"), five_hours_usd=usd("5"))


def quarter(at: datetime, cost: str | None = "1", list_cost: str | None = None) -> SpendQuarter:
    """Make the spend of a quarter of an hour."""
    return SpendQuarter(
        at, usd(cost) if cost else None, usd(list_cost) if list_cost else None, int(cost is None), int(not list_cost)
    )


def daily(first: datetime, days: int, cost: str = "1") -> list[SpendQuarter]:
    """Spend the same at the same time of some days."""
    return [quarter(first + timedelta(days=day), cost) for day in range(days)]


@pytest.mark.parametrize(
    ("now", "tz", "start", "end"),
    [
        (datetime(2026, 11, 1), "UTC", datetime(2026, 11, 1), datetime(2026, 12, 1)),  # its very first moment
        (datetime(2026, 10, 31, 23), BERLIN, datetime(2026, 10, 31, 23), datetime(2026, 11, 30, 23)),
        (
            datetime(2026, 10, 31, 22, 59),
            BERLIN,
            datetime(2026, 9, 30, 22),
            datetime(2026, 10, 31, 23),
        ),  # 25 hours more
        (datetime(2026, 3, 31, 12), BERLIN, datetime(2026, 2, 28, 23), datetime(2026, 3, 31, 22)),
        (datetime(2026, 12, 31), "UTC", datetime(2026, 12, 1), datetime(2027, 1, 1)),
    ],
)
def test_month_of_any_moment_is_the_local_month(now: datetime, tz: str, start: datetime, end: datetime) -> None:
    """From local midnight to local midnight, whatever the clock does in between."""
    assert month_of(now, tz) == Span(start, end)


@pytest.mark.parametrize(
    ("now", "tz", "weekday", "start", "hours"),
    [
        (datetime(2026, 11, 5, 12), "UTC", 0, datetime(2026, 11, 2), 168),
        (datetime(2026, 11, 5, 12), "UTC", 6, datetime(2026, 11, 1), 168),
        (datetime(2026, 11, 2), "UTC", 0, datetime(2026, 11, 2), 168),  # the first moment of it
        (datetime(2026, 3, 25, 12), BERLIN, 0, datetime(2026, 3, 22, 23), 167),
        (datetime(2026, 10, 25, 12), BERLIN, 6, datetime(2026, 10, 24, 22), 169),
        (datetime(2018, 11, 5, 12), SAO_PAULO, 6, datetime(2018, 11, 4, 3), 167),  # midnight is skipped
    ],
)
def test_week_of_first_weekday_and_clock_change_are_heeded(
    now: datetime, tz: str, weekday: int, start: datetime, hours: int
) -> None:
    """Seven local days, of 167 to 169 hours."""
    assert week_of(now, tz, weekday) == Span(start, start + timedelta(hours=hours))


def test_windows_begin_at_the_full_hour_of_the_first_request_outside() -> None:
    """10:45 opens 10 to 15; 14:59 is inside; 15:00 is not, and opens the next at once; then a pause."""
    day = datetime(2026, 11, 5)
    moments = [day.replace(hour=10, minute=45), day.replace(hour=14, minute=45), day.replace(hour=15)]
    moments.append(day.replace(hour=22, minute=30))

    found = windows(moments)

    assert [(span.start.hour, span.end - span.start) for span in found] == [
        (10, timedelta(hours=5)),
        (15, timedelta(hours=5)),
        (22, timedelta(hours=5)),
    ]


def test_windows_no_request_there_is_none() -> None:
    """Nothing opens one."""
    assert windows([]) == []


def test_forecast_twenty_stretches_gives_ranks_that_one_can_count() -> None:
    """Of 1 to 20 the 2nd, the 10th and the 18th, in whatever order they come."""
    rests = [Decimal(number) for number in range(20, 0, -1)]

    assert forecast(usd("5"), rests) == Forecast(usd("7"), usd("15"), usd("23"), 20)


def test_forecast_one_stretch_too_few_there_is_none() -> None:
    """Two weeks are the least."""
    rests = [Decimal(1)] * FEWEST_STRETCHES

    assert forecast(usd("5"), rests[1:]) is None
    assert forecast(usd("5"), rests) == Forecast(usd("6"), usd("6"), usd("6"), FEWEST_STRETCHES)


def test_rests_of_days_same_time_of_day_is_looked_up() -> None:
    """A dollar at noon of each of six days; left are 36 hours from noon on: two noons, the first one included."""
    ledger = Ledger(daily(datetime(2026, 11, 1, 12), 6), "recorded")
    rest = Span(datetime(2026, 11, 7, 12), datetime(2026, 11, 9))

    found = rests_of_days(ledger, rest, "UTC")

    # not one day earlier: that stretch has not ended when the rest begins
    assert [ledger.spent_usd(span) for span in found] == [usd("2")] * 5


def test_rests_of_days_clock_change_keeps_the_time_of_day() -> None:
    """09:00 in Berlin is 07:00 UTC before the end of October and 08:00 after."""
    ledger = Ledger(daily(datetime(2026, 10, 22, 7), 3), "recorded")  # October 22 to 24, 09:00 there
    rest = Span(datetime(2026, 10, 26, 8), datetime(2026, 10, 26, 8, 15))

    found = rests_of_days(ledger, rest, BERLIN)

    assert [ledger.spent_usd(span) for span in found] == [usd("0"), usd("1"), usd("1"), usd("1")]


def test_rests_of_days_before_the_first_spend_is_no_past() -> None:
    """A week before one began to work says nothing."""
    rest = Span(datetime(2026, 11, 7), datetime(2026, 11, 8))

    assert rests_of_days(Ledger([], "recorded"), rest, "UTC") == []
    assert rests_of_days(Ledger(daily(datetime(2026, 11, 5), 2), "recorded"), rest, "UTC") == [
        Span(datetime(2026, 11, 6), datetime(2026, 11, 7)),
        Span(datetime(2026, 11, 5), datetime(2026, 11, 6)),
    ]


def test_rests_of_days_stretch_of_unknown_cost_is_left_out() -> None:
    """Something was used on the 5th, and nobody knows what it cost: not 0. On the 6th nothing was used: that is 0."""
    ledger = Ledger([*daily(datetime(2026, 11, 4), 1), quarter(datetime(2026, 11, 5), None)], "recorded")
    rest = Span(datetime(2026, 11, 7), datetime(2026, 11, 8))

    found = rests_of_days(ledger, rest, "UTC")

    assert [(span.start.day, ledger.spent_usd(span)) for span in found] == [(6, usd("0")), (4, usd("1"))]


def test_rests_of_windows_only_what_came_later_in_them_counts() -> None:
    """One hour in: of a dollar in the first hour and two in the third, two are left."""
    start = datetime(2026, 11, 5, 10)
    ledger = Ledger([quarter(start), quarter(start + timedelta(hours=2), "2")], "recorded")

    found = rests_of_windows(ledger, [Span(start, start + timedelta(hours=5))], timedelta(hours=1))

    assert [ledger.spent_usd(span) for span in found] == [usd("2")]


def test_rests_of_windows_unknown_cost_is_left_out() -> None:
    """What the rest of it cost is not known, whatever its beginning did."""
    start = datetime(2026, 11, 5, 10)
    ledger = Ledger([quarter(start), quarter(start + timedelta(hours=2), None)], "recorded")

    assert rests_of_windows(ledger, [Span(start, start + timedelta(hours=5))], timedelta(hours=1)) == []


def test_budgets_past_of_partly_unknown_cost_forecasts_the_least() -> None:
    """A dollar a day is known; on one day more was used, and what that cost is not."""
    past = daily(datetime(2026, 10, 1, 12), 50)
    unknown = quarter(datetime(2026, 10, 20, 13), None)
    now = datetime(2026, 11, 19, 18)

    (sure,) = budgets(past, Limits(month_usd=usd("90")), "recorded", now, "UTC", 0)
    (least,) = budgets([*past[:20], unknown, *past[20:]], Limits(month_usd=usd("90")), "recorded", now, "UTC", 0)

    assert (sure.middle_usd, sure.is_least) == (usd("30"), False)
    assert (least.middle_usd, least.is_least, least.uncounted_messages) == (usd("30"), True, 0)


def test_budgets_steady_days_are_forecast_exactly() -> None:
    """A dollar a day at noon since September, now 18:00 of November 10, a Tuesday: ten, and twenty to come."""
    quarters = daily(datetime(2026, 9, 1, 12), 71)

    month, week, window = budgets(quarters, LIMITS, "recorded", datetime(2026, 11, 10, 18), "UTC", 0)

    assert (month.name, month.spent_usd, month.middle_usd) == (MONTH, usd("10"), usd("30"))
    assert (month.low_usd, month.high_usd, month.is_exceeded) == (usd("30"), usd("30"), False)
    assert (week.name, week.spent_usd, week.middle_usd) == (WEEK, usd("2"), usd("7"))
    assert (window.name, window.start_at, window.spent_usd, window.middle_usd) == (FIVE_HOURS, None, usd("0"), None)


def test_budgets_first_day_of_the_month_begins_at_nothing() -> None:
    """Yesterday's dollar is last month's."""
    quarters = daily(datetime(2026, 10, 1, 12), 31)

    (month,) = budgets(quarters, Limits(month_usd=usd("9")), "recorded", datetime(2026, 11, 1, 0, 5), "UTC", 0)

    assert (month.start_at, month.spent_usd) == (datetime(2026, 11, 1), usd("0"))
    assert (month.middle_usd, month.stretches) == (
        None,
        1,
    )  # October is shorter than the rest by the quarter that began


def test_budgets_open_window_holds_what_was_spent_since_its_full_hour() -> None:
    """Sixteen windows that cost a dollar at once and two an hour later; the present one has the first of it."""
    past = [datetime(2026, 11, 1, 10, 30) + timedelta(days=day) for day in range(16)]
    quarters = [each for at in past for each in (quarter(at), quarter(at + timedelta(hours=1), "2"))]
    now = datetime(2026, 11, 17, 10, 40)

    (window,) = budgets(
        [*quarters, quarter(datetime(2026, 11, 17, 10, 30))], Limits(five_hours_usd=usd("2")), "recorded", now, "UTC", 0
    )

    assert (window.start_at, window.end_at) == (datetime(2026, 11, 17, 10), datetime(2026, 11, 17, 15))
    assert (window.spent_usd, window.spent_share, window.is_exceeded) == (usd("1"), 0.5, False)
    assert (window.low_usd, window.middle_usd, window.high_usd, window.stretches) == (*(usd("3"),) * 3, 16)


def test_budgets_exceeded_and_exactly_spent_are_told_apart() -> None:
    """All of it is not more than it."""
    quarters = [quarter(datetime(2026, 11, 5, 12), "100")]
    now = datetime(2026, 11, 5, 13)

    (exact,) = budgets(quarters, Limits(month_usd=usd("100")), "recorded", now, "UTC", 0)
    (over,) = budgets(quarters, Limits(month_usd=usd("99.99")), "recorded", now, "UTC", 0)

    assert (exact.spent_share, exact.is_exceeded) == (1.0, False)
    assert over.is_exceeded


def test_budgets_no_data_spends_nothing_and_forecasts_nothing() -> None:
    """Nothing is made up."""
    found = budgets([], LIMITS, "recorded", datetime(2026, 11, 5), "UTC", 0)

    assert [(budget.spent_usd, budget.middle_usd, budget.stretches) for budget in found] == [(usd("0"), None, 0)] * 3


def test_budgets_spend_of_which_nothing_is_known_is_unknown() -> None:
    """No $0 of it is spent, none of the budget is used up, and the past that is known forecasts nothing."""
    now = datetime(2026, 11, 20, 12)
    quarters = [*daily(datetime(2026, 10, 1, 12), 31), quarter(now - timedelta(hours=1), None)]

    (month,) = budgets(quarters, Limits(month_usd=usd("9")), "recorded", now, "UTC", 0)

    assert (month.spent_usd, month.spent_share, month.is_exceeded, month.middle_usd) == (None, None, False, None)
    assert (month.uncounted_messages, month.stretches > 0) == (1, True)


def test_budgets_free_requests_beside_unknown_ones_spent_nothing() -> None:
    """As on a subscription, where an answer that was cut short has no recorded cost: 0 is known, and what is not."""
    now = datetime(2026, 11, 20, 12)
    quarters = [quarter(now - timedelta(hours=2), "0"), quarter(now - timedelta(hours=1), None)]

    (month,) = budgets(quarters, Limits(month_usd=usd("9")), "recorded", now, "UTC", 0)

    assert (month.spent_usd, month.uncounted_messages) == (usd("0"), 1)


def test_budgets_without_limits_are_none() -> None:
    """They are optional."""
    assert budgets(daily(datetime(2026, 11, 1), 3), Limits(), "recorded", datetime(2026, 11, 5), "UTC", 0) == []


@pytest.mark.parametrize(("basis", "spent", "uncounted"), [("recorded", "1", 1), ("list", "3", 1)])
def test_budgets_basis_is_never_mixed(basis: str, spent: str, uncounted: int) -> None:
    """What is not known on a basis is counted, not filled from the other."""
    at = datetime(2026, 11, 5, 12)
    quarters = [quarter(at, "1", None), quarter(at + timedelta(minutes=15), None, "3")]

    (month,) = budgets(quarters, Limits(month_usd=usd("9")), basis, at + timedelta(hours=1), "UTC", 0)

    assert (month.basis, month.spent_usd, month.uncounted_messages) == (basis, usd(spent), uncounted)


def test_budgets_message_of_the_future_opens_no_window() -> None:
    """A clock that was ahead: the present window is the one that has begun."""
    quarters: Sequence[SpendQuarter] = daily(datetime(2026, 11, 5, 12), 2)

    (window,) = budgets(
        quarters, replace(LIMITS, month_usd=None, week_usd=None), "recorded", datetime(2026, 11, 5, 13), "UTC", 0
    )

    assert window.start_at == datetime(2026, 11, 5, 12)


def test_history_start_is_a_local_midnight_twelve_weeks_ago() -> None:
    """Across the clock change of October."""
    assert history_start(datetime(2026, 11, 10, 12), BERLIN) == datetime(2026, 8, 17, 22)
