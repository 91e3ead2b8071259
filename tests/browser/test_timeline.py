"""The Timeline page in a real browser: links, what opens what, a session that grows, text that must stay text."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from indexer.published import IndexReader
from pages.ui import timeline
from queries import sessions
from queries.period import Scope
from tests.browser import running
from tests.browser.conftest import ARTIFACTS
from tests.browser.visit import Visit, in_every_look, visiting
from tests.builders import Doc, assistant, part, project, session, user, write_json_tree, write_sqlite

# What each tab below the waterfall says.
TABS = {
    "Figures": "Slowest tools",
    "Sessions": "below this one|did not delegate",
    "Loops and waste": "A loop: one tool",
}
RELEASE, LOOPS = "Release coordination A", "Harden price rounding (a10)"
NOW_MS = int(time.time() * 1000)


@pytest.fixture(scope="module")
def id_of(index_of: Callable[[str], Path]) -> Callable[[str], str]:
    """Find a session of the JSON data set by how its title begins."""
    rows = sessions.session_rows(IndexReader(index_of("json")).connection(), Scope(), False, "title")

    def find(title: str) -> str:
        """Return its id."""
        return next(row.session_id for row in rows if (row.title or "").startswith(title))

    return find


def ready(visit: Visit) -> None:
    """Wait until waterfall and transcript are drawn."""
    visit.page.locator(".rows .row").first.wait_for(state="attached")
    visit.page.locator(".detail .piece").first.wait_for(state="attached")
    visit.settle()


def heading(visit: Visit) -> Locator:
    """Return the title of the page; while one page follows another, that of the new one."""
    return visit.page.get_by_role("heading", level=1).first


def search(visit: Visit) -> Locator:
    """Return the search of the picker; for a moment after Back the waterfall's own is still there, too."""
    return visit.page.get_by_role("searchbox", name="Search titles, prompts, answers")


def chosen(page: Page) -> Locator:
    """Return the selected row of the waterfall."""
    return page.locator('.rows .row[aria-selected="true"]')


def open_tab(visit: Visit, name: str) -> None:
    """Open a tab below the waterfall and wait for what it says: it is read when it is opened."""
    visit.page.get_by_role("tab", name=name).click()
    visit.page.get_by_role("tabpanel", name=name).get_by_text(re.compile(TABS[name])).first.wait_for()
    visit.settle()


# --- Sound --------------------------------------------------------------------------------------------------------


def test_timeline_deep_link_is_the_first_request_and_sound(
    browser: Browser, index_of: Callable[[str], Path], id_of: Callable[[str], str]
) -> None:
    """A fresh server; nothing fails, nothing leaves the machine, nothing bars the way; screenshots are kept."""
    with running.dashboard(index_of("json")) as base:
        for visit, look in in_every_look(browser, base, f"/timeline?session={id_of(RELEASE)}"):
            ready(visit)
            expect(heading(visit)).to_have_text(RELEASE)
            for tab in TABS:
                is_sound(visit, tab, f"timeline-{tab.split()[0].lower()}-{look}.png")


def is_sound(visit: Visit, tab: str, screenshot: str) -> None:
    """Open a tab below the waterfall and look for exceptions, what axe finds, and what is too wide."""
    open_tab(visit, tab)
    visit.page.screenshot(path=ARTIFACTS / "screenshots" / screenshot, full_page=True)
    violations = visit.violations()

    assert not visit.has_exception(), visit.text()
    assert violations == []
    assert visit.page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), "scrolls sideways"


def test_timeline_theme_switch_recolours_the_bars_of_the_head(
    browser: Browser, base: str, id_of: Callable[[str], str]
) -> None:
    """Colours are chosen in the browser: each theme has its own."""
    colours = []
    for theme in ("light", "dark"):
        with visiting(browser, base, theme=theme) as visit:
            visit.open(f"/timeline?session={id_of(RELEASE)}")
            piece = visit.page.locator(".st-key-timeline_bars .piece.c5").first
            colours.append(piece.evaluate("element => getComputedStyle(element).backgroundColor"))

    assert colours == ["rgb(72, 160, 183)", "rgb(131, 223, 238)"]


# --- Ways ---------------------------------------------------------------------------------------------------------


def test_sessions_row_opens_the_timeline_and_back_returns(visit: Visit) -> None:
    """One step there, one step back, to the same list."""
    visit.open("/sessions?range=all&agent=plan&sort=title")
    before = visit.table("sessions_rows")["Tokens"]

    visit.tick("sessions_table")
    visit.page.wait_for_url(re.compile(r"/timeline\?session=ses_\w+&range=all&agent=plan$"))
    ready(visit)
    visit.received.forget()
    visit.page.go_back()
    visit.page.get_by_role("heading", name="Sessions").wait_for()

    assert visit.table("sessions_rows")["Tokens"] == before
    assert set(visit.page.url.split("?")[1].split("&")) == {"range=all", "agent=plan", "sort=title"}


def test_overview_error_opens_at_the_very_event(visit: Visit) -> None:
    """The newest error is selected in the waterfall and in the transcript."""
    visit.open("/overview?range=all")
    name = str(visit.table("overview_errors")["What"][0])

    visit.tick("overview_errors")
    visit.page.wait_for_url(re.compile(r"/timeline\?.*part="))
    ready(visit)

    expect(chosen(visit.page)).to_have_count(1)
    assert name in chosen(visit.page).inner_text() or "failed" in (chosen(visit.page).get_attribute("class") or "")
    expect(visit.page.locator(".detail .piece.chosen")).to_be_visible()


def test_errors_example_opens_at_the_very_event(visit: Visit) -> None:
    """What the page folds away is one step from where it happened."""
    visit.open("/errors?range=all")
    examples = visit.page.locator(".st-key-errors_examples").get_by_test_id("stExpander")

    examples.first.locator("summary").click()
    examples.first.get_by_role("button", name="Open in timeline").click()
    visit.page.wait_for_url(re.compile(r"/timeline\?.*part="))
    ready(visit)

    expect(chosen(visit.page)).to_have_count(1)
    expect(visit.page.locator(".detail .piece.chosen")).to_be_visible()


def test_tools_row_chooses_its_tool_and_a_slow_call_opens_at_its_event(visit: Visit) -> None:
    """The tool is in the address; its slowest call is the event that opens."""
    visit.open("/tools?range=all")
    name = str(visit.table("tools_rows")["Tool"][0])

    visit.tick("tools_table")
    visit.page.wait_for_url(re.compile(rf"tool={name}"))
    visit.page.locator(".st-key-tools_bins").wait_for()
    visit.settle()
    visit.tick("tools_slowest")
    visit.page.wait_for_url(re.compile(r"/timeline\?.*part="))
    ready(visit)

    expect(chosen(visit.page)).to_have_count(1)
    assert name in chosen(visit.page).inner_text()


def test_picker_tick_opens_and_back_keeps_the_search(visit: Visit) -> None:
    """Search, open, go back: the search is still there; forward shows the session again."""
    visit.open("/timeline")
    search(visit).fill("release")
    visit.page.get_by_text(re.compile(r"^\d sessions?\. Tick a row to open its timeline")).wait_for()
    visit.settle()
    visit.tick("picker_table")
    visit.page.wait_for_url(re.compile("session="))
    ready(visit)
    title = heading(visit).inner_text()

    visit.page.go_back()
    expect(heading(visit)).to_have_text("Timeline")
    expect(search(visit)).to_have_value("release")
    visit.page.go_forward()

    expect(heading(visit)).to_have_text(title)


def test_timeline_child_goes_up_and_back(visit: Visit, id_of: Callable[[str], str]) -> None:
    """From the tree of sessions to a child on its own, from there to its parent."""
    visit.open(f"/timeline?session={id_of(RELEASE)}")
    ready(visit)
    open_tab(visit, "Sessions")
    visit.tick("timeline_tree", 1)
    visit.page.get_by_role("button", name="Open this session on its own").click()
    expect(heading(visit)).not_to_have_text(RELEASE)
    ready(visit)
    child = heading(visit).inner_text()

    visit.page.get_by_role("button", name="Parent session").click()
    expect(heading(visit)).to_have_text(RELEASE)
    visit.page.go_back()
    expect(heading(visit)).to_have_text(child)
    visit.page.get_by_role("button", name="All sessions").click()

    expect(heading(visit)).to_have_text("Timeline")
    assert visit.page.url.endswith("/timeline")


def test_timeline_ways_stand_on_one_line(visit: Visit, id_of: Callable[[str], str]) -> None:
    """Buttons and links have other heights; what they say is at the same one."""
    visit.open(f"/timeline?session={id_of(RELEASE)}")
    ready(visit)

    middles = visit.page.locator(".st-key-timeline_top :is(button, a) p").evaluate_all(
        "each => each.map(e => e.getBoundingClientRect()).map(box => (box.top + box.bottom) / 2)"
    )

    assert len(middles) > 2
    assert max(middles) - min(middles) < 2


def test_timeline_every_way_keeps_the_filters_in_the_address(visit: Visit) -> None:
    """What is opened, a reload, the way to the list, Back: a page with the filter bar has them as they were."""
    visit.open("/sessions?range=all&agent=plan")
    visit.tick("sessions_table")
    ready(visit)
    opened = re.compile(r"/timeline\?session=ses_\w+&exchange=2&range=all&agent=plan$")
    visit.page.get_by_role("treegrid").focus()
    visit.page.keyboard.press("]")
    expect(visit.page).to_have_url(opened)
    visit.page.reload()
    ready(visit)
    expect(visit.page).to_have_url(opened)

    visit.page.get_by_role("button", name="All sessions").click()
    expect(heading(visit)).to_have_text("Timeline")
    expect(visit.page).to_have_url(re.compile(r"/timeline\?range=all&agent=plan$"))
    visit.page.go_back()
    expect(visit.page).to_have_url(opened)
    ready(visit)
    visit.page.go_back()

    expect(heading(visit)).to_have_text("Sessions")
    expect(visit.page).to_have_url(re.compile(r"/sessions\?range=all&agent=plan$"))


def test_timeline_finding_jumps_to_its_place_and_reload_stays_there(visit: Visit, id_of: Callable[[str], str]) -> None:
    """A row of the table selects the call in the waterfall; the address names it."""
    visit.open(f"/timeline?session={id_of(LOOPS)}")
    ready(visit)
    open_tab(visit, "Loops and waste")

    visit.tick("timeline_waste")
    visit.page.wait_for_url(re.compile(r"exchange=\d+&part=prt_"))
    selected = chosen(visit.page).inner_text()
    visit.page.reload()
    ready(visit)

    expect(chosen(visit.page)).to_have_text(selected, use_inner_text=True)
    expect(visit.page.locator(".detail .piece.chosen")).to_be_visible()


def test_timeline_what_is_open_is_in_the_address_without_steps_for_back(
    visit: Visit, id_of: Callable[[str], str]
) -> None:
    """Going through exchanges replaces the address: Back leaves the session."""
    visit.open("/timeline")
    visit.open(f"/timeline?session={id_of(LOOPS)}")
    ready(visit)

    visit.page.get_by_role("treegrid").focus()
    visit.page.keyboard.press("]")
    visit.page.wait_for_url(re.compile(r"exchange=2$"))
    visit.page.keyboard.press("]")
    visit.page.wait_for_url(re.compile(r"exchange=3$"))
    visit.page.go_back()

    expect(heading(visit)).to_have_text("Timeline")


def test_timeline_export_is_masked_unless_asked_otherwise(visit: Visit, id_of: Callable[[str], str]) -> None:
    """Markdown and JSON; home folders are left out, and come back with the switch."""
    visit.open(f"/timeline?session={id_of(RELEASE)}")
    ready(visit)
    visit.page.locator(".st-key-timeline_export").get_by_role("button").click()
    masked = visit.download("Markdown, to read").decode()
    as_json = visit.download("JSON, everything").decode()
    visit.page.get_by_text("Mask secrets and home paths").click()
    visit.page.get_by_text("Nothing is left out").wait_for()
    whole = visit.download("JSON, everything").decode()

    assert masked.startswith("# ") and RELEASE in masked
    assert ("/home/dev" in masked, "/home/dev" in as_json, "/home/dev" in whole) == (False, False, True)


def test_timeline_failed_edit_is_told_from_changes(visit: Visit, id_of: Callable[[str], str]) -> None:
    """What an edit that failed would have changed is no change; the answer before it took no time that is known."""
    visit.open(f"/timeline?session={id_of('Tool failures A')}")
    ready(visit)
    edit = visit.page.locator(".detail .piece.failed").filter(has_text="Could not find oldString").first
    answer = visit.page.locator(".rows .row.k-text").first

    expect(edit).to_contain_text("Changes that were asked for")
    expect(edit.locator(".title")).to_contain_text("README.md")
    expect(answer.locator(".cell.number").first).to_have_text("")


# --- Text that must stay text -----------------------------------------------------------------------------------


def test_timeline_probes_run_nothing_and_request_nothing(
    browser: Browser, base: str, index_of: Callable[[str], Path]
) -> None:
    """Every session with markup in it, each exchange and piece opened: no dialog, no request but to the dashboard."""
    con = IndexReader(index_of("json")).connection()
    hostile = con.execute("""
        WITH found AS (
            SELECT session_id FROM part_bodies
            WHERE regexp_matches(coalesce(text, '') || coalesce(output, ''), '<script|<img|javascript:|!\\[|HYPERLINK')
            UNION SELECT session_id FROM sessions WHERE regexp_matches(title, '<|!\\[|javascript:|HYPERLINK')
        )
        SELECT session_id, count(exchange_id) FROM found LEFT JOIN exchanges USING (session_id) GROUP BY ALL ORDER BY 1
    """).fetchall()
    requests: list[str] = []
    dialogs: list[str] = []

    def refuse(dialog: Dialog) -> None:
        """Note a dialog that a probe opened."""
        dialogs.append(dialog.message)
        dialog.dismiss()

    with visiting(browser, base) as visit:
        visit.page.on("request", lambda request: requests.append(request.url))
        visit.page.on("dialog", refuse)
        for session_id, exchanges in hostile:
            visit.open(f"/timeline?session={session_id}&exchange=1")
            for number in range(1, exchanges + 1):
                if number > 1:
                    visit.page.get_by_role("button", name="Next exchange").click()
                expect(visit.page.locator(".detail h2")).to_have_text(re.compile(rf"^Exchange {number}\b"))
                visit.page.locator(".detail .piece").first.wait_for(state="attached")
                folded = visit.page.locator('.detail .line[aria-expanded="false"]')
                while folded.count():
                    folded.first.click()
            for tab in TABS:
                open_tab(visit, tab)
            visit.page.get_by_role("tab", name="Delegations").click()
            made = visit.page.locator(".trace :is(script, img, iframe, a, link, object, embed, style)")
            assert made.count() == 0, session_id
        errors = visit.errors

    assert len(hostile) >= 3
    assert dialogs == []
    assert [url for url in requests if not url.startswith((base, "data:", "blob:"))] == []
    assert errors == []


# --- A session that grows ----------------------------------------------------------------------------------------


class Growing:
    """A session that OpenCode writes, an indexer that follows it, and a dashboard."""

    def __init__(self, folder: Path, write: Callable[[Path, list[Doc]], Path]) -> None:
        """Write a session whose answer is not done.

        Args:
            folder: For data and index.
            write: How OpenCode stores it.
        """
        self.data, self.index, self._write = folder / "opencode", folder / "index.duckdb", write
        self.start = start = int(time.time() * 1000) - 60_000
        self.add(project(), session(created=start), user(created=start))
        self.add(
            part("prt_0u", "text", "msg_1u", text="Grow"), assistant(created=start + 1_000, completed=None, cost=0)
        )
        self.add(part("prt_0", "step-start"))

    def add(self, *docs: Doc) -> None:
        """Let OpenCode write documents."""
        self._write(self.data, list(docs))

    def call(self, number: int) -> str:
        """Let OpenCode write one finished call. Returns its id."""
        now = int(time.time() * 1000)
        state = {"status": "completed", "input": {"command": f"echo {number}"}, "output": str(number)}
        more = {"title": f"Live {number}", "metadata": {"exit": 0}, "time": {"start": now - 150, "end": now}}
        part_id = f"prt_live_{number:04}"
        call = part(part_id, "tool", tool="bash", callID=f"call_{number}", stamp_ms=now, state={**state, **more})
        self.add(call)
        return part_id

    def finish(self) -> None:
        """Let OpenCode end the answer."""
        self.add(assistant(created=self.start + 1_000, completed=int(time.time() * 1000), cost=1))


@pytest.fixture(params=[write_json_tree, write_sqlite], ids=["json", "sqlite"])
def growing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Growing]:
    """A session that is followed while it grows."""
    made = Growing(tmp_path, request.param)
    command = [sys.executable, "-m", "indexer", "run", "--data", str(made.data), "--db", str(made.index)]
    with subprocess.Popen(command, cwd=running.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as follower:
        yield made
        follower.terminate()


def test_timeline_running_session_grows_by_itself(browser: Browser, growing: Growing) -> None:
    """New bars, transcript and head come without a click; scroll, selection and focus stay; then it ends."""
    with running.dashboard(growing.index) as base, visiting(browser, base) as visit:
        visit.open("/overview")
        visit.page.get_by_text("following 1 source").wait_for()  # the first pass has ended
        visit.open("/timeline?session=ses_1")
        ready(visit)
        page = visit.page
        page.locator(".st-key-timeline_name").get_by_text("running").wait_for()
        for number in range(30):
            growing.call(number)
        page.locator(".rows .row").filter(has_text="Live 20").or_(
            page.locator(".detail .piece").filter(has_text="Live 20")
        ).first.wait_for(state="attached")
        page.get_by_test_id("stMetric").filter(has_text="Tools").get_by_text("30", exact=True).wait_for()
        page.evaluate("window.isSamePage = true")
        page.locator(".rows .row").filter(has_text="echo 3").or_(
            page.locator(".rows .row").filter(has_text="Live 3")
        ).first.click()
        selected = chosen(page).inner_text()
        grid = page.get_by_role("treegrid")
        grid.evaluate("element => { element.scrollTop = 120; }")

        for number in range(30, 40):
            growing.call(number)
        page.locator(".detail .piece").filter(has_text="Live 39").wait_for(state="attached")
        page.get_by_test_id("stMetric").filter(has_text="Tools").get_by_text("40", exact=True).wait_for()
        stayed = (
            page.evaluate("window.isSamePage"),
            chosen(page).inner_text(),
            page.locator('[role="treegrid"]').evaluate("element => element.scrollTop"),
            page.locator('[role="treegrid"]').evaluate(
                "element => element.contains(element.getRootNode().activeElement)"
            ),
        )
        growing.finish()
        page.locator(".st-key-timeline_name").get_by_text("running").wait_for(state="detached")
        page.get_by_test_id("stMetric").filter(has_text="$1.00").first.wait_for()

        assert stayed == (True, selected, 120, True)
        assert not visit.has_exception()
        assert visit.errors == []
        assert visit.foreign == []


# Of one storage: how soon an indexer sees new documents of either is for the tests of the indexer to say.
@pytest.mark.parametrize("growing", [write_json_tree], indirect=True, ids=["json"])
def test_timeline_session_that_is_not_indexed_yet_appears(browser: Browser, growing: Growing) -> None:
    """A link may be quicker than the indexer."""
    with running.dashboard(growing.index) as base, visiting(browser, base) as visit:
        visit.open("/overview")
        visit.page.get_by_text("following 1 source").wait_for()
        visit.open("/timeline?session=ses_2")
        visit.page.get_by_role("heading", name="No such session").wait_for()

        growing.add(session("ses_2", created=NOW_MS), user("msg_2u", "ses_2", created=NOW_MS))

        expect(heading(visit)).to_have_text("Title of ses_2")


# --- Very long sessions ---------------------------------------------------------------------------------------------


def test_timeline_large_session_follows_its_head(browser: Browser, tmp_path: Path) -> None:
    """A link to an event of it opens that event, and figures come without a click; also when it is opened again."""
    calls = [
        part(f"prt_{number:04}", "tool", tool="bash", callID=f"call_{number}", state={"status": "completed"})
        for number in range(timeline.MOST_AT_ONCE + 1)
    ]
    write_json_tree(tmp_path / "opencode", [project(), session(), user(), assistant(), *calls])
    index = tmp_path / "index.duckdb"
    running.indexer("bulk", "--data", str(tmp_path / "opencode"), "--db", str(index))
    with running.dashboard(index) as base, visiting(browser, base) as visit:
        visit.open("/timeline?session=ses_1&part=prt_1500")
        ready(visit)

        expect(chosen(visit.page)).to_have_count(1)
        visit.page.get_by_text("Slowest tools").first.wait_for()
        visit.page.reload()
        ready(visit)
        visit.page.get_by_text("Slowest tools").first.wait_for()
        assert "part=prt_1500" in visit.page.url
        assert not visit.has_exception()
        assert visit.errors == []
