"""Spend by quarters of an hour."""

from collections.abc import Callable
from datetime import datetime

import duckdb
import pytest

from queries.budgets import SpendQuarter, spend_quarters
from queries.costs import BASES, cost_totals
from queries.period import Scope
from tests.builders import START_MS, assistant, copied, session, tokens, usd, user
from tests.conftest import DATA_SETS, OpenIndex

MINUTE_MS = 60_000
START = datetime(2026, 1, 1)


def test_spend_quarters_what_cost_nothing_is_left_out(open_index: OpenIndex) -> None:
    """Two in one quarter, one without a cost, one before, one that used nothing, and a fork's copies."""
    used = tokens(input=1)
    told = [
        assistant("msg_1", created=START_MS + 1, usage=used, cost=0.5),
        assistant("msg_2", created=START_MS + 14 * MINUTE_MS, usage=used, cost=0.25),
        assistant("msg_3", created=START_MS + 15 * MINUTE_MS, usage=used, cost=None),
        assistant("msg_4", created=START_MS - 1, usage=used, cost=8),
        assistant("msg_5", created=START_MS + 60 * MINUTE_MS, completed=None, usage=None, cost=0),
    ]
    con = open_index(session(), user(), *told, session("ses_2", created=START_MS + 1), *copied(told[:1], "ses_2", "x"))

    found = spend_quarters(con, START)

    assert found == [
        SpendQuarter(START, usd("0.75"), None, uncounted_recorded=0, uncounted_list=2),
        SpendQuarter(datetime(2026, 1, 1, 0, 15), None, None, uncounted_recorded=1, uncounted_list=1),
    ]


@pytest.mark.parametrize("basis", BASES)
def test_cost_usd_not_known_adds_nothing(basis: str) -> None:
    """It is counted instead."""
    found = SpendQuarter(START, None, None, 2, 2)

    assert (found.cost_usd(basis), found.uncounted(basis)) == (usd("0"), 2)


@pytest.mark.parametrize("name", DATA_SETS)
def test_spend_quarters_all_time_adds_up_to_costs(
    name: str, real_index: Callable[[str], duckdb.DuckDBPyConnection]
) -> None:
    """To the last digit."""
    con = real_index(name)

    found = sum(quarter.cost_usd("recorded") for quarter in spend_quarters(con, datetime(1970, 1, 1)))

    assert found == cost_totals(con, Scope()).cost_recorded_usd
