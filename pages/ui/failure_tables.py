"""Rows in, the tables of the Errors page out. Every text is plain, on one line."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables
from pages.ui.tables import Config
from queries.failures import EndedSpend, FailureGroup, FailurePattern, FailureRow, Recovered

WORDS = {"category": "cause"}  # what is called otherwise on screen than in the index and in addresses
_TIME = "MMM D, YYYY HH:mm"
_COST = "USD as OpenCode recorded it, of the whole exchanges. A dash: none was recorded."


def groups(rows: Sequence[FailureRow], by: str, tz: str) -> tuple[Styler, Config]:
    """Lay out the failures of each group, with what they are counted on.

    Args:
        rows: What to show.
        by: The grouping; heads the first column.
        tz: Zone of the times.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    heading = word(by).capitalize()
    cells: tables.Columns = {heading: [display.one_line(row.key) or "(answers)" for row in rows]}
    cells["Errors"] = tables.ints(row.errors for row in rows)
    cells["Share"] = tables.floats(row.share and row.share * 100 for row in rows)
    cells["Failed calls"] = tables.ints(row.failed_calls for row in rows)
    cells["Calls"] = tables.ints(row.calls for row in rows)
    cells["Calls rate"] = tables.floats(row.failed_calls_per_1000 for row in rows)
    cells["Failed answers"] = tables.ints(row.failed_answers for row in rows)
    cells["Answers"] = tables.ints(row.answers for row in rows)
    cells["Answers rate"] = tables.floats(row.failed_answers_per_1000 for row in rows)
    cells["Sessions"] = tables.ints(row.sessions for row in rows)
    cells["Last"] = tables.times((row.last_at for row in rows), tz)
    counts = ("Errors", "Failed calls", "Calls", "Failed answers", "Answers", "Sessions")
    formats: dict[str, Callable[..., str]] = {
        **dict.fromkeys(counts, display.count),
        **dict.fromkeys(("Calls rate", "Answers rate"), display.per_1000),
        "Last": display.moment,
    }
    config: Config = {
        heading: st.column_config.TextColumn(width=190),
        "Errors": tables.number("Errors", "Failed calls and failed answers.", 70),
        "Share": st.column_config.ProgressColumn(
            "Share of errors", min_value=0, max_value=100, format="%.1f%%", width=110
        ),
        "Failed calls": tables.number("Failed calls", "Tool calls that failed."),
        "Calls": tables.number("of calls", "Tool calls that ended."),
        "Calls rate": tables.number("per 1,000 calls", "Failed calls of 1,000 finished calls."),
        "Failed answers": tables.number("Failed answers", "Answers that ended in an error."),
        "Answers": tables.number("of answers", "Answers that ended, well or not."),
        "Answers rate": tables.number("per 1,000 answers", "Failed answers of 1,000 answers."),
        "Sessions": tables.number("Sessions", "Sessions with such an error."),
        "Last": st.column_config.DatetimeColumn("Last seen", format=_TIME, width=135, help=f"In {display.md(tz)}."),
    }
    return tables.styled(cells, formats), config


def word(by: str) -> str:
    """Return what a grouping, or a column of an export, is called on screen."""
    return WORDS.get(by, by)


def patterns(rows: Sequence[FailurePattern], tz: str) -> tuple[Styler, Config]:
    """Lay out what was reported."""
    cells: tables.Columns = {"Cause": [row.category for row in rows]}
    cells["Name"] = [display.one_line(row.name, 60) for row in rows]
    cells["Message"] = [display.one_line(row.pattern, 200) or "(nothing reported)" for row in rows]
    cells["Errors"] = tables.ints(row.errors for row in rows)
    cells["Sessions"] = tables.ints(row.sessions for row in rows)
    cells["Code"] = [display.one_line(row.status_codes, 40) or None for row in rows]
    cells["Retryable"] = [_retryable(row) for row in rows]
    cells["First"] = tables.times((row.first_at for row in rows), tz)
    cells["Last"] = tables.times((row.last_at for row in rows), tz)
    zone = f"In {display.md(tz)}."
    config: Config = {
        "Cause": st.column_config.TextColumn(width=120),
        "Name": st.column_config.TextColumn(width=130, help="The tool, or the name of the error."),
        "Message": st.column_config.TextColumn(
            width=340, help="Its first line; of a program's output the last one. Folded: <n>, <id>, <path>, <url>."
        ),
        "Errors": tables.number("Errors", "Failures with this message.", 70),
        "Sessions": tables.number("Sessions", "Sessions with this message.", 75),
        "Code": st.column_config.TextColumn(
            width=70, alignment="right", help="HTTP status of the provider, or exit code of the program."
        ),
        "Retryable": st.column_config.TextColumn(width=85, help="Whether the provider said that a new try may help."),
        "First": st.column_config.DatetimeColumn("First seen", format=_TIME, width=135, help=zone),
        "Last": st.column_config.DatetimeColumn("Last seen", format=_TIME, width=135, help=zone),
    }
    formats: dict[str, Callable[..., str]] = {
        "Errors": display.count,
        "Sessions": display.count,
        "First": display.moment,
        "Last": display.moment,
    }
    return tables.styled(cells, formats), config


def _retryable(row: FailurePattern) -> str | None:
    """Say whether trying again may help. None: nobody said."""
    if not row.retryable and not row.not_retryable:
        return None
    if row.retryable and row.not_retryable:
        return f"{row.retryable} of {row.retryable + row.not_retryable}"
    return "yes" if row.retryable else "no"


def fields(rows: Sequence[FailureGroup], path: str, tz: str) -> tuple[Styler, Config]:
    """Lay out the failures with each value of a field."""
    cells: tables.Columns = {"Value": [None if row.value is None else display.one_line(row.value, 200) for row in rows]}
    cells["Errors"] = tables.ints(row.errors for row in rows)
    cells["Share"] = tables.floats(row.share * 100 for row in rows)
    cells["Sessions"] = tables.ints(row.sessions for row in rows)
    cells["First"] = tables.times((row.first_at for row in rows), tz)
    cells["Last"] = tables.times((row.last_at for row in rows), tz)
    zone = f"In {display.md(tz)}."
    config: Config = {
        "Value": st.column_config.TextColumn(path, width=420),
        "Errors": tables.number("Errors", "Failures with this value."),
        "Share": st.column_config.ProgressColumn(
            "Share of errors", min_value=0, max_value=100, format="%.1f%%", width=110
        ),
        "Sessions": tables.number("Sessions", "Sessions with such a failure."),
        "First": st.column_config.DatetimeColumn("First seen", format=_TIME, width=135, help=zone),
        "Last": st.column_config.DatetimeColumn("Last seen", format=_TIME, width=135, help=zone),
    }
    formats: dict[str, Callable[..., str]] = {
        "Errors": display.count,
        "Sessions": display.count,
        "First": display.moment,
        "Last": display.moment,
    }
    return tables.styled(cells, formats), config


def spend(rows: Sequence[EndedSpend]) -> tuple[Styler, Config]:
    """Lay out what exchanges used that an error ended."""
    cells: tables.Columns = {"Cause": [f"{row.category} (by you)" if row.is_aborted else row.category for row in rows]}
    cells["Exchanges"] = tables.ints(row.exchanges for row in rows)
    cells["Cost"] = tables.money(row.cost_recorded_usd for row in rows)
    cells["Tokens"] = tables.ints(row.total_tokens for row in rows)
    cells["Time"] = tables.floats(row.duration_ms for row in rows)
    config: Config = {
        "Cause": st.column_config.TextColumn(
            width=150, help="Of the error that ended them, or that you cut them short."
        ),
        "Exchanges": tables.number("Exchanges", "A prompt and everything that answers it.", 80),
        "Cost": tables.number("Cost, recorded", _COST),
        "Tokens": tables.number("Tokens", "Every token once."),
        "Time": tables.number("Time", "From prompt to end, added up. A dash: none is recorded."),
    }
    formats: dict[str, Callable[..., str]] = {
        "Exchanges": display.count,
        "Cost": display.usd,
        "Tokens": display.tokens,
        "Time": display.duration,
    }
    return tables.styled(cells, formats), config


def spend_summary(rows: Sequence[EndedSpend]) -> str:
    """Add up what failed exchanges used, and apart from them those that the user cut short."""
    parts = [
        _spent([row for row in rows if not row.is_aborted], "that an error ended"),
        _spent([row for row in rows if row.is_aborted], "that you cut short"),
    ]
    return " ".join(part for part in parts if part)


def _spent(rows: Sequence[EndedSpend], what: str) -> str:
    """Add up rows in one sentence; none: nothing."""
    if not rows:
        return ""
    costs = [row.cost_recorded_usd for row in rows if row.cost_recorded_usd is not None]
    cost = display.usd(sum(costs, Decimal(0))) if costs else "no cost"
    tokens = display.tokens(sum(row.total_tokens for row in rows))
    times = [row.duration_ms for row in rows if row.duration_ms is not None]
    time = display.duration(sum(times)) if times else "no time known"
    exchanges = display.counted(sum(row.exchanges for row in rows), "exchange")
    return f"{exchanges} {what}: {display.md(cost)} recorded, {tokens} tokens, {time}."


def recovered(rows: Sequence[Recovered]) -> tuple[Styler, Config]:
    """Lay out the failures after which the work went on."""
    cells: tables.Columns = {"Cause": [row.category for row in rows]}
    cells["Errors"] = tables.ints(row.failed_calls + row.failed_answers for row in rows)
    cells["Calls"] = tables.ints(row.failed_calls for row in rows)
    cells["Answers"] = tables.ints(row.failed_answers for row in rows)
    cells["Exchanges"] = tables.ints(row.exchanges for row in rows)
    cells["Sessions"] = tables.ints(row.sessions for row in rows)
    config: Config = {
        "Cause": st.column_config.TextColumn(width=190),
        "Errors": tables.number("Errors", "Failed calls and failed answers."),
        "Calls": tables.number("Failed calls", "Tool calls that failed."),
        "Answers": tables.number("Failed answers", "Answers after which another one followed."),
        "Exchanges": tables.number("Exchanges", "Exchanges with such an error."),
        "Sessions": tables.number("Sessions", "Sessions with such an error."),
    }
    formats = dict.fromkeys(("Errors", "Calls", "Answers", "Exchanges", "Sessions"), display.count)
    return tables.styled(cells, formats), config
