"""The pieces of the SQL page."""

from collections.abc import Sequence

import pyarrow
import streamlit as st

from pages.ui import charts, data, display, export, sql_chart, sql_tables
from queries import console
from queries.console import Answer, Refusal
from queries.contract import Table
from queries.examples import EXAMPLES

# Streamlit's own formats leave four digits after the point, or make 510727.99999999994 of 510728.
_FRACTION = "%.12g"
_OUTCOME = "sql_outcome"
_QUERY = "query"


def editor() -> str:
    """Let the user write a query and run it; the address holds it.

    Opening an address never runs what it holds: whoever sent the link would choose what this machine works on.

    Returns:
        The query as it stands, run or not.
    """
    with st.container(horizontal=True, gap="small", key="sql_examples"):
        for number, example in enumerate(EXAMPLES):
            st.button(
                example.name,
                key=f"sql_example_{number}",
                icon=":material/lightbulb:",
                on_click=_take,
                args=(example.sql,),
                help="Writes this query into the field below. It does not run it.",
            )
    with st.form("sql_form", border=False):
        st.text_area(
            "Query",
            key=_QUERY,
            bind="query-params",
            height=220,
            placeholder="SELECT * FROM spend LIMIT 10",
            help="One SELECT, EXPLAIN, DESCRIBE, SHOW or SUMMARIZE, in DuckDB's SQL. Times in the index are UTC.",
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            is_asked = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", key="sql_run")
            st.caption(
                f"Or Ctrl+Enter. At most {console.MAX_S:.0f} s and {display.count(console.MAX_ROWS)} rows. "
                "The address of this page keeps the query: a link shows it, and never runs it.",
                width="stretch",
            )
    query = str(st.session_state.get(_QUERY) or "")
    if is_asked:
        with st.skeleton(height=240):
            st.session_state[_OUTCOME] = (query, data.ask_apart(query))
    return query


def outcome(query: str) -> Answer | Refusal | None:
    """Return what became of a query. None: it was not run yet, or was changed since."""
    match st.session_state.get(_OUTCOME):
        case (asked, (Answer() | Refusal()) as found) if asked == query:
            return found
    return None


def show(found: Answer | Refusal) -> None:
    """Draw what became of the query."""
    if isinstance(found, Refusal):
        st.error("This query was not answered.", icon=":material/block:")
        st.code(found.reason, language=None, wrap_lines=True)
        return
    with st.container(border=True, key="sql_result"):
        _result(found)
    if found.rows.num_rows and (numbers := sql_chart.numeric(found.rows)):
        with st.container(border=True, key="sql_chart"):
            _chart(found.rows, numbers)


def tables() -> None:
    """Describe the tables, one at a time."""
    known = {table.name: table for table in data.tables()}
    st.subheader("Tables", anchor=False)
    with st.container(key="sql_tables"):
        name = st.selectbox("Table", list(known), index=list(known).index("spend") if "spend" in known else 0)
        if name:
            _table(known[name])


def _take(sql: str) -> None:
    """Write a query into the field, from a button."""
    st.session_state[_QUERY] = sql


def _table(table: Table) -> None:
    """Describe a table."""
    st.text(table.meaning)
    stem = export.plain_stem(f"opencode-columns_{table.name}")
    export.offer(lambda: sql_tables.columns(table), stem, "sql_columns_export", f"Columns of {table.name}")
    st.dataframe(
        {
            "Column": [column.name for column in table.columns],
            "Type": [column.type for column in table.columns],
            "Meaning": [column.meaning for column in table.columns],
        },
        key=f"sql_table_{table.name}",
        hide_index=True,
        height=460,
        column_config={
            "Column": st.column_config.TextColumn(width=150),
            "Type": st.column_config.TextColumn(width=95),
            "Meaning": st.column_config.TextColumn(width=400),
        },
        alt=f"Columns of {table.name}",
    )
    st.caption("Times are UTC, tokens counts, costs US dollars. docs/metrics.md tells what each number means.")


def _result(found: Answer) -> None:
    """Draw the rows and their download."""
    rows = found.rows
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(_summary(found), width="content")
        export.offer(lambda: sql_tables.exported(rows), "opencode-query", "sql_export", "Result of the query")
    shown = sql_tables.shown(rows)
    st.dataframe(
        shown,
        key="sql_rows",
        hide_index=True,
        placeholder=display.MISSING,
        height="content" if rows.num_rows <= 12 else 460,
        column_config={name: st.column_config.NumberColumn(format=_FRACTION) for name in sql_tables.fractions(shown)},
        alt="Result of the query",
    )


def _summary(found: Answer) -> str:
    """Say how much was found, where it ends, and of what state of the index."""
    rows = found.rows
    limits = []
    if found.is_cut:
        limits.append("the result was cut here, there is more")
    if rows.num_rows > sql_tables.SHOWN_ROWS:
        limits.append(f"the first {display.count(sql_tables.SHOWN_ROWS)} are shown")
    if sql_tables.longest(rows) > sql_tables.SHOWN_CHARS:
        limits.append(f"texts are shown up to {sql_tables.SHOWN_CHARS} characters")
    count = display.counted(rows.num_rows, "row")
    size = f"{count} ({'; '.join(limits)})" if limits else count
    return (
        f"{size} · {display.duration(found.duration_ms)} · data version {display.count(found.revision)} · times in UTC"
    )


def _chart(rows: pyarrow.Table, numbers: Sequence[str]) -> None:
    """Let the user choose what to draw, and draw it."""
    names = rows.column_names
    with st.container(horizontal=True, gap="small", key="sql_axes"):
        x = st.selectbox("Along", names, key="sql_x", width=220)
        second = len(numbers) > 1 and numbers[0] == names[0]  # it is what the first choice draws along
        y = st.selectbox("Amount", numbers, index=int(second), key="sql_y", width=220)
        kind = st.segmented_control("Chart", sql_chart.KINDS, default=sql_chart.KINDS[0], key="sql_kind", required=True)
    if not x or not y:
        return
    st.plotly_chart(
        sql_chart.draw(rows, x, y, str(kind)),
        key="sql_figure",
        config=charts.CONFIG,
        alt="Chart of the result; the table above has the numbers",
        theme="streamlit",
        height="content",
    )
    if rows.num_rows > charts.MAX_MARKS:
        st.caption(f"The first {charts.MAX_MARKS} rows are drawn.")
