"""The Tools page: headline, the chosen tool, files, few calls, nothing at all."""

import json

from tests.builders import assistant, session, user
from tests.pages.conftest import OpenApp, headline, texts
from tests.queries.test_overview import call
from tests.queries.test_tool_reports import DOCS

PROGRAMS = "Shell commands, by program"


def test_tools_headline_and_unfinished_calls(open_app: OpenApp) -> None:
    """Numbers of the queries; what never ended is named."""
    app = open_app(*DOCS, page="tools", range="all")

    assert not app.exception
    assert headline(app) == {
        "Tool calls": "6",
        "Success rate": "83.3%",
        "Time in tools": "5.5 s",
        "Output": "5 B",
    }
    assert "Not in these numbers: 1 call that never ended" in texts(app)
    assert "fewer than 20 timed calls" in texts(app)


def test_tools_calls_that_never_finished_took_no_known_time(open_app: OpenApp) -> None:
    """A dash, in the headline and in the table: 0 ms would be a duration."""
    app = open_app(session(), user(), assistant(), call("prt_1", status="running"), page="tools", range="all")

    assert headline(app)["Time in tools"] == "—"
    assert app.dataframe[0].value["Total"].isna().tolist() == [True]


def test_tools_deep_link_shows_one_tool(open_app: OpenApp) -> None:
    """`?tool=` is the contract of other pages; only shells have programs."""
    app = open_app(*DOCS, page="tools", range="all", tool="bash")

    found = texts(app)
    assert not app.exception
    assert app.selectbox(key="tool").value == "bash"
    assert all(f"**{title}**" in found for title in ("By agent", "By model", PROGRAMS, "Slowest calls"))


def test_tools_no_tool_chosen_lists_the_calls_of_all(open_app: OpenApp) -> None:
    """Slowest calls name their tool then; programs are those of shells alone."""
    app = open_app(*DOCS, page="tools", range="all")

    slowest = next(table.value for table in app.dataframe if "Works on" in table.value)
    programs = next(table.value for table in app.dataframe if "Program" in table.value)
    assert slowest["Tool"].tolist() == ["bash", "bash", "bash", "apply_patch", "edit", "read"]
    assert programs["Program"].tolist() == ["git", "npm"]


def test_tools_every_column_of_the_slowest_calls_has_a_name(open_app: OpenApp) -> None:
    """Also that of what went wrong, which is empty for most."""
    app = open_app(*DOCS, page="tools", range="all")

    (slowest,) = (table for table in app.dataframe if "Works on" in table.value)
    assert slowest.value["Failed"].tolist().count("failed") == 1
    assert json.loads(slowest.proto.columns)["Failed"]["label"] == "Outcome"


def test_tools_other_tool_has_its_files(open_app: OpenApp) -> None:
    """The list of files follows the choice; a tool of files has no programs."""
    app = open_app(*DOCS, page="tools", range="all")

    app.selectbox(key="tool").set_value("read").run()

    assert not app.exception
    assert "**Files used most by read**" in texts(app)
    assert f"**{PROGRAMS}**" not in texts(app)


def test_tools_unknown_tool_says_so(open_app: OpenApp) -> None:
    """A link with a tool that was never called shows that, not all tools as if they were it."""
    app = open_app(*DOCS, page="tools", range="all", tool="gremlin")

    assert "gremlin was not called in this selection." in texts(app)


def test_tools_nothing_called_is_said(open_app: OpenApp) -> None:
    """No call, no empty tables."""
    app = open_app(session(), user(), assistant("msg_2a"), page="tools", range="all")

    assert not app.exception
    assert "tool calls" in texts(app)
    assert headline(app) == {}
