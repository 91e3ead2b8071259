"""Days are local: cut at midnight there, also where a clock change makes them 23 or 25 hours long."""

import zoneinfo
from datetime import date, datetime, timedelta

import duckdb
import pytest

from queries.period import Period, Scope, days, local_day, local_midnight, preset

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("day", "tz", "hours"),
    [
        (date(2026, 3, 29), BERLIN, 23),
        (date(2026, 10, 25), BERLIN, 25),
        (date(2026, 6, 1), BERLIN, 24),
        (date(2026, 10, 4), "Australia/Lord_Howe", 23.5),
        (date(2026, 4, 24), "Africa/Cairo", 23),  # midnight itself is skipped
        (date(2018, 11, 4), "America/Sao_Paulo", 23),  # so here
        (date(2018, 2, 17), "America/Sao_Paulo", 25),
    ],
)
def test_days_clock_change_gives_day_of_that_length(day: date, tz: str, hours: float) -> None:
    """A day lasts from local midnight to local midnight."""
    period = days(day, day, tz)

    assert period.start and period.end
    assert period.end - period.start == timedelta(hours=hours)


def test_local_midnight_every_zone_is_where_duckdb_begins_the_day() -> None:
    """The system's own rules may be older than DuckDB's: 2026 changed the clocks of Vancouver and Casablanca."""
    zones = sorted(zoneinfo.available_timezones() - {"localtime"})
    middles = [date(year, month, 15) for year in (2025, 2026, 2027) for month in range(1, 13)]
    with duckdb.connect() as con:
        rows = con.execute(
            """
            SELECT tz, day::DATE, timezone('UTC', timezone(tz, day::TIMESTAMP))
            FROM (SELECT unnest($zones::VARCHAR[]) AS tz), (SELECT unnest($days::DATE[]) AS day)
            """,
            {"zones": zones, "days": middles},
        ).fetchall()

    assert [(tz, day) for tz, day, begins_at in rows if local_midnight(day, tz) != begins_at] == []


def test_scope_how_weeks_and_days_are_cut_narrows_nothing() -> None:
    """Neither is a filter."""
    assert not Scope(tz=BERLIN, first_weekday=6).is_narrow
    assert Scope(text="x").is_narrow


def test_days_wrong_order_is_put_right() -> None:
    """A range picked backwards is the same range."""
    assert days(date(2026, 2, 3), date(2026, 2, 1), "UTC") == Period(datetime(2026, 2, 1), datetime(2026, 2, 4))


def test_days_one_side_open_leaves_the_other_unbounded() -> None:
    """Each side may be left out."""
    assert days(date(2026, 2, 3), None, "UTC") == Period(datetime(2026, 2, 3), None)
    assert days(None, date(2026, 2, 3), "UTC") == Period(None, datetime(2026, 2, 4))


def test_preset_days_begin_at_local_midnight_and_end_with_today() -> None:
    """7d is today and the six days before, in the viewer's zone."""
    now = datetime(2026, 11, 23, 23, 30)  # already the 24th in Berlin

    assert preset("7d", BERLIN, now) == Period(datetime(2026, 11, 17, 23), datetime(2026, 11, 24, 23))


def test_preset_24h_is_rolling_to_the_quarter_of_an_hour() -> None:
    """The last 24 hours begin where a quarter of an hour does, so that reruns within it ask the same."""
    now = datetime(2026, 11, 23, 11, 44, 42, 7)

    assert preset("24h", "UTC", now) == Period(datetime(2026, 11, 22, 11, 30), datetime(2026, 11, 24), is_rolling=True)


def test_preset_all_has_no_bounds() -> None:
    """`all` keeps rows of unknown time."""
    assert preset("all", BERLIN, datetime(2026, 1, 1)).is_all


def test_local_midnight_round_trip_is_the_same_day() -> None:
    """Midnight of a day belongs to that day, the instant before to the day before."""
    start = local_midnight(date(2026, 10, 25), BERLIN)

    assert local_day(start, BERLIN) == date(2026, 10, 25)
    assert local_day(start - timedelta(microseconds=1), BERLIN) == date(2026, 10, 24)


def test_scope_zone_alone_is_not_narrow() -> None:
    """A time zone filters nothing; every filter does."""
    assert not Scope(tz=BERLIN).is_narrow
    assert Scope(text="x").is_narrow
    assert Scope(agents=("build",)).is_by_message
    assert not Scope(projects=("p",)).is_by_message
