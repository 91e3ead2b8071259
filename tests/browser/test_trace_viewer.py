"""The trace viewer in a real browser, on made-up sessions: see `viewer_app.py` and `traces.py`."""

import queue
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from indexer.launcher import Child, is_healthy
from pages.ui import display
from queries.timeline import DELETED
from tests.browser import running, traces
from tests.browser.visit import PHONE, WIDE, Visit, visiting

FOLDER = Path(__file__).parent
VIEWER = FOLDER.parents[1] / "pages" / "ui" / "trace_viewer"
FORMATS = {
    "usd": lambda number: display.usd(number),
    "usd4": lambda number: display.usd(number, 4),
    "tokens": display.tokens,
    "count": display.count,
    "size": display.size,
    "duration": display.duration,
}


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Serve the viewer alone."""
    port = running.own_port()
    ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
    options = ["--server.port", str(port), "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", str(FOLDER / "viewer_app.py"), *options]
    server = Child.start("viewer", command, {"COVERAGE_PROCESS_CONFIG": ""}, ended)
    try:
        while not is_healthy(port):
            try:
                ended.get(timeout=0.1)
            except queue.Empty:
                continue
            raise RuntimeError("The viewer ended:\n" + "\n".join(server.last_lines))
        yield f"http://localhost:{port}"
    finally:
        server.is_muted = True
        server.process.terminate()
        server.wait_for_end()


class Viewer:
    """A tab on the viewer, by what can be seen in it."""

    def __init__(self, visit: Visit, show: str) -> None:
        """Open a made-up session and wait until both components are drawn.

        Args:
            visit: A tab.
            show: Which session, and what else the address says.
        """
        self.visit, self.page = visit, visit.page
        visit.open(f"/?show={show}")
        self.grid = self.page.get_by_role("treegrid")
        self.rows = self.page.locator(".rows .row")
        self.pieces = self.page.locator(".detail .piece")
        self.bars = self.page.locator(".rows .bar")
        self.rows.first.wait_for(state="attached")
        self.page.locator(".detail .piece, .detail .nothing").first.wait_for(state="attached")

    def row(self, text: str) -> Locator:
        """Return the first row that holds a text."""
        return self.rows.filter(has_text=text).first

    def selected(self) -> Locator:
        """Return the selected row."""
        return self.page.locator('.rows .row[aria-selected="true"]')

    def press(self, *keys: str) -> None:
        """Press keys on the waterfall."""
        self.grid.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def show_all(self) -> None:
        """Zoom out, and wait until that has come to rest."""
        self.press("0")
        expect(self.page.locator(".map.whole")).to_be_attached()

    def ticks(self) -> list[str]:
        """Return the labels of the time axis."""
        return self.page.locator(".head .tick").all_inner_texts()

    def lane(self) -> tuple[float, float, float]:
        """Return left edge, width and a height inside the first row of the bars."""
        box = self.rows.first.locator(".lane").bounding_box()
        assert box is not None
        return box["x"], box["width"], box["y"] + box["height"] / 2

    def place(self, text: str) -> str:
        """Return where the bar of a row is."""
        return self.row(text).locator(".bar").first.get_attribute("style") or ""


@pytest.fixture
def visit(browser: Browser, base: str) -> Iterator[Visit]:
    """A wide light tab; whatever a test does, nothing may fail in the page or leave this machine."""
    with visiting(browser, base) as opened:
        yield opened
        assert opened.errors == []
        assert opened.foreign == []


@pytest.fixture
def phone(browser: Browser, base: str) -> Iterator[Visit]:
    """A narrow tab."""
    with visiting(browser, base, size=PHONE, has_motion=True) as opened:
        yield opened
        assert opened.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1440", "390"])
def test_viewer_every_theme_and_size_is_accessible(browser: Browser, base: str, theme: str, size: ViewportSize) -> None:
    """Each tab of each exchange passes axe, nothing leaves the machine, nothing scrolls sideways."""
    with visiting(browser, base, size=size, theme=theme, has_motion=True) as visit:
        viewer = Viewer(visit, "story&exchange=3")
        found = []
        for tab in ("Timeline", "Transcript", "Delegations"):
            shown = viewer.page.get_by_role("tab", name=tab)
            if shown.count():
                shown.first.click()
            found += viewer.visit.violations()

        assert found == []
        assert visit.errors == []
        assert visit.foreign == []
        assert viewer.page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), "scrolls sideways"


def test_axe_reaches_into_the_components(visit: Visit) -> None:
    """The audit above is worth something: it finds a fault inside a shadow root."""
    viewer = Viewer(visit, "story")
    viewer.grid.evaluate("grid => grid.setAttribute('aria-expanded', 'perhaps')")

    found = viewer.visit.violations()

    assert [violation["id"] for violation in found] == ["aria-valid-attr-value"]


def test_click_row_selects_it_here_and_in_the_transcript(visit: Visit) -> None:
    """A click opens the piece beside the waterfall; what it takes in and gives out is there, ids and time too."""
    viewer = Viewer(visit, "story")

    viewer.row("src/payments/retry.ts").click()

    piece = viewer.page.locator('.piece[aria-current="true"]')
    expect(piece).to_contain_text("src/payments/retry.ts")
    expect(piece).to_contain_text("filePath")
    expect(piece).to_contain_text("export const line1 = 1;")
    expect(piece.get_by_role("button", name=re.compile("^Copy Part prt_"))).to_be_visible()
    expect(viewer.selected()).to_contain_text("src/payments/retry.ts")
    expect(viewer.page.get_by_text("Open: msg_ses_0001_1 prt_00007 0")).to_be_visible()


def test_click_piece_selects_its_row(visit: Visit) -> None:
    """The other way round: what is read is shown in the waterfall, even where it was folded away."""
    viewer = Viewer(visit, "story")
    viewer.press("ArrowLeft")
    expect(viewer.row("src/payments/retry.ts")).not_to_be_attached()

    viewer.pieces.filter(has_text="src/payments/retry.ts").get_by_role("button").first.click()

    expect(viewer.selected()).to_contain_text("src/payments/retry.ts")


def test_click_exchange_opens_it_and_folds_the_other(visit: Visit) -> None:
    """One exchange is open at a time; the axis shows it, the others are one line."""
    viewer = Viewer(visit, "story")

    viewer.row("The tests fail now").click()

    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 2 of 5")
    expect(viewer.pieces.filter(has_text="ProviderAuthError").first).to_be_attached()
    expect(viewer.rows.first).to_have_attribute("aria-expanded", "false")
    expect(viewer.rows.first).to_contain_text("7 tools · 1 delegation")
    assert viewer.ticks()[0] == "Nov 3 12:19:22"


def test_address_with_part_shows_it_at_once(visit: Visit) -> None:
    """A copied link leads back to the event, unfolded and selected."""
    viewer = Viewer(visit, "story&exchange=3&part=prt_00041")

    expect(viewer.selected()).to_have_attribute("data-key", "prt_00041")
    expect(viewer.page.locator('.piece[aria-current="true"]')).to_have_attribute("data-id", "prt_00041")


def test_copy_link_names_exchange_and_part(visit: Visit) -> None:
    """The key puts an address on the clipboard that says where one is."""
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=visit.base)
    viewer = Viewer(visit, "story")

    viewer.press("]", "j", "l")

    expect(viewer.page.get_by_role("status").filter(has_text="Link copied")).to_be_attached()
    key = viewer.selected().get_attribute("data-key")
    copied = viewer.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{visit.base}/timeline?session=ses_0001&exchange=2&part={key}"


def test_keys_move_fold_and_unfold(visit: Visit) -> None:
    """Arrows, j and k, Home and End work as in any tree."""
    viewer = Viewer(visit, "story")
    seen = []
    for keys in (
        ["j"],
        ["ArrowDown"],
        ["k"],
        ["ArrowDown", "ArrowLeft"],
        ["ArrowRight"],
        ["ArrowRight"],
        ["ArrowLeft"],
        ["Home"],
    ):
        viewer.press(*keys)
        row = viewer.selected()
        seen.append(
            (row.get_attribute("aria-rowindex"), row.get_attribute("aria-level"), row.get_attribute("aria-expanded"))
        )
    viewer.press("End")

    assert seen == [
        ("3", "2", None),
        ("4", "2", "true"),
        ("3", "2", None),
        ("4", "2", "false"),
        ("4", "2", "true"),
        ("5", "3", None),
        ("4", "2", "true"),
        ("2", "1", "true"),
    ]
    expect(viewer.selected()).to_contain_text("And now the changelog")
    focus = viewer.grid.get_attribute("aria-activedescendant")
    assert focus == viewer.selected().get_attribute("id")


def test_key_exchange_goes_through_all_of_them(visit: Visit) -> None:
    """Brackets open the next and the previous exchange, and stop at the ends."""
    viewer = Viewer(visit, "story")

    viewer.press("]", "]")
    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 3 of 5")
    viewer.press("[", "[", "[")

    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 1 of 5")
    expect(viewer.selected()).to_have_attribute("aria-rowindex", "2")


def test_key_error_goes_round_all_errors(visit: Visit) -> None:
    """The next error is unfolded, selected and marked; behind the last one comes the first; Shift goes back."""
    viewer = Viewer(visit, "story")
    failed = []
    for _ in range(6):
        viewer.press("e")
        failed.append(viewer.selected().locator(".name").inner_text())
        assert "failed" in (viewer.selected().get_attribute("class") or "")
    viewer.press("Shift+E")

    assert failed == ["bash", "bash", "bash", "retry", "ProviderAuthError", "bash"]
    expect(viewer.selected()).to_contain_text("ProviderAuthError")
    expect(viewer.pieces.filter(has_text="the key was revoked")).to_have_class(re.compile("chosen"))
    expect(viewer.row("npm test -- retry").get_by_label("Tool call, failed")).to_be_visible()
    expect(viewer.row("npm test -- retry")).to_contain_text("✕ failed")


def test_key_waste_says_what_it_cost(visit: Visit) -> None:
    """Loops and failed exchanges are marked with their price, on the row, below it, and in the transcript."""
    viewer = Viewer(visit, "story")

    viewer.press("w")

    expect(viewer.row("The tests fail now").locator(".waste")).to_contain_text("$0.0731")
    expect(viewer.page.locator(".foot .about")).to_contain_text("bash with the same arguments 3 times: $0.0510")
    expect(viewer.page.locator(".detail .head")).to_contain_text("The exchange failed: ProviderAuthError: $0.0731")


def test_fold_idle_time_is_a_mark_and_wall_clock_is_not(visit: Visit) -> None:
    """Two hours of nothing take a few pixels, and say so; on the wall clock they are as long as they were."""
    viewer = Viewer(visit, "story")
    viewer.press("ArrowLeft")
    viewer.show_all()
    expect(viewer.row("The tests fail now")).to_contain_text("2h 06m idle")
    folded = viewer.rows.nth(1).locator(".bar").bounding_box()

    viewer.page.get_by_role("button", name="Wall clock").click()
    viewer.show_all()

    shown = viewer.rows.nth(1).locator(".bar").bounding_box()
    assert folded is not None
    assert shown is not None
    assert folded["width"] > 20 > shown["width"]
    expect(viewer.page.get_by_role("button", name="Wall clock")).to_have_attribute("aria-pressed", "true")
    assert viewer.page.get_by_text("2h 06m idle").count() == 0
    assert viewer.ticks()[0].startswith("Nov 3")


def test_zoom_from_a_day_to_milliseconds(visit: Visit) -> None:
    """The wheel zooms in until single milliseconds are told apart; one key shows all again."""
    viewer = Viewer(visit, "story")
    viewer.page.get_by_role("button", name="Wall clock").click()
    viewer.show_all()
    whole = viewer.ticks()
    left, width, _ = viewer.lane()
    box = viewer.page.locator(".head").first.bounding_box()
    assert box is not None
    viewer.page.mouse.move(left + width / 3, box["y"] + 10)

    for _ in range(40):
        viewer.page.mouse.wheel(0, -300)
    expect(viewer.page.locator(".head .tick").first).to_have_text(re.compile(r"\.\d{3}$"))
    fine = [int(tick[-3:]) for tick in viewer.ticks()]
    viewer.press("0")

    assert 0 < (fine[1] - fine[0]) % 1000 <= 10
    assert viewer.ticks() == whole


def test_zoom_drag_shows_what_was_dragged_over(visit: Visit) -> None:
    """Dragging over bars zooms to them; a drag is no click."""
    viewer = Viewer(visit, "story")
    before = viewer.selected().get_attribute("data-key")
    left, width, y = viewer.lane()

    viewer.page.mouse.move(left + 0.25 * width, y + 150)
    viewer.page.mouse.down()
    viewer.page.mouse.move(left + 0.5 * width, y + 150, steps=4)
    viewer.page.mouse.up()

    frame = viewer.page.locator(".map .frame").bounding_box()
    whole = viewer.page.locator(".map").bounding_box()
    assert frame is not None
    assert whole is not None
    assert 0.04 < frame["width"] / whole["width"] < 0.1
    assert viewer.selected().get_attribute("data-key") == before


def test_minimap_drag_zooms_click_opens_double_click_resets(visit: Visit) -> None:
    """The strip above steers the waterfall."""
    viewer = Viewer(visit, "story")
    viewer.show_all()
    strip = viewer.page.locator(".map")
    box = strip.bounding_box()
    assert box is not None
    x, y = box["x"], box["y"] + 16

    viewer.page.mouse.click(x + 0.34 * box["width"], y)
    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 2 of 5")
    viewer.page.mouse.dblclick(x + 0.34 * box["width"], y)
    expect(viewer.page.locator(".map.whole")).to_be_attached()
    viewer.page.mouse.move(x + 0.1 * box["width"], y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 0.2 * box["width"], y, steps=4)
    viewer.page.mouse.up()

    frame = viewer.page.locator(".map .frame").bounding_box()
    assert frame is not None
    assert frame["x"] == pytest.approx(x + 0.1 * box["width"], abs=4)
    assert frame["width"] == pytest.approx(0.1 * box["width"], abs=4)


def test_key_zoom_to_row_and_along(visit: Visit) -> None:
    """The key shows the selected bar as wide as can be; plus, minus and Shift with arrows go on from there."""
    viewer = Viewer(visit, "story")
    viewer.row("explore").click()

    viewer.press("z")

    box = viewer.row("explore").locator(".bar").bounding_box()
    _, width, _ = viewer.lane()
    assert box is not None
    assert box["width"] > 0.9 * width
    ticks = viewer.ticks()
    viewer.press("+", "Shift+ArrowRight")
    assert viewer.ticks() != ticks


def test_kinds_toggle_hides_rows_and_keeps_what_is_below(visit: Visit) -> None:
    """Without steps, their calls are still there, one level up; counts are on the buttons."""
    viewer = Viewer(visit, "story")
    steps = viewer.page.get_by_role("button", name="Steps 31")
    level = viewer.row("src/payments/retry.ts").get_attribute("aria-level")

    steps.click()

    expect(viewer.page.locator(".rows .row.k-step")).to_have_count(0)
    expect(steps).to_have_attribute("aria-pressed", "false")
    expect(steps).to_be_focused()
    assert (level, viewer.row("src/payments/retry.ts").get_attribute("aria-level")) == ("3", "2")


def test_find_marks_counts_and_jumps(visit: Visit) -> None:
    """Enter goes from hit to hit, also into what is folded; letters do not reach Streamlit's own keys."""
    viewer = Viewer(visit, "story")

    viewer.press("/")
    viewer.page.keyboard.type("rc")
    expect(viewer.page.locator(".found")).to_have_text(re.compile(r"^\d+$"))
    viewer.page.get_by_label("Find in the timeline").fill("changelog")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.locator(".found")).to_have_text("1 of 2")
    viewer.page.keyboard.press("Enter")

    expect(viewer.selected()).to_contain_text("CHANGELOG.md")
    expect(viewer.selected().locator("mark")).to_have_text("CHANGELOG")
    expect(viewer.page.get_by_text("Open: msg_ses_0001_5")).to_be_visible()
    expect(viewer.page.get_by_text("Run 1, version 1")).to_be_visible()


def test_find_nothing_says_so(visit: Visit) -> None:
    """No hit is an answer, too; Escape ends the search."""
    viewer = Viewer(visit, "story")
    viewer.press("/")
    viewer.page.keyboard.type("no such thing")
    expect(viewer.page.locator(".found")).to_have_text("none")

    viewer.page.keyboard.press("Escape")

    expect(viewer.page.locator(".found")).to_have_text("")
    expect(viewer.grid).to_be_focused()


def test_rows_are_virtual_at_any_size(visit: Visit) -> None:
    """Thousands of rows are a few dozen elements, wherever one is; the selected one is always there."""
    viewer = Viewer(visit, "large-300-6000")
    assert viewer.grid.get_attribute("aria-rowcount") == "321"

    viewer.press("End")
    expect(viewer.selected()).to_contain_text("Prompt number 300")
    viewer.grid.evaluate("grid => { grid.scrollTop = 0 }")
    expect(viewer.row("Prompt number 1:")).to_be_visible()

    assert viewer.rows.count() < 60
    expect(viewer.selected()).to_contain_text("Prompt number 300")


@pytest.mark.parametrize("keys", [[], ["ArrowLeft", "0"]], ids=["open exchange", "everything"])
def test_growth_keeps_scroll_zoom_selection_and_focus(visit: Visit, keys: list[str]) -> None:
    """New events come in without moving anything that the reader looks at."""
    viewer = Viewer(visit, "running&exchange=2")
    viewer.press(*keys, "[", "j", "j")
    viewer.grid.evaluate("grid => { grid.scrollTop = 40 }")
    viewer.press("z")
    count = int(viewer.grid.get_attribute("aria-rowcount") or 0)
    viewer.press("+")
    before = _looks(viewer)

    for times in (1, 2):
        viewer.page.get_by_role("button", name="Grow").evaluate("button => button.click()")
        expect(viewer.page.get_by_role("button", name=f"{5 * times} new")).to_be_visible()

    assert _looks(viewer) == before
    assert int(viewer.grid.get_attribute("aria-rowcount") or 0) >= count
    viewer.page.get_by_role("button", name="10 new").click()
    expect(viewer.rows.last).to_be_in_viewport()
    expect(viewer.page.get_by_role("button", name="running")).to_be_visible()


def _looks(viewer: Viewer) -> list[object]:
    """Say what must not change while a session grows: scroll, selection, focus, bars in sight, ticks."""
    return [
        viewer.grid.evaluate("grid => [grid.scrollTop, grid.getRootNode().activeElement === grid]"),
        viewer.selected().get_attribute("data-key"),
        viewer.selected().locator(".bar").get_attribute("style"),
        viewer.ticks(),
    ]


def test_newer_payload_keeps_what_the_reader_sees(visit: Visit) -> None:
    """A page that draws the same session anew, from a newer revision, does not throw the reader back to the start."""
    viewer = Viewer(visit, "story")
    viewer.press("]", "j", "j", "j", "z")
    viewer.grid.evaluate("grid => { grid.scrollTop = 30 }")
    before = _looks(viewer)

    viewer.page.get_by_role("button", name="Newer").evaluate("button => button.click()")
    expect(viewer.page.get_by_text("Run 2, version 2")).to_be_visible()
    visit.settle()

    assert _looks(viewer) == before


def test_rerun_changes_nothing(visit: Visit) -> None:
    """The same version again is not drawn again: what was folded by hand stays folded."""
    viewer = Viewer(visit, "story")
    viewer.press("j", "j", "ArrowLeft", "+")
    before, rows = _looks(viewer), viewer.rows.count()

    viewer.page.get_by_role("button", name="Rerun").evaluate("button => button.click()")
    expect(viewer.page.get_by_text("Run 2, version 1")).to_be_visible()
    visit.settle()

    assert (_looks(viewer), viewer.rows.count()) == (before, rows)


def test_odd_things_are_named(visit: Visit) -> None:
    """Unknown times, restarts, a clock that went back, calls without end, lost sessions: each has its word."""
    viewer = Viewer(visit, "story&exchange=8")
    viewer.press("]")
    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 5 of 5")
    viewer.press("End")

    for text, word in (
        ("CHANGELOG.md", "time unknown"),
        ("5.00K tokens", "restarted"),
        ("*.md", "clock went back"),
        ("git log", "unfinished"),
        ("And now the changelog", "unfinished"),
    ):
        expect(viewer.row(text)).to_contain_text(word)
    viewer.press("[")
    for link, word in (
        ("resumed", "resumes a session above"),
        ("missing", "its session is missing"),
        ("cycle", "leads back to a session above"),
        ("elsewhere", "its session belongs to another one"),
    ):
        expect(viewer.row(f"A call whose session is {link}")).to_contain_text(word)


def test_error_opens_to_what_was_recorded(visit: Visit) -> None:
    """Beside its message, all that OpenCode keeps of an error."""
    viewer = Viewer(visit, "story")
    error = viewer.pieces.filter(has_text="the key was revoked")
    viewer.press("]")

    error.get_by_role("button", name="As recorded").click()

    expect(error.locator(".fold-body")).to_contain_text("ProviderAuthError")
    expect(error.locator(".fold-body")).to_contain_text("statusCode")


def test_exchange_buttons_end_at_the_ends(visit: Visit) -> None:
    """There is nothing before the first exchange and nothing behind the last one, until one comes."""
    viewer = Viewer(visit, "story")
    before, behind = (viewer.page.get_by_role("button", name=f"{which} exchange") for which in ("Previous", "Next"))
    expect(before).to_be_disabled()

    for number in range(2, 6):
        behind.click()
        expect(viewer.page.locator(".detail h2")).to_have_text(f"Exchange {number} of 5")

    expect(behind).to_be_disabled()
    expect(before).to_be_enabled()


def test_growth_is_told_in_the_heading_of_the_transcript(visit: Visit) -> None:
    """What the open exchange has done so far grows with it."""
    viewer = Viewer(visit, "running&exchange=2")
    numbers = viewer.page.locator(".detail .numbers")
    before = numbers.inner_text()

    viewer.page.get_by_role("button", name="Grow").evaluate("button => button.click()")

    expect(numbers).not_to_have_text(before)


def test_delegation_is_nested_and_leads_to_its_transcript(visit: Visit) -> None:
    """A child session lies below its call; the transcript goes there and back."""
    viewer = Viewer(visit, "story")
    viewer.row("Find every caller").click()
    viewer.press("ArrowRight", "ArrowRight")
    expect(viewer.selected()).to_have_attribute("aria-level", "4")
    expect(viewer.page.locator(".detail .crumbs")).to_contain_text("Exchange 1 › explore: Find every caller")
    viewer.press("ArrowLeft")
    viewer.pieces.filter(has_text="Find every caller").get_by_role("button", name="Open the child session").click()

    expect(viewer.pieces.filter(has_text="Three places call it")).to_be_attached()
    viewer.page.get_by_role("button", name="← Exchange 1").click()

    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 1 of 5")
    expect(viewer.pieces.filter(has_text="I added a retry")).to_be_attached()


@pytest.mark.parametrize(
    ("link", "words"),
    [("missing", "The index does not have its session."), ("elsewhere", "Its session belongs to another one")],
)
def test_delegation_that_leads_nowhere_here_says_so(visit: Visit, link: str, words: str) -> None:
    """In place of a button that would do nothing."""
    viewer = Viewer(visit, "story&exchange=8")
    viewer.press("]")
    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 5 of 5")
    viewer.press("[")
    viewer.row(f"A call whose session is {link}").click()
    piece = viewer.pieces.filter(has_text=f"A call whose session is {link}")

    expect(piece).to_contain_text(words)
    expect(piece.get_by_role("button", name="Open the child session")).to_have_count(0)


def test_delegations_tab_shows_the_tree_and_goes_there(visit: Visit) -> None:
    """Every session with what it cost itself; what leads nowhere is in the list, and says why."""
    viewer = Viewer(visit, "story")
    viewer.page.get_by_role("tab", name="Delegations").click()
    table = viewer.page.get_by_role("table")
    texts = table.locator("tbody tr").all_inner_texts()

    assert len(texts) == 8
    assert "$0.6089" in texts[0]
    assert "$1.0100" in texts[0]
    for text, word in zip(
        texts[4:], ("resumed again", "session missing", "leads back", "another session"), strict=True
    ):
        assert word in text
    table.get_by_role("button", name="Find the worker's tests").click()

    expect(viewer.pieces.filter(has_text="Find the worker's tests. Report")).to_be_attached()
    expect(viewer.selected()).to_contain_text("Find the worker's tests")


def test_transcript_answers_are_prose_without_links(visit: Visit) -> None:
    """Headings, lists, code and bold are elements; a link is text, with its target beside it."""
    viewer = Viewer(visit, "story")
    answer = viewer.pieces.filter(has_text="I added a retry")

    expect(answer.locator("strong").first).to_have_text("retry")
    expect(answer.locator(".heading")).to_have_text("What changed")
    expect(answer.locator("ol > li > ul > li")).to_have_count(2)
    expect(answer.locator(".code")).to_contain_text("export async function withRetry<T>")
    expect(answer.locator("blockquote")).to_contain_text("their guide (https://example.com/retry)")
    expect(viewer.page.locator(".trace a, .trace img")).to_have_count(0)


def test_transcript_diff_shows_signs_and_what_changed(visit: Visit) -> None:
    """Edits are read as a diff: line numbers, signs, and the part of a line that differs."""
    viewer = Viewer(visit, "story")
    viewer.press("]", "]", "[")
    edit = viewer.pieces.filter(has_text="src/payments/retry.ts").first

    edit.get_by_role("button").first.click()

    expect(edit.locator(".d-add")).to_have_count(3)
    expect(edit.locator(".d-cut")).to_have_count(1)
    expect(edit.locator(".d-file")).to_have_text("src/payments/client.ts")
    expect(edit.locator(".d-cut .d-number").first).to_have_text("15")


def test_show_all_fetches_the_rest(visit: Visit) -> None:
    """A text that was cut off says how long it is; the rest comes when asked for."""
    viewer = Viewer(visit, "story")
    viewer.press("e")
    piece = viewer.page.locator('.piece[aria-current="true"]')
    text = piece.locator(".verbatim").last
    expect(piece.get_by_role("button", name="Show all · 6.03 KB")).to_be_visible()
    cut = len(text.inner_text())

    piece.get_by_role("button", name="Show all").click()

    expect(viewer.page.get_by_text(re.compile(r"Open: \S+ \S+ 1$"))).to_be_visible()
    expect(piece.get_by_role("button", name="Show all")).to_have_count(0)
    assert cut < 5_000 < len(text.inner_text())


def test_phone_has_tabs_and_no_cost_column(phone: Visit) -> None:
    """One thing at a time: three tabs, rows to touch, Enter leads to the transcript."""
    viewer = Viewer(phone, "story")
    tabs = viewer.page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["Timeline", "Transcript", "Delegations"]
    expect(viewer.page.get_by_role("columnheader", name="Cost")).to_be_hidden()
    expect(viewer.pieces.first).to_be_hidden()
    row = viewer.row("src/payments/client.ts")
    box = row.bounding_box()
    assert box is not None
    assert box["height"] == 34

    row.click()
    viewer.press("Enter")

    expect(viewer.page.get_by_role("tab", name="Transcript")).to_have_attribute("aria-selected", "true")
    expect(viewer.grid).to_be_hidden()
    expect(viewer.page.locator('.piece[aria-current="true"]')).to_be_in_viewport()
    viewer.page.get_by_role("tab", name="Timeline").click()
    expect(viewer.selected()).to_contain_text("src/payments/client.ts")


def test_theme_switch_recolours_without_a_rerun(visit: Visit) -> None:
    """The system turns dark: so do both components and the strip of the whole session."""
    viewer = Viewer(visit, "story")
    pixel = "canvas => [...canvas.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)"
    colour = "bar => getComputedStyle(bar).backgroundColor"
    bar = viewer.row("src/payments/client.ts").locator(".bar")
    before = bar.evaluate(colour)

    viewer.page.emulate_media(color_scheme="dark")

    expect(viewer.page.locator(".trace.viewer")).to_have_css("color-scheme", "dark")
    expect(viewer.page.locator(".trace.detail")).to_have_css("color-scheme", "dark")
    assert (before, bar.evaluate(colour)) == ("rgb(209, 130, 24)", "rgb(249, 202, 81)")
    assert viewer.page.locator(".map canvas").evaluate(pixel) is not None


def test_deep_tree_is_followed_to_the_bottom(visit: Visit) -> None:
    """Ten sessions inside each other: the error at the bottom is one key away, and its way up is written above it."""
    viewer = Viewer(visit, "deep-10")

    viewer.press("e")

    expect(viewer.selected()).to_contain_text("APIError")
    expect(viewer.selected()).to_have_attribute("aria-level", "20")
    expect(viewer.selected().locator(".name")).to_be_in_viewport()
    expect(viewer.page.locator(".detail .crumbs")).to_have_text(
        "Exchange 1 › … › general: Go to level 9 › general: Go to level 10"
    )
    expect(viewer.row("Nobody called me")).to_contain_text("no call recorded")
    expect(viewer.row("Go to level 10").locator(".sign.bad")).to_have_text("failed")


def test_empty_exchange_is_said_to_be_empty(visit: Visit) -> None:
    """No event, no time, no prompt: the row is there, and nothing is made up."""
    viewer = Viewer(visit, "empty")

    expect(viewer.rows).to_have_count(1)
    expect(viewer.rows.first).to_contain_text("No prompt")
    expect(viewer.rows.first).to_contain_text("no answer")
    expect(viewer.page.locator(".detail")).to_contain_text("Nothing was recorded in this exchange.")
    viewer.press("e", "w", "z", "0", "+", "ArrowDown", "End", "]", "Enter", "/")


def test_long_exchange_is_drawn_in_parts(visit: Visit) -> None:
    """Of thousands of pieces a hundred or two are elements; what is selected is among them."""
    viewer = Viewer(visit, "long-2000")
    expect(viewer.page.get_by_role("button", name="Show 1,851 more pieces")).to_be_attached()

    viewer.press("End")

    expect(viewer.page.locator('.piece[aria-current="true"]')).to_contain_text("call number 2000")
    expect(viewer.page.locator('.piece[aria-current="true"]')).to_be_in_viewport()
    assert viewer.pieces.count() < 200
    viewer.page.get_by_role("button", name=re.compile("pieces before$")).click()
    assert viewer.pieces.count() > 200


def test_partial_events_come_with_their_exchange(visit: Visit) -> None:
    """Of a session too large to be sent whole, an exchange has its rows once it is open; errors are known before."""
    viewer = Viewer(visit, "partial")
    expect(viewer.row("src/payments/client.ts")).to_be_visible()
    expect(viewer.page.get_by_role("button", name=re.compile("^Tools$"))).to_be_visible()
    expect(viewer.row("The tests fail now").locator(".caption")).to_have_text(re.compile("error"))

    viewer.press("e")

    expect(viewer.page.locator(".detail h2")).to_have_text("Exchange 2 of 5")
    expect(viewer.page.locator(".rows .row.failed.k-tool").first).to_be_visible()
    assert "new" not in viewer.page.locator(".tools .line").inner_text()


def test_partial_address_with_part_waits_for_it(visit: Visit) -> None:
    """A link to an event leads there, although its row comes later."""
    viewer = Viewer(visit, "partial&exchange=3&part=prt_00041")

    expect(viewer.selected()).to_have_attribute("data-key", "prt_00041")
    expect(viewer.page.locator('.piece[aria-current="true"]')).to_have_attribute("data-id", "prt_00041")


def test_running_exchange_says_so(visit: Visit) -> None:
    """Without an end, the last exchange of a session at work is running; it is not called unfinished."""
    viewer = Viewer(visit, "running&exchange=2")

    expect(viewer.row("Then do that").locator(".sign")).to_have_text("running")
    expect(viewer.page.locator(".detail .head .sign")).to_have_text("running")


def test_growth_keeps_focus_on_a_switch(visit: Visit) -> None:
    """The toolbar is brought up to date, not made anew."""
    viewer = Viewer(visit, "running&exchange=2")
    switch = viewer.page.get_by_role("button", name=re.compile("^Steps "))
    before = switch.inner_text()
    switch.focus()

    viewer.page.get_by_role("button", name="Grow").evaluate("button => button.click()")

    expect(switch).not_to_have_text(before)
    expect(switch).to_be_focused()


def test_hostile_text_stays_text(visit: Visit) -> None:
    """Nothing in a session runs, loads, or breaks out: scripts, images, styles, turned text, a megabyte."""
    viewer = Viewer(visit, "hostile")
    viewer.press("ArrowRight", "j", "ArrowRight")
    for button in viewer.page.locator(".detail .line").all():
        button.click()
    long = viewer.pieces.filter(has_text="a megabyte")
    long.get_by_role("button", name="Show all").click()
    expect(viewer.page.get_by_text(re.compile(r"Open: \S+ \S+ 1$"))).to_be_visible()
    expect(long.get_by_role("button", name="Show all")).to_have_count(0)
    viewer.page.get_by_role("tab", name="Delegations").click()

    assert viewer.page.evaluate("window.probed") is None
    assert viewer.page.locator(".trace :is(script, img, iframe, a, link, object, embed, video)").count() == 0
    assert viewer.page.locator(".trace style").count() == 0
    assert viewer.rows.first.locator(".text").inner_text().startswith("</script><script>")
    lines = viewer.rows.locator(".text").all_inner_texts() + viewer.page.locator(".waste-note").all_inner_texts()
    assert not any(mark in text for text in lines for mark in "\u202e\u2066")


def test_formats_are_those_of_the_pages(browser: Browser) -> None:
    """Numbers read the same in a component and in a table: both ways of writing them agree, ties included."""
    script = (VIEWER / "shared.js").read_text(encoding="utf-8")
    numbers = [0, 0.5, 1, 1.5, 2.5, 9.995, 99.95, 999.4, 999.5, 1000, 1005, 1234.5, 9949, 9950, 59_499, 59_500, 60_000]
    numbers += [0.00009999, 0.0001, 0.00015, 0.0045, 0.125, 0.375, 0.005, 12.345, 1e6, 1e9 - 0.5, 3_599_500, 3_600_000]
    numbers += [
        86_399_999,
        86_400_000,
        1e9,
        1.5e12,
        999_499_999,
        999_500_000,
        7.25,
        1_002_500,
        10_050_000,
        -3.5,
        -0.00001,
    ]
    numbers += [number * 1.37 for number in numbers]
    context = browser.new_context()
    page: Page = context.new_page()

    written = page.evaluate(
        f"""numbers => {{ {script}
        const all = {{ usd, tokens, count, size, duration, usd4: (number) => usd(number, 4) }};
        return Object.fromEntries(Object.entries(all).map(([name, write]) => [name, numbers.map((n) => write(n))]));
        }}""",
        [*numbers, None],
    )
    context.close()

    expected = {name: [write(number) for number in (*numbers, None)] for name, write in FORMATS.items()}
    assert written == expected
    assert display.usd(Decimal("0.125")) == written["usd"][numbers.index(0.125)]


@pytest.fixture(scope="module")
def drawn(browser: Browser) -> Iterator[Callable[[str, object], str]]:
    """Draw something by one function of the transcript, in an empty page: returns its HTML, without icons."""
    scripts = "".join((VIEWER / name).read_text(encoding="utf-8") for name in ("shared.js", "prose.js", "pieces.js"))
    context = browser.new_context()
    page: Page = context.new_page()

    def draw(function: str, given: object) -> str:
        """Return what a function makes of a text or a piece."""
        html: str = page.evaluate(f"given => {{ {scripts} return ({function})(given).innerHTML; }}", given)
        return re.sub(r"<svg.*?</svg>", "", html)

    yield draw
    context.close()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("```npm test``` runs it\nand more", "<p><code>npm test</code> runs it<br>and more</p>"),
        ("1. one\n- a\n3. two", '<ol><li value="1">one</li></ol><ul><li>a</li></ul><ol><li value="3">two</li></ol>'),
    ],
    ids=["code in a line of its own", "lists"],
)
def test_prose_what_only_looks_like_a_block_is_shown_as_written(
    text: str, html: str, drawn: Callable[[str, object], str]
) -> None:
    """A line that begins with code opens no code block, and numbers of a list are those that were written."""
    found = drawn("prose", text)

    assert found == html


@pytest.mark.parametrize(
    ("kind", "name", "more", "said"),
    [
        ("text", "text", {"flags": DELETED}, "Deleted in OpenCode: what it said is gone"),
        ("reasoning", "reasoning", {"flags": DELETED}, "Deleted in OpenCode: what it said is gone"),
        ("tool", "bash", {"flags": DELETED}, "Deleted in OpenCode: what it said is gone"),
        ("prompt", "text", {"flags": DELETED}, "Deleted in OpenCode: what it said is gone"),
        ("text", "text", {"end_ms": None}, "Nothing of it is recorded so far"),
        ("text", "text", {}, "Empty answer"),
        ("reasoning", "reasoning", {}, "Empty reasoning"),
        ("prompt", "text", {"end_ms": None}, "Empty prompt"),
        ("prompt", "agent", {"title": "explore"}, "@explore"),
    ],
)
def test_draw_piece_without_text_says_why(
    kind: str, name: str, more: dict[str, object], said: str, drawn: Callable[[str, object], str]
) -> None:
    """Gone, still being written, or never there: no piece is drawn as if it had been empty where it was not."""
    piece: dict[str, object] = {"id": "p", "kind": kind, "name": name, "title": None, "status": "ok", "text": None}
    piece |= {"flags": 0, "ids": [], "attachments": [], "start_ms": 0, "end_ms": 1, "cost_usd": None}
    piece |= more
    answers = "link: no, away: no, agent: no, marks: () => [], isOpen: () => true, origin: null"

    found = drawn(f"piece => {{ const no = () => null; return drawPiece(piece, {{ {answers} }}); }}", piece)

    assert re.findall('<p class="nothing">(.*?)</p>', found) == [said]


@pytest.mark.parametrize("function", ["verbatim", "clamped", "text => el('p', {}, short('x' + text))"])
def test_long_line_is_cut_between_characters(function: str, drawn: Callable[[str, object], str]) -> None:
    """Half of an emoji is no character: it would be drawn as a question mark."""
    found = drawn(function, "x" + "😀" * 20_000)

    assert not re.search("[\ud800-\udfff]", found)
    assert found.count("😀") > 70


def test_json_numbers_are_shown_as_they_are_written(drawn: Callable[[str, object], str]) -> None:
    """JavaScript would show other digits of a long id."""
    found = drawn("json", '{"id": 12345678901234567890, "share": 0.10, "all": [{"n": 7, "big": 1e400}]}')

    assert re.findall('<span class="json-plain">(.*?)</span>', found) == ["12345678901234567890", "0.10"]


@pytest.mark.parametrize(
    ("is_whole", "lines", "said"),
    [
        (False, "+a", "Show all"),
        (True, "+a", "The index keeps only part of this text; recorded were 100 KB."),
        (False, "", "The index keeps only part of this text; recorded were 100 KB."),
    ],
    ids=["cut here", "cut in the index", "not known"],
)
def test_diff_box_what_is_cut_says_so(
    is_whole: bool, lines: str, said: str, drawn: Callable[[str, object], str]
) -> None:
    """The beginning of what was written is not taken for all of it."""
    piece = {"id": "p", "diff": f"Index: a.txt\n{lines}", "is_diff_cut": True, "input_bytes": 100_000}

    found = drawn(f"piece => diffBox(piece, {{ isWhole: () => {str(is_whole).lower()} }})", piece)

    assert re.sub("<.*?>", "", found).endswith(said)


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("--- drop the table", "d-cut", "-removed -- drop the table"),
        ("+++ i;", "d-add", "+added ++ i;"),
        ("*** Move to: b.sql", "d-same", " *** Move to: b.sql"),
        ("+a\rb", "d-add", "+added a\rb"),
        ("Index: a.sql", "d-file", "a.sql"),
    ],
    ids=["comment", "increment", "word of a patch", "carriage return", "file"],
)
def test_diff_every_line_is_what_it_says(line: str, kind: str, said: str, drawn: Callable[[str, object], str]) -> None:
    """A removed comment of SQL is no name of a file, and no line loses its first letter."""
    found = drawn("diff", f"@@\n x\n{line}")

    last = found.rpartition(f'<div class="{kind}">')[2]
    assert re.sub("<.*?>", "", last) == said


def test_large_has_all_its_events() -> None:
    """The size that the viewer is measured at is what its name says."""
    made = traces.large(200, 2_000)

    assert (len(made.exchanges), len(made.events)) == (200, 2_000)
