"""The Timeline page, without a browser: what it shows of every session, and of none."""

import functools
import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import timeline as timeline_page
from pages.ui import timeline_below, timeline_charts, timeline_head, timeline_live, timeline_payload
from queries import session_figures, sessions, timeline, transcript, waste
from queries.period import Scope
from queries.session_figures import TimeSplit
from queries.timeline import CLOCK_BACKWARDS
from queries.tree_costs import AgentCost
from queries.waste import Finding
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
)
from tests.conftest import OpenIndex
from tests.pages.conftest import OpenApp, change, headline, index, read, texts

RealPath = Callable[[str], Path]
SETS = ("migrated-after", "live-wal")  # the former holds all of the set json; sqlite: queries/test_timeline.py
RELEASE = "Release coordination A"


def payload(app: AppTest, name: str) -> Any:
    """Return what a component of the page got, its Arrow frames as tables."""
    (found,) = (each.proto for each in app.get("bidi_component") if each.proto.component_name == name)
    if found.WhichOneof("data") == "json":
        return json.loads(found.json)
    blobs = {name: blob.data for name, blob in found.mixed.arrow_blobs.items()}
    data = json.loads(found.mixed.json)
    for key, value in data.items():
        if isinstance(value, dict) and "__streamlit_arrow_ref__" in value:
            with pa.ipc.open_stream(blobs[value["__streamlit_arrow_ref__"]]) as stream:
                data[key] = stream.read_all()
    return data


def opened(app: AppTest) -> tuple[str | None, str | None]:
    """Return the exchange and the event that are open at first."""
    found = payload(app, "trace_viewer")["opened"]
    return found["exchange"], found["part"]


def table(app: AppTest, column: str) -> Any:
    """Return the first table with a column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)


def open_tab(app: AppTest, name: str) -> AppTest:
    """Open one of the tabs below the waterfall."""
    app.session_state["timeline_tabs"] = name
    return app.run()


def tool(part_id: str, message_id: str = "msg_2a", session_id: str = "ses_1", **state: Any) -> Doc:
    """Make a call of bash, finished unless said otherwise."""
    done = {"status": "completed", "input": {"command": "ls"}, "output": "x", "metadata": {"exit": 0}}
    return part(part_id, "tool", message_id, session_id, tool="bash", callID=f"call_{part_id}", state={**done, **state})


def task(part_id: str, child: str, message_id: str = "msg_2a", session_id: str = "ses_1") -> Doc:
    """Make a call that runs a session."""
    state = {"status": "completed", "input": {"description": child, "subagent_type": "general"}, "output": "done"}
    return part(
        part_id,
        "tool",
        message_id,
        session_id,
        tool="task",
        callID=f"call_{part_id}",
        state={**state, "metadata": {"sessionId": child}, "time": {"start": START_MS + 2_000, "end": START_MS + 4_000}},
    )


def id_of(path: Path, title: str) -> str:
    """Find a session of a real set by its title."""
    rows = sessions.session_rows(read(path).connection(), Scope(), False, "title")
    return next(found.session_id for found in rows if found.title == title)


# --- No session ---------------------------------------------------------------------------------------------------


def test_picker_lists_what_was_active_last_first(open_app: OpenApp, real_path: RealPath) -> None:
    """Without a session one chooses: roots, the newest activity on top."""
    rows = sessions.session_rows(read(real_path("sqlite")).connection(), Scope(), True, "last active", 50)

    app = open_app(real_path("sqlite"), page="timeline")

    assert not app.exception
    assert app.title[0].value == "Timeline"
    assert app.dataframe[0].value["Exchanges"].tolist() == [found.exchanges for found in rows]
    assert "102 sessions. Tick a row" in texts(app)


def test_picker_search_and_filters_narrow_together(open_app: OpenApp, real_path: RealPath) -> None:
    """Text, agent, model and project; child sessions only when asked for."""
    app = open_app(real_path("sqlite"), page="timeline")

    app.text_input(key="pick_text").set_value("the").run()
    by_text = len(app.dataframe[0].value)
    app.multiselect(key="pick_agents").set_value(["plan"]).run()
    by_both = app.dataframe[0].value
    app.toggle(key="pick_children").set_value(True).run()

    assert not app.exception
    assert len(by_both) < by_text
    assert set(by_both["Found"].str.split(":").str[0]) <= {"title", "prompt", "answer"}
    assert len(app.dataframe[0].value) >= len(by_both)


def test_picker_nothing_matches_is_said_and_cleared(open_app: OpenApp, real_path: RealPath) -> None:
    """An empty list has its own state, and a way out."""
    app = open_app(real_path("json"), page="timeline")

    app.text_input(key="pick_text").set_value("no such words anywhere").run()
    said = texts(app)
    app.button(key="picker_clear").click().run()

    assert "No session matches" in said
    assert app.dataframe


def test_picker_pasted_id_is_offered(open_app: OpenApp) -> None:
    """An id is found although no text holds it; opening it shows the session."""
    app = open_app(session("ses_77"), user("msg_1u", "ses_77"), page="timeline")

    app.text_input(key="pick_text").set_value("ses_77").run()
    app.button(key="picker_open_id").click().run()

    assert not app.exception
    assert app.query_params["session"] in ("ses_77", ["ses_77"])
    assert app.title[0].value == "Title of ses\\_77"


def test_picker_search_is_kept_while_a_session_is_shown(open_app: OpenApp) -> None:
    """Back from a session, the list is as it was left."""
    app = open_app(session(), user(), session("ses_2"), user("msg_9u", "ses_2"), page="timeline")
    app.text_input(key="pick_text").set_value("ses_2").run()
    app.button(key="picker_open_id").click().run()

    app.button(key="timeline_all").click().run()

    assert not app.exception
    assert app.text_input(key="pick_text").value == "ses_2"


def test_picker_after_a_session_has_the_filters_of_the_page_before(open_app: OpenApp, real_path: RealPath) -> None:
    """From a filtered page to a session, and from there to all: the filters hold, until others do."""
    app = open_app(real_path("json"), page="sessions", range="all", agent=["plan", "nobody"], q="release")
    app.switch_page("pages/timeline.py")
    app.query_params["session"] = id_of(real_path("json"), RELEASE)
    app.run()

    app.button(key="timeline_all").click().run()
    taken = app.multiselect(key="pick_agents").value, app.text_input(key="pick_text").value
    app.multiselect(key="pick_agents").set_value(["build"]).run()
    app.run()

    assert not app.exception
    assert taken == (["plan", "nobody"], "release")
    assert app.multiselect(key="pick_agents").value == ["build"]
    assert app.multiselect(key="agent").value == ["plan", "nobody"]


def test_timeline_unknown_session_says_so(open_app: OpenApp, real_path: RealPath) -> None:
    """A stale link is no error, whatever it holds."""
    app = open_app(real_path("json"), page="timeline", session="ses_gone<b>![x](http://example.com)")

    assert not app.exception
    assert "The index has no session with this id" in texts(app)
    assert [code.value for code in app.code] == ["ses_gone<b>![x](http://example.com)"]


def test_timeline_session_that_comes_later_is_shown(open_app: OpenApp, tmp_path: Path) -> None:
    """What the tab's revision lacks is looked for in the newest."""
    app = open_app(session(), user(), page="timeline")
    index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [session("ses_9"), user("msg_9", "ses_9")]))
    app.query_params["session"] = "ses_9"

    for _ in range(200):  # the new revision is opened in the background
        app.run()
        if app.title[0].value != "Timeline":
            break

    assert app.title[0].value == "Title of ses\\_9"


def test_timeline_empty_index_has_its_state(open_app: OpenApp, tmp_path: Path) -> None:
    """There is nothing to choose from: it says what to do."""
    (tmp_path / "opencode").mkdir()

    app = open_app(index(tmp_path / "empty.duckdb", tmp_path / "opencode"), page="timeline", session="ses_1")

    assert not app.exception
    assert "No OpenCode data found" in texts(app)


# --- A session ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["json", "sqlite", "migrated-after"])
def test_timeline_session_of_a_real_set_is_shown_whole(name: str, open_app: OpenApp, real_path: RealPath) -> None:
    """Title, numbers and every event of the tree."""
    session_id = id_of(real_path(name), RELEASE)
    con = read(real_path(name)).connection()
    found = sessions.session_detail(con, session_id, "UTC")
    events = con.execute(
        "SELECT count(*) FROM exchange_traces JOIN session_traces USING (session_id) WHERE root_session_id = ?",
        [session_id],
    ).fetchone()
    assert found is not None

    app = open_app(real_path(name), page="timeline", session=session_id)

    assert not app.exception
    assert app.title[0].value == RELEASE
    assert headline(app)["Exchanges"] == str(found.user_messages)
    assert headline(app)["Tools"] == str(found.tool_calls)
    drawn = payload(app, "trace_viewer")
    assert (drawn["events"].num_rows,) == events
    assert [row["session_id"] for row in drawn["sessions"] if row["link"] == "ok"][0] == session_id


def test_timeline_rows_of_the_third_generation_are_shown(open_app: OpenApp, tmp_path: Path) -> None:
    """`session_message` rows have no parts: steps and items of content are their events."""
    content = [{"type": "text", "id": "t", "text": "hello"}]
    docs = [session(version="2.0.0"), row("msg_1", "user", 1, text="hi"), answer("msg_2", 2, content=content)]
    path = index(tmp_path / "v2.duckdb", write_session_messages(tmp_path / "v2", docs))

    app = open_app(path, page="timeline", session="ses_1")

    assert not app.exception
    assert payload(app, "trace_viewer")["events"]["kind"].to_pylist() == ["prompt", "step", "text"]
    assert [piece["text"] for piece in payload(app, "trace_detail")["pieces"]] == ["hi", None, "hello"]


@pytest.mark.parametrize("name", SETS)
def test_timeline_every_session_of_a_set_opens(name: str, open_app: OpenApp, real_path: RealPath) -> None:
    """No session of the real data breaks the page: hostile titles, odd times, missing pieces."""
    rows = sessions.session_rows(read(real_path(name)).connection(), Scope(), False, "title")
    app = open_app(real_path(name), page="timeline")

    for number, found in enumerate(rows[::4]):
        app.query_params["session"] = found.session_id
        app.session_state["timeline_tabs"] = ("Figures", "Sessions", "Loops and waste")[number % 3]
        app.run()
        assert not app.exception, found.session_id
        assert payload(app, "trace_viewer")["view"] == found.session_id


def test_timeline_exchanges_are_named_by_what_was_run(open_app: OpenApp) -> None:
    """OpenCode's notice of a user's own command says nothing: the command does."""
    notice = "The following tool was executed by the user"
    app = open_app(
        session(),
        user(),
        part("prt_1", "text", "msg_1u", text=notice, synthetic=True),
        assistant(),
        tool("prt_2", input={"command": "git status"}),
        page="timeline",
        session="ses_1",
    )

    drawn = payload(app, "trace_viewer")
    assert drawn["exchanges"]["label"].to_pylist() == ["git status"]
    assert drawn["events"]["label"].to_pylist() == [notice, "git status"]


def test_timeline_pieces_without_a_title_are_named_as_their_rows(open_app: OpenApp) -> None:
    """The transcript calls a call as the waterfall does; an answer is not told twice."""
    failed = {"status": "error", "input": {"filePath": "src/cart.py"}, "error": "no such file"}
    app = open_app(
        session(),
        user(),
        part("prt_1u", "text", "msg_1u", text="Read it"),
        assistant(),
        part("prt_1", "tool", tool="read", callID="call_1", state=failed),
        part("prt_2", "patch", hash="0", files=["/home/ada/src/cart.py"]),
        tool("prt_3", title="Run it"),
        part("prt_4", "text", text="Done"),
        page="timeline",
        session="ses_1",
    )

    pieces = payload(app, "trace_detail")["pieces"]
    assert [piece["title"] for piece in pieces] == [None, "src/cart.py", "cart.py", "Run it", None]


def test_timeline_clock_that_went_back_is_told_in_the_transcript(open_app: OpenApp) -> None:
    """As it is in the waterfall."""
    call = tool("prt_1", time={"start": START_MS + 5_000, "end": START_MS + 4_000})
    app = open_app(session(), user(), assistant(), call, page="timeline", session="ses_1")

    (piece,) = payload(app, "trace_detail")["pieces"]
    assert piece["flags"] == payload(app, "trace_viewer")["events"]["flags"].to_pylist()[0] == CLOCK_BACKWARDS


def test_timeline_without_a_message_says_so(open_app: OpenApp) -> None:
    """A session may have been made and never used."""
    app = open_app(session(), page="timeline", session="ses_1")

    assert not app.exception
    assert "Nothing was said in this session." in texts(app)
    assert "Jan 1, 2026 00:00 (UTC)" in texts(app).replace("\\", "")
    assert payload(app, "trace_detail")["exchange_id"] is None


def test_timeline_deleted_session_keeps_its_numbers(open_app: OpenApp, tmp_path: Path) -> None:
    """Money spent stays spent; the title is gone, and it is said why."""
    path = index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "data", [session(), user(), assistant(cost=1)]))
    change(path, "UPDATE sessions SET deleted_at = TIMESTAMP '2026-02-01', title = NULL")

    app = open_app(path, page="timeline", session="ses_1")

    assert not app.exception
    assert app.title[0].value == "\\(deleted in OpenCode\\)"
    assert "deleted in OpenCode" in [badge for badge in texts(app).split("\n") if "deleted" in badge][0]
    assert headline(app)["Cost"] == "$1.00"


def test_timeline_fork_shows_what_it_inherited_and_the_way_back(open_app: OpenApp) -> None:
    """Copies count in the session they came from; here they stand apart."""
    original = [user(), assistant(usage=tokens(input=10), cost=0.25), step_finish("prt_1", tokens(input=10))]
    docs = (
        session(),
        *original,
        session("ses_2", created=START_MS + 60_000, title="*Fork* ![x](http://example.com)"),
        *copied(original, "ses_2", "_c"),
        assistant("msg_9", "ses_2", created=START_MS + 90_000, usage=tokens(input=1_000), cost=1),
    )

    app = open_app(*docs, page="timeline", session="ses_2")

    numbers = table(app, "Own")
    assert not app.exception
    assert app.title[0].value == "\\*Fork\\* \\!\\[x\\]\\(http\\://example.com\\)"
    assert numbers["Own"].tolist()[:2] == ["$1.0000", "1,000"]
    assert numbers["Inherited"].tolist()[:2] == ["$0.2500", "10"]
    assert "1 fork copy" in texts(app)


@pytest.mark.parametrize(("cost", "words"), [(0.25, "$0.2500 recorded"), (None, "no recorded cost")])
def test_timeline_session_of_copies_alone_says_where_they_count(
    cost: float | None, words: str, open_app: OpenApp
) -> None:
    """Its requests were sent, and cost something: in the session they come from."""
    original = [user(), assistant(usage=tokens(input=10), cost=cost), step_finish("prt_1", tokens(input=10), cost=cost)]
    docs = (session(), *original, session("ses_2", created=START_MS + 60_000), *copied(original, "ses_2", "_c"))

    app = open_app(*docs, page="timeline", session="ses_2")

    said = [text.value for text in app.text if "copied" in text.value]
    assert (
        said == [f"Nothing but 1 copied answer of an older session (10 tokens, {words}), counted there, not here."] * 2
    )
    assert "No model was asked" not in texts(app)
    assert "No cost is recorded" not in texts(app)


def test_timeline_child_leads_to_its_parent(open_app: OpenApp) -> None:
    """From a child session up, and to the list."""
    docs = (session(), assistant(), session("ses_2", parentID="ses_1"), user("msg_9", "ses_2"))
    app = open_app(*docs, page="timeline", session="ses_2")

    app.button(key="timeline_arrow_upward").click().run()
    above = app.title[0].value
    app.button(key="timeline_all").click().run()

    assert not app.exception
    assert (above, app.title[0].value) == ("Title of ses\\_1", "Timeline")


def test_timeline_links_that_lead_nowhere_are_shown(open_app: OpenApp) -> None:
    """A missing child, a child that is called twice, a child of a child: each has its row."""
    docs = (
        session(),
        user(),
        assistant(),
        task("prt_1", "ses_2"),
        task("prt_2", "ses_gone"),
        task("prt_3", "ses_2"),
        session("ses_2", parentID="ses_1", created=START_MS + 2_000),
        user("msg_3u", "ses_2", created=START_MS + 2_100),
        assistant("msg_4a", "ses_2", parent="msg_3u", created=START_MS + 2_200, cost=2),
        task("prt_4", "ses_3", "msg_4a", "ses_2"),
        session("ses_3", parentID="ses_2", created=START_MS + 3_000),
    )

    app = open_tab(open_app(*docs, page="timeline", session="ses_1"), "Sessions")

    rows = table(app, "Link")
    assert not app.exception
    assert rows["Session"].str.strip().tolist() == [
        "Title of ses_1",
        "└ Title of ses_2",
        "└ Title of ses_3",
        "└ ses_gone",
        "└ Title of ses_2",
    ]
    assert rows["Link"].tolist() == ["", "", "", "not in the index", "resumed by a further call"]
    assert rows["Total cost"].tolist()[:2] == [2.25, 2.0]


def test_timeline_cycle_of_parents_is_drawn_once(open_app: OpenApp) -> None:
    """Two sessions that are each other's parent end."""
    docs = (session(parentID="ses_2"), user(), session("ses_2", parentID="ses_1"), user("msg_9", "ses_2"))

    app = open_tab(open_app(*docs, page="timeline", session="ses_1"), "Sessions")

    assert not app.exception
    assert len([row for row in payload(app, "trace_viewer")["sessions"] if row["link"] == "ok"]) == 2


# --- The address --------------------------------------------------------------------------------------------------


TWO = (
    session(),
    user(),
    assistant(),
    tool("prt_1"),
    user("msg_3u", created=START_MS + 60_000),
    assistant("msg_4a", parent="msg_3u", created=START_MS + 61_000, completed=START_MS + 62_000),
    tool("prt_2", "msg_4a"),
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ({}, ("msg_1u", None)),
        ({"exchange": "2"}, ("msg_3u", None)),
        ({"exchange": "2", "part": "prt_1"}, ("msg_1u", "prt_1")),
        ({"part": "prt_2"}, ("msg_3u", "prt_2")),
        ({"part": "prt_gone", "exchange": "2"}, ("msg_3u", None)),
        ({"exchange": "77"}, ("msg_1u", None)),
        ({"exchange": "two' OR 1=1"}, ("msg_1u", None)),
        ({"exchange": "²"}, ("msg_1u", None)),
    ],
)
def test_timeline_address_opens_exchange_and_event(
    url: dict[str, str], expected: tuple[str, str | None], open_app: OpenApp
) -> None:
    """An event by its id; else an exchange by its number; else the first."""
    app = open_app(*TWO, page="timeline", session="ses_1", **url)

    assert not app.exception
    assert opened(app) == expected
    assert payload(app, "trace_detail")["exchange_id"] == expected[0]


def test_timeline_address_of_what_was_asked_is_left_as_it_is(open_app: OpenApp) -> None:
    """Nothing is added to a link that names the session only."""
    app = open_app(*TWO, page="timeline", session="ses_1")

    assert payload(app, "timeline_address") == {"session": "ses_1", "search": "?session=ses_1"}


def test_timeline_address_follows_what_is_open(open_app: OpenApp) -> None:
    """What is opened by hand can be linked and reloaded."""
    app = open_app(*TWO, page="timeline", session="ses_1", exchange="2", part="prt_2")

    assert payload(app, "timeline_address")["search"] == "?session=ses_1&exchange=2&part=prt_2"


def test_timeline_of_too_many_events_sends_those_of_the_open_exchange(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to an event finds its exchange; the waterfall knows all exchanges, and the rows of that one."""
    monkeypatch.setattr(timeline, "MAX_EVENTS", 1)

    app = open_app(*TWO, page="timeline", session="ses_1", part="prt_2")

    drawn, growth = payload(app, "trace_viewer"), payload(app, "trace_detail")["growth"]
    assert not app.exception
    assert opened(app) == ("msg_3u", "prt_2")
    assert (drawn["head"]["is_partial"], drawn["events"].num_rows) == (True, 0)
    assert drawn["exchanges"]["id"].to_pylist() == ["msg_1u", "msg_3u"]
    assert (growth["version"], growth["serial"]) == (drawn["version"], 1)
    assert [(event["id"], event["exchange_id"]) for event in growth["events"]] == [("prt_2", "msg_3u")]


def test_page_large_session_shows_its_head_first(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer comes when the browser asks for it, and stays."""
    monkeypatch.setattr(timeline_page, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(timeline_below, "MOST_AT_ONCE", 0)

    app = open_app(session(), user(), assistant(cost=0.5), tool("prt_1"), page="timeline", session="ses_1")

    assert headline(app)["Cost"] == "$0.50"
    assert [each.proto.component_name for each in app.get("bidi_component")][-1] == "later"
    app.session_state["later_timeline_body"] = "ses_1"
    app.run()
    assert payload(app, "trace_viewer")["events"].num_rows == 1
    assert not [each for each in app.dataframe if "Asked" in each.value]
    app.session_state["later_timeline_figures"] = "ses_1"
    app.run()
    assert table(app, "Asked")["Number"].tolist() == [1]
    assert not app.exception


@pytest.mark.parametrize(
    ("bars", "title", "note"),
    [
        (2, "Recorded cost per exchange, USD", ""),
        (1, "Recorded cost per 2 exchanges, USD", " Each bar is the largest of 2 requests."),
    ],
)
def test_figures_more_than_fit_say_what_a_bar_is(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, bars: int, title: str, note: str
) -> None:
    """A bar of several exchanges is not called that of one."""
    monkeypatch.setattr(timeline_charts, "MAX_BARS", bars)
    usage = tokens(input=10)
    first = (user("msg_1u"), assistant("msg_2a", usage=usage), step_finish("prt_1", usage, "msg_2a"))
    second = (
        user("msg_3u", created=START_MS + 6_000),
        assistant("msg_4a", parent="msg_3u", created=START_MS + 7_000, usage=usage),
        step_finish("prt_2", usage, "msg_4a"),
    )

    app = open_app(session(), *first, *second, page="timeline", session="ses_1")

    assert f"**{title}**" in texts(app)
    assert f"Largest: 10 tokens, last: 10.{note}" in [each.value for each in app.caption]


# --- Loops and waste ------------------------------------------------------------------------------------------------


def test_timeline_loop_is_listed_with_its_cost(open_app: OpenApp) -> None:
    """Three equal calls are a loop; the table says what it cost, the waterfall marks it."""
    calls = []
    for number in range(3):
        message = f"msg_{number}a"
        calls += [
            assistant(message, created=START_MS + number * 1_000, usage=tokens(input=10), cost=0.5),
            tool(f"prt_{number}", message),
        ]

    app = open_tab(open_app(session(), user(), *calls, page="timeline", session="ses_1"), "Loops and waste")

    rows = table(app, "Kind")
    assert not app.exception
    assert rows[["Kind", "What", "Cost"]].to_numpy().tolist() == [["loop", "bash with the same arguments 3 times", 1.0]]
    assert "1 finding (1 loop): $1.0000 recorded" in texts(app).replace("\\", "")
    (mark,) = payload(app, "trace_viewer")["marks"]
    assert (mark["kind"], mark["events"]) == ("loop", ["prt_0", "prt_1", "prt_2"])


def test_timeline_no_waste_is_said(open_app: OpenApp) -> None:
    """Nothing found is said, too."""
    app = open_tab(open_app(session(), user(), assistant(), page="timeline", session="ses_1"), "Loops and waste")

    assert "No loop, no repeated edit, no exchange that failed" in texts(app)


# --- Live -----------------------------------------------------------------------------------------------------------


def _running(*more: Doc) -> list[Doc]:
    """Make a session whose answer is still being written."""
    now = int(time.time() * 1000)
    return [
        session(created=now - 5_000),
        user(created=now - 5_000),
        assistant(created=now - 4_000, completed=None, cost=None),
        part("prt_0", "step-start"),
        *more,
    ]


def _until(app: AppTest, has_come: Callable[[], bool]) -> AppTest:
    """Run the page until something has come: a new revision is opened in the background."""
    for _ in range(200):
        app.run()
        if has_come():
            return app
    raise AssertionError("it did not come")


def test_timeline_running_session_grows(open_app: OpenApp, tmp_path: Path) -> None:
    """New events are handed over beside the waterfall, which is not sent again; so are head and transcript."""
    app = open_app(*_running(), page="timeline", session="ses_1")
    before = payload(app, "trace_viewer")["version"]
    chips = texts(app)

    index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [tool("prt_1")]))
    _until(app, lambda: payload(app, "trace_detail")["growth"] is not None)

    growth = payload(app, "trace_detail")["growth"]
    assert "running" in chips
    assert payload(app, "trace_viewer")["version"] == before == growth["version"]
    assert [event["id"] for event in growth["events"]][-1] == "prt_1"
    assert growth["is_running"]
    assert headline(app)["Tools"] == "1"
    assert [piece["id"] for piece in payload(app, "trace_detail")["pieces"]][-1] == "prt_1"


def test_timeline_much_growth_draws_the_waterfall_anew(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be sent again and again is taken into the waterfall once."""
    monkeypatch.setattr(timeline_live, "MOST_GROWTH", 2)
    app = open_app(*_running(), page="timeline", session="ses_1")
    before = payload(app, "trace_viewer")["version"]

    more = [tool(f"prt_{number}") for number in range(1, 8)]
    index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", more))
    _until(app, lambda: payload(app, "trace_viewer")["version"] != before)

    assert payload(app, "trace_viewer")["events"].num_rows == 8
    assert payload(app, "trace_detail")["growth"] is None


def test_timeline_event_that_is_gone_draws_the_waterfall_anew(open_app: OpenApp, tmp_path: Path) -> None:
    """An undone message takes its events away."""
    app = open_app(*_running(tool("prt_1")), page="timeline", session="ses_1")
    before = payload(app, "trace_viewer")["version"]

    change(tmp_path / "index.duckdb", "DELETE FROM exchange_traces WHERE trace_id = 'prt_1'")
    change(tmp_path / "index.duckdb", "UPDATE exchanges SET trace_count = trace_count - 1")
    _until(app, lambda: payload(app, "trace_viewer")["version"] != before)

    assert "prt_1" not in payload(app, "trace_viewer")["events"]["id"].to_pylist()


def test_timeline_session_that_is_gone_is_said_to_be_unknown(open_app: OpenApp, tmp_path: Path) -> None:
    """The index was made anew from other data, or leaves the project out by now, while the page is open."""
    app = open_app(*_running(), session("ses_2"), page="timeline", session="ses_1")

    tables = ("sessions", "session_stats", "session_traces", "exchanges", "exchange_traces", "messages", "parts")
    change(tmp_path / "index.duckdb", "".join(f"DELETE FROM {name} WHERE session_id = 'ses_1';" for name in tables))
    _until(app, lambda: "No such session" in texts(app))

    assert not app.exception
    assert not app.metric


def _counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[object]:
    """Note every call of a query."""
    calls: list[object] = []
    query = getattr(module, name)

    @functools.wraps(query)
    def noting(*args: object) -> object:
        """Note it, and pass it on."""
        calls.append(args[1:])
        return query(*args)

    monkeypatch.setattr(module, name, noting)
    return calls


def test_timeline_revision_of_other_sessions_reads_nothing_again(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An indexer at work publishes all the time: figures, transcript and waterfall stay what they are."""
    queries = ((session_figures, "session_figures"), (transcript, "transcript"), (timeline, "events_since"))
    calls = [_counted(monkeypatch, module, name) for module, name in queries]
    app = open_app(session(), user(), assistant(), tool("prt_1"), page="timeline", session="ses_1")
    seen, before = app.session_state["timeline_live"].seen, [len(each) for each in calls]

    index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [session("ses_2"), user("m", "ses_2")]))
    _until(app, lambda: app.session_state["timeline_live"].seen != seen)

    assert [len(each) for each in calls] == before == [1, 1, 0]
    assert table(app, "Slowest")["Calls"].tolist() == [1]


def test_timeline_session_at_rest_that_changes_is_read_again(open_app: OpenApp, tmp_path: Path) -> None:
    """Head, transcript, waterfall and figures show the same, and go on from there."""
    app = open_app(session(), user(), assistant(), tool("prt_1"), page="timeline", session="ses_1")

    for known in (["prt_1", "prt_2"], ["prt_1", "prt_2", "prt_3"]):
        index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", [tool(known[-1])]))
        _until(app, lambda known=known: headline(app)["Tools"] == str(len(known)))  # type: ignore[misc]

        sent = payload(app, "trace_detail")
        assert [piece["id"] for piece in sent["pieces"] if piece["kind"] == "tool"] == known
        assert {event["id"] for event in sent["growth"]["events"]} >= set(known[1:])
        assert table(app, "Slowest")["Calls"].tolist() == [len(known)]
        assert not app.exception


def test_timeline_opened_on_a_newer_revision_is_read_once_it_changed(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another tab keeps of an older revision is shown where it is the same, and nowhere else."""
    calls = _counted(monkeypatch, timeline, "timeline")
    app = open_app(session(), user(), assistant(), tool("prt_1"), page="timeline", session="ses_1")

    for docs, known in (([session("ses_2")], ["prt_1"]), ([tool("prt_2")], ["prt_1", "prt_2"])):
        seen = app.session_state["timeline_live"].seen
        index(tmp_path / "index.duckdb", write_json_tree(tmp_path / "opencode", docs))
        _until(app, lambda seen=seen: app.session_state["timeline_live"].seen != seen)  # type: ignore[misc]
        other = open_app(tmp_path / "index.duckdb", page="timeline", session="ses_1")

        assert other.session_state["timeline_live"].version != seen
        assert payload(other, "trace_viewer")["events"]["id"].to_pylist()[-len(known) :] == known
        assert len(calls) == len(known)


def test_timeline_session_at_rest_is_not_running(open_app: OpenApp) -> None:
    """An answer without an end that is silent for long was killed."""
    app = open_app(session(), user(), assistant(completed=None), page="timeline", session="ses_1")

    assert "running" not in texts(app)
    assert not payload(app, "trace_viewer")["head"]["is_running"]


# --- Pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_exchange", "is_running", "expected"),
    [
        ("answered", True, "ok"),
        ("failed", False, "failed"),
        ("unfinished", True, "running"),
        ("unfinished", False, "unfinished"),
        ("unanswered", False, "unknown"),
        (None, False, "unknown"),
    ],
)
def test_status_each_ending_has_its_word(of_exchange: str | None, is_running: bool, expected: str) -> None:
    """What has no end runs, or was cut off."""
    assert timeline_payload.status(of_exchange, is_running) == expected


def test_pieces_step_whose_end_is_lost_has_a_total_and_no_counters(open_index: OpenIndex) -> None:
    """What the message used is known, what the step did is not: never 0."""
    con = open_index(
        session(), user(), assistant(usage=tokens(1_000, 234), created=START_MS), part("prt_1", "step-start")
    )
    ((exchange_id,),) = con.execute("SELECT exchange_id FROM exchange_traces WHERE trace_id = 'prt_1'").fetchall()

    found = timeline_payload.pieces(transcript.transcript(con, exchange_id), None)

    (step,) = [piece for piece in found if piece["kind"] == "step"]
    counters = ("input", "output", "reasoning", "cache_read", "cache_write")
    assert step["tokens"] == {**dict.fromkeys(counters), "total": 1_234}


@pytest.mark.parametrize(("characters", "is_cut"), [(100, False), (10_000, True), (100_000, True)])
def test_pieces_diff_that_is_cut_says_so(characters: int, is_cut: bool, open_index: OpenIndex) -> None:
    """The first 4 KB of a written file are not all that was written."""
    written = {"filePath": "/a.txt", "content": "z" * characters}
    state = {"status": "completed", "input": written, "output": "", "time": {"start": START_MS, "end": START_MS}}
    con = open_index(session(), user(), assistant(), part("prt_1", "tool", tool="write", callID="c", state=state))
    ((exchange_id,),) = con.execute("SELECT exchange_id FROM exchange_traces WHERE trace_id = 'prt_1'").fetchall()

    (found,) = timeline_payload.pieces(transcript.transcript(con, exchange_id), None)[-1:]

    assert (found["diff"] or "").startswith("Index: /a.txt\n")
    assert found["is_diff_cut"] == is_cut


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        (waste.LOOP, "a b with the same arguments 3 times"),
        (waste.EDIT_FAIL_EDIT, "a b edited 3 times, with a failure between"),
        (waste.ABORTED, "The exchange was cut short"),
        (waste.FAILED, "The exchange failed: a b"),
    ],
)
def test_sentence_each_category_is_said_on_one_line(category: str, expected: str) -> None:
    """Names are untrusted: one line, no marks that turn the direction of text."""
    found = Finding(category, "ses_1", "msg_1", 1, "a\n\u202eb", "label", 3, ("prt_1",), ("msg_1",))

    assert timeline_payload.sentence(found) == expected


def test_time_bar_parts_are_what_was_worked() -> None:
    """Delegations are part of the tools' time and shown apart; waiting for a prompt is no part of the bar."""
    split = TimeSplit(
        model_ms=1_000,
        tools_ms=5_000,
        between_ms=9_000,
        unknown_ms=500,
        delegated_ms=3_000,
        wall_ms=15_500,
        open_ended=0,
    )

    bar = timeline_head.time_bar(split)

    assert [(share["name"], share["size"]) for share in bar["shares"]] == [
        ("Model", 1_000.0),
        ("Tools", 2_000.0),
        ("Delegated", 3_000.0),
        ("Unknown", 500.0),
    ]
    assert timeline_head.time_bar(None)["shares"] == []


def test_cost_bar_agents_have_their_colours_and_others_come_last() -> None:
    """The colour of an agent is the same on every page."""
    agents = [AgentCost("new", Decimal(3), 1), AgentCost("build", Decimal(2), 1), AgentCost("free", None, 1)]

    bar = timeline_head.cost_bar(agents, {"build": 1})

    assert [(share["name"], share["text"], share["colour"]) for share in bar["shares"]] == [
        ("build", "$2.00", 1),
        ("new", "$3.00", 7),
        ("free", "—", 7),
    ]


def test_facts_times_are_the_viewers(open_app: OpenApp) -> None:
    """Local time with its zone, active of wall time."""
    app = open_app(project(), *TWO, page="timeline", tz="Asia/Kathmandu", session="ses_1")

    assert "Project shop · Jan 1, 2026 05:45 to 05:46 (Asia/Kathmandu) · active 7.0 s of 1m 02s" in texts(app).replace(
        "\\", ""
    )
