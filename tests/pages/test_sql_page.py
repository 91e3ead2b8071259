"""The SQL page, without a browser."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import charts, sql_chart, sql_tables
from queries import console
from queries.examples import EXAMPLES
from tests.builders import assistant, project, session, user
from tests.pages.conftest import OpenApp, index, texts

DOCS = [project(), session(title="Fix ![it](http://x)"), user(), assistant(cost=0.25)]
TITLES = "SELECT title FROM sessions"


def run(app: AppTest, query: str | None = None) -> AppTest:
    """Press Run, after another query was written if one is given."""
    if query is not None:
        app.text_area[0].set_value(query)
    return next(button for button in app.button if button.label == "Run").click().run()


def drawn(app: AppTest) -> list[dict]:
    """Return the series of the chart; none if there is no chart."""
    return [series for chart in app.get("plotly_chart") for series in json.loads(chart.proto.spec)["data"]]


def test_sql_address_is_shown_and_not_run(open_app: OpenApp) -> None:
    """Whoever sent the link does not choose what this machine works on."""
    app = open_app(*DOCS, page="sql", query=TITLES)

    assert not app.exception
    assert app.title[0].value == "SQL"
    assert app.text_area[0].value == TITLES
    assert len(app.dataframe) == 1  # the columns of a table
    assert "revision" not in texts(app)


def test_sql_run_shows_the_rows(open_app: OpenApp) -> None:
    """With where they come from, and as they are: titles are untrusted."""
    app = run(open_app(*DOCS, page="sql"), TITLES)

    assert not app.exception
    assert app.dataframe[0].value.to_dict("list") == {"title": ["Fix ![it](http://x)"]}
    assert any(text.value.startswith("1 row · ") and text.value.endswith("times in UTC") for text in app.text)
    assert drawn(app) == []


def test_sql_changed_query_takes_its_result_along(open_app: OpenApp) -> None:
    """A result never stands below another query."""
    app = run(open_app(*DOCS, page="sql"), TITLES)

    app.button("sql_example_0").click().run()

    assert app.text_area[0].value == EXAMPLES[0].sql
    assert len(app.dataframe) == 1


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_sql_example_runs(open_app: OpenApp, number: int) -> None:
    """Each fills the field, and is a query of the index as it is."""
    app = open_app(*DOCS, page="sql")

    app.button(f"sql_example_{number}").click().run()
    run(app)

    assert not app.exception
    assert not app.error
    assert len(app.dataframe) == 2


def test_sql_error_is_shown_as_text(open_app: OpenApp) -> None:
    """With line and mark, without a traceback."""
    app = run(open_app(*DOCS, page="sql"), "SELECT title FORM sessions")

    assert not app.exception
    assert [box.value for box in app.error] == ["This query was not answered."]
    assert "LINE 1: SELECT title FORM sessions\n                          ^^^^^^^^" in app.code[0].value


@pytest.mark.parametrize("query", ["DROP TABLE sessions", "FROM read_text('/etc/passwd')", "SELECT 1; SELECT 2"])
def test_sql_what_does_more_than_ask_is_refused(open_app: OpenApp, query: str) -> None:
    """The page goes the way that the tests of `queries.console` look at closely."""
    app = run(open_app(*DOCS, page="sql"), query)

    assert not app.exception
    assert len(app.error) == 1


def test_sql_long_query_is_refused(open_app: OpenApp) -> None:
    """With its length and the limit."""
    app = run(open_app(*DOCS, page="sql"), f"SELECT '{'x' * console.MAX_QUERY_CHARS}'")

    assert app.code[0].value == "The query has 5,009 characters; 5,000 are the limit."


def test_sql_many_rows_are_shown_in_part_and_said_so(open_app: OpenApp) -> None:
    """What is cut, what is only not shown, and what is not drawn."""
    app = run(open_app(*DOCS, page="sql"), "SELECT range AS n, repeat('x', 600) AS long FROM range(20000)")

    shown = app.dataframe[0].value
    assert (len(shown), len(shown["long"][0])) == (sql_tables.SHOWN_ROWS, sql_tables.SHOWN_CHARS)
    assert "10,000 rows (the result was cut here, there is more; the first 1,000 are shown; texts" in texts(app)
    assert "The first 400 rows are drawn." in texts(app)
    assert len(drawn(app)[0]["x"]) == charts.MAX_MARKS


def test_sql_chart_draws_what_is_chosen(open_app: OpenApp) -> None:
    """The first number over the first column, until another is chosen."""
    app = run(
        open_app(*DOCS, page="sql"), "SELECT * FROM (VALUES ('a', 1, 10), ('b', 2, 20)) AS made (name, few, many)"
    )
    first = drawn(app)[0]

    app.selectbox("sql_y").select("many").run()
    app.segmented_control("sql_kind").set_value("line").run()

    second = drawn(app)[0]
    assert (first["type"], first["y"]) == ("bar", [1, 2])
    assert (second["type"], second["y"]) == ("scatter", [10, 20])


def test_sql_decimals_are_shown_exactly(open_app: OpenApp) -> None:
    """Sums of counts are integers; what no integer holds is text."""
    app = run(
        open_app(*DOCS, page="sql"), "SELECT sum(510728) AS a, 1.83765475::DECIMAL(18, 12) AS b, 2::HUGEINT ** 70 AS c"
    )

    shown = app.dataframe[0].value
    assert (shown["a"].tolist(), shown["b"].tolist()) == ([510728], [1.83765475])


def test_sql_tables_are_described(open_app: OpenApp) -> None:
    """What a row is, and what its columns mean; every table can be chosen."""
    app = open_app(*DOCS, page="sql")

    app.selectbox[0].select("session_stats").run()

    assert "one row per session" in texts(app)
    assert "NULL: nothing recorded" in app.dataframe[0].value["Meaning"].tolist()
    assert {"spend", "messages", "parts", "exchanges"} <= set(app.selectbox[0].options)


def test_sql_empty_index_has_the_page(open_app: OpenApp, tmp_path: Path) -> None:
    """Its tables are there."""
    app = run(open_app(index(tmp_path / "index.duckdb"), page="sql"), "SELECT count(*) AS n FROM sessions")

    assert not app.exception
    assert app.dataframe[0].value["n"].tolist() == [0]


def test_exported_is_exact() -> None:
    """Decimals in full, sums as whole numbers, times with their zone; what no file holds as a number is text."""
    rows = pyarrow.table(
        {
            "cost": [Decimal("0.123456789012")],
            "tokens": pyarrow.array([Decimal(510728)], pyarrow.decimal128(38, 0)),
            "huge": pyarrow.array([Decimal(2**70)], pyarrow.decimal128(38, 0)),
            "fine": [Decimal("0.1234567890123")],
            "at": [datetime(2026, 1, 2, 3, 4, 5)],
            "day": [date(2026, 1, 2)],
            "is_new": [True],
            "share": [0.5],
            "none": pyarrow.array([None], pyarrow.int64()),
        }
    )

    table = sql_tables.exported(rows)

    assert table.columns == {
        "cost": Decimal,
        "tokens": int,
        "huge": str,
        "fine": str,
        "at": datetime,
        "day": date,
        "is_new": bool,
        "share": float,
        "none": int,
    }
    assert table.rows == [
        (
            *(Decimal("0.123456789012"), 510728, "1180591620717411303424", "0.1234567890123"),
            *(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), date(2026, 1, 2), True, 0.5, None),
        )
    ]


def test_exported_without_rows_has_columns() -> None:
    """An empty result is a file with a header."""
    table = sql_tables.exported(pyarrow.table({"a": pyarrow.array([], pyarrow.int64())}))

    assert (table.columns, table.rows) == ({"a": int}, [])


def test_draw_equal_labels_have_places_of_their_own() -> None:
    """And labels are text: Plotly takes some HTML."""
    rows = pyarrow.table({"name": ["<b>a</b>", "<b>a</b>", None], "n": [1, None, 3]})

    figure = sql_chart.draw(rows, "name", "n", sql_chart.BARS)

    assert list(figure.data[0].x) == [0, 1, 2]
    assert list(figure.data[0].y) == [1.0, None, 3.0]
    assert list(figure.layout.xaxis.ticktext) == ["&lt;b&gt;a&lt;/b&gt;", "&lt;b&gt;a&lt;/b&gt;", "—"]
