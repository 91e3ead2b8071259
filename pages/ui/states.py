"""What a page shows when there is nothing, not enough, or not the right thing to show."""

from collections.abc import Callable, Sequence
from datetime import datetime

import streamlit as st

from indexer import exceptions
from pages.ui import activity, display
from queries.health import IndexStatus, Source

BUILD = f"{exceptions.COMMAND} run"
RETRY = f"{exceptions.COMMAND} bulk"
BENCHMARK = f"{exceptions.COMMAND} benchmark"

_TITLES: dict[type[exceptions.IndexUnavailable], str] = {
    exceptions.IndexMissing: "No index yet",
    exceptions.IndexOlder: "The index is older than this dashboard",
    exceptions.IndexNewer: "The index is newer than this dashboard",
    exceptions.IndexForeign: "This file is not an index",
    exceptions.IndexBroken: "The index cannot be opened",
    exceptions.IndexDamaged: "The index is damaged",
    exceptions.IndexUnavailable: "The index cannot be used",
}
_HINTS: dict[type[exceptions.IndexUnavailable], tuple[str, str | None]] = {
    exceptions.IndexMissing: (
        "Start the indexer in a terminal. This page opens by itself when the first data is in.",
        BUILD,
    ),
    exceptions.IndexOlder: ("Start the indexer: it brings the index up to date.", BUILD),
    exceptions.IndexNewer: (
        "A newer version of this program wrote it. Update this one, then start it again.",
        "git pull",
    ),
    exceptions.IndexForeign: (
        "It was left as it is. Name another file for the index, then start again.",
        "ANALYTICS_DB=~/opencode-analytics.duckdb make run",
    ),
    exceptions.IndexBroken: ("Start the indexer: it publishes the index anew.", BUILD),
    exceptions.IndexDamaged: ("Start the indexer: it sets the damaged file aside and builds the index anew.", BUILD),
    exceptions.IndexUnavailable: ("Start the indexer.", BUILD),
}


def unavailable(error: exceptions.IndexUnavailable, is_usable: Callable[[], bool]) -> None:
    """Say why the index cannot be used and what to do. Looks again every two seconds.

    Args:
        error: What happened.
        is_usable: Tells whether the index can be read by now.
    """
    kind = next(kind for kind in type(error).__mro__ if kind in _TITLES)
    hint, command = _HINTS[kind]
    with st.container(border=True, key="unavailable"):
        st.title(_TITLES[kind], anchor=False)
        st.markdown(display.with_commands(str(error)))
        st.text(hint)
        if command:
            st.code(command, language=None, wrap_lines=True)
    _watch(is_usable)


def settings_invalid(error: exceptions.SettingsInvalid, has_changed: Callable[[], bool]) -> None:
    """Say what is wrong with the settings file. Looks again every two seconds.

    Args:
        error: What is wrong, a line each.
        has_changed: Tells whether the file was changed by now.
    """
    with st.container(border=True, key="settings_invalid"):
        st.title("The settings cannot be used", anchor=False)
        for line in str(error).splitlines()[1:]:
            st.text(line)
        st.text("Correct them; this page opens by itself. What can be set is in docs/configuration.md.")
    _watch(has_changed)


def nothing_indexed(status: IndexStatus, does: str, sources: Sequence[Source], has_changed: Callable[[], bool]) -> None:
    """Say that the index has no session in it, and where the indexer looked. Looks again every two seconds.

    Args:
        status: State of the index.
        does: What the indexer really does.
        sources: What the indexer looked at.
        has_changed: Tells whether there is a newer revision by now.
    """
    with st.container(border=True, key="nothing_indexed"):
        if status.is_partial and does == activity.BULK:
            st.title("Indexing has begun", anchor=False)
            st.text("The first sessions appear here in a moment. You can leave this page open.")
            progress(status)
        elif status.is_partial:
            st.title("Indexing was interrupted", anchor=False)
            st.text("Nothing was read yet. This goes on where it stopped:")
            st.code(BUILD, language=None, wrap_lines=True)
        else:
            st.title("No OpenCode data found", anchor=False)
            st.text(
                "The indexer looked and found no session. Use OpenCode once, or name the folder that holds its data:"
            )
            st.code(f"{BUILD} --data ~/.local/share/opencode", language=None, wrap_lines=True)
        for source in sources:
            st.markdown(display.with_commands(f"{source.path}: {source.reason or source.state}"))
    _watch(has_changed)


def sample() -> None:
    """Say that these are not the user's own sessions."""
    st.info(
        "**Sample data.** These sessions came with the program, so that you can look around. They are kept apart from "
        "your own: run OpenCode on this machine, then `make run`, to see yours.",
        icon=":material/science:",
    )


def progress(status: IndexStatus) -> None:
    """Show how far the first pass is."""
    st.progress(_share_done(status), text=_how_far(status), width=320)


def partial(status: IndexStatus, does: str, *, is_of_spend: bool = True) -> None:
    """Say that the first pass has not ended, and what is too low for that.

    Args:
        status: State of the index.
        does: What the indexer really does.
        is_of_spend: Whether the page shows what was spent by time, agent and model, which may be known before the rest.
    """
    is_at_work = activity.is_at_work(does)
    is_known = is_of_spend and status.has_first_totals
    if is_at_work and is_known:
        known = "tokens and costs are complete, unless a text is searched; all else is still being read"
    elif is_at_work:
        known = "every total here is still too low"
    elif is_known:
        known = "tokens and costs are what they were then, unless a text is searched; all else is incomplete"
    else:
        known = "every total here is too low"
    if is_at_work:
        st.warning(f"Indexing in progress: {known}. {_how_far(status)}", icon=":material/hourglass_top:")
    else:
        st.warning(f"The first pass was interrupted: {known}. `{BUILD}` goes on.", icon=":material/hourglass_disabled:")


def requests_not_read() -> None:
    """Say that what needs every single request has to wait for the end of the first pass."""
    st.info("This page looks at every single request, so it opens when all are read.", icon=":material/hourglass_top:")


def news(shown: IndexStatus, newest: IndexStatus) -> str:
    """Name what is new since the shown revision, as the label of the button that loads it."""
    added = newest.parts - shown.parts
    return f"{display.count(added)} new parts · Refresh" if added > 0 else "New data · Refresh"


def as_of(status: IndexStatus, tz: str, until: datetime | None = None, does: str | None = None) -> str:
    """Say how old the shown data is, with the time zone that all times here are in.

    Args:
        status: State of the index, as it is shown.
        tz: Zone of the viewer.
        until: Up to when nothing is missing, naive UTC. None: only the time of the last batch is known.
        does: What the indexer really does, to be said too. None: leave it out.
    """
    at = display.local(max(status.updated_at, until) if until else status.updated_at, tz)
    follows = f" · {following(status, does)}" if does else ""
    return f"Data as of {at:%b} {at.day}, {at:%H:%M:%S} · {display.md(tz)}{follows}"


def following(status: IndexStatus, does: str) -> str:
    """Say in a few words whether new data comes, and from how many storages."""
    sources = display.counted(status.sources, "source")
    match does:
        case activity.REAL_TIME:
            return f"following {sources}"
        case activity.BULK:
            return f"reading {sources}" if status.sources else "reading"  # a first pass counts them at its end
        case activity.FAILED:
            return f"{sources}, not followed: the indexer failed"
        case _:
            return f"{sources}, not followed: no indexer runs"


@st.fragment(run_every=2)
def _watch(is_different: Callable[[], bool]) -> None:
    """Run the whole page again once something has changed."""
    if is_different():
        st.rerun(scope="app")


def _share_done(status: IndexStatus) -> float:
    """Return how much of the pass is done, 0 to 1."""
    if not status.documents_total:
        return 0.0
    return min(status.documents_done / status.documents_total, 1.0)


def _how_far(status: IndexStatus) -> str:
    """Say how far the pass is."""
    if not status.documents_total:
        return f"{display.count(status.documents_done)} messages read"
    return f"{display.count(status.documents_done)} of {display.count(status.documents_total)} messages read"
