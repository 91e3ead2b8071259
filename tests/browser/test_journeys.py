"""What a person does: filter, reload, share, go back, look at hostile text, start the demo a year from now."""

import os
import re
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from pages.ui import display, filters
from tests.browser import running
from tests.browser.received import exact_sum
from tests.browser.visit import Visit, visiting

HEADLINE = "Cost, recorded"
# Runs in every Python process of the demo before anything else.
A_YEAR_AHEAD = """
import datetime, time_machine
then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)
time_machine.travel(then, tick=True).start()
"""


def _numbers(visit: Visit) -> tuple[str, str, Decimal]:
    """Return what Costs shows: both headlines and the sum of the table."""
    table = visit.table("costs_rows")  # first: it waits until the page has settled
    return visit.metric(HEADLINE), visit.metric("Tokens"), exact_sum(table["Cost"])


def _query(visit: Visit) -> dict[str, list[str]]:
    """Return the parameters of the address."""
    return parse_qs(urlsplit(visit.page.url).query)


def _filters(visit: Visit) -> dict[str, list[str]]:
    """Return what the address says of the filters."""
    return {name: values for name, values in _query(visit).items() if name in filters.KEYS}


def test_filter_chosen_by_hand_survives_reload_and_sharing(visit: Visit, browser: Browser, base: str) -> None:
    """A filter goes into the URL, and the URL brings the same numbers back: after a reload, and for someone else."""
    visit.open("/costs?range=all&by=model")
    unfiltered = _numbers(visit)
    visit.received.forget()
    visit.page.get_by_role("combobox", name="Agents").click()
    visit.page.get_by_role("option", name="plan", exact=True).click()
    visit.page.wait_for_url(re.compile("agent=plan"))
    visit.page.keyboard.press("Escape")
    filtered = _numbers(visit)
    address = visit.page.url
    visit.received.forget()

    visit.page.reload()
    visit.settle()
    reloaded = _numbers(visit)
    with visiting(browser, base, is_stranger=True) as other:
        other.open(address.removeprefix(base))
        shared = _numbers(other)

    assert filtered != unfiltered
    assert (reloaded, shared) == (filtered, filtered)
    assert parse_qs(urlsplit(address).query) == {"range": ["all"], "by": ["model"], "agent": ["plan"]}


@pytest.mark.parametrize("name", ["SQL", "Indexer", "Timeline"])
def test_back_from_a_page_without_filters_is_one_step_to_the_same_filters(visit: Visit, name: str) -> None:
    """The filters are not seen there, but they are in its address; what Back shows outlives a reload."""
    visit.open("/costs?by=model")
    visit.page.get_by_role("radio", name="all", exact=True).click()
    visit.page.wait_for_url(re.compile("range=all"))
    visit.settle()
    visit.page.get_by_role("combobox", name="Agents").click()
    visit.received.forget()
    visit.page.get_by_role("option", name="plan", exact=True).click()
    visit.page.wait_for_url(re.compile("agent=plan"))
    visit.page.keyboard.press("Escape")
    chosen, before = {"range": ["all"], "agent": ["plan"]}, _numbers(visit)
    visit.page.get_by_role("link", name=name, exact=True).click()
    visit.page.get_by_role("heading", name=name, exact=True).wait_for()
    visit.settle()
    there = _query(visit)
    expect(visit.page.locator(".st-key-filters_unseen")).to_be_hidden()

    visit.received.forget()
    visit.page.go_back()
    after, said = _numbers(visit), _filters(visit)
    visit.received.forget()
    visit.page.reload()

    assert _numbers(visit) == after == before
    assert _filters(visit) == said == there == chosen


def test_dates_or_range_the_address_says_which_without_steps_for_back(visit: Visit) -> None:
    """A range takes the dates out of the address, dates the range; other pages and Back have what was chosen."""
    visit.open("/costs?range=90d&from=2026-11-03&to=2026-11-20")
    expect(visit.page).to_have_url(re.compile(r"/costs\?from=2026-11-03&to=2026-11-20$"))
    steps = visit.page.evaluate("history.length")

    visit.page.get_by_role("radio", name="7d").click()
    expect(visit.page).to_have_url(re.compile(r"/costs\?range=7d$"))
    expect(visit.page.get_by_role("radio", name="7d")).to_be_checked()
    visit.settle()
    visit.page.locator(".st-key-from").get_by_role("button", name="Choose date").click()
    days = visit.page.get_by_role("grid").get_by_role("button", disabled=False)  # a month may begin on any weekday
    days.first.click()
    expect(visit.page).to_have_url(re.compile(r"/costs\?from=\d{4}-\d\d-\d\d$"))
    expect(visit.page.get_by_role("radiogroup", name="Range").get_by_role("radio", checked=True)).to_have_count(0)
    visit.settle()
    chosen = _query(visit)
    visit.page.get_by_role("link", name="SQL", exact=True).click()
    visit.page.get_by_role("heading", name="SQL", exact=True).wait_for()
    visit.settle()
    there = _query(visit), visit.page.evaluate("history.length")
    visit.page.go_back()
    visit.page.get_by_role("heading", name="Costs", exact=True).wait_for()
    visit.settle()

    assert there == (chosen, steps + 1)
    assert _query(visit) == chosen


def test_back_to_dates_shows_all_that_stood_there(visit: Visit) -> None:
    """An entry with dates, after others without: also the other filters and the page's own choice are as they were."""
    visit.open("/costs?from=2026-11-01&agent=plan")
    before, entry = _numbers(visit), _query(visit)
    visit.page.get_by_role("link", name="Sessions", exact=True).click()
    visit.page.get_by_role("heading", name="Sessions").wait_for()
    visit.settle()
    visit.page.get_by_role("radio", name="all", exact=True).click()
    visit.page.get_by_role("button", name="Clear", exact=True).click()
    expect(visit.page).to_have_url(re.compile(r"/sessions\?range=all$"))
    visit.page.get_by_role("link", name="Costs", exact=True).click()
    visit.page.get_by_role("heading", name="Costs", exact=True).wait_for()
    visit.group_by("model")

    visit.page.go_back()
    visit.page.get_by_role("heading", name="Sessions").wait_for()
    visit.settle()
    visit.received.forget()
    visit.page.go_back()

    assert _numbers(visit) == before
    assert _query(visit) == entry == {"from": ["2026-11-01"], "agent": ["plan"]}
    expect(visit.page.get_by_role("radiogroup", name="Costs by").get_by_role("radio", name="day")).to_be_checked()


def test_back_to_a_page_with_a_choice_of_its_own_is_one_step_to_it(visit: Visit) -> None:
    """What only one page knows leaves the address on the way to another, and that is no step; Back has it again."""
    visit.open("/costs?range=all")
    visit.group_by("model")
    visit.page.wait_for_url(re.compile("by=model"))
    steps, before = visit.page.evaluate("history.length"), _query(visit)
    visit.page.get_by_role("link", name="Sessions", exact=True).click()
    visit.page.get_by_role("heading", name="Sessions").wait_for()
    visit.settle()
    there = _query(visit), visit.page.evaluate("history.length")

    visit.page.go_back()
    visit.page.get_by_role("heading", name="Costs", exact=True).wait_for()
    visit.settle()

    assert there == ({"range": ["all"]}, steps + 1)
    assert _query(visit) == before == {"range": ["all"], "by": ["model"]}
    expect(visit.page.get_by_role("radiogroup", name="Costs by").get_by_role("radio", name="model")).to_be_checked()


def test_back_after_something_was_closed_is_to_the_page_without_it(visit: Visit) -> None:
    """What the user took out of the address stays out: only Streamlit's own step is none."""
    visit.open("/ledger?range=all&line=cost_steps")
    visit.page.get_by_role("button", name="Close", exact=True).click()
    expect(visit.page).to_have_url(re.compile(r"/ledger\?range=all$"))
    visit.settle()
    steps = visit.page.evaluate("history.length")
    visit.page.get_by_role("link", name="Costs", exact=True).click()
    visit.page.get_by_role("heading", name="Costs", exact=True).wait_for()
    visit.settle()
    there = visit.page.evaluate("history.length")

    visit.page.go_back()
    visit.page.get_by_role("heading", name="Why this number").wait_for()
    visit.settle()

    assert there == steps + 1
    assert _query(visit) == {"range": ["all"]}


def test_back_from_sessions_shows_costs_with_the_same_filter(visit: Visit) -> None:
    """The menu keeps the filter, and so does the browser's Back."""
    visit.open("/costs?range=all&agent=plan")
    before = visit.metric(HEADLINE)
    visit.page.get_by_role("link", name="Sessions").click()
    visit.page.wait_for_url(re.compile(r"/sessions\?"))
    visit.settle()
    query = visit.page.url.split("?")[1]

    visit.page.go_back()
    visit.page.get_by_role("heading", name="Costs", exact=True).wait_for()
    visit.settle()

    assert "agent=plan" in query
    assert visit.metric(HEADLINE) == before


def test_sessions_hostile_titles_are_shown_as_text(visit: Visit) -> None:
    """Markup in titles stays text in the list; the tests of the Timeline open each of these sessions."""
    visit.open("/sessions?range=all&children=true&sort=title")
    csv = visit.export("Sessions").decode("utf-8-sig")
    hostile = [line for line in csv.splitlines() if re.search(r"<|!\[|http|=cmd|javascript", line)]

    made = visit.page.locator('[data-testid="stMain"] :is(img, script, iframe)')

    assert hostile
    assert made.count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_charts_first_bar_has_the_themes_first_colour(browser: Browser, base: str, theme: str) -> None:
    """Colours come from the configuration of each theme, not from the chart library's own palette."""
    config = (running.ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    first = re.search(rf"\[theme\.{theme}\].*?chartCategoricalColors = \[\s*\"(#\w+)\"", config, re.DOTALL)
    assert first is not None
    expected = tuple(int(first[1][at : at + 2], 16) for at in (1, 3, 5))
    with visiting(browser, base, theme=theme) as visit:
        visit.open("/costs?range=all")
        bar = visit.page.locator(".st-key-costs_over_time .barlayer .trace").first.locator("path").first
        bar.wait_for(state="attached")

        fill = bar.evaluate("element => getComputedStyle(element).fill")

    assert tuple(map(int, re.findall(r"\d+", fill)[:3])) == expected


@pytest.mark.parametrize(("path", "part"), [("/costs?range=all&by=model", "fill"), ("/cache?range=all", "stroke")])
def test_charts_theme_changed_series_look_as_drawn_in_it(browser: Browser, base: str, path: str, part: str) -> None:
    """Nobody has to load the page again: marks and legend change with everything else, from either theme."""
    drawn, after = {}, {}
    for theme, other in (("light", "dark"), ("dark", "light")):
        with visiting(browser, base, theme=theme) as visit:
            visit.open(path)
            drawn[theme] = _colours_of_series(visit, part)
            visit.wear(other)

            after[other] = _colours_of_series(visit, part)

    assert min(len(set(colours)) for colours in drawn.values()) > 1
    assert not set(drawn["light"]) & set(drawn["dark"])
    assert after == drawn


def _colours_of_series(visit: Visit, part: str) -> list[str]:
    """Return the colours of all bars, lines and their places in the legend.

    Args:
        visit: Where charts are drawn.
        part: What is painted, `fill` or `stroke`.
    """
    marks = visit.page.locator(
        f'.js-plotly-plot :is(.barlayer, .scatterlayer, .legend) path[style*="{part}: rgb"]:visible'
    )
    marks.first.wait_for()
    colours: list[str] = marks.evaluate_all(f"all => all.map(each => getComputedStyle(each).{part})")
    return colours


def test_demo_a_year_from_now_shows_all_of_the_sample(browser: Browser, tmp_path: Path) -> None:
    """The sample does not age: `make demo` opens on all time, with its banner, whatever the date is."""
    (tmp_path / "sitecustomize.py").write_text(A_YEAR_AHEAD)
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "COVERAGE_PROCESS_CONFIG": ""}
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "ANALYTICS_DB"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "indexer.launcher", "--demo", "--no-browser", "--port", "8651"]
    demo = subprocess.Popen(
        command, cwd=running.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    try:
        lines = []
        waiting = {"open http", "following changes"}
        while waiting:
            lines.append(demo.stdout.readline())
            assert lines[-1], f"the demo ended: {lines}"
            waiting = {text for text in waiting if text not in lines[-1]}
        address = next(line.split()[1] for line in lines if line.startswith("open http"))
        totals = running.totals(tmp_path / ".cache" / "opencode-analytics" / "sample.duckdb")
        with visiting(browser, address) as visit:
            visit.open("/costs")
            shown, text = visit.metric(HEADLINE), visit.text()
            visit.open("/costs?range=90d")
            recent = visit.text()
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.communicate()

    assert shown == display.usd(Decimal(totals["cost_recorded_usd"]))
    assert "Sample data." in text
    assert "Nothing was recorded in this range" in recent  # so the clock really is a year ahead
