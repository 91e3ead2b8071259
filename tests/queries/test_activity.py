"""Usage by weekday and hour of the local clock."""

from collections.abc import Callable
from datetime import UTC, datetime

import duckdb
import pytest

from queries.activity import WeekHour, week_hours
from queries.costs import cost_totals
from queries.period import Scope
from tests.builders import assistant, session, tokens, usd, user
from tests.conftest import DATA_SETS, OpenIndex


def at(year: int, month: int, day: int, hour: int, minute: int = 0) -> int:
    """Return a UTC moment in milliseconds."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def asked(open_index: OpenIndex, tz: str, *moments: int) -> list[tuple[int, int, int]]:
    """Answer once at each moment; return weekday, hour and messages."""
    answers = [
        assistant(f"msg_{number}", created=moment, usage=tokens(input=2), cost=0.5)
        for number, moment in enumerate(moments)
    ]
    con = open_index(session(), user(), *answers)
    return [(row.weekday, row.hour, row.messages) for row in week_hours(con, Scope(tz=tz))]


def test_week_hours_weeks_are_added_up(open_index: OpenIndex) -> None:
    """Two Mondays and a Sunday; Monday is 0."""
    found = asked(open_index, "UTC", at(2026, 11, 2, 9, 5), at(2026, 11, 9, 9, 55), at(2026, 11, 8, 23, 59))

    assert found == [(0, 9, 2), (6, 23, 1)]


def test_week_hours_hour_that_comes_twice_counts_both_times(open_index: OpenIndex) -> None:
    """02:30 in Berlin on the Sunday on which the clock is put back, twice; an hour later it is 03:30."""
    moments = [at(2026, 10, 25, hour, 30) for hour in (0, 1, 2)]

    assert asked(open_index, "Europe/Berlin", *moments) == [(6, 2, 2), (6, 3, 1)]


def test_week_hours_hour_that_is_skipped_stays_empty(open_index: OpenIndex) -> None:
    """From 01:59 to 03:00 in Berlin on the last Sunday of March."""
    moments = [at(2026, 3, 29, 0, 59), at(2026, 3, 29, 1, 0)]

    assert asked(open_index, "Europe/Berlin", *moments) == [(6, 1, 1), (6, 3, 1)]


@pytest.mark.parametrize(("tz", "hour"), [("Asia/Kolkata", 5), ("Asia/Kathmandu", 6), ("Australia/Eucla", 9)])
def test_week_hours_zones_of_half_and_quarter_hours_are_exact(tz: str, hour: int, open_index: OpenIndex) -> None:
    """00:20 UTC is 05:50, 06:05 and 09:05 there."""
    assert asked(open_index, tz, at(2026, 11, 5, 0, 20)) == [(3, hour, 1)]


def test_week_hours_amounts_are_exact_and_unknown_times_left_out(open_index: OpenIndex) -> None:
    """A cost that is not recorded adds nothing, and is no 0."""
    con = open_index(
        session(),
        user(),
        assistant("msg_1", created=at(2026, 11, 5, 1), usage=tokens(input=2, output=3), cost=0.1),
        assistant("msg_2", created=at(2026, 11, 5, 1), usage=tokens(input=4), cost=0.2),
        assistant("msg_3", created=at(2026, 11, 5, 2), usage=tokens(input=1), cost=None),
        assistant("msg_4", created=-1, usage=tokens(input=9)),
    )

    assert week_hours(con, Scope()) == [
        WeekHour(3, 1, 2, 9, usd("0.3"), None),
        WeekHour(3, 2, 1, 1, None, None),
    ]


@pytest.mark.parametrize("name", DATA_SETS)
def test_week_hours_all_time_adds_up_to_costs(
    name: str, real_index: Callable[[str], duckdb.DuckDBPyConnection]
) -> None:
    """Messages, tokens and cost."""
    con = real_index(name)
    totals = cost_totals(con, Scope())

    rows = week_hours(con, Scope(tz="Asia/Kathmandu"))

    assert sum(row.messages for row in rows) == totals.messages
    assert sum(row.total_tokens for row in rows) == totals.total_tokens
    assert sum(row.cost_recorded_usd or 0 for row in rows) == totals.cost_recorded_usd
