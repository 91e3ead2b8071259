"""The Benchmarks page, without a browser."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from indexer.benchmarks import results
from indexer.benchmarks.results import Run
from pages.ui import benchmark_charts, display, export
from queries.benchmarks import Comparison
from queries.table_files import csv_bytes
from tests import benchmark_runs as made
from tests.benchmark_runs import FASTER, SEARCH, SLOWER
from tests.builders import assistant, session, user, write_json_tree
from tests.pages.conftest import OpenApp, headline, index, texts

Measured = Callable[..., Path]
ROW = Comparison(FASTER, "Costs", 30, 2, 7, 12.0, 4.0, 8.0, 2.0, False, 30, 4.4, 8.8, False)


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """Keep benchmarks in an index of one session."""

    def build(*runs: Run) -> Path:
        """Keep what is given."""
        path = index(
            tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [session(), user(), assistant()])
        )
        for run in runs:
            results.keep(path, run)
        return path

    return build


def test_benchmarks_none_yet_gives_the_command(open_app: OpenApp, measured: Measured) -> None:
    """On own data, and on made-up data."""
    app = open_app(measured(), page="benchmarks")

    assert not app.exception
    assert app.title[0].value == "Benchmarks"
    assert [code.value for code in app.code] == [
        ".venv/bin/python -m indexer benchmark",
        ".venv/bin/python -m indexer benchmark --rows 100000",
    ]


def test_benchmarks_empty_index_has_the_page(open_app: OpenApp, tmp_path: Path) -> None:
    """It is about the index itself."""
    app = open_app(index(tmp_path / "index.duckdb"), page="benchmarks")

    assert not app.exception
    assert "No benchmark yet" in texts(app)


def test_benchmarks_newest_is_shown_against_scans_off(open_app: OpenApp, measured: Measured) -> None:
    """Counted without the text search; slower is counted as slower."""
    app = open_app(measured(made.run(factor=2), made.run("later", days_later=1)), page="benchmarks")

    assert not app.exception
    assert headline(app) == {
        "Under 10 ms": "1 of 2",
        "Single statements under 10 ms": "2 of 2",
        "Typical speed-up": "×1.0",
        "Slower than before": "1 of 3",
    }
    assert "1,000,000 parts" in texts(app)
    assert "Some Processor, 2 cores" in texts(app)
    assert app.dataframe[0].value["Query"].tolist() == [SEARCH, SLOWER, FASTER]
    assert app.dataframe[0].value["Change"].tolist() == ["scan, as before", "scan → index scan", "scan, as before"]


def test_benchmarks_address_compares_with_the_story(open_app: OpenApp, measured: Measured) -> None:
    """A link keeps what is compared."""
    app = open_app(measured(made.run()), page="benchmarks", before="the story's schema")

    assert headline(app)["Slower than before"] == "0 of 3"
    assert app.dataframe[0].value["Speed-up"].tolist() == [2.0, 4.0, 50.0]


def test_benchmarks_older_run_and_one_page_are_chosen(open_app: OpenApp, measured: Measured) -> None:
    """Each narrows what is shown."""
    app = open_app(measured(made.run(factor=2), made.run("later", days_later=1)), page="benchmarks")

    app.selectbox[0].select(made.RUN_ID).run()
    app.selectbox[1].select("Costs").run()

    assert app.dataframe[0].value["Now"].tolist() == [8.0]


def _of_query(query: str) -> None:
    """Draw what a ticked row shows."""
    from pages.ui import benchmarks, data

    data.check()
    newest = benchmarks.load_runs()[0]
    benchmarks.plans(newest, query, "index scans off")
    benchmarks.history(query, "UTC")


def test_plans_ticked_query_stand_side_by_side_with_sql_and_history(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index scan is marked; what the query text says is never markup."""
    later = made.run("later", days_later=1, factor=2)
    monkeypatch.setenv("ANALYTICS_DB", str(measured(made.run(), later)))

    app = AppTest.from_function(_of_query, args=(SLOWER,), default_timeout=60).run()

    assert not app.exception
    plans = [code.value for code in app.code]
    assert plans[0].startswith("▶ INDEX SCAN parts")
    assert plans[1].startswith("SEQUENTIAL SCAN parts")
    assert plans[2] == f"SELECT 'current' -- <b>{SLOWER}</b>"
    assert app.dataframe[0].value["Now"].tolist() == [24.0, 12.0]


def test_dumbbells_slower_query_is_a_triangle() -> None:
    """Not told by colour alone; the axis is logarithmic, and the goal is on it."""
    slower = Comparison(SLOWER, "Timeline", 30, 2, 7, 36.0, 12.0, 24.0, 6.0, True, 30, 6.0, 12.0, False)

    figure = benchmark_charts.dumbbells([slower, ROW], "index scans off")

    now, before, *_, lines, goal = figure.data
    assert (now.x, before.x) == ((12.0, 4.0), (6.0, 4.4))
    assert now.marker.symbol == ("triangle-up", "circle")
    assert lines.x == (12.0, 6.0, None, 4.0, 4.4, None)
    assert set(goal.x) == {10.0}
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first row on top
    assert len(figure.data) == 8  # colours: two series, four empty ones, two in the colour of Other


def test_dumbbells_many_queries_draws_the_first_only() -> None:
    """A chart of hundreds of marks is slow to draw."""
    figure = benchmark_charts.dumbbells([ROW] * 100, "index scans off")

    assert len(figure.data[0].x) == benchmark_charts.MAX_QUERIES


@pytest.mark.parametrize(
    ("before_ms", "words"), [(40.0, "×10 faster"), (4.0, "×1.0 faster"), (1.0, "×4.0 slower"), (3.9, "×1.0 slower")]
)
def test_change_is_named_as_it_is(before_ms: float, words: str) -> None:
    """Faster or slower, and how many times."""
    row = Comparison(FASTER, "Costs", 30, 2, 7, 12.0, 4.0, 8.0, 2.0, False, 30, before_ms, 8.8, False)

    assert benchmark_charts.change(row) == words


def test_rows_table_comparisons_have_raw_numbers() -> None:
    """Full precision, units in the names."""
    header, row = csv.reader(io.StringIO(csv_bytes(export.rows_table([ROW], "UTC")).decode("utf-8-sig")))

    found = dict(zip(header, row, strict=True))
    assert (found["query"], found["median_ms"], found["before_median_ms"]) == (FASTER, "4.0", "4.4")
    assert found["is_index_used"] == "false"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.042, "0.04 ms"),
        (0.996, "1.0 ms"),
        (9.54, "9.5 ms"),
        (99.96, "100 ms"),
        (999, "999 ms"),
        (1240, "1.2 s"),
        (None, "—"),
    ],
)
def test_fine_duration_tells_fast_things_apart(ms: float | None, text: str) -> None:
    """Three digits at most."""
    assert display.fine_duration(ms) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.415, "×0.41"), (0.999, "×1.0"), (3.14, "×3.1"), (73.6, "×74"), (1234.0, "×1,234"), (None, "—")],
)
def test_times_names_ratios(ratio: float | None, text: str) -> None:
    """Below 1 with two digits."""
    assert display.times(ratio) == text
