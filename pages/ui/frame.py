"""What surrounds every page: the list of pages, the guard against a page run alone, the style sheet."""

import contextvars
import gc
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from pages.ui import data, display, palette, states

ROOT = Path(__file__).resolve().parents[2]
APP = "OpenCode analytics"
OVERVIEW = ROOT / "pages" / "overview.py"
COSTS = ROOT / "pages" / "costs.py"
WHAT_IF = ROOT / "pages" / "what_if.py"
ACTIVITY = ROOT / "pages" / "activity.py"
LEDGER = ROOT / "pages" / "ledger.py"
CACHE = ROOT / "pages" / "cache.py"
SESSIONS = ROOT / "pages" / "sessions.py"
TIMELINE = ROOT / "pages" / "timeline.py"
ERRORS = ROOT / "pages" / "errors.py"
TOOLS = ROOT / "pages" / "tools.py"
SQL = ROOT / "pages" / "sql.py"
BENCHMARKS = ROOT / "pages" / "benchmarks.py"
INDEXER = ROOT / "pages" / "indexer.py"

_LEDGER_PATH, _TIMELINE_PATH = "ledger", "timeline"
_SQL_PATH, _BENCHMARKS_PATH, _INDEXER_PATH = _ABOUT_INDEX = "sql", "benchmarks", "indexer"
_in_frame = contextvars.ContextVar("in_frame", default=False)

# Wider than Streamlit's own block, tighter on a phone. Colours are never set here: a theme switch does not rerun.
_STYLE = """
<style>
[data-testid="stMainBlockContainer"] { padding-left: clamp(.9rem, 2.2vw, 2.4rem);
  padding-right: clamp(.9rem, 2.2vw, 2.4rem); max-width: 1760px; margin: 0 auto; }
/* The theme draws chart labels in a grey too pale to read; their place inherits the colour of text, light or dark. */
.js-plotly-plot :is(.xtick, .ytick, .bartext-outside, .bars) text { fill: currentColor !important; }
/* The accent that carries white text is too dark to be text itself on a dark ground. */
:is([data-variant="segmented_control"][aria-checked="true"], [data-testid="stTab"][aria-selected="true"]) {
  color: inherit !important; font-weight: 600; }
[data-testid="stTab"][aria-selected="true"] p { color: inherit; font-weight: 600; }
.st-key-timeline_name [data-testid="stHeading"] :is(h1) { padding: 0; overflow-wrap: anywhere; }
.st-key-timeline_kpis [data-testid="stMetricValue"] { font-size: 1.4rem; }
.st-key-query textarea { font-family: var(--st-code-font, monospace); }
[data-testid="stMetricValue"] { font-variant-numeric: tabular-nums; }
/* What a figure is, and how much, is never cut off. */
[data-testid="stMetric"] :is([data-testid="stMarkdownContainer"], p) { white-space: normal; overflow-wrap: anywhere; }
[data-testid="stLayoutWrapper"]:has(> :is(.st-key-filters_unseen, .st-key-filter_address)) { display: none; }
/* Where the keyboard is: Streamlit tints these links as the page that is open, and the chart's ring is always black. */
:is([data-testid="stTopNavLink"], [data-testid="stSidebarNavLink"], [data-testid="stPageLink-NavLink"],
  .modebar-btn):focus-visible {
  outline: 2px solid light-dark(black, white) !important; outline-offset: -2px; }
/* Every export is called by its table, for those who do not see that it stands beside it. */
[data-testid="stPopoverButton"] em { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
/* The filters are one row where that leaves them wide enough to be read, the search the least. */
.st-key-q input { text-overflow: ellipsis; }
@media (min-width: 1240px) {
  :is(.st-key-filters, .st-key-picker_filters) { flex-wrap: nowrap !important; column-gap: .5rem !important; }
  .st-key-picker_filters > :not(:last-child) { flex-shrink: 1; }
  .st-key-filters > :is(.st-key-agent, .st-key-model, .st-key-project) { flex-shrink: 1; }
  .st-key-filters > .st-key-q { flex-shrink: 2; }
}
@media (max-width: 640px) {
  :is(.st-key-filters, .st-key-picker_filters) > * {
    flex: 1 1 calc(50% - .5rem) !important; min-width: calc(50% - .5rem) !important; }
  :is(.st-key-filters, .st-key-picker_filters) > :first-child,
  .st-key-filters > :has(> .st-key-dates) { flex-basis: 100% !important; }
  .st-key-kpis [data-testid="stMetricValue"] { font-size: 1.4rem; }
  .st-key-kpis [data-testid="stColumn"] { flex: 1 1 calc(50% - .5rem) !important; min-width: calc(50% - .5rem); }
  .st-key-timeline_kpis [data-testid="stColumn"] { flex: 1 1 calc(33% - .5rem) !important; min-width: 30%; }
}
</style>
"""


def navigate() -> st.Page:
    """Draw the menu, name the browser's tab and return the page that the address asks for.

    Paths are absolute, so that any working directory will do. The default page has no address of its own: were it
    Overview, `/overview` would be "not found". So it is a hidden one that goes there, before any filter is drawn: what
    the address says would not come along once filters are bound to it. No page is in a named group: on a phone
    Streamlit lists a group in a way that screen readers cannot follow (a list whose items are no list items).
    """
    home = st.Page(lambda: None, title="Home", url_path="home", default=True, visibility="hidden")
    shown = [
        st.Page(OVERVIEW, title="Overview", icon=":material/dashboard:", url_path="overview"),
        st.Page(COSTS, title="Costs", icon=":material/payments:", url_path="costs"),
        st.Page(LEDGER, title="Why this number", icon=":material/fact_check:", url_path=_LEDGER_PATH),
        st.Page(WHAT_IF, title="What if", icon=":material/compare_arrows:", url_path="what_if"),
        st.Page(CACHE, title="Cache", icon=":material/cached:", url_path="cache"),
        st.Page(ACTIVITY, title="Activity", icon=":material/calendar_month:", url_path="activity"),
        st.Page(SESSIONS, title="Sessions", icon=":material/forum:", url_path="sessions"),
        st.Page(TIMELINE, title="Timeline", icon=":material/view_timeline:", url_path=_TIMELINE_PATH),
        st.Page(ERRORS, title="Errors", icon=":material/error:", url_path="errors"),
        st.Page(TOOLS, title="Tools", icon=":material/build:", url_path="tools"),
        st.Page(SQL, title="SQL", icon=":material/database:", url_path=_SQL_PATH),
        st.Page(BENCHMARKS, title="Benchmarks", icon=":material/speed:", url_path=_BENCHMARKS_PATH),
        st.Page(INDEXER, title="Indexer", icon=":material/sync:", url_path=_INDEXER_PATH),
    ]
    page = st.navigation([home, *shown], position="top")
    if page == home:
        st.switch_page(OVERVIEW, query_params={name: st.query_params.get_all(name) for name in st.query_params})
    st.set_page_config(page_title=f"{page.title} · {APP}")
    return page


def is_about_index(page: st.Page) -> bool:
    """Tell whether a page is about the index itself: it has something to show of an empty index."""
    return page.url_path in _ABOUT_INDEX


def has_filters(page: st.Page) -> bool:
    """Tell whether the filter bar stands over a page: not over the index itself, nor over one session."""
    is_of_session = page.url_path == _LEDGER_PATH and ledger_session() is not None
    return page.url_path not in (_TIMELINE_PATH, *_ABOUT_INDEX) and not is_of_session


def ledger_session() -> str | None:
    """Return the session that the address names, if any: the ledger is of that one then, whatever the filters."""
    return st.query_params.get("session", "").strip() or None


@contextmanager
def around() -> Iterator[None]:
    """Mark that a page runs inside the app."""
    token = _in_frame.set(True)
    try:
        yield
    finally:
        _in_frame.reset(token)


def ensure() -> None:
    """Run the whole app if a page file was run alone; call it first in every page.

    Streamlit finds `pages/*.py` by itself. Until the navigation has run once in the process, a deep link runs the page
    file without menu and filters.
    """
    if not _in_frame.get():
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
        st.stop()


def heading(title: str, words: str, *, follows: bool = False) -> None:
    """Head a page: what it is, what time it looks at, how fresh it is.

    Args:
        title: Name of the page.
        words: The chosen period.
        follows: Whether the page shows newer data by itself, rather than offer it.
    """
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="heading"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.title(title, anchor=False, width="content")
            st.caption(display.md(words), width="content")
        with st.container(width="content", key="freshness"):
            data.freshness(follows)


def tell_partial(*, is_of_spend: bool = True) -> None:
    """Say so where the first pass has not ended; to be called below the heading.

    Args:
        is_of_spend: As for `states.partial`.
    """
    status = data.status()
    if status.is_partial:
        states.partial(status, data.doing(status), is_of_spend=is_of_spend)


def await_requests() -> None:
    """Say so where the first pass has not ended; end a page that needs every single request and has totals alone."""
    tell_partial()
    if data.status().has_first_totals:
        states.requests_not_read()
        st.stop()


def style() -> None:
    """Add the static style sheets."""
    st.html(_STYLE + palette.style())


@st.cache_resource(show_spinner=False)
def settle() -> None:
    """Freeze what the first run has loaded, once a process.

    Streamlit collects all garbage after every run: 72 ms with the libraries of the charts loaded, 2 ms once frozen.
    """
    gc.collect()
    gc.freeze()
