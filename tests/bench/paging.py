"""The running dashboard: its statements while documents arrive, its reruns, and what a person waits for in Chromium."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

import playwright.sync_api

from indexer.published import IndexReader
from tests.bench import served
from tests.bench.changes import RATE
from tests.bench.figures import Figure, Target
from tests.bench.loading import PEAK
from tests.bench.processes import Following, peak_mb
from tests.bench.served import Run, Statement
from tests.bench.storages import Bed
from tests.bench.tabs import LOOK_S, PAGES, PATIENCE_S, Look, Tab, open_tab
from tests.stress import readers

RERUN, PAINT, SEARCH = Target(200.0), Target(2.0), Target(200.0, sizes=("L",))
VISITS = 3  # of each page: the median leaves out the first, in which the server imports what the page draws with
# A word of titles and texts, a rare one, one that is nowhere.
WORDS = ("cart", "corden", "nowhere-at-all")
_ATTEMPTS = 5
_NEW, _SAME = "new revision", "same revision"
_FILTER = "first with a filter"
_FIRST = "first on a new revision"
Found = TypeVar("Found")


def statements(bed: Bed) -> Iterator[Figure]:
    """Measure every statement of every page while ten documents a second arrive."""
    with open_tab(bed, served.AGAIN) as tab, _writing(bed):
        # not until it is drawn: what follows a session never rests while documents arrive
        looks = [tab.look(page, settles=False) for page in PAGES for _ in range(VISITS)]
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
    """Measure how every page opens and runs again, with a new revision and with the same one, and text search."""
    with Following(bed), open_tab(bed) as tab:
        news = _News(bed)
        for page in PAGES:
            yield from _openings(bed, tab, page, news)
            yield from _reruns(bed, tab, page, news)
        yield from _searches(bed, tab, news)
        peak = peak_mb(tab.noted().pid)
        yield Figure("search", "dashboard, most memory (VmHWM), after all pages", *bed.names, peak, "MB", target=PEAK)


def covered_ms(statements: Iterable[Statement]) -> float:
    """Tell how long statements took, some of them at the same time."""
    covered, until = 0.0, 0.0
    for begun, ended in sorted((1_000 * each.at, 1_000 * each.at + each.ms) for each in statements):
        covered += max(ended - max(begun, until), 0.0)
        until = max(until, ended)
    return covered


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pair every word with another one: each is once the first to be looked for, and once the second."""
    return list(zip(words, [*words[1:], words[0]], strict=True))


def _openings(bed: Bed, tab: Tab, page: str, news: "_News") -> Iterator[Figure]:
    """Open a page by its address, on a new revision and once more."""
    looks: dict[str, list[Look]] = {_NEW: [], _SAME: []}

    def look(kind: str) -> Look | None:
        """Look once. None: a new one was not open yet, or the same one no longer the newest."""
        if kind == _NEW:
            news.publish()
        found = tab.look(page)
        return found if found.is_of_new == (kind == _NEW) else None

    for _ in range(VISITS):
        looks[_NEW].append(_insist(page, _NEW, lambda: look(_NEW)))
        looks[_SAME].append(_insist(page, _SAME, lambda: look(_SAME)))
    for kind, found in looks.items():
        for what, values, unit, target in (
            ("run on the server", [look.run.ms for look in found], "ms", None),
            ("processor", [look.run.cpu_ms for look in found], "ms", None),
            ("first contentful paint", [look.paints["contentful"] for look in found], "s", None),
            ("first element of the page", [look.paints["content"] for look in found], "s", PAINT),
            ("all drawn", [look.paints["drawn"] for look in found], "s", None),
        ):
            yield _of_page("pages", page, f"{what}, {kind}", bed, values, unit, target)


def _reruns(bed: Bed, tab: Tab, page: str, news: "_News") -> Iterator[Figure]:
    """Run the script of the open page again: on the revision it shows, on a new one, and with a filter."""
    runs: dict[str, list[Run]] = {_NEW: [], _SAME: [], _FILTER: []}
    for _ in range(VISITS):
        runs[_SAME].append(_insist(page, _SAME, tab.run_again))
        runs[_NEW].append(_insist(page, _NEW, lambda: tab.refresh(news.publish)))
        if filtered := tab.filter():
            runs[_FILTER].append(filtered)
    for kind, found in ((kind, found) for kind, found in runs.items() if found):
        yield _of_page("reruns", page, f"run on the server, {kind}", bed, [run.ms for run in found], "ms", RERUN)
        yield _of_page("reruns", page, f"processor, {kind}", bed, [run.cpu_ms for run in found], "ms", None)


def _searches(bed: Bed, tab: Tab, news: "_News") -> Iterator[Figure]:
    """Look for words on the open Sessions page: one right after it was refreshed, then another one."""
    page = "sessions"
    spent: dict[tuple[str, str], list[float]] = {}
    tab.look(page)
    for first, second in pairs(WORDS) * VISITS:
        _insist(page, _NEW, lambda: tab.refresh(news.publish))
        for word, kind in ((first, _FIRST), (second, _SAME)):
            spent.setdefault((kind, word), []).append(covered_ms(tab.search(word)))
            tab.search("")
    for kind in (_FIRST, _SAME):
        for word in WORDS:
            values, name = spent[kind, word], f"statements of a search for {word!r}, {kind}"
            yield Figure("search", name, *bed.names, median(values), "ms", len(values), target=SEARCH)


def _of_page(
    part: str, page: str, name: str, bed: Bed, values: Sequence[float], unit: str, target: Target | None
) -> Figure:
    """Sum up what the visits of a page took."""
    return Figure(part, name, *bed.names, median(values), unit, len(values), target=target, subject=page)


def _insist(page: str, kind: str, try_it: Callable[[], Found | None]) -> Found:
    """Try until a page was of a kind of revision: others come by themselves, and a new one may not be open yet.

    Args:
        page: Its name.
        kind: Of the revision.
        try_it: Returns None if it was of another.
    """
    for _ in range(_ATTEMPTS):
        try:
            found = try_it()
        except (playwright.sync_api.TimeoutError, TimeoutError) as error:  # said, lest the next try hides it
            print(f"  {page} was not drawn: {str(error).splitlines()[0]}", flush=True)
            continue
        if found is not None:
            return found
    raise RuntimeError(f"{page} was never of the {kind}")


def _times(of_visits: Iterable[Sequence[Statement]], name: str, *, is_again: bool) -> list[float]:
    """Add up what the statements of one query took in each visit that had it."""
    found = []
    for of_visit in of_visits:
        mine = [statement for statement in of_visit if statement.query == name]
        if mine:
            found.append(sum((each.again_ms or 0.0) if is_again else each.ms for each in mine))
    return found


class _News:
    """Makes a new revision when asked."""

    def __init__(self, bed: Bed) -> None:
        """Open storage and index."""
        self._prober = readers.Prober(readers.open_stores([bed.data]))
        self._reader = IndexReader(bed.index)

    def publish(self) -> None:
        """Write a message and wait until it is published."""
        before, deadline = self._reader.revision(), time.monotonic() + PATIENCE_S
        self._prober.write()
        while self._reader.revision() == before:
            if time.monotonic() > deadline:
                raise TimeoutError("what was written is never published")
            time.sleep(LOOK_S)


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
