"""The pieces of the Indexer page."""

from collections.abc import Callable
from datetime import datetime, timedelta

import streamlit as st

from pages.ui import data, display, export, indexing_tables, states, tables
from queries import indexing
from queries.indexing import DocumentProblem, Indexing

UNCHECKED = (
    "The layout of OpenCode 2.0's session_message rows is known from its source code only: it was checked against the "
    "second API of OpenCode 1.18, not against a running 2.0 client."
)
PAGE_ROWS = 100
HISTORY_ROWS = 50
_QUIET = timedelta(minutes=1)  # a running pass writes several times a second, and publishes every few seconds

_PHASES = {
    "bulk": ("Comparing with OpenCode's data", "Everything is read; only what changed is written.", "sync"),
    "waiting": (
        "Waiting",
        "The last pass is complete. Start the indexer again to read what is new since.",
        "pause_circle",
    ),
    "real-time": ("Following changes", "What OpenCode writes appears here by itself.", "sensors"),
    "stopped": (
        "Stopped",
        "The index shows what was there then. Start the indexer to read what is new.",
        "stop_circle",
    ),
    "failed": ("Failed", "What was indexed before is still shown. Start the indexer to try again.", "error"),
}
_FIRST = ("First index running", "Newest sessions come first. Every total is too low until it ends.", "hourglass_top")
_CUT_SHORT = (
    "Stopped before the first pass ended",
    "Every total is too low. Start the indexer: it goes on where it stopped.",
    "hourglass_disabled",
)
_AT_REST = ("stopped", "waiting", "failed")


def heading() -> None:
    """Head the page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="heading"):
        st.title("Indexer", anchor=False, width="content")
        st.caption("Reads what OpenCode stores, into the index that every page shows", width="content")


def state() -> None:
    """Say what the indexer does, at the newest revision; a fragment that ticks. The tables below follow it."""
    if data.follow():
        st.rerun(scope="app")
    found, now, tz = data.latest(indexing.indexing), data.now(), data.zone()
    title, meaning, icon = phase(found)
    with st.container(border=True, key="indexer_state"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(f":material/{icon}: {display.md(title)}", anchor=False, width="content")
            st.caption(f"since {_when(found.phase_since, now, tz)}", width="content")
        st.text(meaning)
        if found.phase == "bulk":
            st.progress(_share(found), text=progress(found, now))
            if now - found.updated_at > _QUIET:
                quiet = display.duration((now - found.updated_at) / timedelta(milliseconds=1))
                st.warning(
                    f"Nothing was written for {quiet}. If no indexer runs any more, `{states.BUILD}` goes on.",
                    icon=":material/hourglass_disabled:",
                )
        elif found.phase in _AT_REST:
            st.code(states.BUILD, language=None)
    _figures(found, now, tz)


def phase(found: Indexing) -> tuple[str, str, str]:
    """Name what the indexer does, say what that means, and give its icon."""
    if found.last_full_pass_at is None and found.phase == "bulk":
        return _FIRST
    if found.last_full_pass_at is None and found.phase == "stopped":
        return _CUT_SHORT
    return _PHASES.get(found.phase, (found.phase, found.message or "", "info"))


def progress(found: Indexing, now: datetime) -> str:
    """Say how far the pass is, and how much longer it takes where its pace tells."""
    if not found.documents_total:
        return "Looking at what is there. How much there is to read is not known yet."
    done = f"{display.count(found.documents_done)} of {display.count(found.documents_total)} messages read"
    left = found.remaining
    if left is None:
        return f"{done} · time left not known yet"
    # What was estimated with the last batch has partly passed.
    left = max(left - max(now - found.updated_at, timedelta()), timedelta())
    return f"{done} · about {display.duration(max(1_000, left / timedelta(milliseconds=1)))} left at this pace"


def sources() -> None:
    """List where the indexer looked."""
    tz = data.zone()
    rows = data.load(indexing.source_states, tz)
    with st.container(border=True, key="indexer_sources"):
        st.markdown(
            "**Sources**",
            help="Every storage of OpenCode that was found. The same session, message or part in several of them is "
            f"one: it comes from one of them, never summed. {display.md(UNCHECKED)}",
        )
        if not rows:
            st.text("The indexer has not looked at any folder yet.")
            return
        frame, config = indexing_tables.sources(rows, tz)
        st.dataframe(
            frame, key="indexer_sources_rows", hide_index=True, column_config=config, placeholder="", alt="Sources"
        )
        for row in rows:
            if row.reason:
                # Most reasons name the file themselves.
                named = row.reason if row.path in row.reason else f"{row.path}: {row.reason}"
                st.text(display.one_line(named, 1_000))
        if any(row.kind == "sqlite_v2" for row in rows):
            st.caption(f":material/info: {display.md(UNCHECKED)}")


def problems() -> None:
    """List the documents that could not be read, or only in part. A ticked one is shown in full, to copy."""
    tz, found = data.zone(), data.load(indexing.indexing)
    total = found.unreadable + found.incomplete
    with st.container(border=True, key="indexer_problems"):
        _headed("Documents that could not be read", tz, has_rows=total > 0)
        if not total:
            st.text("None: every document was read in full.")
            return
        st.text(
            f"{display.counted(found.unreadable, 'document')} unreadable: not in any number. "
            f"{display.count(found.incomplete)} read in part: in the numbers, but for the values named here. "
            "A later good version of a document takes it off this list. Tick a row to see it in full."
        )
        pages = -(-total // PAGE_ROWS)
        page = _page(pages)
        rows = data.load(indexing.document_problems, PAGE_ROWS, (page - 1) * PAGE_ROWS)
        frame, config = indexing_tables.problems(rows, tz)
        ticked = st.dataframe(
            frame,
            key=tables.key("indexer_problem_rows", page, data.revision()),
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


def history() -> None:
    """List what the indexer did."""
    tz = data.zone()
    rows = data.load(indexing.history, tz, HISTORY_ROWS)
    with st.container(border=True, key="indexer_history"):
        st.markdown("**History**", help=f"The newest {HISTORY_ROWS} changes of what the indexer does.")
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


def _figures(found: Indexing, now: datetime, tz: str) -> None:
    """Draw the headline numbers."""
    with st.container(key="kpis"):
        last, messages, unread, size = st.columns(4, gap="small")
    complete = found.last_full_pass_at
    last.metric(
        "Last full pass",
        display.ago(now - complete) if complete else "none yet",
        border=True,
        help=f"Ended {_when(complete, now, tz)}." if complete else "The first one has not ended.",
    )
    messages.metric(
        "Messages",
        display.count(found.messages),
        border=True,
        help=f"In {display.counted(found.sessions, 'session')}, with {display.counted(found.parts, 'part')}. Rows of "
        "the index: fork copies and what was deleted in OpenCode are among them.",
    )
    unread.metric(
        "Bad documents",
        display.count(found.unreadable + found.incomplete),
        border=True,
        help=f"{display.count(found.unreadable)} not at all, {display.count(found.incomplete)} in part.",
    )
    size.metric(
        "Index file",
        display.size(found.size_bytes),
        border=True,
        help="Of the published database; the newest batches, not yet merged into it, come on top.",
    )
    written = display.local(found.updated_at, tz)
    st.caption(
        f"Revision {display.count(found.revision)}, written {written:%b} {written.day}, {written:%H:%M:%S} · "
        f"{display.md(tz)}"
    )


def _problem(row: DocumentProblem) -> None:
    """Show one document's trouble in full."""
    st.caption("Document")
    st.code(row.key, language=None, wrap_lines=True)
    st.caption("Reason")
    st.code(row.reason, language=None, wrap_lines=True)


def _headed(title: str, tz: str, has_rows: bool) -> None:
    """Head the documents: title, and the download of all of them at the other end of the line."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{title}**", width="content")
        if has_rows:
            st.download_button(
                "CSV",
                data=export.safely(_csv(tz)),
                file_name=export.plain_name("opencode-unreadable-documents"),
                mime="text/csv",
                key="indexer_csv",
                icon=":material/download:",
                on_click="ignore",
                help="Every row",
            )


def _csv(tz: str) -> Callable[[], bytes]:
    """Prepare the download of all rows."""
    ask = data.source(indexing.document_problems)

    def make() -> bytes:
        """Make the file."""
        return export.problems_csv(ask(), tz)

    return make


def _page(pages: int) -> int:
    """Return the page of the documents that is asked for."""
    asked = st.session_state.get("bad") or st.query_params.get("bad") or 1
    # The widget shows the first page for one that does not exist; so does the table.
    return int(asked) if str(asked).isdecimal() and 1 <= int(asked) <= pages else 1


def _share(found: Indexing) -> float:
    """Return how much of the pass is done, 0 to 1."""
    return min(found.documents_done / found.documents_total, 1.0) if found.documents_total else 0.0


def _when(moment: datetime, now: datetime, tz: str) -> str:
    """Write a naive UTC moment in the viewer's zone, and how long ago it was."""
    at = display.local(moment, tz)
    return f"{at:%b} {at.day}, {at:%H:%M:%S}, {display.ago(now - moment)}"
