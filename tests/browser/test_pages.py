"""Every page in a real browser, by a deep link, of some as a server's first request; both themes, two sizes.

The network is blocked for the server and for the browser: nothing is missing, and nobody tries.
"""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize

from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import PHONE, THEMES, WIDE, in_every_look, visiting
from tests.no_network import Blocked

# Every page, so a new one is tested from its first day; its heading is its name, but for those named here.
PAGES = sorted(path.stem for path in (running.ROOT / "pages").glob("[a-z]*.py"))
FIRST_OF_A_SERVER = ("overview", "timeline")  # a start takes seconds: of the others, the server has run one before
CHECKED_LOOKS = {f"{theme}-{size['width']}" for theme, size in zip(THEMES, (WIDE, PHONE), strict=True)}  # each once
# What of the headline figures does not fit into its place.
CUT_OFF = """() => [...document.querySelectorAll('[data-testid="stMetric"], [data-testid="stMetric"] *')]
    .filter(each => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== "visible")
    .map(each => each.textContent)
"""
NARROW_DESKTOP = ViewportSize(width=1280, height=800)
# From left to right; the last one is there once another is set.
FILTERS = tuple(f".st-key-{key}" for key in ("range", "dates", "agent", "model", "project", "q", "clear_filters"))
# The tables of which not all columns are to be seen, by what they are in.
SCROLLING = """() => [...document.querySelectorAll('[data-testid="stDataFrame"]')]
    .filter(each => [...each.querySelectorAll(".dvn-scroller")].some(box => box.scrollWidth > box.clientWidth))
    .map(each => each.closest('[class*="st-key-"]').className)
"""
MOST_STOPS = 80  # of the Tab key, on the way to what is looked for
# What the keyboard comes to on Costs: the menu, a link in the page, the tools of a chart.
RINGED = ('[data-testid="stTopNavLink"]', '[data-testid="stPageLink-NavLink"]', ".modebar-btn")
HEADINGS = {"ledger": "Why this number", "sql": "SQL", "what_if": "What if"}


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Blocked:
    """The block of every server here. The browser cannot resolve any name: see `running`."""
    return Blocked(tmp_path_factory.mktemp("block"))


@pytest.fixture(scope="module")
def base(index_of: Callable[[str], Path], blocked: Blocked) -> Iterator[str]:
    """A dashboard without network; until it ended, it has not tried to reach any."""
    with running.dashboard(index_of("json"), blocked.prefix) as address:
        yield address
    assert blocked.attempts() == []


def test_pages_the_first_ones_are_found() -> None:
    """An empty list of pages would pass every test."""
    assert {"costs", "sessions"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_deep_link_is_sound(
    browser: Browser, base: str, index_of: Callable[[str], Path], blocked: Blocked, name: str
) -> None:
    """No exception, no error, no request elsewhere, no accessibility violation, no figure cut; screenshots are kept."""
    screenshots, heading = ARTIFACTS / "screenshots", HEADINGS.get(name, name.capitalize())
    is_first = name in FIRST_OF_A_SERVER
    fresh = running.dashboard(index_of("json"), blocked.prefix) if is_first else nullcontext(base)
    with fresh as address:
        for visit, look in in_every_look(browser, address, f"/{name}?range=all"):
            visit.page.screenshot(path=screenshots / f"{name}-{look}.png")
            violations = visit.violations() if look in CHECKED_LOOKS else []  # takes longer than all else

            assert visit.page.get_by_test_id("stHeading").first.inner_text() == heading
            assert visit.page.title() == f"{heading} · OpenCode analytics"
            assert violations == []
            assert visit.page.evaluate(CUT_OFF) == []
    assert blocked.attempts() == []


def test_export_and_events_without_network_are_whole(browser: Browser, base: str, blocked: Blocked) -> None:
    """What a page loads only when it is asked for: a file, and the events of a session."""
    with visiting(browser, base, is_stranger=True) as visit:
        visit.open("/sessions?range=all")
        rows = list(csv.DictReader(io.StringIO(visit.export("Sessions").decode("utf-8-sig"))))
        visit.open(f"/timeline?session={rows[0]['session_id']}")
        visit.page.locator(".rows .row").first.wait_for(state="attached")

        assert visit.errors == []
        assert visit.foreign == []
    assert blocked.attempts() == []


@pytest.mark.parametrize("size", [WIDE, NARROW_DESKTOP], ids=["1440", "1280"])
def test_filters_on_a_desktop_are_one_row_that_can_be_read(browser: Browser, base: str, size: ViewportSize) -> None:
    """Also where dates and other filters are set and can be cleared: the fields give way, but not to nothing."""
    with visiting(browser, base, size=size) as visit:
        visit.open("/costs?from=2026-11-01&to=2026-11-20&agent=plan&q=table")
        places = [visit.page.locator(f".st-key-filters {name}") for name in FILTERS]

        boxes = [box for place in places if (box := place.bounding_box())]

    middles = [box["y"] + box["height"] / 2 for box in boxes]
    assert len(boxes) == len(FILTERS)
    assert max(middles) - min(middles) < 2
    assert all(left["x"] + left["width"] < right["x"] for left, right in pairwise(boxes))
    assert boxes[-1]["x"] + boxes[-1]["width"] <= size["width"]
    assert min(box["width"] for box in boxes[2:-1]) > 130


def test_filters_of_the_timeline_on_a_desktop_are_one_row(browser: Browser, base: str) -> None:
    """The switch at the end does not fall into a row of its own."""
    with visiting(browser, base, size=NARROW_DESKTOP) as visit:
        visit.open("/timeline")
        places = visit.page.locator(".st-key-picker_filters > *").all()

        boxes = [box for place in places if (box := place.bounding_box())]

    middles = [box["y"] + box["height"] / 2 for box in boxes]
    assert len(boxes) == len(places) == 6
    assert max(middles) - min(middles) < 2


@pytest.mark.parametrize("name", ["overview", "ledger", "cache", "sessions", "timeline", "errors"])
def test_tables_on_a_desktop_show_all_their_columns(browser: Browser, base: str, name: str) -> None:
    """Nobody has to find out that there is more to the right."""
    with visiting(browser, base, size=NARROW_DESKTOP) as visit:
        visit.open(f"/{name}?range=all")
        visit.page.locator(".dvn-scroller").first.wait_for()

        scrolling = visit.page.evaluate(SCROLLING)

    assert scrolling == []


@pytest.mark.parametrize(("theme", "ring"), [("light", "rgb(0, 0, 0)"), ("dark", "rgb(255, 255, 255)")])
def test_keyboard_is_seen_where_it_is(browser: Browser, base: str, theme: str, ring: str) -> None:
    """A tint alone is hardly seen, and says of a link that its page is open."""
    outlines = {}
    with visiting(browser, base, theme=theme) as visit:
        visit.open("/costs?range=all")
        for what in RINGED:  # in their order on the page
            target = visit.page.locator(what).first
            target.wait_for()
            for _ in range(MOST_STOPS):
                if target.evaluate("element => element === document.activeElement"):
                    break
                visit.page.keyboard.press("Tab")

            outlines[what] = target.evaluate("element => getComputedStyle(element).outline")

    assert outlines == dict.fromkeys(RINGED, f"{ring} solid 2px")
