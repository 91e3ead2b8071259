"""The Errors page: headline, choices, examples with the way to their event, fields, unreadable documents."""

import json
from typing import Any

from streamlit.testing.v1 import AppTest

from tests.builders import damaged, session, user
from tests.pages.conftest import OpenApp, headline, texts
from tests.queries.test_failures import DOCS


def _columns(app: AppTest) -> set[str]:
    """Return the headings of all tables."""
    return {str(column) for table in app.dataframe for column in table.value.columns}


def test_errors_headline_and_what_is_left_out(open_app: OpenApp) -> None:
    """Numbers of the queries; what the user cut short is named."""
    app = open_app(*DOCS, page="errors", range="all")

    assert not app.exception
    assert headline(app) == {
        "Errors": "4",
        "Errors per 1,000": "571.4",
        "Spent on failed exchanges": "$0.25",
        "Most frequent cause": "file_not_found",
    }
    assert "Not in these numbers: 1 answer that you cut short." in texts(app)


def test_errors_deep_link_narrows_to_a_cause(open_app: OpenApp) -> None:
    """`?category=` is the contract of other pages."""
    app = open_app(*DOCS, page="errors", range="all", category="rate_limit")

    assert headline(app)["Errors"] == "1"
    assert app.session_state["category"] == ["rate_limit"]


def test_errors_unknown_cause_says_so(open_app: OpenApp) -> None:
    """A link with a cause that never occurred shows nothing, not everything."""
    app = open_app(*DOCS, page="errors", range="all", category="gremlins")

    assert headline(app).get("Errors", "0") == "0"
    assert "No data for cause gremlins" in texts(app)


def test_errors_aborted_count_when_asked_for(open_app: OpenApp) -> None:
    """One switch, for counts and rates alike."""
    app = open_app(*DOCS, page="errors", range="all")

    app.toggle(key="aborted").set_value(True).run()

    assert headline(app)["Errors"] == "5"
    assert headline(app)["Spent on failed exchanges"] == "$0.38"


def choose(app: AppTest, by: str) -> None:
    """Choose what the errors are broken down by."""
    control: Any = app.get("button_group")[-1]
    control.set_value([by]).run()


def test_errors_every_grouping_and_field_can_be_chosen(open_app: OpenApp) -> None:
    """Also a field that no report has."""
    app = open_app(*DOCS, page="errors", range="all")

    for by in ("provider", "model", "agent", "tool"):
        app.segmented_control(key="errors_by").set_value(by).run()
        assert not app.exception
        assert by.capitalize() in _columns(app)
    for path in ("$.data.statusCode", "$.data.message", "$.exit"):
        app.selectbox(key="errors_field").set_value(path).run()
        assert not app.exception


def test_errors_examples_show_the_whole_report(open_app: OpenApp) -> None:
    """As code, never as markup."""
    app = open_app(*DOCS, page="errors", range="all")

    reports = [json.loads(block.value) for block in app.code]

    assert {"status": "error", "exit": None, "message": "File not found: /src/a1.py"} in reports
    assert any(report.get("data", {}).get("statusCode") == 429 for report in reports)


def test_errors_nothing_failed_is_said(open_app: OpenApp) -> None:
    """No error is no empty chart."""
    app = open_app(*[doc for doc in DOCS if "error" not in doc.body and doc.kind != "part"], page="errors", range="all")

    assert "Nothing failed here." in texts(app)


def test_errors_unreadable_documents_are_on_the_second_tab(open_app: OpenApp) -> None:
    """With the way to read them again."""
    app = open_app(*DOCS, session("ses_9"), damaged(user("msg_9u", "ses_9"), b"{"), page="errors", range="all")

    app.session_state["errors_tabs"] = "Unreadable documents"
    app.run()

    assert not app.exception
    assert "Documents that could not be read" in texts(app)
