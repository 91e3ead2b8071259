"""What happened lately: the numbers of Costs, what failed, what is compared with what, slow tools, newest errors."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from queries import costs
from queries.costs import cost_rows
from queries.errors import newest_errors
from queries.failures import Choice, failure_totals
from queries.overview import Activity, Overview, overview
from queries.period import Period, Scope, before, days, local_midnight, preset
from queries.sessions import session_rows
from queries.timeline import timeline
from queries.tools import slowest_tools
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    row,
    session,
    tokens,
    usd,
    user,
    write_session_messages,
)
from tests.conftest import OpenIndex
from tests.queries.test_costs import SCOPES, SETS

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
BERLIN = "Europe/Berlin"
NOON = datetime(2026, 11, 23, 12)


def call(
    part_id: str,
    tool: str = "bash",
    message_id: str = "msg_2a",
    *,
    ms: int = 100,
    status: str = "completed",
    **state: object,
) -> Doc:
    """Make a tool call that lasted some time."""
    time = {"start": START_MS, "end": START_MS + ms} if status != "running" else {"start": START_MS}
    body = {"status": status, "input": {}, "time": time, **state}
    return part(part_id, "tool", message_id, tool=tool, callID=part_id, state=body)


def error(name: str, message: object) -> dict[str, object]:
    """Make the error of an answer."""
    return {"name": name, "data": {"message": message}}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_overview_any_scope_equals_costs(name: str, scope: Scope, real_index: RealIndex) -> None:
    """Cost, tokens, sessions, and every agent with its errors are those of the Costs page."""
    con = real_index(name)

    found = overview(con, scope)

    whole, rows = costs.cost_totals(con, scope), costs.cost_rows(con, "agent", scope)
    now = found.now
    assert (now.cost_recorded_usd, now.total_tokens, now.sessions) == (
        whole.cost_recorded_usd,
        whole.total_tokens,
        whole.sessions,
    )
    assert (now.answers + now.aborted_answers + now.unfinished_answers, now.first_at, now.last_at) == (
        whole.messages,
        whole.first_at,
        whole.last_at,
    )
    assert [(row.agent, row.cost_recorded_usd, row.total_tokens, row.sessions, row.errors) for row in found.agents] == [
        (row.key, row.cost_recorded_usd, row.total_tokens, row.sessions, row.errors) for row in rows
    ]


@pytest.mark.parametrize("name", SETS)
def test_overview_before_equals_costs_of_that_stretch(name: str, real_index: RealIndex) -> None:
    """One pass over both stretches gives what two would."""
    con = real_index(name)
    scope = Scope(period=days(date(2026, 10, 1), date(2026, 11, 30), "UTC"))
    then = Period(datetime(2026, 8, 1), datetime(2026, 9, 20))

    found = overview(con, scope, then)

    now, earlier = costs.cost_totals(con, scope), costs.cost_totals(con, replace(scope, period=then))
    assert _money_and_messages(found.now) == (now.cost_recorded_usd, now.messages)
    assert (found.before is None) == (earlier.messages == 0)
    if found.before:
        assert _money_and_messages(found.before) == (earlier.cost_recorded_usd, earlier.messages)


def _money_and_messages(activity: Activity) -> tuple[Decimal | None, int]:
    """Return what `costs.cost_totals` has, too."""
    messages = activity.answers + activity.aborted_answers + activity.unfinished_answers
    return activity.cost_recorded_usd, messages


def test_overview_few_small_numbers_add_up(open_index: OpenIndex) -> None:
    """Two answers of 100 tokens are 200: the sum of so few rows is where DuckDB's optimizer once went wrong."""
    answers = [
        assistant(f"msg_{number}", f"ses_{number}", created=START_MS + number, usage=tokens(input=100), agent=agent)
        for number, agent in enumerate(["build", "build", "plan"])
    ]
    con = open_index(*(session(f"ses_{number}") for number in range(3)), *answers)

    found = overview(con, Scope(agents=("build",)))

    assert (found.now.total_tokens, found.now.sessions) == (200, 2)
    assert [(row.agent, row.total_tokens) for row in found.agents] == [("build", 200)]


def test_overview_nothing_matches_is_zero_and_none(open_index: OpenIndex) -> None:
    """Nothing there: no rate, no cost, no comparison, no agent."""
    found = overview(open_index(session(), assistant()), Scope(agents=("nobody",)))

    assert isinstance(found, Overview)
    assert (found.now.sessions, found.now.cost_recorded_usd, found.now.error_rate) == (0, None, None)
    assert (found.before, found.agents) == (None, ())


def test_overview_error_rate_counts_answers_and_calls_that_failed(open_index: OpenIndex) -> None:
    """Cut short by the user and never finished: on neither side. Exit codes other than 0 have failed."""
    con = open_index(
        session(),
        user(),
        assistant("msg_2a"),
        assistant("msg_3a", created=START_MS + 9_000, error=error("APIError", "no")),
        assistant("msg_4a", created=START_MS + 10_000, error=error("MessageAbortedError", "stop")),
        call("prt_1"),
        call("prt_2", status="error", error="no such file"),
        call("prt_3", metadata={"exit": 1}, output="bad"),
        call("prt_4", status="running"),
    )

    now = overview(con, Scope()).now

    assert (now.answers, now.failed_answers, now.aborted_answers) == (2, 1, 1)
    assert (now.calls, now.failed_calls) == (3, 2)
    assert (now.errors, now.error_rate) == (3, 0.6)


def test_overview_answers_without_an_end_are_on_neither_side(open_index: OpenIndex) -> None:
    """Killed, or closed with nothing of a reply: no good answer. The user's own shell command is one, by its call."""
    con = open_index(
        session(),
        user(),
        assistant("msg_2a", usage=tokens(input=10)),
        assistant("msg_3a", finish=None, cost=0),
        assistant("msg_4a", finish=None, cost=0, agent="plan"),
        part("prt_4", "step-start", "msg_4a"),
        assistant("msg_5a", finish=None, cost=0, completed=None),
        part("prt_5", "text", "msg_5a", text="So far"),
        assistant("msg_6a", finish=None, cost=0),
        call("prt_6", message_id="msg_6a"),
        assistant("msg_7a", error=error("APIError", "no"), finish=None, cost=0),
        user("msg_8u", created=START_MS + 60_000),
        part("prt_8u", "text", "msg_8u", text="The following tool was executed by the user", synthetic=True),
        assistant("msg_8a", parent="msg_8u", created=START_MS + 60_000, finish=None, cost=0),
        call("prt_8", message_id="msg_8a"),
    )

    found = overview(con, Scope())

    assert (found.now.answers, found.now.failed_answers, found.now.unfinished_answers) == (4, 1, 3)
    assert {row.agent: (row.answers, row.unfinished_answers) for row in found.agents} == {
        "build": (4, 2),
        "plan": (0, 1),
    }


def test_overview_fork_copies_fail_once(open_index: OpenIndex) -> None:
    """A fork repeats its origin's messages; what failed there did not fail again."""
    docs = [assistant(usage=tokens(input=10), cost=1), call("prt_1", status="error", error="no")]
    copies = copied(docs, "ses_2", "_copy")

    found = overview(open_index(session(), session("ses_2", created=START_MS + 60_000), *docs, *copies), Scope())

    assert (found.now.answers, found.now.failed_calls, found.now.cost_recorded_usd) == (1, 1, usd("1"))


@pytest.mark.parametrize(
    ("period", "until", "expected"),
    [
        (Period(), NOON, None),
        (Period(None, NOON), NOON, None),
        (preset("7d", "UTC", NOON), NOON, Period(datetime(2026, 11, 10), datetime(2026, 11, 16, 12))),
        (preset("24h", "UTC", NOON), NOON, Period(datetime(2026, 11, 21, 12), datetime(2026, 11, 22, 12))),
        (
            days(date(2026, 11, 1), date(2026, 11, 10), "UTC"),
            NOON,
            Period(datetime(2026, 10, 22), datetime(2026, 11, 1)),
        ),
        (days(date(2026, 11, 22), None, "UTC"), NOON, Period(datetime(2026, 11, 20), datetime(2026, 11, 21, 12))),
        (days(date(2026, 12, 1), None, "UTC"), NOON, None),
        (preset("24h", "UTC", NOON), NOON - timedelta(days=5), None),
        (
            preset("7d", "UTC", NOON),
            NOON + timedelta(minutes=14, seconds=59),
            Period(datetime(2026, 11, 10), datetime(2026, 11, 16, 12)),
        ),
    ],
    ids=["all", "no start", "7d", "24h", "past days", "from", "ahead", "index older than the range", "quarter"],
)
def test_before_is_as_long_as_what_has_happened(period: Period, until: datetime, expected: Period | None) -> None:
    """Half a day is not compared with a whole one."""
    assert before(period, "UTC", until) == expected


def test_before_24h_that_begin_at_midnight_are_no_days() -> None:
    """Soon after midnight they are, to the quarter of an hour, all of yesterday."""
    now = local_midnight(date(2026, 10, 5), BERLIN) + timedelta(minutes=3)

    found = before(preset("24h", BERLIN, now), BERLIN, now)

    assert found == Period(local_midnight(date(2026, 10, 3), BERLIN), local_midnight(date(2026, 10, 4), BERLIN))


def test_before_clock_change_keeps_the_time_of_day() -> None:
    """Local days of 25 hours: the stretch before begins at midnight and ends at the same time of day."""
    until = datetime(2026, 10, 25, 11)  # noon in Berlin, after the change

    found = before(preset("7d", BERLIN, until), BERLIN, until)

    assert found == Period(local_midnight(date(2026, 10, 12), BERLIN), datetime(2026, 10, 18, 10))


def test_slowest_tools_few_calls_come_after_many(open_index: OpenIndex) -> None:
    """One slow call is no percentile: such tools are listed last, and known as such."""
    grep = [call(f"prt_g{number:02}", "grep", ms=number) for number in range(1, 21)]
    con = open_index(session(), assistant(), call("prt_1", "webfetch", ms=90_000), *grep)

    first, second = slowest_tools(con, Scope())

    assert (first.tool_name, first.calls, first.is_rare) == ("grep", 20, False)
    assert first.p95_ms == pytest.approx(19.05)
    assert (second.tool_name, second.timed_calls, second.p95_ms, second.is_rare) == ("webfetch", 1, 90_000, True)


def test_slowest_tools_pending_calls_are_counted_apart(open_index: OpenIndex) -> None:
    """A call that never ended took neither 0 ms nor for ever; a clock that ran backwards measured nothing."""
    con = open_index(
        session(),
        assistant(),
        call("prt_1", status="running"),
        call("prt_2", status="error", error="x"),
        call("prt_3", ms=-5),
    )

    (found,) = slowest_tools(con, Scope())

    assert (found.calls, found.failed_calls, found.unfinished_calls, found.timed_calls) == (2, 1, 1, 1)
    assert (found.p95_ms, found.failed_share) == (100, 0.5)


@pytest.mark.parametrize("name", SETS)
def test_newest_errors_all_of_them_are_what_the_rate_counts(name: str, real_index: RealIndex) -> None:
    """The list and the rate agree, newest first, each once."""
    con = real_index(name)

    rows = newest_errors(con, Scope())

    assert len(rows) == len({row.error_id for row in rows}) == overview(con, Scope()).now.errors
    assert rows == sorted(rows, key=lambda row: row.occurred_at or datetime.min, reverse=True)
    assert [row.error_id for row in newest_errors(con, Scope(), 5)] == [row.error_id for row in rows[:5]]
    assert all("\n" not in (row.message or "") for row in rows)


@pytest.mark.parametrize(
    ("failed", "name", "message", "exit_code"),
    [
        (call("prt_1", status="error", error="\n  first\nsecond"), "bash", "first", None),
        (call("prt_1", metadata={"exit": 2}, output="a\nlast words\n"), "bash", "last words", "2"),
        (call("prt_1", metadata={"exit": None}, output=""), "bash", None, "none"),
        (
            call("prt_1", metadata={"exit": None}, output="x\n<bash_metadata>\ntoo slow\n</bash_metadata>"),
            "bash",
            "too slow",
            "none",
        ),
        (
            call("prt_1", tool="invalid", input={"tool": "x", "error": "unknown tool\nmore"}, output="y"),
            "invalid",
            "unknown tool",
            None,
        ),
        (assistant("msg_9", error=error("APIError", "<b>no</b>\nsecond")), "APIError", "<b>no</b>", None),
        (assistant("msg_9", error={"name": "Odd", "data": 7}), "Odd", None, None),
        (assistant("msg_9", error=error("Odd", {"deep": 1})), "Odd", '{"deep":1}', None),
    ],
    ids=["error", "exit", "signal", "time limit", "invalid", "answer", "no data", "message is an object"],
)
def test_newest_errors_message_is_one_telling_line(
    failed: Doc, name: str, message: str | None, exit_code: str | None, open_index: OpenIndex
) -> None:
    """The first line of an error; of a program's output the last one. Text stays as it is."""
    con = open_index(session(title="T"), assistant(), failed)

    (found,) = newest_errors(con, Scope(), 10)

    assert (found.name, found.message, found.exit_code) == (name, message, exit_code)
    assert (found.is_call, found.session_title) == (failed.kind == "part", "T")


def test_errors_answer_cut_short_is_none_and_a_prompt_less_exchange_is_one_everywhere(open_index: OpenIndex) -> None:
    """One definition of each: on Overview, on Costs, in the list of sessions and on a timeline."""
    stopped = assistant("msg_2a", created=START_MS + 5_000, error=error("MessageAbortedError", "stop"))
    con = open_index(session(), assistant(usage=tokens(input=1)), stopped, call("prt_1", status="error", error="no"))

    now = overview(con, Scope()).now
    (row,) = session_rows(con, Scope(), True, "newest")
    found = timeline(con, "ses_1")

    assert found is not None
    by_session = cost_rows(con, "session", Scope())[0]
    assert [now.failed_answers + now.failed_calls, row.errors, found.head.errors, by_session.errors] == [1] * 4
    assert [row.exchanges, found.head.exchanges, len(found.exchanges)] == [1] * 3


def test_errors_compaction_that_failed_is_none_everywhere(tmp_path: Path, open_index: OpenIndex) -> None:
    """Of the third generation: a row that is no answer, and used nothing."""
    failed = row("msg_3c", "compaction", 3, status="failed", error={"type": "provider.unknown", "message": "no"})
    docs = [session(version="2.0.0"), row("msg_1u", "user", 1, text="hello"), answer("msg_2a", 2), failed]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    now = overview(con, Scope()).now
    (listed,) = session_rows(con, Scope(), True, "newest")
    found = timeline(con, "ses_1")

    assert found is not None
    assert [now.failed_answers, failure_totals(con, Scope(), Choice()).errors, listed.errors, found.head.errors] == [
        0
    ] * 4


def test_newest_errors_cut_short_by_the_user_is_none(open_index: OpenIndex) -> None:
    """To stop an answer is not an error."""
    con = open_index(session(), assistant(error=error("MessageAbortedError", "stop")))

    assert newest_errors(con, Scope(), 10) == []
    assert overview(con, Scope()).now.cost_recorded_usd == Decimal("0.25")
