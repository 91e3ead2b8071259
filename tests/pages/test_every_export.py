"""Every table of every page can be exported, and its three files hold the same."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from indexer.benchmarks import results
from pages.ui import display, export, working_tables
from queries.examples import EXAMPLES, Example
from queries.period import Scope
from queries.sessions import session_rows
from queries.table_files import FORMATS, Cell, Kind, Table
from tests import benchmark_runs
from tests.builders import assistant, damaged, part, session, user, write_json_tree
from tests.exports import as_csv
from tests.pages.conftest import OpenApp, index, read, texts

RealPath = Callable[[str], Path]
ZONE = "Asia/Kathmandu"
# Columns on screen that no column of the export has as it is: they say several of them in one, draw a course that is an
# export of its own, lay rows out otherwise, or tell what is in no index.
_SAID_OTHERWISE = {
    "activity_directories_export": {"Project"},
    "activity_hours_export": {"Hour", *working_tables.WEEKDAYS},
    "activity_projects_export": {"Project"},
    "benchmark_export": {"Change"},
    "costs_export": {"Trend"},
    "errors_patterns_export": {"Retryable"},
    "errors_spend_export": {"Cause"},
    "errors_unread_export": {"State", "Size"},
    "indexer_problems_export": {"State", "Size"},
    "indexer_sources_export": {"Storage", "State", "Followed"},
    "picker_export": {"Notes"},
    "sessions_export": {"Notes"},
    "timeline_numbers_export": {"", "Own", "Inherited", "With children"},
    "timeline_time_export": {"Time", "Spent", "Share"},
    "timeline_tree_export": {"Session", "Status", "Link"},
    "timeline_waste_export": {"What"},
    "tools_slowest_export": {"Failed"},
}


class Offered:
    """Notes what pages offer while they are drawn, and lets them go on as they would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in front of the real offer."""
        self.tables: dict[str, Callable[[], Table]] = {}
        self._real = export.offer
        monkeypatch.setattr(export, "offer", self._note)

    def _note(self, make: Callable[[], Table], stem: str, key: str, what: str, *, is_alone: bool = True) -> None:
        """Keep what makes the table."""
        self.tables[key] = make
        self._real(make, stem, key, what, is_alone=is_alone)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Offered:
    """Return what is offered from now on."""
    return Offered(monkeypatch)


def exports_in(block: Block) -> list[str]:
    """List the exports anywhere in a block: popovers with a button of each format."""
    found = []
    for node in block:
        if isinstance(node, Block) and node.type == "popover":
            buttons = [each for each in node if each.type == "download_button"]
            found += [node.key or ""] if len(buttons) == len(FORMATS) else []
    return found


def nearest_exports(block: Block, around: list[str]) -> Iterator[list[str]]:
    """Yield for every table below a block the exports of the smallest block around it that has any."""
    inside = exports_in(block) or around
    for child in block.children.values():
        if isinstance(child, Block):
            yield from nearest_exports(child, inside)
        elif child.type in ("arrow_data_frame", "dataframe", "table"):
            yield inside


def is_of(cell: Cell, kind: Kind) -> bool:
    """Tell whether a cell is what its column says; whole numbers are fractions, too."""
    return cell is None or type(cell) is kind or (kind is float and type(cell) is int)


def missing(shown: pd.DataFrame, table: Table) -> set[str]:
    """Name the columns on screen whose values, row by row, no column of the export has."""
    rows = table.rows[: len(shown)]
    columns = [[comparable(row[place]) for row in rows] for place in range(len(table.columns))]
    return {
        str(name)
        for name in shown.columns
        if not any(map(functools.partial(is_alike, [comparable(cell) for cell in shown[name].tolist()]), columns))
    }


def comparable(cell: object) -> object:
    """Return what a cell on screen and one of a file have in common: local time, the begin of a text, a number."""
    match cell:
        case bool() | None:
            return cell is True or None
        case int() | float() | Decimal():
            return None if math.isnan(cell) else float(cell)
        case datetime():
            return None if pd.isna(cell) else cell.replace(tzinfo=None, microsecond=0)
        case _:
            words = display.one_line(str(cell), 20)
            return None if words in ("", display.MISSING) else words


def is_alike(shown: Sequence[object], exported: Sequence[object]) -> bool:
    """Tell whether a column on screen is one of the export: a share may be a percentage, a dash a zero."""

    def is_same(here: object, there: object, scale: int) -> bool:
        """Compare two cells."""
        if isinstance(here, float) and isinstance(there, float):
            return math.isclose(here, there * scale)
        return here == there or (here is None and there == 0)

    return len(shown) == len(exported) and any(
        all(is_same(here, there, scale) for here, there in zip(shown, exported, strict=True)) for scale in (1, 100)
    )


def check(app: AppTest, offered: Offered) -> None:
    """Check a page: an export of its own for every table, and the same in every file of every export."""
    assert not app.exception
    nearest = list(nearest_exports(app.main, []))
    assert len(nearest) == len(app.dataframe) > 0
    assert [len(exports) for exports in nearest] == [1] * len(nearest)
    assert len({key for (key,) in nearest}) == len(nearest)
    for shown, (key,) in zip(app.dataframe, nearest, strict=True):
        assert missing(shown.value, offered.tables[key]()) <= _SAID_OTHERWISE.get(key, set()), key
    for key in exports_in(app.main):
        table = offered.tables[key]()
        assert table.rows, key
        odd = {
            name: cell
            for row in table.rows
            for cell, (name, kind) in zip(row, table.columns.items(), strict=True)
            if not is_of(cell, kind)
        }
        assert odd == {}, key
        as_written, *others = [as_csv(each.write(table), each.extension) for each in FORMATS]
        assert len(as_written) == len(table.rows)
        assert all(other == as_written for other in others), key
        times = [cell for row in table.rows for cell in row if isinstance(cell, datetime)]
        assert all(at.tzinfo is not None for at in times), key


@pytest.mark.parametrize(
    ("page", "url"),
    [
        ("overview", {}),
        *(("costs", {"by": by}) for by in ("day", "model", "project", "session")),
        ("activity", {}),
        ("sessions", {"children": "true"}),
        ("sessions", {"q": "the"}),
        ("timeline", {}),
        ("errors", {}),
        ("tools", {}),
        ("tools", {"tool": "bash"}),
        ("indexer", {}),
    ],
)
def test_pages_every_table_has_an_export(
    page: str, url: dict[str, str], open_app: OpenApp, real_path: RealPath, offered: Offered
) -> None:
    """With what real clients wrote."""
    app = open_app(real_path("sqlite"), page=page, tz=ZONE, range="all", **url)

    check(app, offered)


@pytest.mark.parametrize(("tab", "has_children"), [("Figures", True), ("Sessions", True), ("Loops and waste", False)])
def test_timeline_every_table_has_an_export(
    tab: str, has_children: bool, open_app: OpenApp, real_path: RealPath, offered: Offered
) -> None:
    """Of the dearest session that delegated, and of the dearest of all, which repeated itself."""
    path = real_path("sqlite")
    rows = session_rows(read(path).connection(), Scope(), True, "cost")
    dearest = next(row.session_id for row in rows if row.children or not has_children)

    app = open_app(path, page="timeline", tz=ZONE, session=dearest)
    app.session_state["timeline_tabs"] = tab
    app.run()

    check(app, offered)


@pytest.mark.parametrize(("page", "tab"), [("errors", "Unreadable documents"), ("indexer", "")])
def test_unreadable_documents_have_an_export(page: str, tab: str, open_app: OpenApp, offered: Offered) -> None:
    """Where one reads of them, and where one can do something about them."""
    docs = [session(), user(), assistant(), damaged(part("prt_1", "text"), b"{"), damaged(user("msg_9u"), b"=1+1")]

    app = open_app(*docs, page=page, tz=ZONE, range="all")
    app.session_state["errors_tabs"] = tab or None
    app.run()

    check(app, offered)


def test_errors_causes_are_called_so_on_screen_and_in_exports(
    open_app: OpenApp, real_path: RealPath, offered: Offered
) -> None:
    """One word for one thing: `category` is that of the index and of addresses alone."""
    app = open_app(real_path("sqlite"), page="errors", tz=ZONE, range="all")

    headers = {key: list(make().columns) for key, make in offered.tables.items()}
    shown = [option.content for group in app.get("button_group") for option in group.proto.options]
    assert {key for key, names in headers.items() if "cause" in names} == {
        *("errors_spend_export", "errors_patterns_export", "errors_examples_export", "errors_recovered_export")
    }
    assert not any("category" in names for names in headers.values())
    assert "cause" in shown and "category" not in shown
    assert "ategor" not in texts(app)


def _of_query(query: str) -> None:
    """Draw what a ticked benchmark shows."""
    from pages.ui import benchmarks, data

    data.check()
    benchmarks.history(query, "UTC")


def test_benchmarks_every_table_has_an_export(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: Offered
) -> None:
    """The queries of a run, and the history of one of them."""
    path = index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [session(), user(), assistant()]))
    results.keep(path, benchmark_runs.run())
    monkeypatch.setenv("ANALYTICS_DB", str(path))

    page = open_app(path, page="benchmarks", tz=ZONE)
    history = AppTest.from_function(_of_query, args=(benchmark_runs.SLOWER,), default_timeout=60).run()

    assert exports_in(history.main) == ["benchmark_history_export"]
    check(page, offered)
    check(history, offered)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_sql_every_table_has_an_export(
    example: Example, open_app: OpenApp, real_path: RealPath, offered: Offered
) -> None:
    """The result of a query, and the description of a table."""
    app = open_app(real_path("sqlite"), page="sql", tz=ZONE, query=example.sql)
    next(button for button in app.button if button.label == "Run").click().run()

    assert len(app.dataframe) == 2
    check(app, offered)


def test_is_of_a_kind_is_meant_exactly() -> None:
    """A yes is no number, and a time no day."""
    assert (is_of(True, int), is_of(datetime(2026, 1, 1), date), is_of(2, float), is_of(None, str)) == (
        *(False, False),
        *(True, True),
    )
