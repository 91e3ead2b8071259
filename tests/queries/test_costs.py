"""Costs: every breakdown adds up to the headline, to the decimal; days are local; nothing is lost or doubled."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import pytest

from indexer import totals
from queries.costs import (
    DIMENSIONS,
    GROUPINGS,
    CostPoint,
    cost_ranks,
    cost_rows,
    cost_series,
    cost_totals,
    per_session,
)
from queries.period import Period, Scope, days, local_midnight
from tests.builders import assistant, copied, part, project, session, step_finish, tokens, usd, user
from tests.conftest import DATA_SETS, OpenIndex, expected

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]

SETS = ("json", "sqlite", "live-wal", "migrated-after")
COUNTERS = ("input", "output", "reasoning", "cache_read", "cache_write", "total")
SCOPES = {
    "everything": Scope(tz="Europe/Berlin"),
    "agent": Scope(tz="Asia/Tokyo", agents=("build",)),
    "two agents": Scope(agents=("plan", "explore")),
    "model": Scope(tz="America/New_York", models=("acme/nova-large",)),
    "project": Scope(projects=("global",)),
    "text": Scope(text="Fork"),
    "dates": Scope(tz="Europe/Berlin", period=Period(datetime(2026, 9, 1), datetime(2026, 11, 1))),
    "dates and agent": Scope(period=Period(datetime(2026, 10, 1), None), agents=("build",)),
    "nothing": Scope(agents=("no such agent",)),
}


def ms(year: int, month: int, day: int, hour: int, minute: int = 0, tz: str = "Europe/Berlin") -> int:
    """Return the epoch milliseconds of a local time."""
    return int(datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(tz)).timestamp() * 1000)


@pytest.mark.parametrize("name", SETS)
def test_cost_totals_unfiltered_equal_the_command_line(name: str, real_index: RealIndex) -> None:
    """The headline is what `totals --json` says."""
    con = real_index(name)
    truth = totals.read_totals(con)

    found = cost_totals(con, Scope())

    assert found.cost_recorded_usd == Decimal(truth["cost_recorded_usd"])
    assert {counter: getattr(found, f"{counter}_tokens") for counter in COUNTERS} == truth["tokens"]
    assert found.fork_copies == truth["fork_copies"]
    assert found.unrecorded_messages == truth["unrecorded_messages"]


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_cost_totals_unfiltered_equal_what_the_model_served(name: str, real_index: RealIndex) -> None:
    """The headline equals the independent truth of the data set."""
    truth = expected(DATA_SETS[name][0])["served"]["recorded_without_fork_copies"]

    found = cost_totals(real_index(name), Scope())

    assert found.cost_recorded_usd is not None
    assert abs(found.cost_recorded_usd - Decimal(str(truth["cost"]))) < Decimal("1e-9")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_cost_rows_every_grouping_adds_up_to_the_totals(name: str, scope: Scope, real_index: RealIndex) -> None:
    """Under any filter each table sums to the headline, as decimals, in every counter."""
    con = real_index(name)

    whole = cost_totals(con, scope)

    for by in GROUPINGS:
        rows = cost_rows(con, by, scope)
        assert sum((row.cost_recorded_usd or Decimal(0) for row in rows), Decimal(0)) == (whole.cost_recorded_usd or 0)
        for counter in (*(f"{counter}_tokens" for counter in COUNTERS), "messages", "unrecorded_messages"):
            assert sum(getattr(row, counter) for row in rows) == getattr(whole, counter), (by, counter)
        assert len({row.key for row in rows}) == len(rows)
        if whole.cost_recorded_usd:
            assert sum(row.share or 0 for row in rows) == pytest.approx(1)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("by", ["agent", "model", "project"])
def test_cost_rows_row_equals_the_totals_of_its_filter(name: str, by: str, real_index: RealIndex) -> None:
    """Filtering by what a row says gives the numbers of that row."""
    con = real_index(name)

    for row in cost_rows(con, by, Scope()):
        key = row.key or ""
        narrowed = cost_totals(con, replace(Scope(), **{f"{by}s": (key,)}))  # type: ignore[arg-type]
        assert (narrowed.cost_recorded_usd, narrowed.total_tokens) == (row.cost_recorded_usd, row.total_tokens)
        assert narrowed.sessions == row.sessions


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"])
def test_cost_rows_day_equals_the_totals_of_that_day(tz: str, real_index: RealIndex) -> None:
    """A row of a day equals the same day chosen as a filter: both cut at local midnight."""
    con = real_index("sqlite")

    for row in cost_rows(con, "day", Scope(tz=tz)):
        assert row.key
        day = datetime.fromisoformat(row.key).date()
        narrowed = cost_totals(con, Scope(tz=tz, period=days(day, day, tz)))
        assert (narrowed.cost_recorded_usd, narrowed.messages) == (row.cost_recorded_usd, row.messages)


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_cost_rows_days_equal_python_own_calendar(tz: str, real_index: RealIndex) -> None:
    """Days cut in SQL are the days that Python's own zones give."""
    con = real_index("json")
    times = con.execute("SELECT created_at FROM spend").fetchall()
    truth: dict[str, int] = {}
    for (at,) in times:
        day = at.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).date().isoformat()
        truth[day] = truth.get(day, 0) + 1

    found = {row.key: row.messages for row in cost_rows(con, "day", Scope(tz=tz))}

    assert found == truth


@pytest.mark.parametrize(
    ("day", "first", "last", "hours"),
    [
        ("2026-03-29", ms(2026, 3, 29, 0), ms(2026, 3, 30, 0), 23),
        ("2026-10-25", ms(2026, 10, 25, 0), ms(2026, 10, 26, 0), 25),
    ],
)
def test_cost_rows_clock_change_day_has_its_own_hours(
    day: str, first: int, last: int, hours: int, open_index: OpenIndex
) -> None:
    """A message each hour from just before midnight to midnight: 23 or 25 of them belong to the day."""
    moments = [first - 1, *range(first, last, 3_600_000), last - 1, last]
    messages = [
        assistant(f"msg_{number:03}", created=at, completed=at + 1, usage=tokens(input=1), cost=0.5)
        for number, at in enumerate(moments)
    ]
    con = open_index(session(), *messages)

    rows = {row.key: row for row in cost_rows(con, "day", Scope(tz="Europe/Berlin"))}

    assert rows[day].messages == hours + 1
    assert rows[day].cost_recorded_usd == usd("0.5") * (hours + 1)
    assert sorted(row.messages for row in rows.values()) == [1, 1, hours + 1]


def test_cost_rows_weeks_and_months_begin_on_monday_and_first(open_index: OpenIndex) -> None:
    """A Sunday belongs to the week that began six days before; the night of the 1st to its own month."""
    sunday, first = ms(2026, 11, 1, 23, 59), ms(2026, 11, 2, 0)
    con = open_index(
        session(),
        assistant("msg_1", created=sunday, completed=sunday, cost=1),
        assistant("msg_2", created=first, completed=first, cost=2),
    )
    scope = Scope(tz="Europe/Berlin")

    weeks = [(row.key, row.cost_recorded_usd) for row in cost_rows(con, "week", scope)]
    months = [(row.key, row.cost_recorded_usd) for row in cost_rows(con, "month", scope)]

    assert weeks == [("2026-11-02", usd("2")), ("2026-10-26", usd("1"))]
    assert months == [("2026-11", usd("3"))]


@pytest.mark.parametrize(
    ("tz", "first", "weekday", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 23), 0, 167),  # ends with the day of 23 hours
        ("Europe/Berlin", date(2026, 3, 29), 6, 167),  # begins with it
        ("Europe/Berlin", date(2026, 10, 19), 0, 169),
        ("Europe/Berlin", date(2026, 10, 25), 6, 169),
        ("America/Sao_Paulo", date(2018, 11, 4), 6, 167),  # its first hour does not exist
        ("America/Sao_Paulo", date(2018, 10, 29), 0, 167),
        ("America/Sao_Paulo", date(2018, 11, 3), 5, 167),  # the clock change is inside
        ("Asia/Kathmandu", date(2026, 10, 22), 3, 168),
    ],
)
def test_cost_rows_week_of_a_clock_change_holds_each_of_its_hours(
    tz: str, first: date, weekday: int, hours: int, open_index: OpenIndex
) -> None:
    """One message a half hour, before, in and after the week; a chart has the same weeks, a click the same days."""
    start = int(local_midnight(first, tz).replace(tzinfo=UTC).timestamp() * 1000)
    moments = [start + step * 1_800_000 for step in (-1, *range(hours * 2 + 1))]
    messages = [
        assistant(f"msg_{number:03}", created=at, completed=at + 1, usage=tokens(input=1), cost=0.5)
        for number, at in enumerate(moments)
    ]
    con = open_index(session(), *messages)
    scope = Scope(tz=tz, first_weekday=weekday)
    weeks = [first + timedelta(days=days) for days in (-7, 0, 7)]

    rows = cost_rows(con, "week", scope)
    points = cost_series(con, "agent", "week", scope)
    chosen = cost_totals(con, replace(scope, period=days(first, first + timedelta(days=6), tz)))

    assert [(row.key, row.messages) for row in rows] == [
        (weeks[2].isoformat(), 1),
        (weeks[1].isoformat(), hours * 2),
        (weeks[0].isoformat(), 1),
    ]
    assert [(point.step_at.date(), point.cost_usd) for point in points] == list(
        zip(weeks, (0.5, float(hours), 0.5), strict=True)
    )
    assert chosen.messages == hours * 2


def test_cost_rows_unknown_time_is_a_row_of_its_own_and_named_when_left_out(open_index: OpenIndex) -> None:
    """`all` keeps a message without a time; a period leaves it out and the totals say so."""
    con = open_index(
        session(),
        assistant("msg_1", created=ms(2026, 5, 1, 12), usage=tokens(input=5), cost=1),
        assistant("msg_2", created=-5, completed=None, usage=tokens(input=7), cost=2),
    )

    rows = cost_rows(con, "day", Scope(tz="Europe/Berlin"))
    bounded = cost_totals(con, Scope(period=Period(datetime(2026, 1, 1), None)))

    assert [(row.key, row.cost_recorded_usd) for row in rows] == [("2026-05-01", usd("1")), (None, usd("2"))]
    assert (bounded.cost_recorded_usd, bounded.unknown_time_messages) == (usd("1"), 1)
    assert cost_series(con, "model", "day", Scope()) == [CostPoint(datetime(2026, 5, 1), "acme/nova", 1.0)]


def test_cost_totals_unrecorded_cost_is_none_and_counted_apart(open_index: OpenIndex) -> None:
    """What was not recorded is not 0."""
    con = open_index(session(), assistant(usage=tokens(input=10, output=5), cost=None))

    found = cost_totals(con, Scope())

    assert (found.cost_recorded_usd, per_session(found.cost_recorded_usd, found.sessions)) == (None, None)
    assert (found.unrecorded_messages, found.unrecorded_tokens, found.total_tokens) == (1, 15, 15)
    assert cost_rows(con, "model", Scope())[0].share is None


def test_cost_totals_fork_copies_count_once_and_are_named(open_index: OpenIndex) -> None:
    """A fork repeats messages; they are in no number but the one that names them."""
    original = [user(), assistant(usage=tokens(input=10), cost=0.25), step_finish("prt_1", tokens(input=10))]
    con = open_index(
        session(), *original, session("ses_2", created=1_767_225_700_000), *copied(original, "ses_2", "_copy")
    )

    found = cost_totals(con, Scope())
    narrowed = cost_totals(con, Scope(agents=("other",)))

    assert (found.cost_recorded_usd, found.total_tokens, found.sessions) == (usd("0.25"), 10, 1)
    assert (found.fork_copies, found.fork_copy_tokens) == (1, 10)
    assert (narrowed.fork_copies, narrowed.messages) == (0, 0)


def test_cost_rows_names_of_projects_and_sessions_are_labels(open_index: OpenIndex) -> None:
    """A project is called by its name, else by its folder; a session by its title."""
    con = open_index(
        project("a" * 40, name="Shop"),
        session("ses_a", project_id="a" * 40, title="=1+1"),
        assistant("msg_a", "ses_a", cost=2),
        project("b" * 40, worktree="/home/dev/infra"),
        session("ses_b", project_id="b" * 40),
        assistant("msg_b", "ses_b", cost=1, created=1_767_225_700_000),
    )

    assert [row.label for row in cost_rows(con, "project", Scope())] == ["Shop", "infra"]
    assert [row.label for row in cost_rows(con, "session", Scope())] == ["=1+1", "Title of ses_b"]


def test_cost_rows_missing_names_are_unknown_and_can_be_filtered(open_index: OpenIndex) -> None:
    """A message that names no agent and no model is found under `unknown`."""
    nameless = assistant(cost=1)
    for name in ("agent", "mode", "providerID", "modelID"):
        nameless.body.pop(name)
    con = open_index(session(), nameless)

    for by, key in (("agent", "unknown"), ("model", "unknown/unknown"), ("provider", "unknown")):
        assert [row.key for row in cost_rows(con, by, Scope())] == [key]
    assert cost_totals(con, Scope(agents=("unknown",), models=("unknown/unknown",))).messages == 1


def test_cost_rows_errors_are_failed_messages_and_failed_calls(open_index: OpenIndex) -> None:
    """Errors of a group: messages that ended in one, and tool calls that failed."""
    failed = part("prt_2", "tool", tool="bash", callID="c", state={"status": "error", "input": {}, "error": "no"})
    con = open_index(session(), assistant(error={"name": "APIError", "data": {"message": "x"}}), failed)

    assert [row.errors for row in cost_rows(con, "agent", Scope())] == [2]


def test_cost_rows_pages_hold_every_row_once(real_index: RealIndex) -> None:
    """Limit and offset cut one order into pages; shares stay those of the whole."""
    con = real_index("sqlite")

    whole = cost_rows(con, "session", Scope())
    pages = [cost_rows(con, "session", Scope(), 25, at) for at in range(0, len(whole) + 25, 25)]

    assert [row for page in pages for row in page] == whole
    assert whole == sorted(whole, key=lambda row: -(row.cost_recorded_usd or 0))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_cost_ranks_every_key_has_one_rank_whatever_the_filters(dimension: str, real_index: RealIndex) -> None:
    """Ranks follow the cost over all data, so a colour stays with its key."""
    con = real_index("json")

    ranks = cost_ranks(con, dimension)

    assert [entry.rank for entry in ranks] == list(range(1, len(ranks) + 1))
    assert [entry.key for entry in ranks] == [row.key for row in cost_rows(con, dimension, Scope())]


@pytest.mark.parametrize("step", ["hour", "day", "week", "month"])
def test_cost_series_steps_add_up_to_the_recorded_cost(step: str, real_index: RealIndex) -> None:
    """What is drawn is what the headline says."""
    con = real_index("json")

    points = cost_series(con, "agent", step, Scope(tz="Europe/Berlin"))

    assert sum(point.cost_usd for point in points) == pytest.approx(
        float(cost_totals(con, Scope()).cost_recorded_usd or 0)
    )
    assert points == sorted(points, key=lambda point: (point.step_at, point.key))


def test_cost_totals_hostile_text_is_a_value(real_index: RealIndex) -> None:
    """Whatever is typed is looked for, never run."""
    con = real_index("sqlite")

    for text in ("'; DROP TABLE messages; --", "%", "_", "$text", "\\", "[", "x" * 1_000_000, "\u202e", "😀"):
        assert cost_totals(con, Scope(text=text, agents=(text,))).messages == 0


def test_per_session_nothing_to_divide_is_none() -> None:
    """No cost or no session: no cost per session."""
    assert per_session(None, 3) is None
    assert per_session(Decimal(1), 0) is None
    assert per_session(Decimal(1), 3) == Decimal("0.333333333333")
