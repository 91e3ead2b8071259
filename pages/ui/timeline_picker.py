"""Which session to look at: search, filters, the sessions that were active last on top."""

from collections.abc import Sequence

import streamlit as st

from pages.ui import data, display, export, links, listing, tables
from queries import health, sessions
from queries.period import Scope
from queries.sessions import SessionList

PAGE_ROWS = 50
_TEXT, _AGENTS, _MODELS, _PROJECTS = "pick_text", "pick_agents", "pick_models", "pick_projects"
_SORT, _CHILDREN, _PAGE, _PAGE_OF = "pick_sort", "pick_children", "pick_page", "pick_page_of"
_WIDGETS = (_TEXT, _AGENTS, _MODELS, _PROJECTS, _SORT, _CHILDREN, _PAGE)
_KEPT = "pick_kept"
_OF_BAR = {_TEXT: "q", _AGENTS: "agent", _MODELS: "model", _PROJECTS: "project"}  # what the filter bar has, too
_BAR = "pick_bar"
# The order that one most often looks for a session by comes first.
_SORTS = ("last active", *(sort for sort in sessions.SORTS if sort != "last active"))


def draw() -> None:
    """Draw the search, the filters and what they leave. Ticking a row opens the session.

    They begin with what the filter bar says, and follow it where that has changed since.
    """
    bar = {key: st.session_state.get(name) for key, name in _OF_BAR.items()}
    if st.session_state.get(_BAR) != bar:
        st.session_state[_BAR] = bar
        st.session_state.update(bar)
    for key, value in st.session_state.pop(_KEPT, {}).items():
        st.session_state.setdefault(key, value)
    scope, fold, sort = _chosen()
    page = _page((scope, fold, sort))
    found = data.load(sessions.session_list, scope, fold, sort, PAGE_ROWS, (page - 1) * PAGE_ROWS)
    if scope.text and data.load(sessions.session_detail, scope.text, scope.tz):
        _by_id(scope.text)
    elif not found.rows:
        _nothing(scope)
    else:
        _list(scope, fold, sort, found)


def keep() -> None:
    """Remember what was looked for while a session is shown: Streamlit forgets the value of a widget not drawn."""
    now = {key: st.session_state[key] for key in _WIDGETS if key in st.session_state}
    if now:
        st.session_state[_KEPT] = now


def _chosen() -> tuple[Scope, bool, str]:
    """Let the user say what to look for.

    Returns:
        What matches, whether child sessions are part of their root's row, and the order.
    """
    names = data.load(health.names)
    projects = {display.project(project): project.project_id for project in names.projects}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="picker_filters"):
        text = st.text_input(
            "Search titles, prompts, answers, or paste a session id",
            key=_TEXT,
            type="search",
            live="300ms",
            placeholder="Search titles, prompts, answers, or paste a session id",
            label_visibility="collapsed",
            width=380,
        )
        agents = _choice("Agents", _AGENTS, names.agents)
        models = _choice("Models", _MODELS, names.models)
        chosen = _choice("Projects", _PROJECTS, list(projects))
        sort = st.selectbox("Sort", _SORTS, key=_SORT, label_visibility="collapsed", width=150, filter_mode=None)
        children = st.toggle("Child sessions", key=_CHILDREN, help="List the sessions that another one delegated to.")
    scope = Scope(
        tz=data.zone(),
        agents=tuple(agents),
        models=tuple(models),
        projects=tuple(projects.get(label, label) for label in chosen),
        text=(text or "").strip(),
    )
    return scope, not children, str(sort or _SORTS[0])


def _choice(label: str, key: str, known: Sequence[str]) -> list[str]:
    """Draw one multiple choice. What the filter bar asks for stays, also where the data does not know it."""
    return st.multiselect(
        label,
        list(dict.fromkeys([*known, *st.session_state.get(key, [])])),
        key=key,
        placeholder=f"All {label.lower()}",
        label_visibility="collapsed",
        width=190,
        wrap=False,
        select_all=False,
    )


def _list(scope: Scope, fold: bool, sort: str, found: SessionList) -> None:
    """Draw one page of the sessions that match."""
    ids = [row.session_id for row in found.rows]
    styled, config = tables.picker(found.rows, scope, fold)
    key = tables.key("picker_rows", scope, fold, sort, ids)
    count = display.counted(found.total.sessions, "session")
    folded = " A row holds its child sessions." if fold else ""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"{count}. Tick a row to open its timeline.{folded}", width="content")
        exported = listing.exported(scope, fold, sort)
        export.offer(exported, export.file_stem("sessions", scope), "picker_export", "Sessions to look at")
    with st.container(key="picker_table"):
        st.dataframe(
            styled,
            key=key,
            hide_index=True,
            column_config=config,
            placeholder=display.MISSING,
            height="content" if len(ids) <= 18 else 640,
            on_select=lambda: _open_row(ids, key),
            selection_mode="single-row",
            alt="Sessions to look at",
        )
    pages = -(-found.total.sessions // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key=_PAGE)


def _by_id(session_id: str) -> None:
    """Offer the session whose id was pasted."""
    with st.container(border=True, key="picker_by_id"):
        st.text("This is the id of a session:")
        st.code(session_id, language=None)
        st.button(
            "Open it", key="picker_open_id", icon=":material/view_timeline:", on_click=links.show, args=(session_id,)
        )


def _nothing(scope: Scope) -> None:
    """Say that nothing matches, and offer what helps."""
    with st.container(border=True, key="picker_nothing"):
        st.subheader("No session matches", anchor=False)
        if scope.text.startswith("ses_"):
            st.text("The index has no session with this id, and none that says it.")
        else:
            st.text("No title, prompt or answer holds this, under these filters.")
        st.button("Clear", key="picker_clear", icon=":material/filter_alt_off:", on_click=_clear)


def _open_row(ids: Sequence[str], table_key: str) -> None:
    """Open the session of the ticked row, from a callback; Back returns to what was looked at before."""
    number = tables.selected(table_key)
    if number is not None and number < len(ids):
        links.show(ids[number])


def _clear() -> None:
    """Take search and filters off, from a callback."""
    st.session_state[_TEXT] = ""
    st.session_state[_AGENTS] = st.session_state[_MODELS] = st.session_state[_PROJECTS] = []


def _page(of: tuple[Scope, bool, str]) -> int:
    """Return the page of the list that is asked for; the first one again when search, filters or order change."""
    if st.session_state.get(_PAGE_OF) != of:
        if _PAGE_OF in st.session_state:
            st.session_state[_PAGE] = 1
        st.session_state[_PAGE_OF] = of
    return int(st.session_state.get(_PAGE) or 1)
