"""CSV files, byte by byte: exact, readable by any spreadsheet, and never a formula."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import export
from queries import costs, sessions
from queries.costs import CostRow
from queries.failures import FailurePoint
from queries.period import Period, Scope
from tests.builders import assistant, session, tokens
from tests.conftest import OpenIndex
from tests.pages.conftest import read

BOM = b"\xef\xbb\xbf"


def parsed(data: bytes) -> list[dict[str, str]]:
    """Read a file as a spreadsheet does."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def cost_row(key: str | None, cost: Decimal | None, label: str | None = None) -> CostRow:
    """Make a row of costs."""
    return CostRow(key, label, cost, 0.5 if cost else None, 2, 3, 10, 20, 30, 40, 50, 150, 1, 0, 0)


def test_costs_csv_is_exact_to_the_byte() -> None:
    """Byte order mark, LF, header with units, full precision, the zone of the days, empty where not recorded."""
    rows = [cost_row("2026-11-19", Decimal("0.100000000001")), cost_row(None, None)]

    data = export.costs_csv(rows, "day", "Europe/Berlin", {})

    assert data == BOM + (
        b"day,tz,cost_recorded_usd,cost_share,sessions,cost_recorded_usd_per_session,messages,input_tokens,"
        b"output_tokens,reasoning_tokens,cache_read_tokens,cache_write_tokens,total_tokens,errors,"
        b"unrecorded_messages,missing_usage_messages\n"
        b"2026-11-19,Europe/Berlin,0.100000000001,0.5,2,0.050000000000,3,10,20,30,40,50,150,1,0,0\n"
        b"unknown time,Europe/Berlin,,,2,,3,10,20,30,40,50,150,1,0,0\n"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_formula_in_a_text_cell_gets_a_quote(start: str) -> None:
    """A spreadsheet must not run a title."""
    assert export.text(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (Decimal("-0.000000000001"), "-0.000000000001"),
        (Decimal("1E+3"), "1000"),
        (-5, "-5"),
        (0.1, "0.1"),
        (None, ""),
        (True, "true"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900), "2026-01-02T03:04:05.678"),
        ("a\ud800b", "a?b"),
        ("\u202eRTL", "\u202eRTL"),
        ("", ""),
    ],
)
def test_text_numbers_and_odd_text_are_written_plainly(cell: export.Cell, written: str) -> None:
    """Numbers never get a quote, also negative ones; what UTF-8 cannot hold is replaced."""
    assert export.text(cell) == written


def test_csv_bytes_quotes_follow_the_standard() -> None:
    """Commas, quotes and line breaks are quoted, quotes doubled; a megabyte stays whole."""
    long = "x" * 1_000_000

    data = export.csv_bytes(["a", "b"], [['say "hi", you', "two\nlines"], [long, "</script>"]])

    assert data.startswith(BOM + b'a,b\n"say ""hi"", you","two\nlines"\n')
    assert data.endswith(f"\n{long},</script>\n".encode())


@pytest.mark.parametrize("by", costs.GROUPINGS)
@pytest.mark.parametrize("scope", [Scope(), Scope(agents=("build",)), Scope(period=Period(datetime(2026, 10, 1)))])
def test_costs_csv_sum_equals_the_totals_as_decimals(by: str, scope: Scope, real_path: Callable[[str], Path]) -> None:
    """The file adds up to the headline, for every grouping and filter."""
    con = read(real_path("json")).connection()
    whole = costs.cost_totals(con, scope)

    rows = parsed(export.costs_csv(costs.cost_rows(con, by, scope), by, "UTC", {}))

    assert sum(Decimal(row["cost_recorded_usd"] or 0) for row in rows) == whole.cost_recorded_usd
    assert sum(int(row["total_tokens"]) for row in rows) == whole.total_tokens


def test_sessions_csv_hostile_title_and_local_time(open_index: OpenIndex) -> None:
    """A title stays text; times carry their offset; both sums are there."""
    con = open_index(session(title='=HYPERLINK("http://example.com")'), assistant(usage=tokens(input=5), cost=0.25))

    data = export.sessions_csv(sessions.session_rows(con, Scope(), True, "newest"), "Asia/Kathmandu")

    (row,) = parsed(data)
    assert row["title"] == '\'=HYPERLINK("http://example.com")'
    assert (row["started_at"], row["tz"]) == ("2026-01-01T05:45:00.000+05:45", "Asia/Kathmandu")
    assert (row["cost_recorded_usd"], row["session_total_tokens"]) == ("0.250000000000", "5")


def test_sessions_csv_of_every_set_adds_up(real_path: Callable[[str], Path]) -> None:
    """All rows, not a page, whatever the titles hold."""
    con = read(real_path("migrated-after")).connection()

    rows = parsed(export.sessions_csv(sessions.session_rows(con, Scope(), True, "newest"), "UTC"))

    assert (
        sum(Decimal(row["cost_recorded_usd"] or 0) for row in rows) == costs.cost_totals(con, Scope()).cost_recorded_usd
    )


def test_session_models_csv_has_a_row_per_model(open_index: OpenIndex) -> None:
    """The small tables of a session export too."""
    con = open_index(session(), assistant(cost=1))

    models = parsed(export.session_models_csv(sessions.session_models(con, "ses_1"), "ses_1"))

    assert [(row["session_id"], row["cost_recorded_usd"]) for row in models] == [("ses_1", "1.000000000000")]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of any table."""

    name: str
    at: datetime | None
    cost_usd: Decimal | None
    ids: tuple[str, ...]
    is_new: bool


def test_rows_csv_columns_are_the_fields() -> None:
    """Full precision, local times with their offset, a guard against formulas, an empty cell for what is unknown."""
    rows = [
        _Row("=cmd", datetime(2026, 1, 1, 12), Decimal("0.000000000001"), ("a", "b"), True),
        _Row("", None, None, (), False),
    ]

    lines = export.rows_csv(rows, "Asia/Kathmandu").decode("utf-8-sig").splitlines()

    assert lines == [
        "name,at,cost_usd,ids,is_new",
        "'=cmd,2026-01-01T17:45:00.000+05:45,0.000000000001,a b,true",
        ",,,,false",
    ]


@pytest.mark.parametrize(
    ("step", "start"), [("day", "2026-03-29"), ("week", "2026-03-29"), ("hour", "2026-03-29T00:00:00.000+01:00")]
)
def test_course_csv_steps_are_local(step: str, start: str) -> None:
    """A day is the zone's, not the hour at which it begins in UTC."""
    points = [FailurePoint(step_at=datetime(2026, 3, 29), key="timeout", errors=2)]

    found = export.course_csv(points, step, "Europe/Berlin")

    assert found == BOM + f"{step},tz,key,errors\n{start},Europe/Berlin,timeout,2\n".encode()


def test_rows_csv_no_row_is_an_empty_file() -> None:
    """Without a row there is no column to name."""
    assert export.rows_csv([], "UTC") == BOM + b"\n"


@pytest.mark.parametrize(
    "error", [LookupError("The index at x cannot be read."), duckdb.Error("secret"), OSError("no"), ValueError("no")]
)
def test_safely_failure_becomes_a_file_that_says_so(error: Exception) -> None:
    """A download never raises: the browser would show nothing at all."""

    def fail() -> bytes:
        """Fail."""
        raise error

    data = export.safely(fail)()

    assert data.startswith(BOM + b"error\n")
    assert b"secret" not in data


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (
            Scope(period=Period(datetime(2025, 10, 20), datetime(2025, 11, 19)), agents=("build",)),
            "opencode-costs_by-model_2025-10-20_2025-11-18_agent-build.csv",
        ),
        (Scope(), "opencode-costs_by-model_2026-01-01_2026-01-31.csv"),
        (
            Scope(models=("acme/növa 5",), text="../../etc/passwd", projects=("p" * 40,)),
            "opencode-costs_by-model_2026-01-01_2026-01-31_model-acme-nova-5_project-pppppppp_text-..-..-etc-passwd.csv",
        ),
    ],
)
def test_file_name_says_what_is_in_it(scope: Scope, name: str) -> None:
    """Table, days and filters, in ASCII that every file system takes."""
    assert export.file_name("costs_by-model", scope, datetime(2026, 1, 1), datetime(2026, 1, 31)) == name


def test_file_name_is_never_too_long() -> None:
    """Many filters still make a name of at most 120 characters."""
    name = export.file_name("costs_by-agent", Scope(agents=tuple(f"agent-{number}" for number in range(50))))

    assert len(name) <= 120 and name.endswith(".csv")
    assert len(export.plain_name("x" * 500)) <= 120


def _download() -> None:
    """Prepare a download inside a session, and make it."""
    import streamlit as st

    from pages.ui import data, export, spend
    from queries import costs
    from queries.period import Scope

    data.check()
    st.text(export.safely(spend.view("agent", Scope(), data.load(costs.cost_totals, Scope())).csv)().decode())


def test_download_is_what_the_page_shows(real_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The prepared download reads the pinned revision and holds every row."""
    monkeypatch.setenv("ANALYTICS_DB", str(real_path("json")))
    whole = costs.cost_totals(read(real_path("json")).connection(), Scope())

    app = AppTest.from_function(_download, default_timeout=60).run()

    assert not app.exception
    rows = parsed(app.text[0].value.encode())
    assert sum(Decimal(row["cost_recorded_usd"] or 0) for row in rows) == whole.cost_recorded_usd
