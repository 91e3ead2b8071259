"""The pieces of the Activity page, but for budgets: when work is done, how fast models answer, what code changes."""

from collections.abc import Sequence

import streamlit as st

from pages.ui import blocks, data, display, export, tables, working_charts, working_tables
from queries import activity, code_changes, exported_tables
from queries import speeds as model_speeds
from queries.activity import WeekHour
from queries.period import Scope

MEASURES = ("messages", "tokens", "cost")
_HOURS = (
    "Answers of models in each hour of each weekday, all weeks of the period added up, in the zone shown at the top. "
    "An answer belongs to the hour it was begun in; where the clock is put back, the hour that comes twice counts both "
    "times. Tokens are input, output, reasoning and cache, each once."
)
_SPEEDS = (
    "Tokens of output and reasoning, each once, divided by the time from the begin of an answer to its end. OpenCode "
    "does not record when the first token came, so the wait for it is in that time, and so are retries. Only finished "
    "answers of one request without a tool call are timed: the time of tools cannot be taken out. p10 to p90: eight of "
    "ten answers were in between."
)
_CHANGES = (
    "What OpenCode recorded with each prompt: the files after it was answered against those before, so whatever else "
    "changed meanwhile is in it. A line that two prompts changed counts twice; prompts that were undone and copies in "
    "forks do not count. Where no prompt of a session says anything, the summary of the session counts. A session "
    "counts as a whole if it has a message in the period. Child sessions are left out: their changes are in those of "
    "the session that called them."
)
_DIRECTORIES = (
    "All checkouts of one git repository are one project. Checkout: the one OpenCode names as the project's. Worktree "
    "and clone: other checkouts, as OpenCode 1.18 tells them apart. Folder in one of them: started below its top. "
    "Other checkout: OpenCode recorded nothing about it; before 1.18 neither clones nor worktrees that were removed."
)


def load(scope: Scope) -> list[WeekHour]:
    """Ask for the hours of the week."""
    return data.load(activity.week_hours, scope)


def hours(rows: Sequence[WeekHour], basis: str, scope: Scope) -> None:
    """Draw when work is done, beside the same numbers.

    Args:
        rows: Of `load`.
        basis: One of `costs.BASES`.
        scope: The filters.
    """
    ask = data.source(activity.week_hours, scope)
    with blocks.headed("By weekday and hour", _HOURS):
        export.offer(
            lambda: exported_tables.hours(ask(), scope.tz),
            export.file_stem("hours", scope),
            "activity_hours_export",
            "By weekday and hour",
        )
    measure = _measure()
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = working_charts.week(rows, measure, basis, scope.first_weekday)
        what = working_tables.measured(measure, basis)
        blocks.chart(
            figure, "activity_week", f"Heat map: {what} by weekday and hour; the table beside it has the numbers."
        )
        st.caption(f"{display.md(what.capitalize())}. The stronger the colour, the more.")
    with right:
        styled, config = working_tables.week(rows, measure, basis, scope.first_weekday)
        blocks.table(styled, config, tables.key("activity_week_rows", scope, measure, basis), "By weekday and hour")


def speeds(scope: Scope) -> None:
    """List how fast models answer."""
    rows = data.load(model_speeds.model_speeds, scope)
    ask = data.source(model_speeds.model_speeds, scope)
    with blocks.headed("Output tokens per second, by model", _SPEEDS):
        export.offer_rows(ask, scope, "model-speeds", "activity_speeds_export", "Output tokens per second")
    if not rows:
        st.text("No model answered here.")
        return
    drawn = [row for row in rows if not row.is_rare][: working_charts.MODELS]
    if drawn:
        blocks.chart(
            working_charts.speeds(drawn),
            "activity_speeds_chart",
            "Bars from the 10th to the 90th percentile of each model's output tokens per second, with a mark at the "
            "median; the table below has the numbers.",
        )
        st.caption("Bar: from the 10th to the 90th percentile. Mark: the median.")
    styled, config = working_tables.speeds(rows)
    blocks.table(styled, config, tables.key("activity_speeds_rows", scope, rows), "Output tokens per second")
    if any(row.is_rare and row.timed_answers for row in rows):
        st.caption(f"~ fewer than {model_speeds.FEW_ANSWERS} timed answers; how many is beside it. Not in the chart.")


def projects(scope: Scope) -> None:
    """List what was changed in the code, by project."""
    rows = data.load(code_changes.code_changes, scope).projects
    ask = data.source(code_changes.project_changes, scope)
    with blocks.headed("Code changes, by project", _CHANGES):
        export.offer_rows(ask, scope, "code-changes_by-project", "activity_projects_export", "Code changes by project")
    styled, config = working_tables.projects(rows)
    blocks.table(styled, config, tables.key("activity_projects_rows", scope, rows), "Code changes by project")
    if any(row.unrecorded_sessions for row in rows):
        st.caption(
            "Unknown: sessions that edited files without a record of what changed, at least for one prompt. The lines "
            "that are recorded are the least that changed."
        )


def directories(scope: Scope) -> None:
    """List what was changed in the code, by directory: worktrees and clones apart."""
    rows = data.load(code_changes.code_changes, scope).directories
    ask = data.source(code_changes.directory_changes, scope)
    with blocks.headed("Code changes, by directory", _DIRECTORIES):
        export.offer_rows(
            ask, scope, "code-changes_by-directory", "activity_directories_export", "Code changes by directory"
        )
    styled, config = working_tables.directories(rows)
    blocks.table(styled, config, tables.key("activity_directories_rows", scope, rows), "Code changes by directory")


def _measure() -> str:
    """Let the user choose what the hours are compared by."""
    return blocks.choice("Compare by", MEASURES, "of")
