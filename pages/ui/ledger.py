"""The pieces of the page "Why this number"."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import blocks, data, display, export, filters, frame, ledger_tables, ledger_words, links, spend, tables
from pages.ui.ledger_words import BRIDGE, CHECKS, LEFT_OUT, WORDS
from pages.ui.tables import Config
from queries import costs, data_quality, ledger, sessions
from queries.costs import UnpricedModel
from queries.ledger import LedgerLine
from queries.period import Scope

ROWS, NAMED_MODELS = 100, 8
_SKELETON_PX = 620  # of the totals and the first table
Lines = Mapping[str, LedgerLine]
_LINE = "line"
_Layout = Callable[[Sequence[LedgerLine]], tuple[Styler, Config]]


def scope() -> Scope:
    """Return what the ledger is of: one session, else what the filter bar says."""
    session_id = frame.ledger_session()
    return Scope(tz=data.zone(), session_id=session_id) if session_id else filters.scope()


def heading(scope: Scope) -> bool:
    """Head the page.

    Returns:
        Whether there is something to explain: an unknown session is said to be one.
    """
    if not scope.session_id:
        frame.heading("Why this number", filters.range_words(scope))
        return True
    found = data.load(sessions.session_detail, scope.session_id, scope.tz)
    frame.heading("Why this number", "one session, without its child sessions")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="ledger_session"):
        if found:
            st.text(tables.session_title(found.title, found.deleted_at is not None), width="content")
            st.page_link(
                frame.TIMELINE,
                label="Timeline",
                icon=":material/view_timeline:",
                query_params=links.address(scope.session_id),
            )
        else:
            st.text("The index has no such session.", width="content")
        st.button(
            "Everything instead",
            key="ledger_all",
            icon=":material/arrow_back:",
            type="tertiary",
            on_click=st.query_params.update,
            args=({"session": [], _LINE: []},),  # in no address then, in one step
        )
    return found is not None


def load(scope: Scope) -> Lines:
    """Add every line up: of a million parts, that may take a second or two."""
    with st.skeleton(height=_SKELETON_PX):
        return {line.key: line for line in data.load(ledger.ledger, scope)}


def is_empty(lines: Lines) -> bool:
    """Tell whether no answer is in the scope."""
    return not any(lines[key].rows for key in ("recorded", "unrecorded", "copies"))


def figures(lines: Lines) -> None:
    """Draw the totals that the lines explain, and whether all sources agree on them."""
    with st.container(key="kpis"):
        cost, tokens, listed = st.columns(3, gap="small")
    recorded, used, priced = lines["recorded"], lines["tokens_slices"], lines["list_slices"]
    cost.metric("Cost, recorded (USD)", display.usd(recorded.this_value), border=True, help=WORDS["recorded"].meaning)
    tokens.metric("Tokens", display.tokens(_number(used)), border=True, help="Every token once.")
    listed.metric(
        "List price (USD)",
        display.usd(costs.known_list_usd(priced.this_value, lines["unpriced"].rows)),
        border=True,
        help="What the tokens cost at the prices of their day; models without a known price are not in it.",
    )
    _summary(list(lines.values()))


def checks(lines: Lines, scope: Scope) -> None:
    """List the lines that compare stored sources."""
    shown = [lines[key] for key in CHECKS]
    with st.container(border=True, key="ledger_checks"):
        with blocks.headed(
            "Independent sums", "Each line adds up the same thing from two places that are stored apart."
        ):
            _export(scope)
        _table("ledger_checks_rows", "Independent sums", shown, ledger_tables.checks)
        st.caption("Tick a line to see the rows that it is made of; those that differ come first.")


def bridge(lines: Lines, scope: Scope) -> None:
    """Explain the difference between the recorded cost and the list price."""
    shown = [lines[key] for key in BRIDGE]
    with st.container(border=True, key="ledger_bridge"):
        blocks.headed("Recorded cost and list price")
        _table("ledger_bridge_rows", "From the recorded cost to the list price", shown, ledger_tables.bridge)
        unpriced = data.load(costs.unpriced_models, scope)
        if unpriced:
            st.text(_without_price(unpriced))


def left_out(lines: Lines) -> None:
    """List what the totals hold, or not."""
    shown = [lines[key] for key in LEFT_OUT]
    with st.container(border=True, key="ledger_left_out"):
        with blocks.headed("What is in these numbers, and what is not"):
            if lines["unreadable"].rows:
                blocks.link(frame.INDEXER, "Unreadable documents on Indexer")
        _table("ledger_left_out_rows", "What is in these numbers, and what is not", shown, ledger_tables.left_out)
        st.caption(spend.NEVER_RECORDED)


def rows(lines: Lines, scope: Scope) -> None:
    """List the rows of the line that the address names, if any. A ticked row opens its event."""
    key = _chosen()
    if key is None:
        return
    line, words = lines[key], WORDS[key]
    title = f"{words.title}, row by row"
    with st.container(border=True, key="ledger_rows"):
        ask = data.source(ledger.ledger_rows, key, scope)
        with blocks.headed(title[0].upper() + title[1:], words.meaning or None):
            export.offer_rows(ask, scope, f"ledger_{key}", "ledger_rows_export", title, ("difference",))
            st.button("Close", key="ledger_close", icon=":material/close:", type="tertiary", on_click=_choose)
        if (why := ledger_words.reason(line)) and line.verdict != "unknown":
            st.text(f"Nothing to compare: {why}.")
            return
        if not line.rows:
            st.text("There is none.")
            return
        if words.against:
            st.caption(f"On the pages, against {words.against}. {words.meaning}")
        found = data.load(ledger.ledger_rows, key, scope, ROWS)
        styled, config = ledger_tables.rows(found, line, scope.tz)
        places = [(row.session_id, row.trace_id) for row in found if row.session_id]
        table_key = tables.key("ledger_rows_rows", key, scope, found)
        if places:  # all rows of a line have a session, or none has
            blocks.openable(styled, config, table_key, title, lambda: links.open_row(places, table_key))
        else:
            blocks.table(styled, config, table_key, title)
        st.caption(f"{_shown(len(found), line)}{' Tick a row to see it in its timeline.' if places else ''}")


def quality(scope: Scope) -> None:
    """Rate the data of each version of the client."""
    found = data.load(data_quality.version_quality, scope)
    ask = data.source(data_quality.version_quality, scope)
    meaning = (
        "Score: of all answers, those whose sums agree, whose usage is recorded, whose list price is known, and that "
        "could be read in full. Documents that could not be read at all are in no version."
    )
    title = "Data quality, by the version of the client"
    with st.container(border=True, key="ledger_quality"):
        with blocks.headed(title, meaning):
            export.offer_rows(ask, scope, "data-quality", "ledger_quality_export", title, ("score",))
        styled, config = ledger_tables.versions(found)
        blocks.table(styled, config, tables.key("ledger_quality_rows", scope, found), title)


def _summary(lines: Sequence[LedgerLine]) -> None:
    """Say how many of the compared sums agree, and how many cannot be compared under these filters."""
    compared = [line for line in lines if line.verdict in ("agrees", "differs")]
    wrong = sum(line.verdict == "differs" for line in compared)
    filtered = sum(line.verdict == "filtered" for line in lines)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="ledger_summary"):
        if wrong:
            of = f"{wrong} of {display.counted(len(compared), 'independent sum')}"
            st.badge(f"{of} {'differs' if wrong == 1 else 'differ'}", icon=":material/cancel:", color="red")
        elif compared:
            all_ = f"All {len(compared)} independent sums" if len(compared) != 1 else "The one independent sum"
            st.badge(f"{all_} agree{'s' if len(compared) == 1 else ''}", icon=":material/check_circle:", color="green")
        if unknown := sum(line.verdict == "unknown" for line in lines):
            st.badge(f"{unknown} known in neither source", icon=":material/question_mark:", color="gray")
        if filtered:
            st.badge(f"{filtered} not comparable with this filter", icon=":material/filter_alt:", color="gray")


def _table(name: str, title: str, shown: Sequence[LedgerLine], layout: _Layout) -> None:
    """Draw lines as a table; a ticked one is the chosen one."""
    keys = [line.key for line in shown]
    chosen = _chosen()
    styled, config = layout(shown)
    # a tick in another table takes this one's back: the table then begins anew
    key = tables.key(name, shown, chosen is not None and chosen not in keys)
    ticked = keys.index(chosen) if chosen in keys else None
    blocks.openable(styled, config, key, title, lambda: _tick(keys, key), ticked)


def _tick(keys: Sequence[str], table_key: str) -> None:
    """Choose the line of the ticked row, from a callback. A tick that is taken back chooses none."""
    number = tables.selected(table_key)
    _choose(keys[number] if number is not None and number < len(keys) else None)


def _choose(key: str | None = None) -> None:
    """Put a line into the address, or none, from a callback."""
    if key is None:
        st.query_params.pop(_LINE, None)
    else:
        st.query_params[_LINE] = key


def _chosen() -> str | None:
    """Return the line that the address names. None: none that there is."""
    asked = st.query_params.get(_LINE)
    return asked if asked in WORDS else None


def _export(scope: Scope) -> None:
    """Offer all lines."""
    ask = data.source(ledger.ledger, scope)
    export.offer_rows(ask, scope, "ledger", "ledger_export", "All lines of this page", ("difference",))


def _number(line: LedgerLine) -> int:
    """Return what a line counts."""
    return int(line.this_value or 0)


def _without_price(models: Sequence[UnpricedModel]) -> str:
    """Name the models whose list price is not known."""
    named = [
        f"{display.one_line(row.model, 60)} "
        f"({display.counted(row.messages, 'answer')}, {display.tokens(row.tokens)} tokens)"
        for row in models[:NAMED_MODELS]
    ]
    more = f" and {display.count(len(models) - NAMED_MODELS)} more" if len(models) > NAMED_MODELS else ""
    return f"Without a known list price: {', '.join(named)}{more}."


def _shown(shown: int, line: LedgerLine) -> str:
    """Say how many of the rows of a line are shown."""
    if shown == line.rows:
        return f"{display.counted(shown, 'row')}."
    return f"The first {display.count(shown)} of {display.count(line.rows)} rows; all are in the export."
