"""The pieces of the Sessions page."""

from collections.abc import Callable

import streamlit as st

from pages.ui import data, display, export, tables
from queries import sessions
from queries.period import Scope
from queries.sessions import SessionDetail, SessionsTotal

PAGE_ROWS = 100
_CLOSED = "sessions_closed"  # how often a session was closed: a new table key takes its tick away


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


def csv(scope: Scope, fold: bool, sort: str) -> Callable[[], bytes]:
    """Prepare the download of all rows."""
    ask = data.source(sessions.session_rows, scope, fold, sort)

    def make() -> bytes:
        """Make the file."""
        return export.sessions_csv(ask(), scope.tz)

    return make


def summary(total: SessionsTotal, scope: Scope, fold: bool) -> str:
    """Say how many sessions there are and what they add up to."""
    found = display.counted(total.sessions, "session")
    folded = total.matching - total.sessions
    if fold and folded > 0:
        found += f" and {display.counted(folded, 'child session')} in them"
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
    return f"{matching}{folded}Fork copies count once, in the session they came from."


def table(scope: Scope, fold: bool, sort: str, total: SessionsTotal) -> None:
    """Draw one page of the list. Selecting a row opens the session."""
    pages = -(-total.sessions // PAGE_ROWS)
    page = _page((scope, fold, sort), pages)
    rows = data.load(sessions.session_rows, scope, fold, sort, PAGE_ROWS, (page - 1) * PAGE_ROWS)
    styled, config = tables.sessions(rows, scope, fold)
    ids = [row.session_id for row in rows]
    key = tables.key("sessions_rows", scope, fold, sort, page, ids, st.session_state.get(_CLOSED, 0))
    st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(rows) <= 18 else 660,
        on_select=lambda: _open(ids, key),
        selection_mode="single-row",
        alt="Sessions",
    )
    if pages > 1:
        st.pagination(pages, key="page", bind="query-params")


def detail() -> None:
    """Show the session that the URL names, if any, over the page."""
    session_id = st.query_params.get("session")
    if not session_id:
        return
    found = data.load(sessions.session_detail, session_id, data.zone())
    title = tables.session_title(found.title, found.deleted_at is not None) if found else "No such session"
    dialog = st.dialog(display.md(title), width="large", icon=":material/forum:", on_dismiss=_close)
    dialog(_session)(session_id, found)


def _session(session_id: str, found: SessionDetail | None) -> None:
    """Draw one session."""
    if found is None:
        st.text("The index has no session with this id. It may not be indexed yet.")
        st.code(session_id, language=None)
        return
    _facts(found)
    _numbers(found)
    _models(session_id)
    _children(session_id, found)
    if found.first_prompt:
        st.markdown("**First prompt**")
        with st.container(border=True, height=120 if len(found.first_prompt) > 200 else "content"):
            st.text(found.first_prompt)
    _ids(found)


def _facts(found: SessionDetail) -> None:
    """Draw when, where, and what is special."""
    with st.container(horizontal=True, gap="small"):
        if found.parent_id:
            st.badge("child session", color="blue")
        if found.fork_copies:
            st.badge(display.counted(found.fork_copies, "fork copy", "fork copies"), color="violet")
        if found.deleted_at:
            st.badge("deleted in OpenCode", color="gray")
        if found.archived_at:
            st.badge("archived", color="gray")
        if found.is_missing_in_newer:
            st.badge("only in older storage", color="orange")
        if found.is_placeholder:
            st.badge("no session record", color="orange")
    first, last = display.moment(found.created_at), display.moment(found.last_message_at)
    times = f"Started {first}, last message {last} ({data.zone()})"
    project = found.project_name or (found.project_id or "")[:8] or display.MISSING
    client = f" · OpenCode {found.client_version}" if found.client_version else ""
    st.text(f"{times}\nProject {project}{client}")


def _numbers(found: SessionDetail) -> None:
    """Draw what happened and what was used."""
    with st.container(key="detail_kpis"):
        columns = st.columns(4, gap="small")
    for column, (label, value) in zip(
        columns,
        (
            ("Active time", display.duration(found.active_ms)),
            ("Exchanges", display.count(found.user_messages)),
            ("Tool calls", display.count(found.tool_calls)),
            ("Errors", display.count(found.failed_tool_calls + found.message_errors)),
        ),
        strict=True,
    ):
        column.metric(label, value)
    styled, config = tables.session_numbers(found)
    st.dataframe(
        styled, key="detail_numbers", hide_index=True, column_config=config, height="content", alt="Tokens and cost"
    )
    notes = []
    if found.unrecorded_messages:
        notes.append(f"{display.counted(found.unrecorded_messages, 'message')} without a recorded cost")
    if found.missing_usage_messages:
        notes.append(f"{display.counted(found.missing_usage_messages, 'message')} whose provider sent no usage")
    if notes:
        st.caption(f"Not in these numbers: {' · '.join(notes)}.")


def _models(session_id: str) -> None:
    """Draw what each agent used on each model."""
    rows = data.load(sessions.session_models, session_id)
    if not rows:
        return
    ask = data.source(sessions.session_models, session_id)
    _headed(
        "By agent and model",
        "detail_models_csv",
        lambda: export.session_models_csv(ask(), session_id),
        export.plain_name(f"opencode-session_{session_id}_models"),
    )
    styled, config = tables.session_models(rows)
    st.dataframe(
        styled,
        key="detail_models",
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content",
        alt="By agent and model",
    )


def _children(session_id: str, found: SessionDetail) -> None:
    """Draw the sessions that this one delegated to."""
    rows = data.load(sessions.child_sessions, session_id) if found.child_sessions else []
    if not rows:
        return
    ask = data.source(sessions.child_sessions, session_id)
    _headed(
        display.counted(len(rows), "child session"),
        "detail_children_csv",
        lambda: export.child_sessions_csv(ask()),
        export.plain_name(f"opencode-session_{session_id}_children"),
    )
    styled, config = tables.child_sessions(rows)
    key = tables.key("detail_children", session_id)
    st.dataframe(
        styled,
        key=key,
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(rows) <= 10 else 380,
        alt="Child sessions",
        selection_mode="single-row",
        on_select=lambda: _open([row.session_id for row in rows], key),
    )


def _headed(title: str, key: str, make: Callable[[], bytes], file_name: str) -> None:
    """Head a table: its title, and its download at the other end of the line."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{title}**", width="content")
        st.download_button(
            "CSV",
            data=export.safely(make),
            file_name=file_name,
            mime="text/csv",
            key=key,
            icon=":material/download:",
            on_click="ignore",
        )


def _ids(found: SessionDetail) -> None:
    """Draw what one may want to copy."""
    st.caption("Session id")
    st.code(found.session_id, language=None)
    if found.parent_id:
        st.caption("Parent session id")
        st.code(found.parent_id, language=None)
        st.button(
            "Open parent session",
            key="open_parent",
            icon=":material/arrow_upward:",
            on_click=_go,
            args=(found.parent_id,),
        )
    if found.directory:
        st.caption("Folder")
        st.code(found.directory, language=None)


def _open(ids: list[str], table_key: str) -> None:
    """Open the selected session, from a callback."""
    number = tables.selected(table_key)
    if number is not None and number < len(ids):
        _go(ids[number])


def _go(session_id: str) -> None:
    """Open a session, from a callback."""
    st.query_params["session"] = session_id


def _close() -> None:
    """Forget which session was open, from a callback."""
    st.query_params.pop("session", None)
    st.session_state[_CLOSED] = st.session_state.get(_CLOSED, 0) + 1


def _page(of: tuple[Scope, bool, str], pages: int) -> int:
    """Return the page of the list that is asked for; the first one again when filters or order change."""
    if st.session_state.get("page_of") != of:
        if "page_of" in st.session_state:
            st.session_state["page"] = 1
        st.session_state["page_of"] = of
    asked = st.session_state.get("page") or st.query_params.get("page") or 1
    # The widget shows the first page for one that does not exist; so does the table.
    return int(asked) if str(asked).isdecimal() and 1 <= int(asked) <= pages else 1
