"""A browser tab on a dashboard that notes what it does: it opens pages, runs them again, refreshes and searches."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pages.ui.data import FOLLOW_S
from tests.bench.served import Run, Statement
from tests.bench.storages import Bed
from tests.browser import running
from tests.browser.visit import Visit, visiting

PAGES = sorted(path.stem for path in (running.ROOT / "pages").glob("[a-z]*.py"))
PATIENCE_S, LOOK_S = 60.0, 0.05
_OFFER_S = FOLLOW_S + 3.0  # a page looks for a new revision every `FOLLOW_S`
_PUBLISHED_S = 1.0  # what else the indexer does for a publication is no part of what is measured
_REST_S = 0.3
_RUN_AGAIN = "r"  # Streamlit's own shortcut
_SEARCH_BOX = "Search titles, prompts, answers"
_AGENT = "build"  # had most of the messages
_ASKED_BY_ALL = "health.status"

# The time of the first frame in which something of the page itself, not of the frame around it, is there to be seen.
_NOTE_CONTENT = """
    (() => {
        const look = () => {
            const found = document.querySelector('[data-testid="stMain"] [data-testid="stHeading"]');
            if (found && found.getBoundingClientRect().height > 0) window.firstContent = performance.now();
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    })()
"""
_PAINTS = """() => ({
    contentful: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
    content: window.firstContent,
    drawn: performance.now(),
})"""


@dataclass(frozen=True, slots=True)
class Look:
    """One visit of a page.

    Attributes:
        run: Of the whole script, the first one.
        statements: Of that run.
        paints: Seconds since the navigation began: first contentful paint, first element of the page, all drawn.
    """

    page: str
    run: Run
    statements: list[Statement]
    paints: dict[str, float]

    @property
    def is_of_new(self) -> bool:
        """Tell whether the revision was a new one: what every page asks was not in the cache."""
        return any(statement.query == _ASKED_BY_ALL for statement in self.statements)


@dataclass(slots=True)
class Noted:
    """What the server noted.

    Attributes:
        pid: Its process.
    """

    pid: int = 0
    statements: list[Statement] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def take(self, lines: Iterable[str]) -> None:
        """Add some lines of its log."""
        for line in lines:
            values = json.loads(line)
            match values.pop("kind"):
                case "process":
                    self.pid = values["pid"]
                case "statement":
                    self.statements.append(Statement(**values))
                case _:
                    self.runs.append(Run(**values))

    def run_since(self, began: float, *, asks: bool = False) -> Run | None:
        """Return the first run of a whole script that began after a moment and was not cut short.

        Args:
            began: The moment.
            asks: Whether it must have statements of its own, as the first run of a new revision has.

        Returns:
            None: none has ended yet.
        """
        runs = (run for run in self.runs if run.at >= began and not run.is_fragment and not run.is_cut_short)
        return next((run for run in runs if not asks or self.statements_of(run)), None)

    def statements_of(self, run: Run) -> list[Statement]:
        """List the statements of a run, not those that a tab left behind."""
        return [each for each in self.statements if run.at <= each.at <= run.until and each.thread == run.thread]

    def searches_since(self, began: float) -> list[Statement]:
        """List the statements that looked for a text in all runs that began after a moment, of pieces of pages too."""
        runs = (run for run in self.runs if run.at >= began)
        return [each for run in runs for each in self.statements_of(run) if each.is_search]

    def has_news(self, began: float, run: Run) -> bool:
        """Tell whether a new revision was noticed between a moment and the end of a run, by whatever ran then."""
        return any(each.query == _ASKED_BY_ALL and began <= each.at <= run.until for each in self.statements)


class Tab:
    """A browser tab on a dashboard that notes what it does."""

    def __init__(self, visit: Visit, bed: Bed, log: Path) -> None:
        """Take over a tab, and read what its server notes in a log."""
        self._visit = visit
        self._log = log
        self._lines = log.open(encoding="utf-8")
        self._noted = Noted()
        # all data in range; the timeline is of the longest session
        self._addresses = {page: f"/{page}?range=all" for page in PAGES}
        self._addresses["timeline"] = f"/timeline?session={bed.longest()}"
        visit.page.add_init_script(_NOTE_CONTENT)

    def close(self) -> None:
        """Let go of the log."""
        self._lines.close()

    def noted(self) -> Noted:
        """Read what the server noted so far: only what is new, it shares the processor with what is measured."""
        self._noted.take(self._lines)
        return self._noted

    def look(self, page: str, *, settles: bool = True) -> Look:
        """Open a page by its address.

        Args:
            page: Its name.
            settles: Whether to wait until all is drawn, not only until its script has run.
        """
        self._visit.page.goto("about:blank")  # what the page before still asked for does not count
        began = time.monotonic()
        self._visit.page.goto(self._visit.base + self._addresses[page])
        if settles:
            self._visit.settle()
        paints = {name: (ms or 0.0) / 1_000 for name, ms in self._visit.page.evaluate(_PAINTS).items()}
        run = self._run_since(began)
        return Look(page, run, self.noted().statements_of(run), paints)

    def run_again(self) -> Run | None:
        """Run the whole script of the open page again on the revision it shows.

        Returns:
            None: a new revision came meanwhile.
        """
        self._rest()
        began = time.monotonic()
        self._press()
        run = self._run_since(began)
        return None if self.noted().has_news(began, run) else run

    def refresh(self, publish: Callable[[], None]) -> Run | None:
        """Let the open page show a new revision: by its button for that, or by itself, as the page has it.

        Where it does neither, its pieces follow on their own, and no run of the whole script has to: the key asks for
        one.

        Args:
            publish: Makes a new revision.

        Returns:
            The run of the whole script that showed the new revision. None: nobody noticed that one came.
        """
        self._rest()
        began = time.monotonic()
        button = self._visit.page.get_by_role("button", name="Refresh")
        publish()
        self._pause(_PUBLISHED_S)
        deadline = time.monotonic() + _OFFER_S
        while time.monotonic() < deadline:
            if run := self.noted().run_since(began, asks=True):
                return run
            if button.is_visible():
                return self._of_new(began, self._run_by(button.click))
            self._pause(LOOK_S)
        return self._of_new(began, self._run_by(self._press))

    def filter(self) -> Run | None:
        """Let the open page show one agent, which it was not asked for on this revision, and all of them again.

        Returns:
            The run for the one agent. None: the page has no filters.
        """
        page = self._visit.page
        agents = page.get_by_role("combobox", name="Agents")
        if not agents.is_visible():
            return None
        agents.click()
        run = self._run_by(page.get_by_role("option", name=_AGENT, exact=True).click)
        page.keyboard.press("Escape")
        self._run_by(page.get_by_role("button", name="Clear", exact=True).click)
        return run

    def search(self, text: str) -> list[Statement]:
        """Type a text into the search box of the open page, in place of what is in it, which must be another one.

        Returns:
            The statements that looked for it.
        """
        box = self._visit.page.get_by_placeholder(_SEARCH_BOX, exact=True)
        run = self._run_by(lambda: box.fill(text))
        self._rest()
        return self.noted().searches_since(run.at)

    def _press(self) -> None:
        """Press the key that runs the whole script again."""
        self._visit.page.keyboard.press(_RUN_AGAIN)

    def _run_by(self, act: Callable[[], None]) -> Run:
        """Do something to the page at rest, and return the run of the whole script that it leads to."""
        self._rest()
        began = time.monotonic()
        act()
        return self._run_since(began)

    def _of_new(self, began: float, run: Run) -> Run | None:
        """Return a run if a new revision was noticed since a moment: its answers may be there already."""
        return run if self.noted().has_news(began, run) else None

    def _run_since(self, began: float) -> Run:
        """Wait for the first run of the whole script since a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while (run := self.noted().run_since(began)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no script runs: see {self._log}")
            self._pause(LOOK_S)
        return run

    def _rest(self) -> None:
        """Wait until all is drawn, what comes later too, and nothing has run for a moment."""
        deadline = time.monotonic() + PATIENCE_S
        before = -1
        while (ran := len(self.noted().runs)) != before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page never rests: see {self._log}")
            before = ran
            self._visit.settle()
            self._pause(_REST_S)
            self._visit.settle()

    def _pause(self, seconds: float) -> None:
        """Wait, and let the browser go on."""
        self._visit.page.wait_for_timeout(1_000 * seconds)


def read_notes(log: Path) -> Noted:
    """Read what a server noted so far."""
    noted = Noted()
    noted.take(log.read_text(encoding="utf-8").splitlines())
    return noted


@contextmanager
def open_tab(bed: Bed, *options: str) -> Iterator[Tab]:
    """Serve the dashboard with notes, and open a tab that knows all scripts."""
    executable = running.browser_path()
    if executable is None:
        raise RuntimeError("no Chromium or Chrome was found")
    log = bed.folder / "dashboard.jsonl"
    log.unlink(missing_ok=True)
    prefix = [sys.executable, "-m", "tests.bench.served", str(log), *options]
    with (
        running.browser(executable) as browser,
        running.dashboard(bed.index, prefix) as base,
        visiting(browser, base) as visit,
    ):
        visit.open("/overview")
        tab = Tab(visit, bed, log)
        try:
            yield tab
        finally:
            tab.close()
