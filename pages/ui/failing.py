"""The pieces of the Errors page."""

import json
from collections.abc import Sequence

import streamlit as st

from pages.ui import (
    blocks,
    charts,
    data,
    display,
    export,
    failure_tables,
    filters,
    frame,
    indexing_tables,
    links,
    tables,
    time_axis,
)
from queries import costs, exported_tables, failures, health, indexing
from queries.failures import Choice, EndedSpend, FailureExample, FailurePattern, FailureRow, FailureTotals
from queries.period import Scope

TABS = ("What failed", "Unreadable documents")
PATTERN_ROWS, GROUP_ROWS, EXAMPLES = 100, 50, 20
_EXAMPLE_CHARACTERS = 6_000  # of one report: twenty of them are sent
_RATES = ("failed_answers_per_1000", "failed_calls_per_1000")


def draw(scope: Scope) -> None:
    """Draw everything about what failed."""
    choice = _choice()
    totals = data.load(failures.failure_totals, scope, choice)
    if not totals.answers + totals.calls + totals.aborted_answers + totals.unfinished_answers:
        filters.nothing_matches("errors")
        return
    filters.warn_unknown()
    ended = data.load(failures.ended_spend, scope, choice)
    _figures(totals, ended, choice)
    _left_out(totals, choice)
    links.why()
    if not totals.errors and not ended:
        st.text("Nothing failed here.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left.container(border=True, height="stretch", key="errors_over_time"):
        _over_time(scope, choice, totals)
    with right.container(border=True, height="stretch", key="errors_spend"):
        _spend(scope, choice, ended)
    with st.container(border=True, key="errors_groups"):
        _breakdown(scope, choice)
    with st.container(border=True, key="errors_patterns"):
        pattern = _patterns(scope, choice)
    with st.container(border=True, key="errors_examples"):
        _examples(scope, choice, pattern)
    with st.container(border=True, key="errors_fields"):
        _fields(scope, choice)
    with st.container(border=True, key="errors_recovered"):
        _recovered(scope, choice)


def unreadable(tz: str) -> None:
    """List the documents that the indexer could not read, or only in part."""
    rows = data.load(indexing.document_problems, PATTERN_ROWS, 0)
    ask = data.source(indexing.document_problems)
    title = "Documents that could not be read"
    with st.container(border=True, key="errors_unread"):
        with blocks.headed(title, "Filters do not apply: what is unreadable has no time."):
            if rows:
                blocks.link(frame.INDEXER, "Read them again on Indexer")
                export.offer(
                    lambda: exported_tables.problems(ask(), tz),
                    "opencode-unreadable-documents",
                    "errors_unread_export",
                    title,
                )
        if not rows:
            st.text("None: every document was read in full.")
            return
        frame_, config = indexing_tables.problems(rows, tz)
        st.dataframe(
            frame_,
            key=tables.key("errors_unread_rows", [row.key for row in rows]),
            hide_index=True,
            column_config=config,
            placeholder=display.MISSING,
            height="content" if len(rows) <= 12 else 460,
            alt=title,
        )
        more = (
            f" The first {PATTERN_ROWS} are shown; all are in the export, and on Indexer."
            if len(rows) == PATTERN_ROWS
            else ""
        )
        st.caption(f"What cannot be read is in no number here; what is read in part is, but for some values.{more}")


def _choice() -> Choice:
    """Let the user choose which failures count."""
    known = [entry.key for entry in data.load(failures.failure_ranks, "category")]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="errors_choice"):
        filters.choice("Causes", "category", known)
        with_aborted = st.toggle(
            "Count answers you cut short",
            key="aborted",
            bind="query-params",
            help="To stop an answer is not an error: it is left out of counts and rates unless you ask for it.",
        )
    chosen = tuple(st.session_state.get("category") or ())
    for name in chosen:
        if name not in known:
            st.caption(f"No data for cause {display.md(name)}")
    return Choice(categories=chosen, with_aborted=bool(with_aborted))


def _figures(totals: FailureTotals, ended: Sequence[EndedSpend], choice: Choice) -> None:
    """Draw the headline numbers."""
    with st.container(key="kpis"):
        errors, rate, cost, cause = st.columns(4, gap="small")
    errors.metric(
        "Errors",
        display.count(totals.errors),
        border=True,
        height="stretch",
        help=f"{display.counted(totals.failed_calls, 'failed tool call')} and "
        f"{display.counted(totals.failed_answers, 'answer')} that ended in an error, in "
        f"{display.counted(totals.sessions, 'session')}.",
    )
    rate.metric(
        "Errors per 1,000",
        display.per_1000(totals.per_1000),
        border=True,
        height="stretch",
        help=f"Of 1,000 finished answers and tool calls together: here {display.counted(totals.answers, 'answer')} and "
        f"{display.counted(totals.calls, 'finished call')}. Ten times the error rate of Overview, in percent, where no "
        "cause is chosen.",
    )
    cost.metric(
        "Spent on failed exchanges",
        display.usd(failures.spent(ended, choice.with_aborted)),
        border=True,
        height="stretch",
        help="USD as OpenCode recorded it, of whole exchanges that an error ended"
        + (", or you." if choice.with_aborted else ". Those that you cut short are not in it."),
    )
    cause.metric(
        "Most frequent cause",
        totals.top_category or display.MISSING,
        border=True,
        height="stretch",
        help=f"{totals.top_category}: {display.counted(totals.top_errors, 'error')} of {display.count(totals.errors)}."
        if totals.top_category
        else None,
    )


def _left_out(totals: FailureTotals, choice: Choice) -> None:
    """Name what the numbers do not hold. Nothing to name: no line."""
    left_out = []
    if totals.aborted_answers and not choice.with_aborted:
        left_out.append(f"{display.counted(totals.aborted_answers, 'answer')} that you cut short")
    if totals.unfinished_answers:
        left_out.append(f"{display.counted(totals.unfinished_answers, 'answer')} that never ended")
    if left_out:
        st.caption(f"Not in these numbers: {' and '.join(left_out)}.")


def _over_time(scope: Scope, choice: Choice, totals: FailureTotals) -> None:
    """Draw the failures over time, by what the user chooses."""
    head = st.container()
    by = _grouping("Errors over time by", "errors_course_by")
    is_ranked = by in failures.RANKED
    ranks = data.load(failures.failure_ranks, by) if is_ranked else data.load(costs.cost_ranks, by)
    step, points, axis = time_axis.follow(
        lambda step: data.load(failures.failure_series, by, step, scope, choice),
        lambda points: charts.fits(points, ranks),
        scope,
        (totals.first_at, totals.last_at),
    )
    ask = data.source(failures.failure_series, by, step, scope, choice)
    word = failure_tables.word(by)
    title = f"Errors per {step}, by {word}"
    with head, blocks.headed(title):
        export.offer(
            lambda: export.course_table(ask(), step, scope.tz),
            export.file_stem(f"errors-over-time_by-{word}", scope),
            "errors_course_export",
            title,
        )
    if not axis:
        st.text("Nothing failed at a known time.")
        return
    figure = charts.errors_over_time(points, axis, step, ranks, time_axis.today(scope.tz))
    blocks.chart(figure, "over_time", f"Stacked bars of the errors per {step}, by {word}. The table below has counts.")


def _spend(scope: Scope, choice: Choice, ended: Sequence[EndedSpend]) -> None:
    """List what exchanges used that an error ended."""
    ask = data.source(failures.ended_spend, scope, choice)
    meaning = (
        "Each exchange is charged once, as a whole, to the error that ended it: everything from its prompt on, also "
        "what went well before. Errors after which the work went on are not charged; they are at the end of the page."
    )
    with blocks.headed("What failed exchanges cost", meaning):
        if ended:
            export.offer_rows(
                ask,
                scope,
                "failed-exchanges",
                "errors_spend_export",
                "What failed exchanges cost",
                called=failure_tables.WORDS,
            )
    if not ended:
        st.text("No exchange ended in an error here.")
        return
    styled, config = failure_tables.spend(ended)
    blocks.table(styled, config, tables.key("errors_spend_rows", ended), "What failed exchanges cost")
    st.caption(failure_tables.spend_summary(ended))


def _breakdown(scope: Scope, choice: Choice) -> None:
    """Break the failures down. Selecting a row sets its filter; a tool opens its page."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            st.markdown("**Errors by**", width="content")
            by = _grouping("Errors by", "errors_by")
        ask = data.source(failures.failure_rows, by, scope, choice)
        word = failure_tables.word(by)
        title = f"Errors by {word}"
        export.offer_rows(ask, scope, f"errors_by-{word}", "errors_groups_export", title, _RATES)
    rows = data.load(failures.failure_rows, by, scope, choice)
    styled, config = failure_tables.groups(rows, by, scope.tz)
    key = tables.key("errors_groups_rows", by, scope, choice, [row.key for row in rows])
    blocks.openable(styled, config, key, title, lambda: _pick(by, rows, key))
    st.caption(
        f"{_denominators(by)} Tick a row to {'see its calls' if by == 'tool' else 'look at it alone'}.",
    )


def _grouping(label: str, key: str) -> str:
    """Let the user choose what errors are grouped by."""
    chosen = st.segmented_control(
        label,
        failures.GROUPINGS,
        default=failures.GROUPINGS[0],
        format_func=failure_tables.word,
        required=True,
        key=key,
        label_visibility="collapsed",
        wrap=True,
    )
    return str(chosen or failures.GROUPINGS[0])


def _denominators(by: str) -> str:
    """Say what rates are counted on."""
    match by:
        case "category":
            return "Rates: of 1,000 answers, and of 1,000 finished tool calls, of everything that the filters leave."
        case "tool":
            return "Rates: of 1,000 finished calls of the tool. Answers are a row of their own."
        case _:
            return f"Rates: of 1,000 answers, and of 1,000 finished tool calls, of the {by}."


def _pick(by: str, rows: Sequence[FailureRow], table_key: str) -> None:
    """Narrow the page to a row, from a callback."""
    number = tables.selected(table_key)
    name = rows[number].key if number is not None and number < len(rows) else None
    if name is None:
        return
    match by:
        case "tool":
            links.open_page(frame.TOOLS, {"tool": name})
        case "provider":
            known = data.load(health.names).models
            filters.choose("model", [model for model in known if model.startswith(f"{name}/")])
        case _:
            filters.choose(by, [name])


def _patterns(scope: Scope, choice: Choice) -> FailurePattern | None:
    """List what was reported, its variable pieces folded.

    Returns:
        The ticked row. None: none is.
    """
    rows = data.load(failures.failure_patterns, scope, choice, PATTERN_ROWS)
    ask = data.source(failures.failure_patterns, scope, choice)
    meaning = "One line of what was reported; numbers, ids, paths and addresses are folded, so that equal errors meet."
    with blocks.headed("Messages", meaning):
        export.offer_rows(
            ask, scope, "error-messages", "errors_patterns_export", "Messages", called=failure_tables.WORDS
        )
    if not rows:
        st.text("Nothing failed here.")
        return None
    styled, config = failure_tables.patterns(rows, scope.tz)
    key = tables.key("errors_patterns_rows", scope, choice, rows)
    number = blocks.openable(styled, config, key, "Messages", lambda: None)
    more = f"The {PATTERN_ROWS} most frequent; all are in the export. " if len(rows) == PATTERN_ROWS else ""
    st.caption(f"{more}Tick a row to see its newest examples below.")
    return rows[number] if number is not None and number < len(rows) else None


def _examples(scope: Scope, choice: Choice, of: FailurePattern | None) -> None:
    """Show the newest failures with all that was reported, each with the way to its event."""
    rows = data.load(failures.failure_examples, scope, choice, of, EXAMPLES)
    ask = data.source(failures.failure_examples, scope, choice, of)
    title = "Newest errors" if of is None else "Newest errors with this message"
    with blocks.headed(title):
        export.offer_rows(ask, scope, "errors", "errors_examples_export", title, called=failure_tables.WORDS)
    if of is not None:
        st.text(f"{of.name}: {display.one_line(of.pattern, 300) or '(nothing reported)'}")
    if not rows:
        st.text("OpenCode deleted them: their reports are gone." if of else "Nothing failed here.")
    for row in rows:
        _example(row, scope.tz)


def _example(row: FailureExample, tz: str) -> None:
    """Show one failure, folded."""
    at = display.moment(display.local(row.failed_at, tz)) if row.failed_at else "unknown time"
    line = _unlinked(display.one_line(row.line, 140) or "(nothing reported)")
    with st.expander(f"{display.md(at)} · **{display.md(display.one_line(row.name, 40))}** · {line}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            where = (row.category, row.agent, row.model, tables.session_title(row.session_title, False))
            st.text(" · ".join(display.one_line(word, 80) for word in where if word), width="content")
            st.button(
                "Open in timeline",
                key=f"errors_open_{row.failure_id}",
                icon=":material/view_timeline:",
                type="tertiary",
                on_click=links.open_session,
                args=(row.session_id, row.failure_id),
            )
        st.code(_report(row.error_data), language=None, wrap_lines=True)


def _unlinked(text: str) -> str:
    """Escape a text for a label; Markdown makes links of bare addresses, which no backslash prevents."""
    return display.md(text).replace("://", ":\u200b//").replace("www.", "www\u200b.")


def _report(error_data: str | None) -> str:
    """Lay a report out to be read, or say why there is none."""
    if error_data is None:
        return "Nothing was recorded."
    text = json.dumps(json.loads(error_data), indent=2, ensure_ascii=False)
    if len(text) <= _EXAMPLE_CHARACTERS:
        return text
    return f"{text[:_EXAMPLE_CHARACTERS]}\n… {display.count(len(text) - _EXAMPLE_CHARACTERS)} more characters"


def _fields(scope: Scope, choice: Choice) -> None:
    """Group the failures by any field of what was reported."""
    paths = [field.path for field in data.load(failures.failure_fields, scope, choice)]
    meaning = "Fields of OpenCode's own record of an error. Choose one that occurs, or write the path of another."
    controls = blocks.headed("Errors by a field of the report", meaning)
    with controls:
        path = st.selectbox(
            "Field",
            list(dict.fromkeys([*_USUAL_PATHS, *paths])),
            key="errors_field",
            accept_new_options=True,
            label_visibility="collapsed",
            width=260,
        )
    if path is None or not failures.is_path(path):
        st.text('This is no path. Write it like $.data.statusCode, or $.data."odd name" where a name has other signs.')
        return
    rows = data.load(failures.failure_groups, path, scope, choice, GROUP_ROWS)
    ask = data.source(failures.failure_groups, path, scope, choice)
    with controls:
        export.offer_rows(ask, scope, f"errors_by-{path}", "errors_fields_export", f"Errors by {path}")
    if not rows:
        st.text("Nothing failed here.")
        return
    styled, config = failure_tables.fields(rows, path, scope.tz)
    blocks.table(styled, config, tables.key("errors_fields_rows", path, scope, choice, rows), f"Errors by {path}")
    more = f"The {GROUP_ROWS} most frequent values; all are in the export. " if len(rows) == GROUP_ROWS else ""
    st.caption(f"{more}A dash: the report has no such field.")


_USUAL_PATHS = ("$.name", "$.data.statusCode", "$.data.isRetryable", "$.status", "$.exit")


def _recovered(scope: Scope, choice: Choice) -> None:
    """List the errors after which the work went on."""
    rows = data.load(failures.recovered, scope, choice)
    ask = data.source(failures.recovered, scope, choice)
    with blocks.headed("Recovered errors", "They did not end their exchange: the agent went on; nothing is charged."):
        if rows:
            export.offer_rows(
                ask,
                scope,
                "recovered-errors",
                "errors_recovered_export",
                "Recovered errors",
                called=failure_tables.WORDS,
            )
    if not rows:
        st.text("None: every error here ended its exchange.")
        return
    styled, config = failure_tables.recovered(rows)
    blocks.table(styled, config, tables.key("errors_recovered_rows", scope, choice, rows), "Recovered errors")
