"""The running dashboard: its statements while documents arrive, its reruns, and what a person waits for in Chromium."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import playwright.sync_api

from indexer.published import IndexReader
from tests.bench import served
from tests.bench.changes import RATE
from tests.bench.figures import Figure, Target
from tests.bench.loading import PEAK
from tests.bench.processes import Following, peak_mb
from tests.bench.served import Run, Statement
from tests.bench.storages import Bed
from tests.browser import running
from tests.browser.visit import Visit, visiting
from tests.stress import readers

PAGES = sorted(path.stem for path in (running.ROOT / "pages").glob("[a-z]*.py"))
RERUN, PAINT, SEARCH = Target(200.0), Target(2.0), Target(200.0, sizes=("L",))
VISITS = 3  # of each page: the median leaves out the first, in which the server imports what the page draws with
# A word of titles and texts, a rare one, one that is nowhere.
WORDS = ("cart", "corden", "nowhere-at-all")
_PATIENCE_S = 60.0
_LOOK_S = 0.05
_ATTEMPTS = 5
_ASKED_BY_ALL = "health.status"
_NEW, _SAME = "new revision", "same revision"

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
        kind: Which revision it was of.
        run: Of the whole script, the first one.
        statements: Of that run.
        paints: Seconds since the navigation began: first contentful paint, first element of the page, all drawn.
    """

    page: str
    kind: str
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

    def run_since(self, began: float) -> Run | None:
        """Return the first run of a whole script that began after a moment. None: none has ended yet."""
        return next((run for run in self.runs if run.at >= began and not run.is_fragment), None)

    def statements_of(self, run: Run) -> list[Statement]:
        """List the statements of a run, not those that a tab left behind."""
        until = run.at + run.ms / 1_000
        return [each for each in self.statements if run.at <= each.at <= until and each.thread == run.thread]


def statements(bed: Bed) -> Iterator[Figure]:
    """Measure every statement of every page while ten documents a second arrive."""
    with _visiting(bed, served.AGAIN) as tab, _writing(bed):
        # not until it is drawn: what follows a session never rests while documents arrive
        looks = [tab.look(page, _NEW, settles=False) for page in PAGES for _ in range(VISITS)]
    for page in PAGES:
        of_visits = [look.statements for look in looks if look.page == page]
        if not any(of_visits):
            continue
        names = {statement.query for of_visit in of_visits for statement in of_visit}
        first = {name: median(_times(of_visits, name, is_again=False)) for name in names}
        again = {name: median(_times(of_visits, name, is_again=True)) for name in names}
        slowest = max(first, key=first.__getitem__)
        for what, value, floor, note in (
            ("all statements", sum(first.values()), sum(again.values()), f"{len(names)} queries"),
            ("slowest query, all its statements", first[slowest], again[slowest], slowest),
        ):
            yield Figure(
                *("statements", what, *bed.names, value, "ms", len(of_visits), floor, "the same once more"),
                subject=page,
                note=note,
            )


def pages(bed: Bed) -> Iterator[Figure]:
    """Measure reruns and first paint of every page, with a new revision and with the same one, and text search."""
    with Following(bed), _visiting(bed) as tab:
        news, looks, searches = _News(bed), list[Look](), list[tuple[str, Look]]()
        for page in PAGES:
            for _ in range(VISITS):
                looks.append(_look_at(tab, page, _NEW, news.publish))
                looks.append(_look_at(tab, page, _SAME, lambda: None))
        for word in WORDS * VISITS:
            searches.append((word, _look_at(tab, "sessions", _NEW, news.publish, f"&q={word}")))
        peak = peak_mb(read_notes(tab.log).pid)
    for page in PAGES:
        for kind in (_NEW, _SAME):
            yield from _of_page(bed, page, kind, [look for look in looks if (look.page, look.kind) == (page, kind)])
    for word in WORDS:
        of_visits = [look.statements for found, look in searches if found == word]
        spent = [_covered_ms([each for each in of_visit if each.is_search]) for of_visit in of_visits]
        name = f"statements of a search for {word!r}"
        yield Figure("search", name, *bed.names, median(spent), "ms", len(spent), target=SEARCH)
    yield Figure("search", "dashboard, most memory (VmHWM), after all pages", *bed.names, peak, "MB", target=PEAK)


def _covered_ms(statements: Sequence[Statement]) -> float:
    """Tell how long statements took, some of them at the same time."""
    covered, until = 0.0, 0.0
    for begun, ended in sorted((1_000 * each.at, 1_000 * each.at + each.ms) for each in statements):
        covered += max(ended - max(begun, until), 0.0)
        until = max(until, ended)
    return covered


def read_notes(log: Path) -> Noted:
    """Read what a server noted so far."""
    noted = Noted()
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        match values.pop("kind"):
            case "process":
                noted.pid = values["pid"]
            case "statement":
                noted.statements.append(Statement(**values))
            case _:
                noted.runs.append(Run(**values))
    return noted


def _of_page(bed: Bed, page: str, kind: str, looks: Sequence[Look]) -> Iterator[Figure]:
    """Sum up the visits of a page."""
    for what, values, unit, target in (
        ("rerun on the server", [look.run.ms for look in looks], "ms", RERUN),
        ("rerun, processor", [look.run.cpu_ms for look in looks], "ms", None),
        ("first contentful paint", [look.paints["contentful"] for look in looks], "s", None),
        ("first element of the page", [look.paints["content"] for look in looks], "s", PAINT),
        ("all drawn", [look.paints["drawn"] for look in looks], "s", None),
    ):
        value = median(values)
        yield Figure("pages", f"{what}, {kind}", *bed.names, value, unit, len(values), target=target, subject=page)


def _times(of_visits: Iterable[Sequence[Statement]], name: str, *, is_again: bool) -> list[float]:
    """Add up what the statements of one query took in each visit that had it."""
    found = []
    for of_visit in of_visits:
        mine = [statement for statement in of_visit if statement.query == name]
        if mine:
            found.append(sum((each.again_ms or 0.0) if is_again else each.ms for each in mine))
    return found


class _Tab:
    """A browser tab on a dashboard that notes what it does.

    Attributes:
        log: What it notes.
    """

    def __init__(self, visit: Visit, bed: Bed, log: Path) -> None:
        """Take over a tab."""
        self.log = log
        self._visit = visit
        # all data in range; the timeline is of the longest session
        self._addresses = {page: f"/{page}?range=all" for page in PAGES}
        self._addresses["timeline"] = f"/timeline?session={bed.longest()}"
        visit.page.add_init_script(_NOTE_CONTENT)

    def look(self, page: str, kind: str, more: str = "", *, settles: bool = True) -> Look:
        """Open a page by its address.

        Args:
            page: Its name.
            kind: Which revision it will be of.
            more: For the address.
            settles: Whether to wait until all is drawn, not only until its script has run.
        """
        self._visit.page.goto("about:blank")  # what the page before still asked for does not count
        began = time.monotonic()
        self._visit.page.goto(f"{self._visit.base}{self._addresses[page]}{more}")
        if settles:
            self._visit.settle()
        paints = {name: (ms or 0.0) / 1_000 for name, ms in self._visit.page.evaluate(_PAINTS).items()}
        deadline = time.monotonic() + _PATIENCE_S
        while (run := (noted := read_notes(self.log)).run_since(began)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{page} does not run: see {self.log}")
            self._visit.page.wait_for_timeout(_LOOK_S * 1_000)
        return Look(page, kind, run, noted.statements_of(run), paints)


@contextmanager
def _visiting(bed: Bed, *options: str) -> Iterator[_Tab]:
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
        yield _Tab(visit, bed, log)


def _look_at(tab: _Tab, page: str, kind: str, prepare: Callable[[], None], more: str = "") -> Look:
    """Look until the revision is of that kind: a new one may not be open yet, the same one be no longer the newest.

    Args:
        tab: Where to.
        page: Its name.
        kind: Which revision it must be of.
        prepare: Called before each look.
        more: For the address.
    """
    for _ in range(_ATTEMPTS):
        prepare()
        try:
            look = tab.look(page, kind, more)
        except playwright.sync_api.TimeoutError as error:  # said, lest the next look hides it
            print(f"  {page} was not drawn: {error.message.splitlines()[0]}", flush=True)
            continue
        if look.is_of_new == (kind == _NEW):
            return look
    raise RuntimeError(f"{page} was never of the {kind}")


class _News:
    """Makes a new revision when asked."""

    def __init__(self, bed: Bed) -> None:
        """Open storage and index."""
        self._prober = readers.Prober(readers.open_stores([bed.data]))
        self._reader = IndexReader(bed.index)

    def publish(self) -> None:
        """Write a message and wait until it is published."""
        before, deadline = self._reader.revision(), time.monotonic() + _PATIENCE_S
        self._prober.write()
        while self._reader.revision() == before:
            if time.monotonic() > deadline:
                raise TimeoutError("what was written is never published")
            time.sleep(_LOOK_S)


@contextmanager
def _writing(bed: Bed) -> Iterator[None]:
    """Let the indexer follow ten documents a second."""
    stopping = threading.Event()

    def write() -> None:
        """Write until stopped."""
        stores = readers.open_stores([bed.data])
        readers.write(stores, readers.Prober(stores), math.inf, RATE - 1 / readers.PROBE_S, stopping)
        for store in stores:
            store.close()

    writer = threading.Thread(target=write, name="writer")
    with Following(bed):
        writer.start()
        try:
            yield
        finally:
            stopping.set()
            writer.join()
