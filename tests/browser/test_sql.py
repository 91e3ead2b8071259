"""The SQL page in a real browser: a shared link, the keyboard, a file, both themes, the phone."""

import csv
import io
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, ViewportSize, expect

from queries import console
from tests.browser.visit import PHONE, WIDE, Visit, visiting


def field(visit: Visit) -> Locator:
    """Return where the query is written."""
    return visit.page.get_by_role("textbox", name="Query")


def run(visit: Visit) -> None:
    """Run what is written, by the keyboard."""
    field(visit).press("Control+Enter")
    expect(visit.page.locator(".st-key-sql_result")).to_be_visible()
    visit.settle()


def test_sql_shared_link_waits_for_its_reader(browser: Browser, base: str) -> None:
    """The longest query that an address can hold comes through, and nothing runs until somebody says so."""
    head = "SELECT 'x' AS word, '"
    query = f"{head}{'日' * (console.MAX_QUERY_CHARS - len(head) - 1)}'"
    with visiting(browser, base) as visit:
        visit.open(f"/sql?query={quote(query)}")

        assert field(visit).input_value() == query
        assert visit.page.locator(".st-key-sql_result").count() == 0

        run(visit)

        assert "1 row (texts are shown up to 500 characters)" in visit.text()
        assert visit.errors == []


def test_sql_address_holds_the_query(browser: Browser, base: str) -> None:
    """What is written is in the address; the file has the whole result."""
    with visiting(browser, base) as visit:
        visit.open("/sql")
        field(visit).fill("SELECT role, count(*) AS n FROM messages GROUP BY role ORDER BY role")
        run(visit)

        rows = list(csv.DictReader(io.StringIO(visit.export("Result of the query").decode("utf-8-sig"))))
        address = visit.page.url.removeprefix(base)
        visit.open(address)

        assert [row["role"] for row in rows] == ["assistant", "user"]
        assert field(visit).input_value().startswith("SELECT role, count(*) AS n")


@pytest.mark.parametrize(("theme", "size"), [("dark", WIDE), ("light", PHONE)])
def test_sql_result_is_sound(browser: Browser, base: str, theme: str, size: ViewportSize) -> None:
    """With table, chart and the description of a table."""
    with visiting(browser, base, theme=theme, size=size, has_motion=True) as visit:
        visit.open("/sql")
        visit.page.get_by_role("button", name="Cost per day and model").click()
        expect(field(visit)).not_to_be_empty()
        run(visit)
        expect(visit.page.locator(".st-key-sql_chart .js-plotly-plot")).to_be_visible()
        violations = visit.violations()

        assert not visit.has_exception(), visit.text()
        assert violations == []
        assert (visit.errors, visit.foreign) == ([], [])
        assert visit.page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), "scrolls sideways"
