"""The Benchmarks page with something measured: sound in every look, plans side by side, CSV."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from indexer.benchmarks import results
from tests import benchmark_runs as made
from tests.benchmark_runs import SLOWER
from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import Visit, in_every_look, visiting

ROW, MARK = 35, 18  # pixels of a row of a table, and where its tick is


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on an index with two benchmarks."""
    path = running.index_of("json", tmp_path_factory.mktemp("benchmarks"))
    results.keep(path, made.run(factor=2))
    results.keep(path, made.run("later", days_later=1))
    with running.dashboard(path) as address:
        yield address


def tick(visit: Visit, number: int) -> None:
    """Tick a row of the table of queries, and wait for what it shows."""
    table = visit.page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    visit.page.mouse.click(box["x"] + MARK, box["y"] + ROW * (number + 1) + MARK)
    expect(visit.page.locator(".st-key-benchmark_history")).to_be_visible()
    visit.settle()


def test_benchmarks_ticked_query_is_sound(browser: Browser, base: str) -> None:
    """No exception, no console error, no violation; the index scan is marked on the left only."""
    for visit, look in in_every_look(browser, base, "/benchmarks"):
        if not visit.page.locator(".st-key-benchmark_history").is_visible():
            tick(visit, 1)
        visit.page.screenshot(path=ARTIFACTS / "screenshots" / f"benchmarks-ticked-{look}.png")
        violations = visit.violations()

        plans = visit.page.locator(".st-key-benchmark_query").get_by_test_id("stCode").all_inner_texts()
        assert [plan.startswith("▶ INDEX SCAN") for plan in plans[:2]] == [True, False]
        assert violations == []


def test_benchmarks_comparison_stays_in_the_address_and_downloads(browser: Browser, base: str) -> None:
    """A link compares with the same; the file has every query."""
    with visiting(browser, base) as visit:
        visit.open("/benchmarks")
        visit.page.get_by_role("radiogroup", name="Compared with").get_by_role(
            "radio", name="the story's schema"
        ).click()
        visit.page.wait_for_url("**before=*")
        visit.page.reload()
        visit.settle()

        assert visit.metric("Slower than before") == "0 of 3"
        file = visit.export("Every query, against the story's schema").decode("utf-8-sig")
        assert file.splitlines()[0].startswith("query,page,runs,")
        assert SLOWER in file
