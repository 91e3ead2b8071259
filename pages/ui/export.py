"""The export of a table: what is in it, how its file is called, how it is offered. Every row, full precision."""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import streamlit as st

from pages.ui import display
from queries.cache import CachePoint
from queries.exported_tables import zoned
from queries.failures import FailurePoint
from queries.period import Period, Scope, local_day
from queries.table_files import FORMATS, Cell, Kind, Table, csv_bytes
from queries.tool_reports import LatencyPoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger(__name__)

_STEM_CHARACTERS = 112  # with the longest extension a name has 120
_KINDS = (str, int, float, bool, Decimal, datetime)


def offer(make: Callable[[], Table], stem: str, key: str, what: str, *, is_alone: bool = True) -> None:
    """Offer a table as a file of each format.

    Args:
        make: Makes the table, with all its rows; runs on a click, outside the session.
        stem: Name of the file without its extension, of `file_stem` or `plain_stem`.
        key: Streamlit's key; begins those of the buttons.
        what: What the table is: tells its export from the others of the page.
        is_alone: Whether no other export stands beside it. Where one does, the name of the table is seen, too.
    """
    with st.popover(
        # what is slanted is heard, not seen: see `frame`
        f"Export *{display.md(what)}*" if is_alone else f"Export {display.md(what)}",
        icon=":material/download:",
        key=key,
        help=f"{display.md(what)}: every row, full precision",
    ):
        st.caption(display.md(what))
        for each in FORMATS:
            st.download_button(
                each.label,
                data=_file(make, each.write),
                file_name=f"{stem}.{each.extension}",
                mime=each.mime,
                key=f"{key}_{each.extension}",
                icon=each.icon,
                on_click="ignore",
                width="stretch",
            )


def offer_rows(
    ask: Callable[[], Sequence["DataclassInstance"]],
    scope: Scope,
    table: str,
    key: str,
    what: str,
    derived: Sequence[str] = (),
    called: Mapping[str, str] | None = None,
    *,
    is_alone: bool = True,
) -> None:
    """Offer rows as they are, of what the filters leave.

    Args:
        ask: Reads all rows.
        scope: The filters.
        table: What it holds, for the file's name.
        key: As for `offer`.
        what: As for `offer`.
        derived: As for `rows_table`.
        called: As for `rows_table`.
        is_alone: As for `offer`.
    """
    offer(lambda: rows_table(ask(), scope.tz, derived, called), file_stem(table, scope), key, what, is_alone=is_alone)


def safely(make: Callable[[], bytes], write: Callable[[Table], bytes] = csv_bytes) -> Callable[[], bytes]:
    """Wrap a download so that it never raises: the browser would then show nothing at all.

    Args:
        make: Makes the file.
        write: Makes the file that says what went wrong.

    Returns:
        The same, or a file of one row that says what went wrong.
    """

    def download() -> bytes:
        """Make the file."""
        try:
            return make()
        except LookupError as error:  # of `data.source`: the index is gone
            log.warning("download failed: the index is unavailable")
            return write(_failure(str(error)))
        except (duckdb.Error, pa.ArrowException, ArithmeticError, ValueError, OSError, MemoryError) as error:
            log.exception("download failed")
            return write(_failure(f"The export failed ({type(error).__name__}). Reload the page and try again."))

    return download


def _file(make: Callable[[], Table], write: Callable[[Table], bytes]) -> Callable[[], bytes]:
    """Return what makes a table and writes it."""
    return safely(lambda: write(make()), write)


def _failure(message: str) -> Table:
    """Return what is in a file instead of the table."""
    return Table({"error": str}, [[message]])


def rows_table(
    rows: Sequence["DataclassInstance"],
    tz: str,
    derived: Sequence[str] = (),
    called: Mapping[str, str] | None = None,
) -> Table:
    """Return rows as they are: their fields are the columns, those of a dataclass inside them too.

    Args:
        rows: Of one dataclass. Times are naive UTC; several values of one field are divided by blanks.
        tz: Zone that times are written in.
        derived: Properties of the rows that are columns, too, after all fields.
        called: Names of columns, where they are not those of the fields.

    Returns:
        The table; without a row it has no column.
    """
    if not rows:
        return Table({}, [], tz)
    zone, of = ZoneInfo(tz), type(rows[0])
    columns = {**dict(_columns(of)), **{name: _kind(_returned(of, name)) for name in derived}}
    if called:
        columns = {called.get(name, name): kind for name, kind in columns.items()}
    return Table(columns, [[*_cells(row, zone), *(getattr(row, name) for name in derived)] for row in rows], tz)


def course_table(
    rows: Sequence[CachePoint] | Sequence[FailurePoint] | Sequence[LatencyPoint], step: str, tz: str
) -> Table:
    """Return a course over time: the start of each step, the zone it is local to, then the other fields.

    Args:
        rows: Their times are local; the first field is that of the step.
        step: hour, day, week or month; names the first column.
        tz: The zone.
    """
    if not rows:
        return Table({}, [], tz)
    zone, is_hour = ZoneInfo(tz), step == "hour"
    (_, *others) = _columns(type(rows[0]))
    found = []
    for row in rows:
        start = row.step_at.replace(tzinfo=zone) if is_hour else row.step_at.date()
        (_, *cells) = _cells(row, zone)
        found.append([start, tz, *cells])
    return Table({step: datetime if is_hour else date, "tz": str, **dict(others)}, found, tz)


def file_stem(table: str, scope: Scope, first: datetime | None = None, last: datetime | None = None) -> str:
    """Name a file, but for its extension: `opencode-costs_by-model_2026-10-20_2026-11-18_agent-build`, ASCII.

    Args:
        table: What it holds.
        scope: The filters.
        first: Time of the first row, naive UTC: where the period is open.
        last: Time of the last row, alike.
    """
    filters = [
        *(f"agent-{name}" for name in scope.agents),
        *(f"model-{name}" for name in scope.models),
        *(f"project-{name[:8]}" for name in scope.projects),
        *([f"text-{scope.text}"] if scope.text else []),
    ]
    days = [_days(scope.period, first, last, scope.tz)]
    stem = "_".join(_plain(word) for word in [f"opencode-{table}", *days, *filters] if word)
    return stem[:_STEM_CHARACTERS].rstrip("_-")


def plain_stem(stem: str) -> str:
    """Name a file, but for its extension: ASCII, not too long."""
    return _plain(stem)[:_STEM_CHARACTERS]


def _days(period: Period, first: datetime | None, last: datetime | None, tz: str) -> str:
    """Write the first and last local day of a period, as far as they are known."""
    start = period.start or first
    end = period.end - timedelta(microseconds=1) if period.end else last
    return "_".join(local_day(at, tz).isoformat() for at in (start, end) if at)


def _plain(word: str) -> str:
    """Keep words that every file system takes, with one hyphen, or the point that was there, between two of them."""
    ascii_word = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[^A-Za-z0-9_]+", lambda found: "." if found[0] == "." else "-", ascii_word).strip("-.")


def _columns(of: Any) -> Iterator[tuple[str, Kind]]:
    """Name every value of a row, with what it is."""
    hints = get_type_hints(of)
    for field in fields(of):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _columns(hint)
        else:
            yield field.name, _kind(hint)


def _cells(row: "DataclassInstance", zone: ZoneInfo) -> Iterator[Cell]:
    """Return every value of a row, as `_columns` names them."""
    for field in fields(row):
        match getattr(row, field.name):
            case datetime() as at:
                yield zoned(at, zone)
            case tuple() as several:
                yield " ".join(map(str, several))
            case str() | int() | float() | Decimal() | None as plain:
                yield plain
            case inner:
                yield from _cells(inner, zone)


def _kind(hint: Any) -> Kind:
    """Return what the cells of a column are, by the type of the field."""
    (kind, *more) = [each for each in get_args(hint) or [hint] if each is not NoneType]
    return str if more or kind not in _KINDS else kind


def _returned(of: type, name: str) -> Any:
    """Return the type of a property."""
    return get_type_hints(getattr(of, name).fget)["return"]
