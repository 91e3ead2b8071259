"""Pages that stay open while an indexer works: what they show changes by itself, and takes nothing away."""

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from indexer import bulk_loader
from indexer.activity import Activity, Watched, take_retry_request, write_activity
from indexer.database import Database
from indexer.publish import Publisher
from tests.bench.tabs import Noted, read_notes
from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import Visit, in_every_look, visiting
from tests.builders import Doc, assistant, damaged, part, session, user, write_json_tree
from tests.following import wait_for

BAD = [damaged(part(f"prt_bad{number}", "text"), b"{") for number in range(3)]
DOCS = [session(), user(), assistant(cost=1), *BAD]
MAIN = '[data-testid="stMain"]'
LIMIT = "The limit of watched folders is too low. Raise it with: sudo sysctl fs.inotify.max_user_watches=524288"


@dataclass(frozen=True, slots=True)
class Played:
    """An index whose indexer is played by the test.

    Attributes:
        index: What the dashboard opens.
        storage: OpenCode's data folder.
    """

    index: Path
    storage: Path

    def add(self, *docs: Doc) -> None:
        """Let OpenCode write documents, and index them."""
        write_json_tree(self.storage, docs)
        with Database.open(self.index) as database:
            publisher = Publisher(database)
            bulk_loader.load(database, publisher, bulk_loader.find_sources([self.storage]))
            publisher.close()

    def enter(self, phase: str, state: str = "") -> None:
        """Publish a phase, and what it comes with, as assignments of `sync_state`."""
        with Database.open(self.index) as database:
            publisher = Publisher(database)
            database.set_phase(phase, f"test of {phase}")
            if state:
                with database.transaction() as con:
                    con.execute(f"UPDATE sync_state SET {state}")
            publisher.close()

    def say(self, **words: Any) -> None:
        """Speak as an indexer that follows and has nothing to do, but for what is given."""
        now = int(time.time() * 1000)
        said = Activity(
            pid=1,
            at_ms=now + 15_000,  # it is heard for 45 s
            phase="real-time",
            queue=0,
            waiting_since_ms=None,
            latency_ms=120,
            documents_per_second=4.5,
            watched=(Watched(str(self.storage / "storage"), "scanning", LIMIT),),
            next_comparison_at_ms=now + 48_000,
            last_comparison_ms=2_100,
            problem=None,
        )
        write_activity(self.index, replace(said, **words))


@pytest.fixture
def played(tmp_path: Path, no_retries: None) -> Played:
    """An index of a few documents, three of them bad, that is followed."""
    made = Played(tmp_path / "index.duckdb", tmp_path / "opencode")
    made.add(*DOCS)
    made.enter("real-time")
    made.say()
    return made


@pytest.fixture
def visit(browser: Browser, played: Played) -> Iterator[Visit]:
    """A tab on that index; it must end without an error."""
    with running.dashboard(played.index) as base, visiting(browser, base) as tab:
        yield tab
        assert not tab.has_exception()
        assert tab.errors == []
        assert tab.foreign == []


def _top(visit: Visit, selector: str) -> float:
    """Return how far below the window's top an element is, in pixels: what a person sees as the scroll position."""
    top: float = visit.page.locator(selector).evaluate("element => element.getBoundingClientRect().top")
    return top


def test_indexer_page_follows_activity_and_revision_by_itself(visit: Visit, played: Played) -> None:
    """Numbers, phase and tables change; the ticked row, the scroll position and the page itself stay."""
    page = visit.page
    visit.open("/indexer")
    page.evaluate("window.isSamePage = true")
    visit.tick("indexer_problems")
    page.locator(".st-key-indexer_problems").get_by_test_id("stCode").first.wait_for()
    ticked = page.locator(".st-key-indexer_problems").get_by_test_id("stCode").first.inner_text()
    page.evaluate(f"document.querySelector('{MAIN}').scrollTop = 300")
    at = _top(visit, ".st-key-indexer_problems")
    before = visit.metric("Messages"), visit.metric("Waiting")

    played.add(assistant("msg_9", created=1_767_225_900_000, cost=2))
    played.enter("real-time")
    played.say(queue=7)
    page.get_by_test_id("stMetric").filter(has_text="Waiting").get_by_text("7", exact=True).wait_for()
    page.get_by_test_id("stMetric").filter(has_text="Messages").get_by_text("3", exact=True).wait_for()
    played.enter("bulk", "documents_total = 4000, documents_done = 1234")
    played.say(phase="bulk")
    page.get_by_text("1,234 of 4,000 messages read").wait_for()
    visit.settle()

    assert before == ("2", "0")
    assert page.evaluate("window.isSamePage")
    assert _top(visit, ".st-key-indexer_problems") == pytest.approx(at, abs=3)
    assert page.locator(".st-key-indexer_problems").get_by_test_id("stCode").first.inner_text() == ticked


def test_indexer_page_retry_button_leaves_a_request(visit: Visit, played: Played) -> None:
    """A click reaches the indexer, once, and is answered."""
    visit.open("/indexer")
    before = take_retry_request(played.index)

    visit.page.get_by_role("button", name="Read again").click()
    visit.page.get_by_text("Asked at").wait_for()

    assert (before, take_retry_request(played.index), take_retry_request(played.index)) == (False, True, False)


def test_costs_newer_data_is_offered_and_keeps_the_filters(visit: Visit, played: Played) -> None:
    """The numbers stay until the click; then they are the newest, under the same filter and grouping."""
    visit.open("/costs?range=all&by=agent&agent=build")
    before = visit.metric("Cost, recorded")

    played.add(
        assistant("msg_9", created=1_767_225_900_000, cost=2),
        part("prt_9", "text", "msg_9", text="new"),
        assistant("msg_10", created=1_767_225_901_000, cost=64, agent="plan"),
    )
    pill = visit.page.get_by_role("button", name=re.compile(r"new parts? · Refresh"))
    pill.wait_for()
    still = visit.metric("Cost, recorded")
    pill.click()
    visit.page.get_by_test_id("stMetric").filter(has_text="$3.00").first.wait_for()
    visit.settle()

    assert (before, still) == ("$1.00", "$1.00")
    expect(pill).to_have_count(0)
    assert "agent=build" in visit.page.url and "by=agent" in visit.page.url


def test_overview_follows_by_itself_and_stays_where_it_is(visit: Visit, played: Played) -> None:
    """It says that the sources are followed, shows what is new without a click, and does not scroll."""
    page = visit.page
    page.set_viewport_size({"width": 900, "height": 500})
    visit.open("/overview?range=all")
    page.get_by_text("following 1 source").wait_for()
    page.evaluate(f"document.querySelector('{MAIN}').scrollTop = 250")
    at = _top(visit, ".st-key-overview_agents")

    played.add(assistant("msg_9", created=1_767_225_900_000, cost=2))
    page.get_by_test_id("stMetric").filter(has_text="$3.00").first.wait_for()
    played.say(phase="stopped")
    page.get_by_text("not followed: no indexer runs").wait_for()
    visit.settle()

    assert _top(visit, ".st-key-overview_agents") == pytest.approx(at, abs=3)
    assert page.get_by_role("button", name="Refresh").count() == 0


@pytest.mark.parametrize("phase", ["real-time", "bulk"])
def test_indexer_page_of_an_indexer_at_work_is_sound(browser: Browser, played: Played, phase: str) -> None:
    """With everything it can show at once: progress, a problem, a way of following, bad documents."""
    played.enter(phase, "documents_total = 4000, documents_done = 1234")
    with running.dashboard(played.index) as base:
        played.say(phase=phase, queue=213, problem="The disk of /home/ada is full. Free at least 200 MB.")
        for visit, look in in_every_look(browser, base, "/indexer"):
            visit.page.screenshot(path=ARTIFACTS / "screenshots" / f"indexer-{phase}-{look}.png")
            violations = visit.violations()

            assert "The disk of /home/ada is full" in visit.text()
            assert violations == []
            played.say(phase=phase, queue=213, problem="The disk of /home/ada is full. Free at least 200 MB.")


def test_refresh_what_is_offered_was_asked_ahead(played: Played, browser: Browser, tmp_path: Path) -> None:
    """Once the offer is there, the page asks the new revision in the background; taking it then asks nothing more."""
    log = tmp_path / "notes.jsonl"
    prefix = [sys.executable, "-m", "tests.bench.served", str(log)]
    with running.dashboard(played.index, prefix) as base, visiting(browser, base) as visit:
        visit.open("/costs?range=all")
        visit.settle()
        first = read_notes(log)
        asked = {each.query for run in first.runs for each in first.statements_of(run)}
        before = visit.metric("Cost, recorded (USD)")

        played.add(assistant("msg_9", created=1_767_225_900_000, cost=2))
        button = visit.page.get_by_role("button", name="Refresh")
        button.wait_for(timeout=30_000)
        wait_for(lambda: {*_ahead_of(read_notes(log)), "health.status"} >= asked)  # the state is what offers it
        began = time.monotonic()
        button.click()
        wait_for(lambda: visit.metric("Cost, recorded (USD)") != before)
        noted = read_notes(log)
        assert not visit.has_exception()

    run = noted.run_since(began)
    assert run is not None
    assert len(asked) > 5
    assert noted.statements_of(run) == []


def _ahead_of(noted: Noted) -> set[str]:
    """Name the questions that no script asked."""
    by_scripts = {each.at for run in noted.runs for each in noted.statements_of(run)}
    return {each.query for each in noted.statements if each.at not in by_scripts}
