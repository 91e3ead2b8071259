"""What is exported of each table: every row, exact, and a file that says so if that fails."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import export
from queries import costs, exported_tables, overview, sessions
from queries.activity import WeekHour
from queries.costs import CostRow
from queries.failures import FailurePoint
from queries.period import Period, Scope
from queries.table_files import FORMATS, FileFormat, Table, csv_bytes
from tests.builders import assistant, session, tokens
from tests.conftest import OpenIndex
from tests.exports import read_back
from tests.pages.conftest import read

LABELS = [each.label for each in FORMATS]
BOM = b"\xef\xbb\xbf"


def sums(table: Table) -> dict[str, tuple[Decimal, int]]:
    """Add up recorded cost and tokens of a table as each format has them, exactly."""
    files = {each.label: read_back(each.write(table), each.extension) for each in FORMATS}
    return {
        label: (
            sum((Decimal(row["cost_recorded_usd"] or 0) for row in rows), Decimal(0)),
            sum(int(row["total_tokens"]) for row in rows),
        )
        for label, rows in files.items()
    }


def cost_row(key: str | None, cost: Decimal | None, label: str | None = None) -> CostRow:
    """Make a row of costs."""
    return CostRow(
        key, label, cost, 0.5 if cost else None, 2, 3, 10, 20, 30, 40, 50, 150, 1, 0, 0, cost and 2 * cost, 4
    )


def test_costs_is_exact_to_the_byte() -> None:
    """Byte order mark, LF, header with units, full precision, the zone of the days, empty where not recorded."""
    rows = [cost_row("2026-11-19", Decimal("0.100000000001")), cost_row(None, None)]

    data = csv_bytes(exported_tables.costs(rows, "day", costs.RECORDED, "Europe/Berlin", {}))

    assert data == BOM + (
        b"day,tz,cost_recorded_usd,cost_list_usd,cost_recorded_share,sessions,cost_recorded_usd_per_session,"
        b"cost_list_usd_per_session,messages,input_tokens,output_tokens,reasoning_tokens,cache_read_tokens,"
        b"cache_write_tokens,total_tokens,errors,unrecorded_messages,missing_usage_messages,unpriced_messages\n"
        b"2026-11-19,Europe/Berlin,0.100000000001,0.200000000002,0.5,2,0.050000000000,0.100000000001,3,10,20,30,40,50,"
        b"150,1,0,0,4\n"
        b"unknown time,Europe/Berlin,,,,2,,,3,10,20,30,40,50,150,1,0,0,4\n"
    )


@pytest.mark.parametrize("by", costs.GROUPINGS)
@pytest.mark.parametrize("scope", [Scope(), Scope(agents=("build",)), Scope(period=Period(datetime(2026, 10, 1)))])
def test_costs_sum_equals_the_totals_as_decimals(by: str, scope: Scope, real_path: Callable[[str], Path]) -> None:
    """Each file adds up to the headline, for every grouping and filter."""
    con = read(real_path("json")).connection()
    whole = costs.cost_totals(con, scope)

    table = exported_tables.costs(costs.cost_rows(con, by, scope), by, costs.RECORDED, "UTC", {})

    assert sums(table) == dict.fromkeys(LABELS, (whole.cost_recorded_usd, whole.total_tokens))


def test_sessions_hostile_title_and_local_time(open_index: OpenIndex) -> None:
    """A title stays text; times carry their offset; both sums are there."""
    con = open_index(session(title='=HYPERLINK("http://example.com")'), assistant(usage=tokens(input=5), cost=0.25))

    data = csv_bytes(exported_tables.sessions(sessions.session_rows(con, Scope(), True, "newest"), "Asia/Kathmandu"))

    (row,) = read_back(data, "csv")
    assert row["title"] == '\'=HYPERLINK("http://example.com")'
    assert (row["started_at"], row["tz"]) == ("2026-01-01T05:45:00.000+05:45", "Asia/Kathmandu")
    assert (row["cost_recorded_usd"], row["session_total_tokens"]) == ("0.250000000000", "5")


def test_sessions_of_every_set_adds_up(real_path: Callable[[str], Path]) -> None:
    """All rows, not a page, whatever the titles hold."""
    con = read(real_path("migrated-after")).connection()

    whole = costs.cost_totals(con, Scope())

    table = exported_tables.sessions(sessions.session_rows(con, Scope(), True, "newest"), "UTC")

    assert sums(table) == dict.fromkeys(LABELS, (whole.cost_recorded_usd, whole.total_tokens))


def test_session_models_has_a_row_per_model(open_index: OpenIndex) -> None:
    """The small tables of a session export too."""
    con = open_index(session(), assistant(cost=1))

    table = exported_tables.session_models(sessions.session_models(con, "ses_1"), "ses_1")

    models = read_back(csv_bytes(table), "csv")
    assert [(row["session_id"], row["cost_recorded_usd"]) for row in models] == [("ses_1", "1.000000000000")]


def test_session_numbers_are_own_copied_and_with_children(open_index: OpenIndex) -> None:
    """A row each; what was not recorded is empty, not 0."""
    docs = [session(), assistant(usage=tokens(input=5), cost=1)]
    child = [session("ses_2", parentID="ses_1"), assistant("msg_9a", "ses_2", usage=tokens(input=7), cost=2)]
    con = open_index(*docs, *child)
    detail = sessions.session_detail(con, "ses_1", "UTC")
    assert detail is not None

    rows = read_back(csv_bytes(exported_tables.session_numbers(detail)), "csv")

    assert [(row["of"], row["cost_recorded_usd"], row["input_tokens"]) for row in rows] == [
        ("own", "1.000000000000", "5"),
        ("inherited", "", "0"),
        ("with child sessions", "3.000000000000", "12"),
    ]


def test_agents_hold_what_failed(open_index: OpenIndex) -> None:
    """Exact cost, and the part of answers and calls that failed."""
    failed = assistant("msg_3a", cost=0.5, error={"name": "UnknownError", "data": {"message": "no"}})
    con = open_index(session(), assistant(cost=0.25), failed)

    (row,) = read_back(csv_bytes(exported_tables.agents(overview.overview(con, Scope(), None).agents)), "csv")

    assert (row["agent"], row["cost_recorded_usd"]) == ("build", "0.750000000000")
    assert (row["answers"], row["failed_answers"], row["errors"], row["error_share"]) == ("2", "1", "1", "0.5")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of any table."""

    name: str
    at: datetime | None
    cost_usd: Decimal | None
    ids: tuple[str, ...]
    is_new: bool


def test_rows_table_columns_are_the_fields() -> None:
    """Full precision, local times with their offset, a guard against formulas, an empty cell for what is unknown."""
    rows = [
        _Row("=cmd", datetime(2026, 1, 1, 12), Decimal("0.000000000001"), ("a", "b"), True),
        _Row("", None, None, (), False),
    ]

    lines = csv_bytes(export.rows_table(rows, "Asia/Kathmandu")).decode("utf-8-sig").splitlines()

    assert lines == [
        "name,at,cost_usd,ids,is_new",
        "'=cmd,2026-01-01T17:45:00.000+05:45,0.000000000001,a b,true",
        ",,,,false",
    ]


@pytest.mark.parametrize(
    ("step", "start"), [("day", "2026-03-29"), ("week", "2026-03-29"), ("hour", "2026-03-29T00:00:00.000+01:00")]
)
def test_course_table_steps_are_local(step: str, start: str) -> None:
    """A day is the zone's, not the hour at which it begins in UTC."""
    points = [FailurePoint(step_at=datetime(2026, 3, 29), key="timeout", errors=2)]

    found = csv_bytes(export.course_table(points, step, "Europe/Berlin"))

    assert found == BOM + f"{step},tz,key,errors\n{start},Europe/Berlin,timeout,2\n".encode()


def test_rows_table_no_row_is_an_empty_file() -> None:
    """Without a row there is no column to name."""
    assert csv_bytes(export.rows_table([], "UTC")) == BOM + b"\n"


@pytest.mark.parametrize(
    "error",
    [
        LookupError("The index at x cannot be read."),
        duckdb.Error("secret"),
        OSError("no"),
        ValueError("no"),
        OverflowError("no"),
        pa.ArrowTypeError("no"),
    ],
)
@pytest.mark.parametrize("of", FORMATS, ids=lambda of: of.extension)
def test_safely_failure_becomes_a_file_that_says_so(error: Exception, of: FileFormat) -> None:
    """A download never raises: the browser would show nothing at all."""

    def fail() -> bytes:
        """Fail."""
        raise error

    data = export.safely(fail, of.write)()

    (message,) = (row["error"] for row in read_back(data, of.extension))
    assert isinstance(message, str) and "secret" not in message
    assert message == str(error) if isinstance(error, LookupError) else type(error).__name__ in message


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (
            Scope(period=Period(datetime(2025, 10, 20), datetime(2025, 11, 19)), agents=("build",)),
            "opencode-costs_by-model_2025-10-20_2025-11-18_agent-build",
        ),
        (Scope(), "opencode-costs_by-model_2026-01-01_2026-01-31"),
        (
            Scope(models=("acme/növa 5",), text="../../etc/passwd", projects=("p" * 40,)),
            "opencode-costs_by-model_2026-01-01_2026-01-31_model-acme-nova-5_project-pppppppp_text-etc-passwd",
        ),
    ],
)
def test_file_stem_says_what_is_in_it(scope: Scope, name: str) -> None:
    """Table, days and filters, in ASCII that every file system takes."""
    assert export.file_stem("costs_by-model", scope, datetime(2026, 1, 1), datetime(2026, 1, 31)) == name


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("errors_by-$.name", "opencode-errors_by-name"),
        ('errors_by-$.data."odd -- name"', "opencode-errors_by-data-odd-name"),
        ("costs_by-gpt-4.1", "opencode-costs_by-gpt-4.1"),
    ],
)
def test_file_stem_signs_between_words_are_one_hyphen(table: str, name: str) -> None:
    """Also where a table is named after a path; a version keeps its point."""
    assert export.file_stem(table, Scope()) == name


def test_file_stem_is_never_too_long() -> None:
    """Many filters still make a name of at most 120 characters."""
    stem = export.file_stem("costs_by-agent", Scope(agents=tuple(f"agent-{number}" for number in range(50))))

    longest = max(len(f".{each.extension}") for each in FORMATS)
    assert len(stem) + longest <= 120
    assert len(export.plain_stem("x" * 500)) + longest <= 120


def _download() -> None:
    """Prepare a download inside a session, and make it."""
    import streamlit as st

    from pages.ui import data, spend
    from queries import costs
    from queries.period import Scope
    from queries.table_files import csv_bytes

    data.check()
    st.text(
        csv_bytes(
            spend.view("agent", costs.RECORDED, Scope(), data.load(costs.cost_totals, Scope())).exported()
        ).decode()
    )


def test_download_is_what_the_page_shows(real_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The prepared download reads the pinned revision and holds every row."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))
    whole = costs.cost_totals(read(real_path("json")).connection(), Scope())

    app = AppTest.from_function(_download, default_timeout=60).run()

    assert not app.exception
    rows = read_back(app.text[0].value.encode(), "csv")
    assert sum(Decimal(row["cost_recorded_usd"] or 0) for row in rows) == whole.cost_recorded_usd


def test_hours_weekday_and_zone_are_said() -> None:
    """As words: which number Monday has differs from program to program, and an hour is one of some clock."""
    table = exported_tables.hours([WeekHour(6, 23, 2, 10, Decimal("0.5"), None)], "Asia/Kathmandu")

    assert list(table.columns)[:3] == ["weekday", "hour", "tz"]
    assert table.rows == [["Sunday", 23, "Asia/Kathmandu", 2, 10, Decimal("0.5"), None]]
