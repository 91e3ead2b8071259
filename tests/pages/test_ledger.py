"""The page "Why this number": marks, rows, one session, filters, and the ways that lead there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from queries.ledger_lines import LINES
from tests.builders import assistant, session, user, write_sqlite
from tests.pages.conftest import OpenApp, change, has_filter_bar, headline, index, texts
from tests.queries.test_ledger import DOCS, STEP

DIFFERS, AGREES, UNKNOWN = ["✗ differs"], ["✓ agree"], ["not known"]


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    """Index two sessions as OpenCode's database, its own sums among them."""
    return index(tmp_path / "index.duckdb", write_sqlite(tmp_path / "data", DOCS))


def table(app: AppTest, column: str) -> pd.DataFrame:
    """Return the first table with a column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)


def ways(app: AppTest) -> list[Any]:
    """Return the links to this page."""
    return [link.proto for link in app.get("page_link") if link.proto.label == "Why this number?"]


def test_ledger_everything_agrees_and_says_so(open_app: OpenApp, healthy: Path) -> None:
    """One mark a line, each with a word; the headline is that of Costs."""
    app = open_app(healthy, page="ledger", range="all")

    marks = table(app, "Against")["Verdict"].tolist()
    assert not app.exception
    assert [title.value for title in app.title] == ["Why this number"]
    assert headline(app) == {"Cost, recorded (USD)": "$1.00", "Tokens": "480", "List price (USD)": "—"}
    assert "All 9 independent sums agree" in texts(app)
    assert "2 known in neither source" in texts(app)  # the list prices of unpriced models
    assert DIFFERS not in marks
    assert (marks.count(AGREES), marks.count(UNKNOWN)) == (9, 2)
    assert "never records some requests" in texts(app)


def test_ledger_cost_that_nobody_recorded_is_not_known(open_app: OpenApp) -> None:
    """Neither 0 nor in agreement, on the line and on its rows."""
    app = open_app(
        session(), user(), assistant(usage=STEP, cost=None), page="ledger", range="all", line="cost_sessions"
    )

    lines, rows = table(app, "Against"), table(app, "Session id")
    columns = ["Verdict", "Here", "There", "Difference"]
    assert lines.loc[lines["What"] == "Recorded cost", columns].values.tolist() == [[UNKNOWN, "—", "—", "—"]] * 3
    assert rows[columns].values.tolist() == [[UNKNOWN, "—", "—", "—"]]
    assert lines["Rows"].tolist()[0] == "1, 1 unknown"
    assert "no cost is recorded in either source" in lines["Against"].tolist()


def test_ledger_wrong_session_sum_is_red_and_leads_to_its_row(open_app: OpenApp, healthy: Path) -> None:
    """The line that the address names lists that session first, with both values."""
    change(healthy, "UPDATE sessions SET stored_cost_usd = 0.74 WHERE session_id = 'ses_1'")

    app = open_app(healthy, page="ledger", range="all", line="cost_opencode")

    rows = table(app, "Session id")
    assert "1 of 9 independent sums differs" in texts(app)
    assert table(app, "Against")["Verdict"].tolist().count(DIFFERS) == 1
    assert rows["Session id"].tolist() == ["ses_1", "ses_2"]
    assert rows["Verdict"].tolist() == [DIFFERS, AGREES]
    assert rows.loc[0, ["Here", "There", "Difference"]].tolist() == ["$0.7500", "$0.7400", "$0.0100"]


def test_ledger_every_line_opens(open_app: OpenApp, healthy: Path) -> None:
    """Whatever it is made of, also of nothing."""
    for key in LINES:
        app = open_app(healthy, page="ledger", range="all", line=key)

        assert not app.exception, key
        assert "row by row**" in texts(app), key


def test_ledger_filter_says_what_cannot_be_compared(open_app: OpenApp, healthy: Path) -> None:
    """Grey, with the reason; no false agreement."""
    app = open_app(healthy, page="ledger", range="all", agent=["build"], line="cost_opencode")

    reasons = table(app, "Against")["Against"].tolist()
    assert "5 not comparable with this filter" in texts(app)
    assert sum("knows whole sessions only" in reason for reason in reasons) == 5
    assert "Nothing to compare: OpenCode's own sums" in texts(app)


def test_ledger_of_one_session_has_no_filter_bar(open_app: OpenApp, healthy: Path) -> None:
    """Its total is that of the whole session, as on the Timeline."""
    app = open_app(healthy, page="ledger", session="ses_2", agent=["nobody"])

    assert not app.exception
    assert headline(app)["Cost, recorded (USD)"] == "$0.25"
    assert "Title of ses_2" in texts(app)
    assert not has_filter_bar(app)


def test_ledger_everything_instead_of_a_session(open_app: OpenApp, healthy: Path) -> None:
    """The filter bar is back."""
    app = open_app(healthy, page="ledger", session="ses_2")

    app.button(key="ledger_all").click().run()

    assert not app.exception
    assert "session" not in app.query_params
    assert has_filter_bar(app)


def test_ledger_unknown_session_is_said(open_app: OpenApp, healthy: Path) -> None:
    """Not the ledger of nothing."""
    app = open_app(healthy, page="ledger", session="ses_9")

    assert not app.exception
    assert "The index has no such session." in texts(app)
    assert headline(app) == {}


def test_ledger_nothing_matches_is_said(open_app: OpenApp) -> None:
    """A session without an answer has no total."""
    app = open_app(session(), user(), page="ledger", range="all")

    assert not app.exception
    assert "No answers here" in texts(app)


def test_ledger_models_without_a_price_are_named(open_app: OpenApp) -> None:
    """As text: names are untrusted."""
    app = open_app(
        session(), user(), assistant(usage={"input": 9, "output": 1}, modelID="![x](y)"), page="ledger", range="all"
    )

    assert "Without a known list price: acme/![x](y) (1 answer, 10 tokens)." in [text.value for text in app.text]


@pytest.mark.parametrize("page", ["overview", "costs", "cache", "activity", "sessions", "errors", "tools"])
def test_ledger_totals_of_other_pages_lead_there(
    open_app: OpenApp, real_path: Callable[[str], Path], page: str
) -> None:
    """Beside the headline; the filters come along by themselves."""
    app = open_app(real_path("sqlite"), page=page, range="all")

    (way,) = ways(app)
    assert way.page.endswith("ledger")
    assert not way.query_string


def test_ledger_what_if_leads_there(open_app: OpenApp, real_path: Callable[[str], Path]) -> None:
    """Its headline is of the same requests."""
    app = open_app(real_path("sqlite"), page="what_if", range="all", compare=["anthropic/claude-sonnet-4-5"])

    assert not app.exception
    assert len(ways(app)) == 1


def test_ledger_timeline_leads_to_that_of_its_session(open_app: OpenApp, healthy: Path) -> None:
    """Its totals are of one session."""
    app = open_app(healthy, page="timeline", session="ses_1")

    (way,) = ways(app)
    assert way.query_string == "session=ses_1"
