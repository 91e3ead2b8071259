"""Every page with the network blocked for the server and for the browser: nothing is missing, and nobody tried."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import running
from tests.browser.test_pages import HEADINGS, PAGES
from tests.browser.visit import visiting
from tests.no_network import Blocked


def test_pages_without_network_are_whole_and_try_nothing(
    browser: Browser, index_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each page, an export and the events of a session. The browser cannot resolve any name: see `running`."""
    (tmp_path / "block").mkdir()
    blocked = Blocked(tmp_path / "block")
    with (
        running.dashboard(index_of("json"), prefix=blocked.prefix) as base,
        visiting(browser, base, is_stranger=True) as visit,
    ):
        for name in PAGES:
            visit.open(f"/{name}?range=all")
            assert not visit.has_exception(), name
            assert visit.page.get_by_test_id("stHeading").first.inner_text() == HEADINGS.get(name, name.capitalize())
        visit.open("/sessions?range=all")
        rows = list(csv.DictReader(io.StringIO(visit.export("Sessions").decode("utf-8-sig"))))
        visit.open(f"/timeline?session={rows[0]['session_id']}")
        visit.page.locator(".rows .row").first.wait_for(state="attached")

    assert visit.errors == []
    assert visit.foreign == []
    assert blocked.attempts() == []
