"""The page "Why this number" in a browser: the way there, a ticked line, the way to the event."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser import running
from tests.browser.visit import Visit


@pytest.fixture(scope="module")
def base(index_of: Callable[[str], Path]) -> Iterator[str]:
    """A dashboard on the SQLite data set: its sessions store sums of their own."""
    with running.dashboard(index_of("sqlite")) as address:
        yield address


def _query(visit: Visit) -> dict[str, list[str]]:
    """Return the parameters of the address."""
    return parse_qs(urlsplit(visit.page.url).query)


def test_total_of_costs_leads_to_its_ledger_with_the_filters(visit: Visit) -> None:
    """The same number again, and what cannot be compared under the filter."""
    visit.open("/costs?range=all&agent=plan")
    cost = visit.metric("Cost, recorded")

    visit.page.get_by_role("link", name="Why this number?").click()
    visit.page.wait_for_url("**/ledger**")
    visit.settle()

    assert _query(visit) == {"range": ["all"], "agent": ["plan"]}
    assert visit.metric("Cost, recorded") == cost
    assert "not comparable with this filter" in visit.text()


def test_ticked_line_opens_its_rows_and_a_row_its_event(visit: Visit) -> None:
    """From a sum to the session that it is of."""
    visit.open("/ledger?range=all")
    visit.tick("ledger_checks_rows", 4)
    visit.page.wait_for_url("**line=cost_opencode**")
    visit.settle()
    sessions = visit.table("ledger_rows_rows")["Session id"]

    visit.tick("ledger_rows_rows")
    visit.page.wait_for_url("**/timeline**")
    visit.settle()

    assert _query(visit)["session"] == [sessions[0]]


def test_tick_in_another_table_takes_the_first_one_back(visit: Visit) -> None:
    """One line is open, and one is ticked: also after a reload."""
    visit.open("/ledger?range=all")
    visit.tick("ledger_checks_rows", 3)
    visit.page.wait_for_url("**line=cost_steps**")
    visit.settle()

    visit.tick("ledger_left_out_rows", 1)
    visit.page.wait_for_url("**line=unrecorded**")
    visit.settle()
    visit.page.reload()
    visit.settle()

    assert _query(visit)["line"] == ["unrecorded"]
    assert "Answers without a recorded cost, row by row" in visit.text()
