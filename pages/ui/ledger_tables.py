"""Lines and rows of the ledger in, tables out. Amounts are text: one column holds USD and tokens."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import streamlit as st
from pandas.io.formats.style import Styler

from pages.ui import display, tables
from pages.ui.ledger_words import BRIDGE, MARKS, WORDS, reason
from pages.ui.tables import Config
from queries.data_quality import VersionQuality
from queries.ledger import LedgerLine, LedgerRow, Verdict

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

_TIME = "MMM D, YYYY HH:mm"
_SHARES = {
    "Sums agree": "agreeing_share",
    "Usage recorded": "usage_share",
    "Price known": "priced_share",
    "Readable": "readable_share",
}


def amount(value: Decimal | None, is_money: bool) -> str:
    """Write what a line adds up to: USD, or a count to the last one."""
    return display.usd(value, 4) if is_money else display.count(None if value is None else int(value))


def checks(lines: Sequence[LedgerLine]) -> tuple[Styler, Config]:
    """Lay out the lines that compare two stored sources.

    Returns:
        The table and how to show its columns; so do the functions below.
    """
    cells: tables.Columns = {"What": [WORDS[line.key].title for line in lines]}
    cells["Verdict"] = [[MARKS[line.verdict]] for line in lines]
    cells["Here"] = [amount(line.this_value, line.is_money) for line in lines]
    cells["There"] = [amount(line.other_value, line.is_money) for line in lines]
    cells["Difference"] = [amount(line.difference, line.is_money) for line in lines]
    cells["Against"] = [reason(line) or WORDS[line.key].against for line in lines]
    cells["Rows"] = [_rows(line) for line in lines]
    config: Config = {
        "What": st.column_config.TextColumn(width=226),
        "Verdict": _verdict(),
        "Here": _amount("On the pages", "What the pages add up, from the messages themselves."),
        "There": _amount("There", "The sum of the other stored source."),
        "Difference": _amount("Difference", "On the pages, less there."),
        "Against": st.column_config.TextColumn("Compared with", width=404),
        "Rows": _amount("Rows", "How many were compared; how many of them differ, or neither source knows."),
    }
    return tables.styled(cells, {}), config


def bridge(lines: Sequence[LedgerLine]) -> tuple[Styler, Config]:
    """Lay out the way from the recorded cost to the list price."""
    cells: tables.Columns = {"Step": [f"{BRIDGE[line.key]}{WORDS[line.key].title}" for line in lines]}
    cells["Amount"] = [amount(step(line), line.is_money) for line in lines]
    cells["Verdict"] = [[MARKS[line.verdict]] if line.key == "list_recorded" else [] for line in lines]
    cells["Rows"] = [_rows(line) for line in lines]
    config: Config = {
        "Step": st.column_config.TextColumn("From the recorded cost to the list price", width=430),
        "Amount": _amount("USD", "A dash: there is nothing of this kind."),
        "Verdict": _verdict(),
        "Rows": _amount("Rows", "How many answers, or quarters of an hour, it is made of."),
    }
    return tables.styled(cells, {}), config


def step(line: LedgerLine) -> Decimal | None:
    """Return what a line adds or takes away on the way to the list price: of a comparison, what is left over."""
    return line.difference if line.key == "list_recorded" else line.this_value


def left_out(lines: Sequence[LedgerLine]) -> tuple[Styler, Config]:
    """Lay out what the totals hold, or not, and why."""
    cells: tables.Columns = {"What": [WORDS[line.key].title for line in lines]}
    cells["Number"] = tables.ints(line.rows for line in lines)
    cells["Amount"] = [_counted(line) for line in lines]
    cells["Meaning"] = [WORDS[line.key].meaning for line in lines]
    config: Config = {
        "What": st.column_config.TextColumn(width=330),
        "Number": tables.number("Number", "Answers, or documents."),
        "Amount": _amount("Amount", "What they cost or used."),
        "Meaning": st.column_config.TextColumn(width=560),
    }
    return tables.styled(cells, {"Number": display.count}), config


def rows(found: Sequence[LedgerRow], line: LedgerLine, tz: str) -> tuple[Styler, Config]:
    """Lay out the rows of a line.

    Args:
        found: What to show.
        line: The line.
        tz: Zone of the times.
    """
    against = WORDS[line.key].against
    cells: tables.Columns = {"Session": [_session(row) for row in found]}
    if against:
        cells["Verdict"] = [[MARKS[_row_verdict(row)]] for row in found]
    cells["Here"] = [amount(row.this_value, line.is_money) for row in found]
    if against:
        cells["There"] = [amount(row.other_value, line.is_money) for row in found]
        cells["Difference"] = [amount(row.difference, line.is_money) for row in found]
    cells["Detail"] = [display.one_line(row.detail, 200) or None for row in found]
    cells["When"] = tables.times((row.message_at for row in found), tz)
    cells["Message"] = [display.one_line(row.message_id) or None for row in found]
    cells["Step"] = [display.one_line(row.part_id) or None for row in found]
    cells["Session id"] = [display.one_line(row.session_id) or None for row in found]
    for column in ("Detail", "Message", "Step"):
        if not any(cells[column]):
            del cells[column]
    config: Config = {
        "Session": st.column_config.TextColumn(width=220),
        "Verdict": _verdict(),
        "Here": _amount("On the pages" if against else "Amount", "What the pages count."),
        "There": _amount("There", "What the other source says of it."),
        "Difference": _amount("Difference", "On the pages, less there."),
        "Detail": st.column_config.TextColumn(width=220),
        "When": st.column_config.DatetimeColumn(format=_TIME, width=135, help=f"In {display.md(tz)}."),
        "Message": st.column_config.TextColumn(width=230),
        "Step": st.column_config.TextColumn(width=230, help="The part that ends the step."),
        "Session id": st.column_config.TextColumn(width=230),
    }
    return tables.styled(cells, {"When": display.moment}), config


def versions(found: Sequence[VersionQuality]) -> tuple[Styler, Config]:
    """Lay out how far the data of each version of the client can be trusted."""
    cells: tables.Columns = {"Version": [display.one_line(row.client_version, 40) or "not recorded" for row in found]}
    cells["Score"] = tables.floats(row.score * 100 for row in found)
    for label, share in _SHARES.items():
        cells[label] = tables.floats(getattr(row, share) for row in found)
    cells["Messages"] = tables.ints(row.messages for row in found)
    cells["Sessions"] = tables.ints(row.sessions for row in found)
    config: Config = {
        "Version": st.column_config.TextColumn("Client version", width=130, help="That created the session."),
        "Score": st.column_config.ProgressColumn(
            "Score",
            min_value=0,
            max_value=100,
            format="%.1f%%",
            width=130,
            help="Answers for which all four hold. What cannot be compared does not count against it.",
        ),
        "Sums agree": tables.number(
            "Sums agree",
            "Of the answers with steps to compare: cost and tokens are what these add up to, and the recorded total "
            "fits the counters.",
        ),
        "Usage recorded": tables.number("Usage recorded", "The provider sent what the request used."),
        "Price known": tables.number("Price known", "A list price is known for the model."),
        "Readable": tables.number("Readable", "The answer and all its parts could be read in full."),
        "Messages": tables.number("Answers", "Each request once."),
        "Sessions": tables.number("Sessions", "With such an answer."),
    }
    formats = dict.fromkeys(_SHARES, display.percent) | dict.fromkeys(("Messages", "Sessions"), display.count)
    return tables.styled(cells, formats), config


def _rows(line: LedgerLine) -> str:
    """Write how many rows a line has, and of how many of them the sources differ, or neither says how much it is."""
    found = display.count(line.rows)
    if line.differing:
        return f"{display.count(line.differing)} of {found} differ"
    return f"{found}, {display.count(line.unknown)} unknown" if line.unknown else found


def _row_verdict(row: LedgerRow) -> Verdict:
    """Say what came of the comparison of a row."""
    if row.is_differing:
        return "differs"
    return "unknown" if row.is_unknown else "agrees"


def _counted(line: LedgerLine) -> str | None:
    """Write what the rows of a line cost or used. None: they are only counted."""
    if line.key in ("usage_missing", "timeless", "unreadable") or line.this_value is None:
        return None
    written = amount(line.this_value, line.is_money)
    return written if line.is_money else f"{written} tokens"


def _session(row: LedgerRow) -> str | None:
    """Name the session of a row. None: it has none."""
    return None if row.session_id is None else tables.session_title(row.session_title, is_deleted=False)


def _verdict() -> "ColumnConfig":
    """Describe the column of marks."""
    return st.column_config.MultiselectColumn(
        "Mark",
        width=110,
        options=[MARKS[verdict] for verdict in ("agrees", "differs", "absent", "unknown")],
        color=["green", "red", "gray", "gray"],
        help="Whether the two stored sources say the same of every row.",
    )


def _amount(label: str, meaning: str) -> "ColumnConfig":
    """Describe a column of amounts, which are text already."""
    return st.column_config.TextColumn(label, help=meaning, alignment="right", width=104)
