"""The pieces of the Benchmarks page."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import benchmark_charts, charts, data, display, export, states, tables
from queries import benchmarks
from queries.benchmarks import GOAL_MS, BenchmarkRun, Comparison, MeasuredPlan

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_EVERYWHERE = "all pages"
_BEFORE = {"index scans off": benchmarks.NO_INDEX, "the story's schema": benchmarks.STORY}
_MEANINGS = {
    "index scans off": "The same file and the same query, with index scans switched off. Where rows lie in order, a "
    "scan of a few of them may be the faster way: then the index makes it slower, and it says so.",
    "the story's schema": "The same data in typed tables without keys and indexes, rows in no order, and nothing added "
    "up beforehand: the same numbers are asked of messages and parts.",
}
_TITLES = {"current": "Now", benchmarks.NO_INDEX: "Index scans off", benchmarks.STORY: "The story's schema"}


def load_runs() -> list[BenchmarkRun]:
    """Return the benchmarks, newest first."""
    return data.load(benchmarks.benchmark_runs)


def load(run: BenchmarkRun, before: str, page: str) -> list[Comparison]:
    """Return the queries of a benchmark, slowest first.

    Args:
        run: The benchmark.
        before: What they are compared with, a key of `_BEFORE`.
        page: Where they are run; all, if no query is run there.
    """
    rows = data.load(benchmarks.comparisons, run.run_id, _BEFORE[before])
    return [row for row in rows if row.page == page] or rows


def none_yet() -> None:
    """Say that nothing was measured yet, and how to."""
    with st.container(border=True, key="benchmark_none"):
        st.subheader("No benchmark yet", anchor=False)
        st.text("On your own data; the indexer may run meanwhile:")
        st.code(states.BENCHMARK, language=None, wrap_lines=True)
        st.text("On made-up data of any size, in a temporary folder:")
        st.code(f"{states.BENCHMARK} --rows 100000", language=None, wrap_lines=True)
        st.text(
            "Every query of these pages is timed as it is, without index scans, and on a plain schema. The results "
            "stay in this index, and appear here."
        )


def choose(runs: Sequence[BenchmarkRun], tz: str) -> tuple[BenchmarkRun, str, str]:
    """Let a benchmark be chosen, what to compare with, and a page.

    Args:
        runs: The benchmarks, newest first.
        tz: Zone of the times.

    Returns:
        The benchmark, a key of `_BEFORE`, and the name of a page or of all.
    """
    names = {run.run_id: _named(run, tz) for run in runs}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="benchmark_choices"):
        chosen = st.selectbox("Benchmark", list(names), format_func=lambda run_id: names[run_id], width=340)
        before = st.segmented_control(
            "Compared with",
            list(_BEFORE),
            default=next(iter(_BEFORE)),
            required=True,
            key="before",
            bind="query-params",
        )
        run = next(run for run in runs if run.run_id == chosen)
        pages = sorted({row.page for row in data.load(benchmarks.comparisons, run.run_id, benchmarks.NO_INDEX)})
        page = st.selectbox("Queries of", [_EVERYWHERE, *pages], width=160)
    return run, str(before), page


def about(run: BenchmarkRun, tz: str) -> None:
    """Say what was measured, on what."""
    kind = "Your own data" if run.data == "own" else "Made-up data"
    st.text(
        f"{kind}: {display.counted(run.parts, 'part')}, {display.counted(run.messages, 'message')}, "
        f"{display.counted(run.sessions, 'session')}, {display.size(run.database_bytes)}. "
        f"{run.machine}. {run.versions}. Up to {display.counted(run.runs, 'warm run')} each, in "
        f"{display.duration((run.ended_at - run.started_at).total_seconds() * 1000)}, "
        f"{display.moment(display.local(run.started_at, tz))} {tz}."
    )


def figures(rows: Sequence[Comparison], before: str) -> None:
    """Draw the headline numbers."""
    with st.container(key="kpis"):
        fast, statements, speed, slower = st.columns(4, gap="small")
    counted = [row for row in rows if not row.is_text_search]
    fast.metric(
        f"Under {GOAL_MS:.0f} ms",
        f"{sum(row.median_ms < GOAL_MS for row in counted)} of {len(counted)}",
        border=True,
        help="Calls whose median is below the goal, warm. A call is all that a page asks at once: it may run several "
        "statements, and reads every row into the page's own objects. Text search, which reads all texts, is left out.",
    )
    statements.metric(
        f"Single statements under {GOAL_MS:.0f} ms",
        f"{sum(row.slowest_ms < GOAL_MS for row in counted)} of {len(counted)}",
        border=True,
        help="Calls whose slowest statement, by itself, has a median below the goal.",
    )
    speed.metric(
        "Typical speed-up",
        display.times(median(row.speedup for row in rows)),
        border=True,
        help=f"Median over the queries, against {before}. {_MEANINGS[before]}",
    )
    slower.metric(
        "Slower than before",
        f"{sum(row.speedup < 1 for row in rows)} of {len(rows)}",
        border=True,
        help=f"Queries that take longer than with {before}, by however little: a few percent are chance.",
    )


def chart(rows: Sequence[Comparison], before: str) -> None:
    """Draw the slowest queries, now and before."""
    shown = min(len(rows), benchmark_charts.MAX_QUERIES)
    title = f"The slowest {shown} of {len(rows)} queries" if shown < len(rows) else "Median of each query"
    st.markdown(f"**{title}**", help=_MEANINGS[before])
    st.caption(
        "Median of the warm runs, logarithmic. A triangle: slower now than before. The table has all, with the p95."
    )
    st.plotly_chart(
        benchmark_charts.dumbbells(rows, before),
        key="benchmark_dumbbells",
        config=charts.CONFIG,
        alt=f"Median duration of each query now and with {before}, on a logarithmic axis; the table has the numbers",
        theme="streamlit",
        height="content",
    )


def table(rows: Sequence[Comparison], run: BenchmarkRun, before: str) -> str | None:
    """List all queries.

    Args:
        rows: What to list.
        run: The benchmark.
        before: What they are compared with.

    Returns:
        The query whose row is ticked. None: none is.
    """
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Every query, against {before}**", width="content")
        ask = data.source(benchmarks.comparisons, run.run_id, _BEFORE[before])
        tz = data.zone()
        export.offer(
            lambda: export.rows_table(ask(), tz, ("speedup",)),
            export.plain_stem(f"opencode-benchmark_{run.started_at:%Y-%m-%d}_{_BEFORE[before]}"),
            "benchmark_export",
            f"Every query, against {before}",
        )
    styled, config = _laid_out(rows, before)
    shown = st.dataframe(
        styled,
        key=tables.key("benchmark_rows", run.run_id, before, [row.query for row in rows]),
        hide_index=True,
        column_config=config,
        height="content" if len(rows) <= 14 else 500,
        alt=f"Every query, against {before}",
        selection_mode="single-row",
        on_select="rerun",
    )
    st.caption("Tick a row to see how DuckDB ran it, and its history.")
    ticked = shown["selection"]["rows"]
    return rows[ticked[0]].query if ticked and ticked[0] < len(rows) else None


def plans(run: BenchmarkRun, query: str, before: str) -> None:
    """Show how a query ran: as it is, and beside it as it is compared."""
    found = {each.variant: each for each in data.load(benchmarks.measured_plans, run.run_id, query)}
    now, other = found["current"], found[_BEFORE[before]]
    st.markdown(f"**{display.md(query)}: EXPLAIN ANALYZE**", help="An operator a line, what feeds it further in.")
    st.caption("▶ marks a scan by an index. Times of single operators are of one run.")
    left, right = st.columns(2, gap="medium")
    for place, each in ((left, now), (right, other)):
        with place:
            _plan(each)
    is_same = now.sql == other.sql
    with st.expander("SQL" if is_same else "SQL, now and before", key="benchmark_sql"):
        st.code(now.sql, language="sql", wrap_lines=True)
        if not is_same:
            st.text(f"{_TITLES[other.variant]}, where the same numbers come from messages and parts:")
            st.code(other.sql, language="sql", wrap_lines=True)


def history(query: str, tz: str) -> None:
    """List a query's results in all benchmarks."""
    rows = data.load(benchmarks.past_results, query)
    ask = data.source(benchmarks.past_results, query)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{display.md(query)}: history**", width="content")
        export.offer(
            lambda: export.rows_table(ask(), tz),
            export.plain_stem(f"opencode-benchmark_{query}"),
            "benchmark_history_export",
            f"{query}: history",
        )
    cells: tables.Columns = {"When": tables.times((row.started_at for row in rows), tz)}
    cells["Data"] = [row.data for row in rows]
    cells["Parts"] = tables.ints(row.parts for row in rows)
    cells["Now"] = tables.floats(row.median_ms for row in rows)
    cells["p95"] = tables.floats(row.p95_ms for row in rows)
    cells["No index"] = tables.floats(row.no_index_ms for row in rows)
    cells["Story"] = tables.floats(row.story_ms for row in rows)
    cells["Versions"] = [display.one_line(row.versions) for row in rows]
    cells["Machine"] = [display.one_line(row.machine) for row in rows]
    durations = dict.fromkeys(("Now", "p95", "No index", "Story"), display.fine_duration)
    config: tables.Config = {
        "When": st.column_config.DatetimeColumn(format="MMM D, YYYY HH:mm", width=140, help=f"In {display.md(tz)}."),
        "Now": tables.number("Median", "Of the benchmark, as the query was then."),
        "p95": tables.number("p95", "19 of 20 runs were this fast or faster."),
        "No index": tables.number("Index scans off", "Median of the same query on the same file."),
        "Story": tables.number("Story's schema", "Median on plain tables in no order."),
        "Versions": st.column_config.TextColumn(width=260),
        "Machine": st.column_config.TextColumn(width=260),
    }
    st.dataframe(
        tables.styled(cells, {"When": display.moment, "Parts": display.count, **durations}),
        key=tables.key("benchmark_history_rows", query),
        hide_index=True,
        column_config=config,
        placeholder=display.MISSING,
        height="content" if len(rows) <= 14 else 500,
        alt="The query in all benchmarks",
    )


def _named(run: BenchmarkRun, tz: str) -> str:
    """Name a benchmark in a list."""
    at = display.moment(display.local(run.started_at, tz))
    return f"{at} · {run.data} data, {display.tokens(run.parts)} parts"


def _laid_out(rows: Sequence[Comparison], before: str) -> "tuple[Styler, tables.Config]":
    """Lay out the table of queries."""
    cells: tables.Columns = {"Query": [display.one_line(row.query) for row in rows]}
    cells["Page"] = [row.page for row in rows]
    cells["Now"] = tables.floats(row.median_ms for row in rows)
    cells["p95"] = tables.floats(row.p95_ms for row in rows)
    cells["Before"] = tables.floats(row.before_median_ms for row in rows)
    cells["Before p95"] = tables.floats(row.before_p95_ms for row in rows)
    cells["Speed-up"] = tables.floats(row.speedup for row in rows)
    cells["Change"] = [_changed(row) for row in rows]
    cells["Slowest"] = tables.floats(row.slowest_ms for row in rows)
    cells["Statements"] = tables.ints(row.statements for row in rows)
    cells["Rows"] = tables.ints(row.rows for row in rows)
    cells["Cold"] = tables.floats(row.cold_ms for row in rows)
    cells["Runs"] = tables.ints(row.runs for row in rows)
    durations = dict.fromkeys(("Now", "p95", "Before", "Before p95", "Slowest", "Cold"), display.fine_duration)
    counts = dict.fromkeys(("Statements", "Rows", "Runs"), display.count)
    config: tables.Config = {
        "Query": st.column_config.TextColumn(width=280, help="The function that the page calls, and what it is asked."),
        "Page": st.column_config.TextColumn(width=90),
        "Now": tables.number("Median", f"Of the warm runs. The goal is {GOAL_MS:.0f} ms."),
        "p95": tables.number("p95", "19 of 20 runs were this fast or faster."),
        "Before": tables.number("Before, median", f"With {before}. {_MEANINGS[before]}"),
        "Before p95": tables.number("Before, p95", f"With {before}."),
        "Speed-up": tables.number("Speed-up", "Before divided by now: below 1 it is slower now."),
        "Change": st.column_config.TextColumn(
            "Plan", width=150, help="Whether a scan goes by an index, before and now."
        ),
        "Slowest": tables.number("Slowest statement", "Median of the slowest one of the call's statements."),
        "Statements": tables.number("Statements", "That the call runs."),
        "Rows": tables.number("Rows", "Of all results."),
        "Cold": tables.number("Cold", "The first time on a connection that has read nothing yet."),
        "Runs": tables.number("Runs", "Warm ones. Slow queries have fewer."),
    }
    return tables.styled(cells, {**durations, **counts, "Speed-up": display.times}), config


def _changed(row: Comparison) -> str:
    """Say how the plan changed."""
    before, now = ("index scan" if used else "scan" for used in (row.before_is_index_used, row.is_index_used))
    return f"{before} → {now}" if before != now else f"{now}, as before"


def _plan(each: MeasuredPlan) -> None:
    """Show one plan."""
    st.text(
        f"{_TITLES[each.variant]}: {display.fine_duration(each.median_ms)} median, "
        f"{display.fine_duration(each.p95_ms)} p95, {display.fine_duration(each.cold_ms)} cold, "
        f"{display.counted(each.runs, 'run')}, {display.counted(each.rows, 'row')}, "
        f"{'with' if each.is_index_used else 'no'} index scan"
    )
    # No height: what scrolls inside cannot be reached by keyboard. Wrapped for the same reason.
    st.code(each.plan, language=None, wrap_lines=True)
