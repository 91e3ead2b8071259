"""The Sessions page, without a browser."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from queries import sessions
from queries.period import Scope
from tests.builders import START_MS, assistant, part, session, user
from tests.pages.conftest import OpenApp, read, texts, turn_page

RealPath = Callable[[str], Path]


def test_sessions_default_lists_roots_newest_first(open_app: OpenApp, real_path: RealPath) -> None:
    """The first page holds the newest hundred, child sessions folded."""
    con = read(real_path("json")).connection()
    newest = sessions.session_list(con, Scope(), True, "newest", 100)

    app = open_app(real_path("json"), page="sessions", range="all")

    assert not app.exception
    assert app.title[0].value == "Sessions"
    assert f"{newest.total.sessions} sessions and {newest.total.children} child sessions in them" in texts(app)
    assert app.dataframe[0].value["Tokens"].tolist() == [row.total_tokens for row in newest.rows]


@pytest.mark.parametrize("sort", sessions.SORTS)
def test_sessions_each_order_in_the_address_is_used(sort: str, open_app: OpenApp, real_path: RealPath) -> None:
    """`sort=` orders in SQL."""
    first = sessions.session_rows(read(real_path("sqlite")).connection(), Scope(), True, sort, 3)

    app = open_app(real_path("sqlite"), page="sessions", range="all", sort=sort)

    assert not app.exception
    assert app.dataframe[0].value["Tokens"].tolist()[:3] == [row.total_tokens for row in first]


def test_sessions_agent_filter_column_equals_that_agents_costs(open_app: OpenApp, real_path: RealPath) -> None:
    """The matching column sums to the agent's row on Costs; the session's own totals stand beside."""
    costs_row = open_app(real_path("json"), range="all", by="agent").dataframe[0].value
    truth = costs_row[costs_row["Agent"] == "plan"].iloc[0]

    table = open_app(real_path("json"), page="sessions", range="all", agent="plan").dataframe[0].value

    assert table["Tokens"].sum() == truth["Total tokens"]
    assert table["Cost"].sum() == pytest.approx(truth["Cost"])
    assert (table["Session tokens"] >= table["Tokens"]).all()


def test_sessions_switch_shows_child_sessions(open_app: OpenApp) -> None:
    """Folded, a child is part of its root's row; shown, it has its own."""
    docs = (
        session("ses_1", title="Root"),
        assistant("msg_1", "ses_1", cost=1),
        session("ses_2", parentID="ses_1", title="Child"),
        assistant("msg_2", "ses_2", created=START_MS + 5, cost=2),
    )
    app = open_app(*docs, page="sessions", range="all")
    folded = app.dataframe[0].value

    app.toggle(key="children").set_value(True).run()
    each = app.dataframe[0].value

    assert (folded["Title"].tolist(), folded["Cost"].tolist(), folded["Children"].tolist()) == (["Root"], [3.0], [1])
    assert sorted(zip(each["Title"], each["Cost"], strict=True)) == [("Child", 2.0), ("Root", 1.0)]
    assert ["child"] in [list(notes) for notes in each["Notes"]]


@pytest.mark.parametrize(
    ("agents", "found"),
    [
        ([], "1 session and 2 child sessions in it ·"),
        (["plan"], "1 session and 1 matching child session in it ·"),
        (["build"], "1 session · matching"),
    ],
)
def test_sessions_filter_counts_the_child_sessions_that_match(agents: list[str], found: str, open_app: OpenApp) -> None:
    """Whether their root matches or not; the column counts all of them, and says so."""
    docs = (
        session("ses_1", title="Root"),
        assistant("msg_1", "ses_1", agent="build", mode="build"),
        session("ses_2", parentID="ses_1"),
        assistant("msg_2", "ses_2", agent="plan", mode="plan"),
        session("ses_3", parentID="ses_2"),
        assistant("msg_3", "ses_3", agent="explore", mode="explore"),
    )

    app = open_app(*docs, page="sessions", range="all", agent=agents)

    help_texts = [json.loads(table.proto.columns)["Children"]["help"] for table in app.dataframe]
    assert found in texts(app)
    assert app.dataframe[0].value["Children"].tolist() == [2]
    assert [("do not match" in help_text) for help_text in help_texts] == [bool(agents)]


def test_sessions_text_hit_is_shown_as_plain_text(open_app: OpenApp) -> None:
    """What was found is quoted in its own column; markup stays text."""
    hostile = "see ![x](http://example.com/x.png) <script>alert(1)</script> \u202eneedle"
    app = open_app(
        session(),
        user(),
        part("prt_1", "text", "msg_1u", text=hostile),
        assistant(),
        page="sessions",
        range="all",
        q="NEEDLE",
    )

    assert app.dataframe[0].value["Found"].tolist() == ["prompt: …cript>alert(1)</script> needle"]


def test_sessions_pages_are_sql_pages_and_reset_when_the_order_changes(open_app: OpenApp) -> None:
    """A hundred rows a page; another order begins at the first page again."""
    docs = []
    for number in range(130):
        docs += [
            session(f"ses_{number:03}", created=START_MS + number * 1000),
            assistant(f"msg_{number}", f"ses_{number:03}", created=START_MS + number * 1000, cost=1),
        ]
    app = open_app(*docs, page="sessions", range="all", sort="oldest")
    first = app.dataframe[0].value["Title"].tolist()

    turn_page(app, 2)
    second = app.dataframe[0].value["Title"].tolist()
    app.selectbox(key="sort").set_value("newest").run()

    assert (first[0], len(first), second[0], len(second)) == ("Title of ses_000", 100, "Title of ses_100", 30)
    assert app.dataframe[0].value["Title"].tolist()[0] == "Title of ses_129"


def test_sessions_nothing_matches_is_said(open_app: OpenApp, real_path: RealPath) -> None:
    """An empty list has its own state."""
    app = open_app(real_path("json"), page="sessions", range="all", q="no such words anywhere")

    assert "No sessions here" in texts(app)
    assert not app.dataframe


def test_sessions_old_and_archived_ones_carry_a_chip(open_app: OpenApp, real_path: RealPath) -> None:
    """What is special about a session stands beside its title."""
    table = open_app(real_path("migrated-after"), page="sessions", range="all", children="true").dataframe[0].value

    chips = {chip for notes in table["Notes"] for chip in notes}
    assert chips >= {"fork copies", "archived", "child"}
