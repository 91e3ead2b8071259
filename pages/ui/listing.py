"""The pieces of the Sessions page."""

from collections.abc import Callable

import streamlit as st

from pages.ui import data, display, links, tables
from queries import exported_tables, sessions
from queries.period import Scope
from queries.sessions import SessionList, SessionsTotal
from queries.table_files import Table

PAGE_ROWS = 100


def order() -> str:
    """Let the user choose the order."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
        chosen = st.selectbox(
            "Sort",
            sessions.SORTS,
            key="sort",
            bind="query-params",
            label_visibility="collapsed",
            width=170,
            filter_mode=None,
        )
        st.caption(sessions.SORT_MEANINGS.get(str(chosen), ""), width="content")
    return str(chosen or sessions.SORTS[0])


def folding() -> bool:
    """Let the user choose whether child sessions have rows of their own; folded unless asked."""
    return not st.toggle(
        "Show child sessions",
        key="children",
        bind="query-params",
        help="Sessions that another session delegated to. Folded, they are part of its row, and so are their numbers.",
    )


def exported(scope: Scope, fold: bool, sort: str) -> Callable[[], Table]:
    """Prepare the export of all rows."""
    ask = data.source(sessions.session_rows, scope, fold, sort)
    return lambda: exported_tables.sessions(ask(), scope.tz)


def summary(total: SessionsTotal, scope: Scope) -> str:
    """Say how many sessions there are and what they add up to."""
    found = display.counted(total.sessions, "session")
    if total.children:
        child = "matching child session" if scope.is_narrow else "child session"
        found += f" and {display.counted(total.children, child)} in {'it' if total.sessions == 1 else 'them'}"
    matching = "matching messages: " if scope.is_by_message else ""
    cost, tokens = display.usd(total.cost_recorded_usd), display.tokens(total.total_tokens)
    return f"{found} · {matching}{cost} recorded, {tokens} tokens"


def explanation(scope: Scope, fold: bool) -> str:
    """Say what the numbers of a row are."""
    matching = (
        "Cost and tokens are those of the messages that match the filters; the session's own totals stand beside. "
        if scope.is_by_message
        else ""
    )
    folded = "A row holds its child sessions. " if fold else ""
    return f"{matching}{folded}Tokens and cost of fork copies count once, in the session they came from."


def listed(scope: Scope, fold: bool, sort: str) -> SessionList:
    """Ask for the page of the list that is looked at."""
    page = _page((scope, fold, sort))
    return data.load(sessions.session_list, scope, fold, sort, PAGE_ROWS, (page - 1) * PAGE_ROWS)


def table(scope: Scope, fold: bool, sort: str, found: SessionList) -> None:
    """Draw one page of the list. Selecting a row opens the session's timeline."""
    styled, config = tables.sessions(found.rows, scope, fold)
    ids = [row.session_id for row in found.rows]
    key = tables.key("sessions_rows", scope, fold, sort, ids)
    st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(ids) <= 18 else 660,
        on_select=lambda: links.open_row([(session_id, None) for session_id in ids], key),
        selection_mode="single-row",
        alt="Sessions",
    )
    pages = -(-found.total.sessions // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key="page", bind="query-params")


def _page(of: tuple[Scope, bool, str]) -> int:
    """Return the page of the list that is asked for; the first one again when filters or order change."""
    if st.session_state.get("page_of") != of:
        if "page_of" in st.session_state:
            st.session_state["page"] = 1
        st.session_state["page_of"] = of
    asked = str(st.session_state.get("page") or st.query_params.get("page") or 1)
    # The widget shows the first page for one that does not exist; so does the list.
    return max(int(asked), 1) if asked.isdecimal() and len(asked) < 10 else 1
