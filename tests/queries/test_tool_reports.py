"""Tool calls: how many, how long, what they work on; everything adds up under any filters."""

from collections.abc import Callable

import duckdb
import pytest

from queries.period import Scope
from queries.tool_reports import (
    GROUPINGS,
    call_reports,
    call_totals,
    file_uses,
    latency_bins,
    latency_series,
    slowest_calls,
)
from tests.builders import START_MS, Doc, assistant, session, user
from tests.conftest import OpenIndex
from tests.queries.test_costs import SCOPES, SETS
from tests.queries.test_overview import call

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
ALL = Scope()

DOCS: tuple[Doc, ...] = (
    session(),
    user(),
    assistant("msg_2a"),
    call("prt_1", ms=100, input={"command": "git status"}, output="clean"),
    call("prt_2", ms=300, input={"command": "cd x && git log"}, metadata={"exit": 1}),
    call("prt_3", ms=5_000, input={"command": "npm test"}),
    call("prt_4", status="running", input={"command": "npm start"}),
    call("prt_5", "read", ms=20, input={"filePath": "/a.py"}),
    call("prt_6", "edit", ms=40, input={"filePath": "/a.py", "oldString": "x", "newString": "y"}),
    call("prt_7", "apply_patch", ms=60, input={"patchText": "*** Update File: /a.py\n*** Add File: /b.py"}),
)


def test_call_totals_unfinished_calls_are_apart(open_index: OpenIndex) -> None:
    """They are neither ok nor failed, and took no known time."""
    con = open_index(*DOCS)

    found = call_totals(con, ALL)

    assert (found.tools, found.calls, found.failed_calls, found.unfinished_calls) == (4, 6, 1, 1)
    assert (found.total_ms, found.output_bytes) == (100 + 300 + 5_000 + 20 + 40 + 60, 5)
    assert found.success_share == pytest.approx(5 / 6)


def test_call_totals_no_timed_call_took_no_known_time(open_index: OpenIndex) -> None:
    """Which is not 0 ms: in all, and of each tool."""
    con = open_index(session(), user(), assistant(), call("prt_1", status="running", input={"command": "npm start"}))

    assert call_totals(con, ALL).total_ms is None
    assert [row.total_ms for row in call_reports(con, "tool", ALL)] == [None]


def test_call_reports_percentiles_of_timed_calls(open_index: OpenIndex) -> None:
    """Between the calls, as everywhere; too few of them are rare."""
    con = open_index(*DOCS)

    row = next(row for row in call_reports(con, "tool", ALL) if row.key == "bash")

    assert (row.calls, row.timed_calls, row.p50_ms, row.max_ms, row.is_rare) == (3, 3, 300.0, 5_000, True)
    assert row.p90_ms == pytest.approx(300 + 0.8 * 4_700)


def test_call_reports_programs_are_those_of_commands(open_index: OpenIndex) -> None:
    """What a command runs, not how it gets there; files are no programs."""
    con = open_index(*DOCS)

    found = {row.key: (row.calls, row.failed_calls) for row in call_reports(con, "program", ALL)}

    assert found == {"git": (2, 1), "npm": (1, 0)}


def test_file_uses_every_file_of_a_patch(open_index: OpenIndex) -> None:
    """A patch names several; each counts."""
    con = open_index(*DOCS)

    found = [(row.path, row.calls, row.reads) for row in file_uses(con, ALL)]

    assert found == [("/a.py", 3, 1), ("/b.py", 1, 0)]


def test_latency_bins_hold_every_timed_call_once(open_index: OpenIndex) -> None:
    """Five bins a decade: 100 ms begins one."""
    con = open_index(*DOCS)

    found = [(row.place, round(row.from_ms), row.calls, row.failed_calls) for row in latency_bins(con, "bash", ALL)]

    assert found == [(10, 100, 1, 0), (12, 251, 1, 1), (18, 3_981, 1, 0)]


def test_slowest_calls_limit_keeps_the_slowest(open_index: OpenIndex) -> None:
    """Slowest first, each with what it works on."""
    con = open_index(*DOCS)

    found = [(row.part_id, row.duration_ms, row.target) for row in slowest_calls(con, ALL, None, 2)]

    assert found == [("prt_3", 5_000, "npm"), ("prt_2", 300, "git")]


def test_latency_series_steps_are_local_days(open_index: OpenIndex) -> None:
    """The first day of 2026 in UTC is still 2025 in New York."""
    con = open_index(*DOCS)

    found = latency_series(con, "bash", "day", Scope(tz="America/New_York"))

    assert [(point.step_at.isoformat(), point.calls) for point in found] == [("2025-12-31T00:00:00", 3)]
    assert START_MS == 1_767_225_600_000


def test_latency_series_weeks_begin_on_the_first_weekday(open_index: OpenIndex) -> None:
    """2026 begins on a Thursday."""
    con = open_index(*DOCS)

    found = latency_series(con, "bash", "week", Scope(first_weekday=6))

    assert [(point.step_at.isoformat(), point.calls) for point in found] == [("2025-12-28T00:00:00", 3)]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_tool_reports_any_scope_adds_up(name: str, scope: Scope, real_index: RealIndex) -> None:
    """Every grouping has the calls of the headline; every tool's bins have its timed calls."""
    con = real_index(name)

    whole = call_totals(con, scope)

    for by in GROUPINGS[:-1]:
        rows = call_reports(con, by, scope)
        assert sum(row.calls for row in rows) == whole.calls
        assert sum(row.failed_calls for row in rows) == whole.failed_calls
        assert sum(row.total_ms or 0 for row in rows) == (whole.total_ms or 0)
    for row in call_reports(con, "tool", scope):
        assert sum(each.calls for each in latency_bins(con, row.key, scope)) == row.timed_calls
        assert len(slowest_calls(con, scope, row.key)) == row.timed_calls
