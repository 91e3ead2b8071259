"""What caches saved, and where sessions lost what they had in one."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from queries.cache import (
    AGENT_SWITCH,
    COMPACTION,
    DIMENSIONS,
    MODEL_SWITCH,
    PAUSE,
    UNKNOWN,
    CacheTotals,
    cache_rows,
    cache_series,
    collapses,
)
from queries.cache_report import cache_report
from queries.context_rent import context_rent
from queries.costs import cost_totals
from queries.period import Period, Scope
from tests.builders import (
    START_MS,
    Doc,
    answer,
    copied,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_session_messages,
)
from tests.conftest import OpenIndex
from tests.priced import MINUTE_MS, prices, request
from tests.queries.test_costs import SCOPES, SETS

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
ALL = Scope()
MILLION = 1_000_000

__all__ = ["prices"]
pytestmark = pytest.mark.usefixtures("prices")


def totals(con: duckdb.DuckDBPyConnection, scope: Scope) -> CacheTotals:
    """Return the totals of the report."""
    return cache_report(con, scope, limit=1).totals


def test_cache_totals_saved_is_reads_less_surcharge_of_writes(open_index: OpenIndex) -> None:
    """Reads cost a quarter of input here, writes a quarter more: 3 saved a read, 1 lost a write."""
    con = open_index(session(), user(), request(1, write=2 * MILLION), request(2, read=2 * MILLION, input=MILLION))

    found = totals(con, ALL)

    assert found.saved_list_usd == Decimal(2 * 3 - 2 * 1)
    assert (found.requests, found.sent_tokens, found.read_share) == (2, 5 * MILLION, 0.4)


def test_cache_totals_writes_that_nobody_read_are_lost(open_index: OpenIndex) -> None:
    """A saving can be negative."""
    con = open_index(session(), user(), request(1, write=MILLION))

    assert totals(con, ALL).saved_list_usd == Decimal(-1)


def test_cache_totals_unpriced_model_is_unknown_and_counted_apart(open_index: OpenIndex) -> None:
    """Never 0 saved."""
    con = open_index(session(), user(), request(1, read=500, write=100, modelID="gremlin"))

    found = totals(con, ALL)

    assert (found.saved_list_usd, found.unpriced_cached_tokens, found.read_share) == (None, 600, 500 / 600)


def test_cache_rows_by_agent_and_model(open_index: OpenIndex) -> None:
    """Most tokens first; each request belongs to one."""
    con = open_index(
        session(),
        user(),
        request(1, read=MILLION, modelID="mini"),
        request(2, read=2 * MILLION, agent="plan"),
        request(3, read=3 * MILLION, agent="plan", modelID="mini"),
    )

    models = [(row.key, row.requests, row.saved_list_usd) for row in cache_rows(con, "model", ALL)]
    agents = [(row.key, row.requests, row.saved_list_usd) for row in cache_rows(con, "agent", ALL)]

    assert models == [("acme/mini", 2, Decimal(4)), ("acme/nova", 1, Decimal(6))]
    assert agents == [("plan", 2, Decimal(9)), ("build", 1, Decimal(1))]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_cache_any_scope_adds_up_to_costs(name: str, scope: Scope, real_index: RealIndex) -> None:
    """Requests, small tables and the Costs page agree under any filter."""
    con = real_index(name)

    whole, spent = totals(con, scope), cost_totals(con, scope)

    assert (whole.input_tokens, whole.cache_read_tokens, whole.cache_write_tokens) == (
        *(spent.input_tokens, spent.cache_read_tokens),
        spent.cache_write_tokens,
    )
    assert whole.read_share == spent.cache_read_share
    for by in ("model", "agent"):
        rows = cache_rows(con, by, scope)
        assert sum(row.requests for row in rows) == whole.requests
        assert sum(row.sent_tokens for row in rows) == whole.sent_tokens
        points = cache_series(con, by, "day", scope)
        assert sum(point.sent_tokens for point in points) == whole.sent_tokens
        assert sum(point.cache_read_tokens for point in points) == whole.cache_read_tokens


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_cache_report_any_scope_says_what_each_query_says(name: str, scope: Scope, real_index: RealIndex) -> None:
    """What the page shows, and what its exports hold."""
    con = real_index(name)

    found = cache_report(con, scope, limit=3)

    assert found.rows == {by: cache_rows(con, by, scope) for by in DIMENSIONS}
    assert found.collapses == collapses(con, scope, 3)
    assert found.rent == context_rent(con, scope, 3)


LOST = {"read": 0, "write": 10_000}


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        ({}, UNKNOWN),
        ({"minute": 6.5}, PAUSE),
        ({"minute": 6}, UNKNOWN),
        ({"agent": "plan", "minute": 60}, AGENT_SWITCH),
        ({"agent": "plan", "modelID": "mini"}, MODEL_SWITCH),
        ({"agent": "compaction", "modelID": "mini", "summary": True}, COMPACTION),
    ],
)
def test_collapses_cause_is_the_first_that_applies(
    second: dict[str, object], cause: str, open_index: OpenIndex
) -> None:
    """In the order compaction, model, agent, pause of more than five minutes."""
    con = open_index(session(), user(), request(1, **LOST), request(2, **{**LOST, **second}))  # type: ignore[arg-type]

    found = collapses(con, ALL)

    assert [row.cause for row in found.dearest] == [cause]
    assert [(row.cause, row.collapses) for row in found.causes] == [(cause, 1)]


def test_collapses_after_a_summary_are_its_doing(open_index: OpenIndex) -> None:
    """What the next request sends begins anew, also where the summary's own usage is not known."""
    con = open_index(
        session(),
        user(),
        request(1, write=9_000),
        request(2, summary=True),
        request(3, write=4_000),
    )

    assert [row.cause for row in collapses(con, ALL).dearest] == [COMPACTION]


@pytest.mark.parametrize(
    ("first", "second", "is_collapse"),
    [
        ({"write": 10_000}, {"read": 5_000, "input": 9_000}, False),
        ({"write": 10_000}, {"read": 4_999, "input": 9_000}, True),
        ({"read": 4_000, "write": 6_000}, {"read": 4_999, "input": 9_000}, True),
        ({"input": 20_000}, {"input": 20_000}, False),
        ({"write": 1_023}, {"input": 9_000}, False),
        ({"write": 1_023, "input": 1}, {"input": 9_000}, True),
    ],
)
def test_collapses_less_than_half_of_what_was_cached(
    first: dict[str, int], second: dict[str, int], is_collapse: bool, open_index: OpenIndex
) -> None:
    """Of a request that sent at least as much as a provider caches; what never was in the cache is not lost."""
    con = open_index(session(), user(), request(1, **first), request(2, **second))  # type: ignore[arg-type]

    assert collapses(con, ALL).count == int(is_collapse)


def test_collapses_bill_writes_first_then_input_less_the_reads(open_index: OpenIndex) -> None:
    """8 million were lost: 2 were written anew at 5, 6 sent as input at 4, where reading costs 1."""
    con = open_index(
        session(),
        user(),
        request(1, write=10 * MILLION),
        request(2, read=2 * MILLION, write=2 * MILLION, input=9 * MILLION),
    )

    found = collapses(con, ALL)

    assert [(row.lost_tokens, row.bill_list_usd) for row in found.dearest] == [(8 * MILLION, Decimal(2 * 4 + 6 * 3))]
    assert found.bill_list_usd == Decimal(26)


def test_collapses_bill_is_at_most_for_what_was_sent(open_index: OpenIndex) -> None:
    """A shorter context has no room for all that was lost."""
    con = open_index(session(), user(), request(1, write=10 * MILLION), request(2, input=MILLION))

    assert [(row.lost_tokens, row.bill_list_usd) for row in collapses(con, ALL).dearest] == [(MILLION, Decimal(3))]


def test_collapses_unpriced_bill_is_unknown(open_index: OpenIndex) -> None:
    """It is counted, without an amount."""
    con = open_index(
        session(), user(), request(1, write=9_000, modelID="gremlin"), request(2, input=9_000, modelID="gremlin")
    )

    found = collapses(con, ALL)

    assert [(row.bill_list_usd, row.lost_tokens) for row in found.dearest] == [(None, 9_000)]
    assert [(row.bill_list_usd, row.unpriced) for row in found.causes] == [(None, 1)]
    assert found.bill_list_usd is None


def test_collapses_request_without_usage_is_skipped(open_index: OpenIndex) -> None:
    """An aborted request neither lost the prefix nor hides that the next one did."""
    con = open_index(session(), user(), request(1, write=9_000), request(2), request(3, input=9_000))

    assert [(row.lost_tokens, row.gap_ms) for row in collapses(con, ALL).dearest] == [(9_000, 2 * MINUTE_MS)]


def test_collapses_sessions_do_not_know_each_other(open_index: OpenIndex) -> None:
    """A child session has a prefix of its own."""
    con = open_index(
        session(),
        session("ses_2", parentID="ses_1"),
        user(),
        user("msg_2u", "ses_2"),
        request(1, write=9_000),
        request(2, input=9_000, session_id="ses_2"),
        request(3, read=9_000),
    )

    assert collapses(con, ALL).count == 0


def test_collapses_in_copied_messages_are_billed_once(open_index: OpenIndex) -> None:
    """A fork copies requests; what it lost itself is its own."""
    first: list[Doc] = [user(), request(1, write=9_000), request(2, input=9_000, write=9_000)]
    con = open_index(
        session(),
        session("ses_2", created=START_MS + 10_000_000),
        *first,
        *copied(first, "ses_2", "c"),
        request(9, input=9_000, session_id="ses_2"),
    )

    found = collapses(con, ALL)

    assert sorted((row.session_id, row.lost_tokens) for row in found.dearest) == [("ses_1", 9_000), ("ses_2", 9_000)]


def test_collapses_period_begins_with_its_first_request(open_index: OpenIndex) -> None:
    """What was cached before the period is known all the same."""
    con = open_index(session(), user(), request(1, write=9_000), request(2, minute=61, input=9_000))

    found = collapses(con, Scope(period=Period(datetime(2026, 1, 1, 1), None)))
    before = collapses(con, Scope(period=Period(None, datetime(2026, 1, 1, 1))))

    assert [row.cause for row in found.dearest] == [PAUSE]
    assert before.count == 0


def test_collapses_step_of_a_message_is_named(open_index: OpenIndex) -> None:
    """Old clients put several requests into one message."""
    con = open_index(
        session(),
        user(),
        request(1),
        step_finish("prt_1", tokens(cache_write=9_000), "msg_001"),
        step_finish("prt_2", tokens(input=9_000), "msg_001"),
    )

    (row,) = collapses(con, ALL).dearest

    assert (row.trace_id, row.exchange, row.gap_ms) == ("prt_2", 1, 0)


def test_collapses_third_generation_is_ordered_by_seq(open_index: OpenIndex, tmp_path: Path) -> None:
    """Whatever the clock said: the second answer found the prefix of the first, the third did not."""
    folder = write_session_messages(
        tmp_path / "opencode",
        [
            project(),
            session(version="2.0.4"),
            row("msg_1", "user", 1, text="Go"),
            answer("msg_2", 2, usage=tokens(cache_write=9_000), time=_at(3)),
            answer("msg_3", 3, usage=tokens(cache_read=9_000), time=_at(2)),
            answer("msg_4", 4, usage=tokens(input=9_000), time=_at(1)),
        ],
    )
    con = open_index(folder)

    assert [(row.trace_id, row.lost_tokens) for row in collapses(con, ALL).dearest] == [("msg_4:step", 9_000)]


def _at(minute: int) -> dict[str, int]:
    """Make the times of an answer."""
    return {"created": START_MS + minute * MINUTE_MS, "completed": START_MS + minute * MINUTE_MS + 500}


def test_collapses_limit_keeps_the_dearest_and_all_causes(open_index: OpenIndex) -> None:
    """The sums are of all."""
    con = open_index(
        session(),
        user(),
        request(1, write=9_000),
        request(2, write=8_000),
        request(3, write=7_000, modelID="mini"),
    )

    found = collapses(con, ALL, 1)

    assert [(row.cause, row.lost_tokens) for row in found.dearest] == [(UNKNOWN, 8_000)]
    assert [(row.cause, row.collapses) for row in found.causes] == [(MODEL_SWITCH, 1), (UNKNOWN, 1)]
    assert found.bill_list_usd == sum(row.bill_list_usd or 0 for row in collapses(con, ALL).dearest)
