"""Rows in, the tables of the Activity page out. Every text is plain, on one line."""

from collections.abc import Callable, Sequence

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables
from pages.ui.tables import Config
from queries.activity import WeekHour
from queries.code_changes import DirectoryChanges, ProjectChanges
from queries.speeds import ModelSpeed

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPEEDS = ("p10", "p50", "p90")


def weekdays(first: int) -> list[int]:
    """Return the numbers of the weekdays, Monday 0, from the first one of a week."""
    return [(first + day) % 7 for day in range(7)]


def measured(measure: str, basis: str) -> str:
    """Name what hours are compared by: messages, tokens or cost."""
    return f"cost, {basis}" if measure == "cost" else measure


def written(measure: str) -> Callable[[float | None], str]:
    """Return what writes an amount: messages, tokens or cost."""
    return {"messages": display.count, "tokens": display.tokens}.get(measure, tables.usd4)


def grid(rows: Sequence[WeekHour], measure: str, basis: str) -> dict[tuple[int, int], float | None]:
    """Return the amount of each hour, by weekday and hour. For showing only: costs are exact in the export.

    Args:
        rows: At most one for each hour.
        measure: messages, tokens or cost.
        basis: Of costs; one of `costs.BASES`.
    """
    field = {"messages": "messages", "tokens": "total_tokens"}.get(measure, f"cost_{basis}_usd")
    amounts = ((row.weekday, row.hour, getattr(row, field)) for row in rows)
    return {(weekday, hour): None if amount is None else float(amount) for weekday, hour, amount in amounts}


def week(rows: Sequence[WeekHour], measure: str, basis: str, first_weekday: int) -> tuple[Styler, Config]:
    """Lay out the hours of a week: hours down, weekdays across.

    Args:
        rows: At most one for each hour.
        measure: messages, tokens or cost.
        basis: Of costs; one of `costs.BASES`.
        first_weekday: The first column; Monday is 0.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    amounts = grid(rows, measure, basis)
    cells: tables.Columns = {"Hour": [f"{hour:02d}:00" for hour in range(24)]}
    names = [(day, WEEKDAYS[day]) for day in weekdays(first_weekday)]
    for day, name in names:
        cells[name] = tables.floats(amounts.get((day, hour)) for hour in range(24))
    what = measured(measure, basis).capitalize()
    config: Config = {
        name: tables.number(name, f"{what} on this weekday, from that hour to the next.") for _, name in names
    }
    return tables.styled(cells, {name: written(measure) for _, name in names}), config


def speeds(rows: Sequence[ModelSpeed]) -> tuple[Styler, Config]:
    """Lay out how fast models answer. Percentiles of a few answers are marked, with the number of these answers."""
    cells: tables.Columns = {"Model": [display.one_line(row.model, 60) for row in rows]}
    for name in _SPEEDS:
        cells[name] = tables.floats(getattr(row, name) for row in rows)
    cells["Timed"] = tables.ints(row.timed_answers for row in rows)
    cells["Answers"] = tables.ints(row.answers for row in rows)
    cells["Output"] = tables.ints(row.output_tokens for row in rows)
    cells["Time"] = tables.ints(row.duration_ms for row in rows)
    config: Config = {
        "Model": st.column_config.TextColumn(width=240),
        "p10": tables.number("p10 /s", "Tokens per second: one of ten timed answers was no faster."),
        "p50": tables.number("Median /s", "Tokens per second: half of the timed answers were no faster."),
        "p90": tables.number("p90 /s", "Tokens per second: nine of ten timed answers were no faster."),
        "Timed": tables.number(
            "Timed", "Finished answers of one request, without a tool call: the speeds are of these."
        ),
        "Answers": tables.number("Answers", "All finished answers with output."),
        "Output": tables.number("Output", "Tokens of output and reasoning of the timed answers."),
        "Time": tables.number("Time", "From begin to end of the timed answers, added up."),
    }
    formats: dict[str, Callable[..., str]] = {
        **dict.fromkeys((*_SPEEDS, "Timed", "Answers"), display.count),
        "Output": display.tokens,
        "Time": display.duration,
    }
    styled = tables.styled(cells, formats)
    for number, row in enumerate(rows):
        if row.is_rare and row.timed_answers:
            places = ([number], list(_SPEEDS))
            note = f" (n {row.timed_answers})"
            styled = styled.format(lambda speed, note=note: f"~ {display.count(speed)}{note}", subset=places)
            styled = styled.set_properties(subset=places, color="grey")
    return styled, config


def projects(rows: Sequence[ProjectChanges]) -> tuple[Styler, Config]:
    """Lay out what was changed in projects."""
    cells: tables.Columns = {"Project": [_project(row) for row in rows]}
    cells["Directories"] = tables.ints(row.directories for row in rows)
    config: Config = {
        "Project": st.column_config.TextColumn(width=260),
        "Directories": tables.number("Directories", "In which its sessions were started."),
    }
    return _changed(cells, config, rows, ("Directories",))


def directories(rows: Sequence[DirectoryChanges]) -> tuple[Styler, Config]:
    """Lay out what was changed in directories."""
    cells: tables.Columns = {"Project": [_project(row) for row in rows]}
    cells["Directory"] = [display.one_line(row.directory, 200) or display.MISSING for row in rows]
    cells["Kind"] = [row.kind for row in rows]
    config: Config = {
        "Project": st.column_config.TextColumn(width=200),
        "Directory": st.column_config.TextColumn(width=360, help="Where the sessions were started."),
        "Kind": st.column_config.TextColumn(width=150),
    }
    return _changed(cells, config, rows, ())


def _changed(
    cells: tables.Columns,
    config: Config,
    rows: Sequence[ProjectChanges] | Sequence[DirectoryChanges],
    counts: Sequence[str],
) -> tuple[Styler, Config]:
    """Add what was changed to what it was changed in; `counts` are columns that are there already."""
    cells["Sessions"] = tables.ints(row.sessions for row in rows)
    cells["Unknown"] = tables.ints(row.unrecorded_sessions for row in rows)
    cells["Left out"] = tables.ints(row.left_out_sessions for row in rows)
    cells["Added"] = tables.floats(row.additions for row in rows)
    cells["Removed"] = tables.floats(row.deletions for row in rows)
    cells["Files"] = tables.floats(row.files_changed for row in rows)
    columns: Config = {
        "Sessions": tables.number("Sessions", "With a message in the period; without child sessions and forks."),
        "Unknown": tables.number("Unknown", "Of these, sessions with changes that OpenCode did not record."),
        "Left out": tables.number(
            "Left out", "Their changes are in other sessions: child sessions; forks with nothing but a summary."
        ),
        "Added": tables.number("Lines added", "As OpenCode recorded after each prompt."),
        "Removed": tables.number("Lines removed", "As OpenCode recorded after each prompt."),
        "Files": tables.number("Files", "Changed files of each prompt, added up: one that two changed counts twice."),
    }
    return tables.styled(cells, dict.fromkeys((*counts, *columns), display.count)), {**config, **columns}


def _project(row: ProjectChanges | DirectoryChanges) -> str:
    """Name a project as the filter does."""
    short = row.project_id[:8]
    return f"{display.one_line(row.project, 60)} · {short}" if row.project else short
