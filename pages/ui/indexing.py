"""The pieces of the Indexer page."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import activity, blocks, data, display, export, indexing_tables, states, tables
from pages.ui.activity import Activity, Followed
from queries import exported_tables, health, indexing
from queries.indexing import DocumentProblem, Indexing, SourceState

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

UNCHECKED = (
    "The layout of OpenCode 2.0's session_message rows is known from its source code only: it was checked against the "
    "second API of OpenCode 1.18, not against a running 2.0 client."
)
PAGE_ROWS = 100
HISTORY_ROWS = 50

_TICKS_S = {activity.BULK: 2, activity.REAL_TIME: 5}
_TICK_AT_REST_S = 30
_QUIET = timedelta(minutes=1)  # a running pass writes several times a second, and publishes every few seconds
_PACE_OVER = timedelta(minutes=1)
_ASKED_SHOWN = timedelta(minutes=1)
_PACE, _ASKED = "indexer_pace", "indexer_retry_asked_at"
_HELD_UP = "Until this is mended, changes wait; none is lost. The indexer tries again by itself."

_CONDITIONS = {
    activity.BULK: ("Comparing with OpenCode's data", "Everything is read; only what changed is written.", "sync"),
    activity.REAL_TIME: (
        "Following changes",
        "What OpenCode writes is shown here by itself, usually within a second.",
        "sensors",
    ),
    activity.STOPPED: (
        "Stopped",
        "The index shows what was there then. Start the indexer to read what is new:",
        "stop_circle",
    ),
    activity.FAILED: ("Failed", "What was indexed before is still shown. Start the indexer to try again:", "error"),
    activity.GONE: (
        "Ended unexpectedly",
        "The indexer was killed, or the computer went down. What it wrote until then is shown, and nothing is lost. "
        "This goes on where it stopped:",
        "heart_broken",
    ),
}
_FIRST = ("First index running", "Newest sessions come first. Every total is too low until it ends.", "hourglass_top")
_FIRST_SPENT = (
    "First index running",
    "Tokens and costs are complete, all else grows until it ends. Newest sessions come first.",
    "hourglass_top",
)
_CUT_SHORT = (
    "Stopped before the first pass ended",
    "Every total is too low. This goes on where it stopped:",
    "hourglass_disabled",
)
_CUT_SHORT_SPENT = (
    "Stopped before the first pass ended",
    "Tokens and costs are what they were then, all else is incomplete. This goes on where it stopped:",
    "hourglass_disabled",
)


def heading() -> None:
    """Head the page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="heading"):
        st.title("Indexer", anchor=False, width="content")
        st.caption("Reads what OpenCode stores, into the index that every page shows", width="content")


def live() -> None:
    """Draw the page and keep it up to date, as often as what the indexer does asks for."""
    interval = tick_s(data.doing(data.latest(health.status)))
    st.fragment(run_every=interval)(_tick)(interval)


def tick_s(does: str) -> int:
    """Return the seconds between two updates of the page."""
    return _TICKS_S.get(does, _TICK_AT_REST_S)


def phase(found: Indexing, does: str) -> tuple[str, str, str]:
    """Name what the indexer does, say what that means, and give its icon."""
    is_first = found.last_full_pass_at is None or found.has_first_totals
    if is_first and does == activity.BULK:
        return _FIRST_SPENT if found.has_first_totals else _FIRST
    if is_first and does == activity.STOPPED:
        return _CUT_SHORT_SPENT if found.has_first_totals else _CUT_SHORT
    return _CONDITIONS.get(does, (does, found.message or "", "info"))


def progress(found: Indexing, earlier: Indexing | None, now: datetime) -> str:
    """Say how far the pass is, and how much longer it takes where its pace tells.

    Args:
        found: The newest state.
        earlier: The state about a minute before. None if it was not seen.
        now: The present.
    """
    if not found.documents_total:
        return "Looking at what is there. How much there is to read is not known yet."
    return f"{_done(found)} · {_time_left(found, earlier, now)}"


def _tick(interval: int) -> None:
    """Draw everything below the heading, at the newest revision.

    Args:
        interval: Seconds between two calls; once another one is right, the page starts over with that.
    """
    data.follow(0)
    found, said, now = data.load(indexing.indexing), data.activity(), data.now()
    does = activity.condition(found.phase, found.updated_at, said, now)
    if tick_s(does) != interval:
        st.rerun(scope="app")
    heard = said if said and activity.is_at_work(does) else None
    _state(found, does, said, now)
    _figures(found, heard, now)
    _sources(heard, said)
    _problems(found, does, now)
    _history()


def _state(found: Indexing, does: str, said: Activity | None, now: datetime) -> None:
    """Say what the indexer does, how far it is, and what to do about it."""
    title, meaning, icon = phase(found, does)
    with st.container(border=True, key="indexer_state"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(f":material/{icon}: {display.md(title)}", anchor=False, width="content")
            st.caption(_since(found, does, said, now), width="content")
        if does == activity.FAILED and found.message:
            st.markdown(display.with_commands(found.message))
        if said and said.problem and activity.is_at_work(does):
            st.warning(display.with_commands(said.problem), icon=":material/warning:")
            meaning = _HELD_UP
        st.text(meaning)
        if does == activity.BULK:
            st.progress(_share(found), text=progress(found, _pace(found), now))
            if now - found.updated_at > _QUIET:
                st.text(f"Nothing was written for {_length(now - found.updated_at)}.")
        elif not activity.is_at_work(does):
            if found.last_full_pass_at is None and found.documents_total:
                st.progress(_share(found), text=_done(found))
            st.code(states.BUILD, language=None, wrap_lines=True)


def _since(found: Indexing, does: str, said: Activity | None, now: datetime) -> str:
    """Say since when it is so."""
    if does == activity.GONE:
        return f"last sign of life {_when(max(found.updated_at, said.at) if said else found.updated_at, now)}"
    if does != found.phase:  # so new that the index does not say it yet
        return "just now"
    return f"since {_when(found.phase_since, now)}"


def _figures(found: Indexing, heard: Activity | None, now: datetime) -> None:
    """Draw the numbers: how fast it follows, and what it has.

    Args:
        found: What the index says.
        heard: What the indexer says. None: there is none, so nothing is followed.
        now: The present.
    """
    with st.container(key="kpis"):
        if heard:
            _speed(found, heard, now)
        compared, messages, bad, size = st.columns(4, gap="small")
    _comparison(compared, found, heard, now)
    _figure(
        messages,
        "Messages",
        display.count(found.messages),
        f"{display.counted(found.sessions, 'session')}, {display.counted(found.parts, 'part')}",
        "Rows of the index: fork copies and what was deleted in OpenCode are among them.",
    )
    _figure(
        bad,
        "Bad documents",
        display.count(found.unreadable + found.incomplete),
        f"{display.count(found.unreadable)} unreadable, {display.count(found.incomplete)} in part",
        "Documents of OpenCode that could not be read, or not in full. They are listed below.",
    )
    published, whole = data.sizes()
    _figure(
        size,
        "Index file",
        display.size(published),
        f"{display.size(whole)} on disk in all",
        "The first is what pages read. In all: with the indexer's own working copy and older copies that pages may "
        "still have open.",
    )


def _speed(found: Indexing, heard: Activity, now: datetime) -> None:
    """Show how far behind OpenCode the index is, and how fast it gets on."""
    delay, queue, rate, written = st.columns(4, gap="small")
    took = heard.latency_ms
    _figure(
        delay,
        "Delay",
        _length(heard.delay(now)) if heard.waiting_since else "None",
        "no change seen yet" if took is None else f"last one took {display.duration(took)}",
        "How long the oldest change that was noticed has been waiting to be shown. None: all of them are shown. Below "
        "it, how long the last change took from being noticed to being shown.",
    )
    _figure(
        queue,
        "Waiting",
        display.count(heard.queue),
        "changed document" if heard.queue == 1 else "changed documents",
        "Documents that OpenCode changed and that are still to be read. During a full pass they wait for its end.",
    )
    _figure(
        rate,
        "Documents per second",
        display.rate(heard.documents_per_second),
        "over the last minute",
        "Sessions, messages and their parts that were written into the index.",
    )
    _figure(
        written,
        "Last written",
        display.ago(now - found.updated_at),
        _clock(found.updated_at, now),
        f"When something was last written into the index: data version {display.count(found.revision)}. Times are in "
        f"{display.md(data.zone())}.",
    )


def _comparison(place: DeltaGenerator, found: Indexing, heard: Activity | None, now: datetime) -> None:
    """Show when everything was compared with OpenCode's data, and when it is again."""
    at, beside = found.compared_at, []
    if heard and heard.last_comparison_ms is not None:
        beside.append(f"took {display.duration(heard.last_comparison_ms)}")
    if heard and heard.next_comparison_at:
        ahead = heard.next_comparison_at - now
        beside.append(f"next in {_length(ahead)}" if ahead > timedelta(seconds=1) else "next one is due")
    _figure(
        place,
        "Everything compared",
        display.ago(now - at) if at else "not yet",
        ", ".join(beside) or (_clock(at, now) if at else "the first pass has not ended"),
        "Changes are followed one by one. Now and then everything is compared with OpenCode's data besides, so that "
        "nothing stays missed.",
    )


def _figure(place: DeltaGenerator, label: str, value: str, beside: str, help_text: str) -> None:
    """Draw one number with what belongs to it."""
    place.metric(
        label,
        value,
        beside or None,
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help=help_text,
    )


def _pace(found: Indexing) -> Indexing | None:
    """Remember how far the pass is.

    Returns:
        How far it was when this page saw it first within the last minute. None: it has not been looking.
    """
    seen: list[Indexing] = [
        each
        for each in st.session_state.get(_PACE, [])
        if each.pass_started_at == found.pass_started_at and found.updated_at - each.updated_at <= _PACE_OVER
    ]
    st.session_state[_PACE] = [*seen, found] if not seen or seen[-1] != found else seen
    return seen[0] if seen else None


def _time_left(found: Indexing, earlier: Indexing | None, now: datetime) -> str:
    """Say how much longer the pass takes: by its pace as a whole and of late; a span where they differ."""
    estimates = [found.remaining, found.remaining_since(earlier) if earlier else None]
    # What was estimated with the last batch has partly passed.
    passed = max(now - found.updated_at, timedelta())
    left = sorted(max(estimate - passed, timedelta(seconds=1)) for estimate in estimates if estimate is not None)
    if not left:
        return "time left not known yet"
    if left[-1] <= 1.5 * left[0]:
        return f"about {_length(left[-1])} left at this pace"
    return f"{_length(left[0])} to {_length(left[-1])} left, as the pace varies"


def _sources(heard: Activity | None, said: Activity | None) -> None:
    """List where the indexer looked, how each place is followed, and how much of it the settings leave out.

    Args:
        heard: What the indexer says. None: there is none.
        said: What it said last.
    """
    tz = data.zone()
    rows, followed = data.load(indexing.source_states, tz), heard.followed if heard else ()
    with st.container(border=True, key="indexer_sources"):
        meaning = (
            "Every storage of OpenCode that was found. The same session, message or part in several of them is one: it "
            f"comes from one of them, never summed. {display.md(UNCHECKED)}"
        )
        with blocks.headed("Sources", meaning):
            if rows:
                ask = data.source(indexing.source_states, "UTC")
                _offer_rows(ask, tz, "sources", "Sources")
        if not rows and not followed:
            st.text("The indexer has not looked at any folder yet.")
            return
        frame, config = indexing_tables.sources(rows, followed, tz)
        st.dataframe(
            frame, key="indexer_sources_rows", hide_index=True, column_config=config, placeholder="", alt="Sources"
        )
        for path, reason in _reasons(rows, followed):
            # Most reasons name the file themselves.
            said_whole = display.one_line(reason if path in reason else f"{path}: {reason}", 1_000)
            st.markdown(display.with_commands(said_whole))
        if any(row.kind == "sqlite_v2" for row in rows):
            st.caption(f":material/info: {display.md(UNCHECKED)}")
        if said and (said.excluded_projects or said.excluded_sessions):
            st.caption(
                f":material/visibility_off: {display.counted(said.excluded_projects, 'project')} and "
                f"{display.counted(said.excluded_sessions, 'session')} are left out by the settings."
            )


def _reasons(rows: Sequence[SourceState], followed: Sequence[Followed]) -> list[tuple[str, str]]:
    """List what is to be said about paths, each once: why one cannot be read, why it is not followed by events."""
    said = [(row.path, row.reason) for row in rows] + [(each.path, each.reason) for each in followed]
    return [(path, reason) for path, reason in dict.fromkeys(said) if reason]


def _problems(found: Indexing, does: str, now: datetime) -> None:
    """List the documents that could not be read, or only in part. A ticked one is shown in full, to copy."""
    tz = data.zone()
    total = found.unreadable + found.incomplete
    with st.container(border=True, key="indexer_problems"):
        _headed("Documents that could not be read", tz, does, has_rows=total > 0)
        _asked(total, now)
        if not total:
            st.text("None: every document was read in full.")
            return
        kinds = (
            (found.unreadable, "unreadable, so not in any number"),
            (found.incomplete, "read in part: in the numbers, but for the values named here"),
        )
        st.text(
            "".join(f"{display.counted(number, 'document')} {what}. " for number, what in kinds if number)
            + "A later good version of a document takes it off this list. Tick a row to see it in full."
        )
        if not activity.is_at_work(does):
            st.text("To read them again now:")
            st.code(states.RETRY, language=None, wrap_lines=True)
        pages = -(-total // PAGE_ROWS)
        page = _page(pages)
        rows = data.load(indexing.document_problems, PAGE_ROWS, (page - 1) * PAGE_ROWS)
        frame, config = indexing_tables.problems(rows, tz)
        ticked = st.dataframe(
            frame,
            # The same rows keep their tick, whatever the revision.
            key=tables.key("indexer_problem_rows", [row.key for row in rows]),
            hide_index=True,
            column_config=config,
            placeholder=display.MISSING,
            height="content" if len(rows) <= 12 else 460,
            alt="Documents that could not be read",
            selection_mode="single-row",
            on_select="rerun",
        )
        if pages > 1:
            st.pagination(pages, key="bad", bind="query-params")
        chosen = ticked["selection"]["rows"]
        if chosen and chosen[0] < len(rows):
            _problem(rows[chosen[0]])


def _history() -> None:
    """List what the indexer did."""
    tz = data.zone()
    rows = data.load(indexing.history, tz, HISTORY_ROWS)
    with st.container(border=True, key="indexer_history"):
        with blocks.headed("History", f"The newest {HISTORY_ROWS} changes of what the indexer does."):
            if rows:
                _offer_rows(data.source(indexing.history, "UTC"), tz, "history", "History")
        if not rows:
            st.text("Nothing yet.")
            return
        frame, config = indexing_tables.history(rows, tz)
        st.dataframe(
            frame,
            key="indexer_history_rows",
            hide_index=True,
            column_config=config,
            height="content" if len(rows) <= 8 else 320,
            alt="History",
        )


def _problem(row: DocumentProblem) -> None:
    """Show one document's trouble in full."""
    st.caption("Document")
    st.code(row.key, language=None, wrap_lines=True)
    st.caption("Reason")
    st.code(row.reason, language=None, wrap_lines=True)


def _headed(title: str, tz: str, does: str, has_rows: bool) -> None:
    """Head the documents: title, and at the other end of the line what can be done with all of them."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{title}**", width="content")
        if has_rows:
            with st.container(horizontal=True, gap="small", width="content"):
                if activity.is_at_work(does):
                    st.button(
                        "Read again",
                        key="indexer_retry",
                        icon=":material/refresh:",
                        on_click=_retry,
                        help="Asks the indexer to read all of these documents once more, now.",
                    )
                ask = data.source(indexing.document_problems)
                export.offer(
                    lambda: exported_tables.problems(ask(), tz),
                    "opencode-unreadable-documents",
                    "indexer_problems_export",
                    title,
                )


def _offer_rows(ask: Callable[[], Sequence["DataclassInstance"]], tz: str, table: str, what: str) -> None:
    """Offer the export of rows whose times were asked for in UTC, as they are exact then."""
    stem, key = f"opencode-indexer-{table}", f"indexer_{table}_export"
    export.offer(lambda: export.rows_table(ask(), tz), stem, key, what)


def _retry() -> None:
    """Ask for the bad documents to be read again, from the button."""
    st.session_state[_ASKED] = (data.now(), data.request_retry())


def _asked(total: int, now: datetime) -> None:
    """Say what came of the last click on the button, for a while."""
    at, failure = st.session_state.get(_ASKED, (None, None))
    if at is None or now - at > _ASKED_SHOWN:
        return
    if failure:
        st.warning(display.md(failure), icon=":material/warning:")
    elif total:
        st.text(f"Asked at {_clock(at, now)}. What can be read by now leaves this list within half a minute.")


def _page(pages: int) -> int:
    """Return the page of the documents that is asked for."""
    asked = st.session_state.get("bad") or st.query_params.get("bad") or 1
    # The widget shows the first page for one that does not exist; so does the table.
    return int(asked) if str(asked).isdecimal() and 1 <= int(asked) <= pages else 1


def _share(found: Indexing) -> float:
    """Return how much of the pass is done, 0 to 1."""
    return min(found.documents_done / found.documents_total, 1.0) if found.documents_total else 0.0


def _done(found: Indexing) -> str:
    """Say how far the pass is."""
    return f"{display.count(found.documents_done)} of {display.count(found.documents_total)} messages read"


def _when(moment: datetime, now: datetime) -> str:
    """Write a naive UTC moment in the viewer's zone, and how long ago it was."""
    return f"{_clock(moment, now)}, {display.ago(now - moment)}"


def _clock(moment: datetime, now: datetime) -> str:
    """Write a naive UTC moment in the viewer's zone: its time, and its day unless that is today."""
    tz = data.zone()
    at = display.local(moment, tz)
    return f"{at:%H:%M:%S}" if at.date() == display.local(now, tz).date() else f"{at:%b} {at.day}, {at:%H:%M:%S}"


def _length(passed: timedelta) -> str:
    """Write how long something takes."""
    return display.duration(passed / timedelta(milliseconds=1))
