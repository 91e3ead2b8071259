"""The only bridge from the pages to the index: which revision, which query, cached until the revision changes."""

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
import streamlit as st

from indexer import activity as activity_file
from indexer import price_sources, published
from indexer import settings as settings_file
from indexer.exceptions import IndexUnavailable, SettingsInvalid
from indexer.published import IndexReader, Snapshot
from indexer.settings_model import Settings
from pages.ui import states
from pages.ui.activity import BULK, Activity, Followed, condition, is_at_work
from pages.ui.ahead import Ahead, Question
from queries import apart, console, contract, health, narrow
from queries.contract import Table
from queries.period import Scope
from queries.what_if import ListPrice

log = logging.getLogger(__name__)

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
Query = Callable[Concatenate[duckdb.DuckDBPyConnection, Asked], Answer]

FOLLOW_S = 5
# Each pinned revision is a database of its own, on disk and in memory: 70 MB once a text was looked for in 150,000
# parts. A tab whose revision had to go reads the newest one at its next run, as others are likely to do.
_MAX_PINNED = 2
_PINNED_S = 180.0  # browsers run the timers of a hidden tab once a minute
_EPOCH = datetime(1970, 1, 1)
_PIN = "pinned_snapshot"
_FOLLOWED = "followed_at"
_ASKED = "asked"  # by the page since its script began: a function for each question, of a snapshot
_AHEAD = "answered_ahead"  # the revision of which all that was asked
_IS_BEGUN = "is_run_begun"  # the whole script runs, and has not asked everything yet


class _Index:
    """The open index, shared by all sessions of the process; keeps the revisions that pages have pinned."""

    def __init__(self, path: Path) -> None:
        """Name the index; nothing is opened yet."""
        self.reader = IndexReader(path, looks_ahead=True)
        self.ahead = Ahead()
        self._lock = threading.Lock()
        self._pinned: OrderedDict[str, tuple[Snapshot, float]] = OrderedDict()  # longest unused first

    def newest(self, wait: bool) -> Snapshot:
        """Return the newest revision.

        Args:
            wait: Whether to wait until the newest published one is open, rather than take the newest opened one.
        """
        return self.reader.refresh() if wait else self.reader.snapshot()

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a revision open for as long as a page asks for it now and then."""
        now = time.monotonic()
        with self._lock:
            self._pinned[snapshot.key] = (snapshot, now)
            self._pinned.move_to_end(snapshot.key)
            while len(self._pinned) > _MAX_PINNED or self._is_left(now):
                self._pinned.popitem(last=False)

    def kept(self, key: str) -> Snapshot | None:
        """Return a kept revision by its key. None if it was let go of."""
        with self._lock:
            found = self._pinned.get(key)
        if found is None:
            return None
        self.keep(found[0])
        return found[0]

    def _is_left(self, now: float) -> bool:
        """Tell whether nobody has asked for the revision that is longest unused: its tab was closed."""
        _, used_at = next(iter(self._pinned.values()))
        return now - used_at > _PINNED_S


def check(*, may_be_empty: bool = False) -> None:
    """Make sure that there is something to show; else show what is missing or wrong, and stop.

    Pins the newest revision for the session, if it has none yet.

    Args:
        may_be_empty: Whether the page has something to show of an index without sessions.
    """
    st.session_state[_ASKED], st.session_state[_IS_BEGUN] = {}, True
    stamp = settings_file.file_stamp()
    try:
        _read_settings(stamp=stamp)
    except SettingsInvalid as error:
        states.settings_invalid(error, lambda: _has_other_settings(stamp))
        st.stop()
    try:
        pinned = st.session_state.get(_PIN)
        if not isinstance(pinned, str) or _index().kept(pinned) is None:
            _pin(wait=False)
        _index().reader.revision()  # an index that went away is not shown from memory
    except IndexUnavailable as error:
        st.session_state.pop(_PIN, None)
        states.unavailable(error, _is_usable)
        st.stop()
    now = status()
    if now.is_sample:
        states.sample()
    if now.is_empty and not may_be_empty:
        does = doing(now)
        states.nothing_indexed(now, does, load(health.sources), lambda: _has_changed() or doing(now) != does)
        st.stop()


def load(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """Run a query on the pinned revision.

    Args:
        query: A function of `queries`; its first parameter is the connection.
        args: What else it takes; anything whose `repr` says it all.
        kwargs: Alike.

    Returns:
        The answer, from the cache if this revision was asked the same before.
    """
    asked: dict[str, Callable[[Snapshot], object]] = st.session_state.setdefault(_ASKED, {})
    asked[repr((query, args, kwargs))] = lambda of: _asked(query, of.key, lambda: of, *args, **kwargs)
    return _asked(query, _key(), _pinned, *args, **kwargs)


def hold(query: Query[Asked, Answer], state: object, *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """Run a query with a large answer on the pinned revision, once for all revisions in which something was the same.

    Args:
        query: As for `load`.
        state: Stands for all that the answer is made of, on the pinned revision.
        args: As for `load`.
        kwargs: As for `load`.

    Returns:
        The answer itself, not a copy: nobody may change it.
    """
    name, asked = _question(query, *args, **kwargs)
    key = f"{_index().reader.path} {state}"
    return _held(key=key, name=name, asked=asked, _ask=lambda: _run(_pinned(), lambda con: query(con, *args, **kwargs)))


def source(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Callable[[], Answer]:
    """Prepare a query for later, outside the session: a download runs after the page is drawn.

    Args:
        query: As for `load`.
        args: As for `load`.
        kwargs: As for `load`.

    Returns:
        A function that runs the query on the revision that is pinned now, or the newest if that is gone by then. It
        raises LookupError with a text for the reader if there is none.
    """
    index, key = _index(), _key()

    def run() -> Answer:
        """Run the query."""
        try:
            snapshot = index.kept(key) or index.newest(wait=False)
        except IndexUnavailable as error:
            raise LookupError(str(error)) from error
        return _run(snapshot, lambda con: query(con, *args, **kwargs))

    return run


def newest_source(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Callable[[], Answer]:
    """Prepare a query for later as `source` does, on the revision that is the newest then."""
    index = _index()

    def run() -> Answer:
        """Run the query."""
        try:
            snapshot = index.newest(wait=True)
        except IndexUnavailable as error:
            raise LookupError(str(error)) from error
        return _run(snapshot, lambda con: query(con, *args, **kwargs))

    return run


def ask_apart(query: str) -> console.Answer | console.Refusal:
    """Run a query of the user's own on the newest published revision, in a process of its own. Not cached."""
    return apart.ask(_index().reader.path, query)


def tables() -> list[Table]:
    """Return what the index holds, and what it means."""
    return load(contract.tables, published.contract())


def status() -> health.IndexStatus:
    """Return the state of the index at the pinned revision."""
    return load(health.status)


def settings() -> Settings:
    """Return what the settings file says now; it is read again once it looks different.

    A file that got worse while a page was drawn starts the page over, which says what is wrong.
    """
    try:
        return _read_settings(stamp=settings_file.file_stamp())
    except SettingsInvalid:
        st.rerun(scope="app")


def list_prices(model: str) -> list[ListPrice]:
    """Return the list prices of a model, used or not: of the settings, OpenCode's own files or the public list.

    Args:
        model: `provider/model`.

    Returns:
        One row for each span of time, hours of the day and tier; none if no price is known.
    """
    return _list_prices(model, price_sources.stamp(is_sample=status().is_sample), status().is_sample)


@st.cache_data(show_spinner=False, max_entries=256)
def _list_prices(model: str, stamp: object, is_sample: bool) -> list[ListPrice]:
    """Look a model up, once for each version of the files."""
    provider, _, model_id = model.partition("/")
    rows = price_sources.load(is_sample=is_sample).prices_of((provider, model_id))
    names = [field.name for field in fields(ListPrice) if field.name != "model"]
    return [ListPrice(model, *(getattr(row, name) for name in names)) for row in rows if row.input_usd is not None]


@st.cache_data(show_spinner="Reading the public price list …", max_entries=1)
def public_models() -> list[str]:
    """Name the models of the public price list, `provider/model`."""
    return ["/".join(key) for key in price_sources.catalogue()]


def zone() -> str:
    """Return the time zone of the settings, else the viewer's; UTC if neither names one that can be used."""
    name = settings().time_zone or st.context.timezone or "UTC"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        log.warning("unknown time zone, UTC is used instead")
        return "UTC"
    return name if name == "UTC" or load(health.knows_zone, name) else "UTC"


def now() -> datetime:
    """Return the present, naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def activity() -> Activity | None:
    """Return what the indexer said last, and whether it is still there. None if none ever said anything."""
    said = activity_file.read_activity(_index().reader.path)
    if said is None:
        return None
    return Activity(
        at=_utc(said.at_ms),
        is_heard=said.is_heard((now() - _EPOCH) // timedelta(milliseconds=1)),
        phase=said.phase,
        queue=said.queue,
        waiting_since=None if said.waiting_since_ms is None else _utc(said.waiting_since_ms),
        latency_ms=said.latency_ms,
        documents_per_second=said.documents_per_second,
        followed=tuple(Followed(each.path, each.how, each.reason) for each in said.watched),
        next_comparison_at=None if said.next_comparison_at_ms is None else _utc(said.next_comparison_at_ms),
        last_comparison_ms=said.last_comparison_ms,
        problem=said.problem,
        excluded_projects=said.excluded_projects,
        excluded_sessions=said.excluded_sessions,
    )


def doing(status: health.IndexStatus) -> str:
    """Say what the indexer really does; see `condition`."""
    return condition(status.phase, status.updated_at, activity(), now())


def request_retry() -> str | None:
    """Ask the running indexer to read the bad documents again.

    Returns:
        None if it was asked, else why that was not possible.
    """
    try:
        activity_file.request_retry(_index().reader.path)
    except OSError as error:
        return f"The request could not be left beside the index: {error}"
    return None


def sizes() -> tuple[int, int]:
    """Return the bytes of the published index, and of that with all that lies beside it."""
    try:
        return _index().reader.sizes()
    except IndexUnavailable:
        st.rerun(scope="app")  # the whole page says what is wrong


@st.fragment(run_every=FOLLOW_S)
def freshness(follows: bool = False) -> None:
    """Say how fresh the page is, and offer newer data. Ticks by itself.

    Args:
        follows: Show newer data at once rather than offer it, every `FOLLOW_S` seconds at most.
    """
    _index().kept(_key())  # it is still looked at
    pinned, newest, said = status(), latest(health.status), activity()
    is_tick = not st.session_state.pop(_IS_BEGUN, False)
    if follows and newest != pinned and follow():
        st.rerun(scope="app")
    does = condition(newest.phase, newest.updated_at, said, now())
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"):
        if newest.is_partial and does == BULK:
            states.progress(newest)
        if newest != pinned and not follows:
            if is_tick:
                _answer_ahead()
            # A button in a fragment runs the fragment only.
            if st.button(states.news(pinned, newest), key="refresh", icon=":material/refresh:"):
                _refresh()
                st.rerun(scope="app")
        else:
            until = said.current_until() if said and newest == pinned and is_at_work(does) else None
            st.caption(states.as_of(pinned, zone(), until, does if follows else None))


def _answer_ahead() -> None:
    """Ask of the newest opened revision what the page asked of its own: then taking the offer is quick."""
    try:
        newest = _index().newest(wait=False)
    except IndexUnavailable:
        return  # the next tick says what is wrong
    if st.session_state.get(_AHEAD) == newest.key:
        return
    asked: dict[str, Callable[[Snapshot], object]] = st.session_state.get(_ASKED, {})
    questions: list[Question] = [partial(ask, newest) for ask in asked.values()]
    if _index().ahead.answer(questions):
        st.session_state[_AHEAD] = newest.key


def follow(wait_s: float = FOLLOW_S) -> bool:
    """Let the session read the newest revision, unless it did so just now: an indexer at work always has one.

    Args:
        wait_s: Seconds between two moves.

    Returns:
        Whether it reads another one now.
    """
    before, clock = _key(), time.monotonic()
    if clock - st.session_state.get(_FOLLOWED, -math.inf) < wait_s:
        return False
    try:
        _pin(wait=False)
    except IndexUnavailable:
        st.rerun(scope="app")  # the whole page says what is wrong
    if _key() == before:
        return False
    st.session_state[_FOLLOWED] = clock
    return True


def latest(query: Query[[], Answer]) -> Answer:
    """Run a query on the newest opened revision, from a fragment. Without an index the whole page starts over."""
    try:
        snapshot = _index().newest(wait=False)
    except IndexUnavailable:
        st.rerun(scope="app")  # it says what is wrong
    return _asked(query, snapshot.key, lambda: snapshot)


def version() -> str:
    """Return what names the revision that the session reads, and keep it: it is still looked at."""
    _index().kept(_key())
    return _key()


def newest_version() -> str:
    """Return what names the newest published revision, once that is open, from a fragment."""
    return _newest().key


def ask(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """Run a query on the newest published revision, from a fragment. Not cached: it is asked once a revision."""
    return _run(_newest(), lambda con: query(con, *args, **kwargs))


def share(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """Run a query as `ask` does, once for all tabs and runs that ask the same of the same revision."""
    snapshot = _newest()
    return _asked(query, snapshot.key, lambda: snapshot, *args, **kwargs)


def _newest() -> Snapshot:
    """Return the newest published revision, from a fragment. Without an index the whole page starts over."""
    try:
        return _index().newest(wait=True)
    except IndexUnavailable:
        st.rerun(scope="app")  # it says what is wrong


def _refresh() -> None:
    """Pin the newest revision, from a button."""
    try:
        _pin(wait=True)
    except IndexUnavailable:
        st.session_state.pop(_PIN, None)  # the run that follows says what is wrong


def _pin(wait: bool) -> None:
    """Let the session read the newest revision from now on."""
    snapshot = _index().newest(wait)
    _index().keep(snapshot)
    st.session_state[_PIN] = snapshot.key


def _key() -> str:
    """Return the key of the revision that the session reads."""
    return str(st.session_state[_PIN])


def _pinned() -> Snapshot:
    """Return the revision that the session reads.

    If it was let go of meanwhile, the page starts over on the newest one: all its numbers are of one.
    """
    snapshot = _index().kept(_key())
    if snapshot is None:
        _pin(wait=False)
        st.rerun(scope="app")
    return snapshot


def _is_usable() -> bool:
    """Tell whether the index can be read by now."""
    try:
        _index().newest(wait=False)
    except IndexUnavailable:
        return False
    return True


def _has_other_settings(stamp: str) -> bool:
    """Tell whether the settings file was changed since it had a stamp."""
    return settings_file.file_stamp() != stamp


def _has_changed() -> bool:
    """Tell whether there is a newer revision than the pinned one; then read that."""
    before = _key()
    _refresh()
    return before != st.session_state.get(_PIN)


def _index() -> _Index:
    """Return the index that the settings name now."""
    try:
        path = _index_path(configured=os.environ.get("ANALYTICS_DB", ""), stamp=settings_file.file_stamp())
        return _open_index(path=path)
    except SettingsInvalid:
        st.rerun(scope="app")  # the whole page says what is wrong


@st.cache_resource(show_spinner=False, max_entries=4)
def _index_path(configured: str, stamp: str) -> str:
    """Name the index, once for each change of the environment or the settings file."""
    return str(settings_file.index_path())


@st.cache_resource(show_spinner=False, max_entries=4)
def _read_settings(stamp: str) -> Settings:
    """Read the settings, once for each change of the file."""
    return settings_file.load()


@st.cache_resource(show_spinner=False, max_entries=4)
def _open_index(path: str) -> _Index:
    """Make the index at a path, once a process."""
    log.info("reading %s", path)
    return _Index(Path(path))


def _asked(
    query: Query[Asked, Answer],
    key: str,
    snapshot: Callable[[], Snapshot],
    *args: Asked.args,
    **kwargs: Asked.kwargs,
) -> Answer:
    """Return an answer from the cache; else open the revision that the key names, and run the query."""
    name, asked = _question(query, *args, **kwargs)

    def ask() -> Answer:
        """Look up the text of a scope, once for all queries on this revision, and run the query."""
        given: tuple[Any, ...] = tuple(
            replace(each, hits=_asked(narrow.hits, key, snapshot, each.text))
            if isinstance(each, Scope) and each.text
            else each
            for each in args
        )
        return _run(snapshot(), lambda con: query(con, *given, **kwargs))

    return _cached(key=key, name=name, asked=asked, _ask=ask)


def _question(query: Query[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> tuple[str, str]:
    """Name a query and its parameters, as a cache tells them apart."""
    return f"{query.__module__}.{query.__qualname__}", repr((args, sorted(kwargs.items())))


# Cached functions get their arguments by name: Streamlit looks the others' names up in the signature, which is half of
# what a look into its cache takes.
@st.cache_data(show_spinner=False, max_entries=128)
def _cached(key: str, name: str, asked: str, _ask: Callable[[], Answer]) -> Answer:
    """Run a query once per revision, name and parameters."""
    return _ask()


@st.cache_resource(show_spinner=False, max_entries=4)
def _held(key: str, name: str, asked: str, _ask: Callable[[], Answer]) -> Answer:
    """Run a query once per state, name and parameters."""
    return _ask()


def _run(snapshot: Snapshot, ask: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
    """Run a query on a cursor of its own."""
    con = snapshot.cursor()
    try:
        return ask(con)
    finally:
        con.close()


def _utc(epoch_ms: int) -> datetime:
    """Return a moment as naive UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)
