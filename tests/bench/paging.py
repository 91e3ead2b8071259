"""The running dashboard: its statements while documents arrive, its reruns, and what a person waits for in Chromium."""

import json
import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from indexer.publish import IndexReader
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
VISITS = {"S": 2, "M": 3, "L": 3}
# A word of titles and texts, a rare one, one that is nowhere.
WORDS = ("cart", "corden", "nowhere-at-all")
_PATIENCE_S = 60.0
_LOOK_S = 0.01
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
        began: Its time, on the clock that all processes share; so its end.
        paints: Seconds since the navigation began: first contentful paint, first element of the page, all drawn.
    """

    page: str
    kind: str
    began: float
    ended: float
    paints: dict[str, float]


@dataclass(slots=True)
class Noted:
    """What the server noted.

    Attributes:
        pid: Its process.
    """

    pid: int = 0
    statements: list[Statement] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def statements_of(self, look: Look) -> list[Statement]:
        """List the statements of a visit."""
        return [statement for statement in self.statements if look.began <= statement.at <= look.ended]

    def rerun_of(self, look: Look) -> Run:
        """Return the longest run of the whole script in a visit."""
        runs = [run for run in self.runs if look.began <= run.at <= look.ended and not run.is_fragment]
        return max(runs, key=lambda run: run.ms)


def statements(bed: Bed) -> Iterator[Figure]:
    """Measure every statement of every page while ten documents a second arrive."""
    log, addresses = bed.folder / "statements.jsonl", _addresses(bed)
    with _visiting(bed, log, served.AGAIN) as visit, _writing(bed):
        looks = [_look(visit, page, addresses[page], _NEW) for page in PAGES for _ in range(VISITS[bed.size])]
        noted = read_notes(log)
    for page in PAGES:
        of_visits = [noted.statements_of(look) for look in looks if look.page == page]
        if not any(of_visits):
            continue
        names = {statement.query for of_visit in of_visits for statement in of_visit}
        first = {name: median(_times(of_visits, name, is_again=False)) for name in names}
        again = {name: median(_times(of_visits, name, is_again=True)) for name in names}
        slowest = max(first, key=first.__getitem__)
        for what, value, floor, note in (
            ("slowest query, all its statements", first[slowest], again[slowest], slowest),
            ("all statements", sum(first.values()), sum(again.values()), f"{len(names)} queries"),
        ):
            yield Figure(
                *("statements", what, *bed.names, value, "ms", len(of_visits), floor, "the same once more"),
                subject=page,
                note=note,
            )


def pages(bed: Bed) -> Iterator[Figure]:
    """Measure reruns and first paint of every page, with a new revision and with the same one, and text search."""
    log, addresses = bed.folder / "pages.jsonl", _addresses(bed)
    with Following(bed), _visiting(bed, log) as visit:
        news = _News(bed)
        looks = []
        for page in PAGES:
            for _ in range(VISITS[bed.size]):
                news.publish()
                looks += [_look(visit, page, addresses[page], kind) for kind in (_NEW, _SAME)]
        searches = []
        for word in WORDS * VISITS[bed.size]:
            news.publish()
            searches.append((word, _look(visit, "sessions", f"{addresses['sessions']}&q={word}", _NEW)))
        noted = read_notes(log)
        peak = peak_mb(noted.pid)
    for page in PAGES:
        for kind in (_NEW, _SAME):
            yield from _of_page(
                page, kind, [look for look in looks if (look.page, look.kind) == (page, kind)], noted, bed
            )
    for word in WORDS:
        of_visits = [noted.statements_of(look) for found, look in searches if found == word]
        spent = [sum(each.ms for each in of_visit if each.is_search) for of_visit in of_visits]
        name = f"statements of a search for {word!r}"
        yield Figure("search", name, *bed.names, median(spent), "ms", len(spent), target=SEARCH)
    yield Figure("search", "dashboard, most memory (VmHWM), after all pages", *bed.names, peak, "MB", target=PEAK)


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


def _of_page(page: str, kind: str, looks: Sequence[Look], noted: Noted, bed: Bed) -> Iterator[Figure]:
    """Sum up the visits of a page."""
    reruns = [noted.rerun_of(look) for look in looks]
    for what, values, unit, target in (
        ("rerun on the server", [run.ms for run in reruns], "ms", RERUN),
        ("rerun, processor", [run.cpu_ms for run in reruns], "ms", None),
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


@contextmanager
def _visiting(bed: Bed, log: Path, *options: str) -> Iterator[Visit]:
    """Serve the dashboard with notes, and open a tab that knows all scripts."""
    executable = running.browser_path()
    if executable is None:
        raise RuntimeError("no Chromium or Chrome was found")
    prefix = [sys.executable, "-m", "tests.bench.served", str(log), *options]
    with (
        running.browser(executable) as browser,
        running.dashboard(bed.index, prefix) as base,
        visiting(browser, base) as visit,
    ):
        visit.page.add_init_script(_NOTE_CONTENT)
        visit.open("/overview")
        yield visit


def _addresses(bed: Bed) -> dict[str, str]:
    """Spell the address of each page with all its data in range; the timeline is of the longest session."""
    return {page: f"/{page}?range=all" for page in PAGES} | {"timeline": f"/timeline?session={bed.longest()}"}


def _look(visit: Visit, page: str, address: str, kind: str) -> Look:
    """Open a page by its address and wait until it is drawn."""
    visit.page.goto("about:blank")  # what the page before still asked for does not count
    began = time.monotonic()
    visit.open(address)
    paints = {name: ms / 1_000 for name, ms in visit.page.evaluate(_PAINTS).items()}
    return Look(page, kind, began, time.monotonic(), paints)


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
