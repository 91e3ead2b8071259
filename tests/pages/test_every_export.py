"""Every table of every page can be exported, and its three files hold the same."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from indexer.benchmarks import results
from pages.ui import export
from queries.examples import EXAMPLES, Example
from queries.period import Scope
from queries.sessions import session_rows
from queries.table_files import FORMATS, Cell, Kind, Table
from tests import benchmark_runs
from tests.builders import assistant, damaged, part, session, user, write_json_tree
from tests.exports import as_csv
from tests.pages.conftest import OpenApp, index, read

RealPath = Callable[[str], Path]
ZONE = "Asia/Kathmandu"


class Offered:
    """Notes what pages offer while they are drawn, and lets them go on as they would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in front of the real offer."""
        self.tables: dict[str, Callable[[], Table]] = {}
        self._real = export.offer
        monkeypatch.setattr(export, "offer", self._note)

    def _note(self, make: Callable[[], Table], stem: str, key: str, what: str) -> None:
        """Keep what makes the table."""
        self.tables[key] = make
        self._real(make, stem, key, what)


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


def check(app: AppTest, offered: Offered) -> None:
    """Check a page: an export of its own for every table, and the same in every file of every export."""
    assert not app.exception
    nearest = list(nearest_exports(app.main, []))
    assert len(nearest) == len(app.dataframe) > 0
    assert [len(exports) for exports in nearest] == [1] * len(nearest)
    assert len({key for (key,) in nearest}) == len(nearest)
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
