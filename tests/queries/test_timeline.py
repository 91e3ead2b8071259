"""Timelines: every event of a session tree, in the order it is read, with nothing invented."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from queries import timeline as module
from queries.timeline import (
    CLOCK_BACKWARDS,
    DELETED,
    EDIT_FAIL_EDIT,
    EVENTS,
    FORK_COPY,
    IN_FAILED_EXCHANGE,
    LOOP,
    UNKNOWN_TIMES,
    Growth,
    Preview,
    SessionGone,
    Timeline,
    TracedExchange,
    TracedSession,
    events_of,
    events_since,
    preview,
    timeline,
)
from queries.waste import waste
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_session_messages,
)
from tests.conftest import OpenIndex

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
EveryTimeline = Callable[[str], list[Timeline]]
SETS = ("sqlite", "live-wal")  # of the others, every session is opened in pages/test_timeline.py
KINDS = {"prompt", "reasoning", "text", "tool", "delegation", "step", "error", "compaction", "file", "patch"}
START = datetime(2026, 1, 1)


def tool(part_id: str, name: str = "bash", message_id: str = "msg_2a", session_id: str = "ses_1", **state: Any) -> Doc:
    """Make a tool call that ended well, unless its state says otherwise."""
    made = {
        "status": "completed",
        "input": {"command": f"echo {part_id}"},
        "output": "done",
        "title": f"Title of {part_id}",
        "time": {"start": START_MS + 2_000, "end": START_MS + 3_000},
        **state,
    }
    return part(part_id, "tool", message_id, session_id, tool=name, callID=f"call_{part_id}", state=made)


def task(part_id: str, child: str | None, message_id: str = "msg_2a", session_id: str = "ses_1", **state: Any) -> Doc:
    """Make a delegation to a session."""
    metadata = {} if child is None else {"metadata": {"sessionId": child}}
    return tool(part_id, "task", message_id, session_id, title=f"Run {child}", **metadata, **state)


def prompt(
    text: str = "Do it", message_id: str = "msg_1u", session_id: str = "ses_1", created: int = START_MS
) -> list[Doc]:
    """Make a prompt."""
    return [
        user(message_id, session_id, created=created),
        part(f"prt_{message_id}", "text", message_id, session_id, text=text),
    ]


def conversation(session_id: str, *parts: Doc, at: int = START_MS, **fields: Any) -> list[Doc]:
    """Make a session with a prompt, `u_<session>`, and an answer, `a_<session>`, that holds a step with some parts."""
    asked, answered = f"u_{session_id}", f"a_{session_id}"
    completed = at + 9_000 + int(session_id[4:])  # equal answers in two sessions would be copies that a fork made
    return [
        session(session_id, created=at, **fields),
        *prompt(f"Ask {session_id}", asked, session_id, at),
        assistant(
            answered, session_id, parent=asked, created=at + 100, completed=completed, usage=tokens(10, 5), cost=0.5
        ),
        part(f"p_{session_id}_0", "step-start", answered, session_id),
        *parts,
        step_finish(f"p_{session_id}_9", tokens(10, 5), answered, session_id, cost=0.5),
    ]


def rows(found: Timeline | Growth | None) -> list[dict[str, Any]]:
    """Return the events as dicts."""
    assert found is not None
    events: list[dict[str, Any]] = found.events.to_pylist()
    return events


def by_id(found: Timeline | None) -> dict[str, dict[str, Any]]:
    """Return the events by their ids."""
    return {event["id"]: event for event in rows(found)}


def read(con: duckdb.DuckDBPyConnection, session_id: str = "ses_1") -> Timeline:
    """Read a timeline that exists."""
    found = timeline(con, session_id)
    assert found is not None
    return found


def links(found: Timeline) -> list[tuple[str, str, int, str | None]]:
    """Say what each row of the sessions is: session, link, depth, call."""
    return [(each.session_id, each.link, each.depth, each.delegating_trace_id) for each in found.sessions]


def of(found: Timeline, session_id: str) -> TracedSession:
    """Return the one row of a session in the tree."""
    (only,) = [each for each in found.sessions if each.session_id == session_id and each.link == "ok"]
    return only


def shown(found: Timeline) -> list[str]:
    """List exchanges and events as they are displayed, nested ones indented."""
    lines: list[str] = []
    begins: dict[int, list[TracedExchange]] = {}
    for exchange in found.exchanges:
        begins.setdefault(exchange.first_event, []).append(exchange)
    for at, event in enumerate([*rows(found), None]):
        lines += [f"{'  ' * each.depth}{each.exchange_id}" for each in begins.get(at, [])]
        if event is not None:
            lines.append(f"{'  ' * event['depth']}{event['id']}")
    return lines


# --- real data


@pytest.fixture(scope="module")
def every_timeline(real_index: RealIndex) -> Callable[[str], list[Timeline]]:
    """Read the timelines of all sessions of a real data set, once."""
    made: dict[str, list[Timeline]] = {}

    def of_set(name: str) -> list[Timeline]:
        """Read them unless that was done before."""
        if name not in made:
            con = real_index(name)
            ids = con.execute("SELECT session_id FROM sessions ORDER BY session_id").fetchall()
            made[name] = [read(con, session_id) for (session_id,) in ids]
        return made[name]

    return of_set


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_sessions_have_every_event_once_in_order(
    real_index: RealIndex, every_timeline: EveryTimeline, name: str
) -> None:
    """The events are those of `exchange_traces` of the whole tree; inside an exchange in their order."""
    con = real_index(name)
    for found in every_timeline(name):
        ids = [each.session_id for each in found.sessions if each.link == "ok"]
        stored = con.execute(
            """SELECT exchange_id, list(trace_id ORDER BY position) FROM exchange_traces
               WHERE list_contains(?, session_id) GROUP BY exchange_id""",
            [ids],
        ).fetchall()
        got: dict[str, list[str]] = {}
        for event in rows(found):
            got.setdefault(found.exchanges[event["exchange"]].exchange_id, []).append(event["id"])

        assert got == dict(stored)
        assert found.event_count == found.events.num_rows == sum(each.event_count for each in found.exchanges)
        assert found.events.schema.equals(EVENTS)


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_sessions_have_every_exchange_once(
    real_index: RealIndex, every_timeline: EveryTimeline, name: str
) -> None:
    """Exchanges are those of the tree, those of one session by number, and begin where they say."""
    con = real_index(name)
    for found in every_timeline(name):
        events = rows(found)
        ids = [each.session_id for each in found.sessions if each.link == "ok"]
        stored = con.execute("SELECT exchange_id FROM exchanges WHERE list_contains(?, session_id)", [ids]).fetchall()
        numbers: dict[int, list[int]] = {}
        for exchange in found.exchanges:
            numbers.setdefault(exchange.session, []).append(exchange.number)
            if exchange.event_count:
                assert events[exchange.first_event]["exchange"] == exchange.index

        assert sorted(each.exchange_id for each in found.exchanges) == sorted(each for (each,) in stored)
        assert [each.index for each in found.exchanges] == list(range(len(found.exchanges)))
        assert all(of_session == list(range(1, len(of_session) + 1)) for of_session in numbers.values())


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_events_hang_below_steps_of_their_message(
    real_index: RealIndex, every_timeline: EveryTimeline, name: str
) -> None:
    """A parent is a step before the event, of the same exchange and message; depths follow from it."""
    con = real_index(name)
    messages = dict(con.execute("SELECT trace_id, message_id FROM exchange_traces").fetchall())
    for found in every_timeline(name):
        events = rows(found)
        for at, event in enumerate(events):
            exchange = found.exchanges[event["exchange"]]
            assert event["depth"] == exchange.depth + 1 + (event["parent"] >= 0)
            assert event["session"] == exchange.session
            if event["parent"] >= 0:
                step = events[event["parent"]]
                assert event["parent"] < at and step["kind"] == "step" and step["exchange"] == event["exchange"]
                assert messages[step["id"]] == messages[event["id"]]


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_numbers_equal_session_stats(
    real_index: RealIndex, every_timeline: EveryTimeline, name: str
) -> None:
    """Own and subtree numbers are those of the session; exchanges and events add up to them."""
    con = real_index(name)
    stats = {
        session_id: numbers
        for session_id, *numbers in con.execute(
            """SELECT session_id, total_tokens, cost_recorded_usd, subtree_total_tokens, subtree_cost_recorded_usd,
                      subtree_sessions FROM session_stats"""
        ).fetchall()
    }
    for found in every_timeline(name):
        in_tree = [each for each in found.sessions if each.link == "ok"]
        for each in in_tree:
            own = [exchange for exchange in found.exchanges if exchange.session == each.index]
            costs = [exchange.cost_usd for exchange in own if exchange.cost_usd is not None]
            numbers = [each.own_tokens, each.own_cost_usd, each.subtree_tokens, each.subtree_cost_usd]
            assert numbers == stats[each.session_id][:4]
            assert sum(exchange.tokens for exchange in own) == each.own_tokens
            assert (sum(costs, Decimal(0)) if costs else None) == each.own_cost_usd
        counted = sum(event["tokens"] or 0 for event in rows(found) if not event["flags"] & FORK_COPY)
        head = found.head
        assert [head.total_tokens, head.cost_recorded_usd, head.subtree_tokens, head.subtree_cost_usd] == stats[
            head.session_id
        ][:4]
        assert head.subtree_sessions == len(in_tree) == stats[head.session_id][4]
        assert counted == head.subtree_tokens


def test_timeline_real_data_has_every_kind_and_link(every_timeline: EveryTimeline) -> None:
    """The sets hold what the rules are about, so that the tests above say something."""
    kinds, statuses, found_links, flags = set(), set(), set(), 0
    for name in SETS:
        for found in every_timeline(name):
            kinds |= set(found.events["kind"].to_pylist())
            statuses |= set(found.events["status"].to_pylist())
            found_links |= {each.link for each in found.sessions}
            for each in found.events["flags"].to_pylist():
                flags |= each

    assert kinds == KINDS
    assert statuses == {"ok", "failed", "unfinished", "restarted", "unknown"}
    assert {"ok", "resumed"} <= found_links
    assert flags == FORK_COPY | LOOP | EDIT_FAIL_EDIT | IN_FAILED_EXCHANGE | UNKNOWN_TIMES


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_sessions_have_no_clock_that_went_backwards(every_timeline: EveryTimeline, name: str) -> None:
    """What real clients write, texts that are stamped at their end included, raises no false alarm."""
    for found in every_timeline(name):
        assert not any(event["flags"] & CLOCK_BACKWARDS for event in rows(found))
        assert all(event["start_ms"] is None or event["start_ms"] >= 0 for event in rows(found))


@pytest.mark.parametrize("name", SETS)
def test_timeline_real_preview_and_report_are_of_the_same_session(
    real_index: RealIndex, every_timeline: EveryTimeline, name: str
) -> None:
    """What is said before a session is read, and what was spent for nothing in it."""
    con = real_index(name)

    for found in every_timeline(name):
        assert preview(con, found.head.session_id) == Preview(found.head, found.event_count)
        assert found.report == waste(con, found.head.session_id)


def test_preview_unknown_session_is_none(open_index: OpenIndex) -> None:
    """There is nothing to say of it."""
    con = open_index(session())

    assert preview(con, "ses_gone") is None


def test_timeline_unknown_session_is_none(open_index: OpenIndex) -> None:
    """A session that the index does not have has no timeline."""
    con = open_index(session())

    assert timeline(con, "ses_gone") is None


def test_timeline_session_without_messages_is_empty(open_index: OpenIndex) -> None:
    """A session that nobody wrote in is there, without events."""
    con = open_index(session())

    found = read(con)

    assert (found.exchanges, found.events.num_rows, found.origin_at) == ([], 0, None)
    assert (found.head.title, found.head.wall_ms, found.head.is_unfinished) == ("Title of ses_1", None, False)


# --- kinds, labels and times


def test_timeline_events_say_what_happened(open_index: OpenIndex) -> None:
    """One exchange in full: kinds, names, labels, times since the origin, numbers of the step."""
    con = open_index(
        session(),
        *prompt("Fix the\n  tests"),
        assistant(usage=tokens(100, 20, 5, 7, 3, total=130), cost=0.25),
        part("prt_1", "step-start"),
        part("prt_2", "reasoning", text="Think", time={"start": START_MS + 1_200, "end": START_MS + 1_500}),
        tool("prt_3"),
        tool("prt_4", "grep", title=None, input={"include": "*.py", "pattern": "TODO"}),
        part("prt_5", "patch", hash="c0ffee", files=["/home/dev/shop/a.py", "/home/dev/shop/b.py"]),
        part("prt_6", "text", text="Done", time={"start": START_MS + 4_000, "end": START_MS + 4_500}),
        step_finish("prt_7", tokens(100, 20, 5, 7, 3, total=130)),
    )

    found = read(con)

    told = [
        tuple(event[name] for name in ("id", "kind", "name", "label", "start_ms", "end_ms", "parent", "status"))
        for event in rows(found)
    ]
    assert told == [
        ("prt_msg_1u", "prompt", "text", "Fix the tests", 0, None, -1, "ok"),
        ("prt_1", "step", "step-start", "nova", 1_000, 5_000, -1, "ok"),
        ("prt_2", "reasoning", "reasoning", "Think", 1_200, 1_500, 1, "ok"),
        ("prt_3", "tool", "bash", "Title of prt_3", 2_000, 3_000, 1, "ok"),
        ("prt_4", "tool", "grep", "TODO", 2_000, 3_000, 1, "ok"),
        ("prt_5", "patch", "patch", "a.py, b.py", None, None, 1, "ok"),
        ("prt_6", "text", "text", "Done", 4_000, 4_500, 1, "ok"),
    ]
    assert [event["tokens"] for event in rows(found) if event["tokens"] is not None] == [130]
    assert [event["cost_usd"] for event in rows(found) if event["cost_usd"] is not None] == [0.25]
    assert [event["flags"] for event in rows(found)] == [0, 0, 0, 0, 0, UNKNOWN_TIMES, 0]
    (exchange,) = found.exchanges
    assert (exchange.label, exchange.tools, exchange.steps, exchange.tokens) == ("Fix the tests", 2, 1, 130)


def test_timeline_label_is_one_short_line_without_direction_marks(open_index: OpenIndex) -> None:
    """Untrusted text may not break lines or turn them around, and is cut."""
    con = open_index(session(), *prompt("a\t\u202eb\r\nc" + "x" * 200))

    (event,) = rows(read(con))

    assert event["label"] == "a b c" + "x" * 114 + "…"


def test_timeline_kinds_that_clients_never_write_are_shown(open_index: OpenIndex) -> None:
    """A recorded retry is one; what is not known is shown under its own name."""
    con = open_index(
        session(),
        *prompt(),
        assistant(),
        part("prt_1", "retry", attempt=1, time={"created": START_MS}),
        part("prt_2", "snapshot", snapshot="c0ffee"),
        part("prt_3", "hologram", depth=3),
    )

    found = [(event["kind"], event["name"]) for event in rows(read(con))]

    assert found == [("prompt", "text"), ("retry", "retry"), ("other", "snapshot"), ("other", "hologram")]


def test_timeline_two_starts_with_one_finish_are_a_restart(open_index: OpenIndex) -> None:
    """The first step is restarted and its end unknown; the start of the second is not recorded."""
    con = open_index(
        session(),
        *prompt(),
        assistant(usage=tokens(10, 5)),
        part("prt_1", "step-start"),
        part("prt_2", "step-start"),
        part("prt_3", "text", text="Done"),
        step_finish("prt_4", tokens(10, 5)),
    )

    first, second = [event for event in rows(read(con)) if event["kind"] == "step"]

    assert (first["status"], first["start_ms"], first["end_ms"], first["tokens"]) == ("restarted", 1_000, None, None)
    assert (second["status"], second["start_ms"], second["end_ms"], second["tokens"]) == ("ok", None, 5_000, 15)
    assert by_id(read(con))["prt_3"]["parent"] == 2


def test_timeline_steps_of_one_message_share_its_numbers(open_index: OpenIndex) -> None:
    """Two finished steps: each has its own tokens, reasoning counted as in the message."""
    con = open_index(
        session(),
        *prompt(),
        assistant(usage=tokens(1, 5, 2)),
        part("prt_1", "step-start"),
        step_finish("prt_2", tokens(10, 5, 2, total=15), cost=0.1),
        part("prt_3", "step-start"),
        step_finish("prt_4", tokens(20, 5, 2, total=25), cost=0.2),
    )

    found = read(con)

    assert [event["tokens"] for event in rows(found) if event["kind"] == "step"] == [15, 25]
    assert [event["cost_usd"] for event in rows(found) if event["kind"] == "step"] == [0.1, 0.2]
    assert found.head.total_tokens == 40


def test_timeline_equal_timestamps_keep_the_order_of_the_documents(open_index: OpenIndex) -> None:
    """Everything in one millisecond: order by id, and nothing is called backwards."""
    con = open_index(
        session(),
        *prompt(created=START_MS),
        assistant("msg_2a", created=START_MS, completed=START_MS),
        tool("prt_b", time={"start": START_MS, "end": START_MS}),
        tool("prt_c", time={"start": START_MS, "end": START_MS}),
        assistant("msg_3a", created=START_MS, completed=START_MS),
        tool("prt_a", message_id="msg_3a", time={"start": START_MS, "end": START_MS}),
    )

    found = rows(read(con))

    assert [event["id"] for event in found] == ["prt_msg_1u", "prt_b", "prt_c", "prt_a"]
    assert {event["flags"] for event in found} == {0}
    assert {event["start_ms"] for event in found} == {0}


def test_timeline_clock_that_went_backwards_is_marked_where_it_did(open_index: OpenIndex) -> None:
    """A call that ends before it starts, one that starts before its message, an answer older than its prompt."""
    con = open_index(
        session(),
        *prompt(created=START_MS),
        assistant("msg_2a", created=START_MS + 1_000, completed=START_MS + 9_000),
        tool("prt_1", time={"start": START_MS + 3_000, "end": START_MS + 2_000}),
        tool("prt_2", time={"start": START_MS + 500, "end": START_MS + 2_000}),
        tool("prt_3", time={"start": START_MS + 3_000, "end": START_MS + 4_000}),
        *prompt("Later", "msg_3u", created=START_MS + 60_000),
        assistant("msg_4a", parent="msg_3u", created=START_MS + 50_000, completed=START_MS + 51_000),
        tool("prt_4", message_id="msg_4a", time={"start": START_MS + 50_100, "end": START_MS + 50_200}),
    )

    found = by_id(read(con))

    marked = {event_id for event_id, event in found.items() if event["flags"] & CLOCK_BACKWARDS}
    assert marked == {"prt_1", "prt_2", "prt_4"}
    assert (found["prt_1"]["start_ms"], found["prt_1"]["end_ms"]) == (3_000, 2_000)


def test_timeline_clock_behind_everything_else_moves_the_origin(open_index: OpenIndex) -> None:
    """Times count from the earliest one in the tree, so that none is negative."""
    child = conversation("ses_2", at=START_MS - 5_000, parentID="ses_1")
    con = open_index(*conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1")), *child)

    found = read(con)

    assert found.origin_at == START - timedelta(seconds=5)
    assert min(event["start_ms"] for event in rows(found) if event["start_ms"] is not None) == 0
    assert found.exchanges[0].start_ms == 5_000


def test_timeline_time_that_is_no_time_is_unknown(open_index: OpenIndex) -> None:
    """A document with an implausible time keeps its place, without one."""
    con = open_index(
        session(),
        *prompt(),
        assistant(),
        tool("prt_1", time={"start": -5}),
        part("prt_2", "text", text="Done"),
    )

    found = by_id(read(con))

    assert (found["prt_1"]["start_ms"], found["prt_1"]["end_ms"]) == (None, None)
    assert found["prt_1"]["flags"] == found["prt_2"]["flags"] == UNKNOWN_TIMES


# --- exchanges


def test_timeline_exchange_without_answer_is_unanswered(open_index: OpenIndex) -> None:
    """A prompt that nobody answered is an exchange of its own, also when it holds nothing."""
    con = open_index(session(), user("msg_1u"), *prompt("Hello?", "msg_2u", created=START_MS + 1_000))

    found = read(con)

    assert [(each.status, each.event_count, each.label, each.first_event) for each in found.exchanges] == [
        ("unanswered", 0, "", 0),
        ("unanswered", 1, "Hello?", 0),
    ]


def test_timeline_answer_without_prompt_is_an_exchange_without_one(open_index: OpenIndex) -> None:
    """Answers before any prompt form one exchange."""
    con = open_index(session(), assistant(parent="msg_gone"), part("prt_1", "text", text="Done"))

    found = read(con)

    (exchange,) = found.exchanges
    assert (exchange.exchange_id, exchange.kind, exchange.user_message_id) == ("ses_1:start", "none", None)
    assert [event["id"] for event in rows(found)] == ["prt_1"]


def test_timeline_parallel_calls_overlap_below_one_step(open_index: OpenIndex) -> None:
    """Calls of one request that run at once keep their own times, and their order."""
    con = open_index(
        *conversation(
            "ses_1",
            tool("p_ses_1_1", message_id="a_ses_1", time={"start": START_MS + 1_000, "end": START_MS + 8_000}),
            tool("p_ses_1_2", message_id="a_ses_1", time={"start": START_MS + 1_001, "end": START_MS + 2_000}),
        )
    )

    found = by_id(read(con))

    assert [found[each]["parent"] for each in ("p_ses_1_1", "p_ses_1_2")] == [1, 1]
    assert [found[each]["end_ms"] for each in ("p_ses_1_1", "p_ses_1_2")] == [8_000, 2_000]


def test_timeline_failed_exchange_flags_all_of_its_events(open_index: OpenIndex) -> None:
    """The error is the last event of its message; every event says that it was part of a failure."""
    error = {"name": "APIError", "data": {"message": "Too many\nrequests", "statusCode": 429}}
    con = open_index(
        session(),
        *prompt(),
        assistant(completed=None, error=error),
        part("prt_1", "step-start"),
        tool("prt_2", status="error", error="no", output=None),
    )

    found = read(con)

    assert [(event["kind"], event["status"]) for event in rows(found)] == [
        ("prompt", "ok"),
        ("step", "unfinished"),
        ("tool", "failed"),
        ("error", "failed"),
    ]
    assert {event["flags"] for event in rows(found)} == {IN_FAILED_EXCHANGE}
    assert (rows(found)[-1]["name"], rows(found)[-1]["label"]) == ("APIError", "Too many requests")
    (exchange,) = found.exchanges
    assert (exchange.status, exchange.error_name, exchange.errors) == ("failed", "APIError", 2)


def test_timeline_call_and_text_without_end_are_unfinished(open_index: OpenIndex) -> None:
    """What a crash left: running, pending and streaming."""
    con = open_index(
        session(),
        *prompt(),
        assistant(completed=None),
        tool("prt_1", status="running", output=None, time={"start": START_MS + 2_000}),
        part("prt_2", "text", text="Half", time={"start": START_MS + 2_500}),
    )

    found = read(con)

    assert [event["status"] for event in rows(found)] == ["ok", "unfinished", "unfinished"]
    assert found.head.is_unfinished


# --- delegations


def test_timeline_child_follows_its_call(open_index: OpenIndex) -> None:
    """The exchanges of a child stand between its call and what comes after it."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1"), tool("p_ses_1_2", message_id="a_ses_1")),
        *conversation("ses_2", at=START_MS + 2_100, parentID="ses_1"),
    )

    found = read(con)

    assert shown(found) == [
        "u_ses_1",
        "  prt_u_ses_1",
        "  p_ses_1_0",
        "    p_ses_1_1",
        "      u_ses_2",
        "        prt_u_ses_2",
        "        p_ses_2_0",
        "    p_ses_1_2",
    ]
    assert found.exchanges[1].parent_trace_id == "p_ses_1_1"
    assert by_id(found)["p_ses_1_1"]["child"] == of(found, "ses_2").index
    assert by_id(found)["p_ses_1_2"]["parent"] == by_id(found)["p_ses_1_1"]["parent"] == 1
    assert (found.head.delegations, found.exchanges[0].delegations, found.exchanges[0].tools) == (1, 1, 1)


def test_timeline_command_that_runs_as_a_delegation_counts_once(open_index: OpenIndex) -> None:
    """What asked for it is an event of its own, and no second call."""
    con = open_index(
        session(),
        user(),
        part("p_1", "subtask", "msg_1u", agent="explore", description="Look", prompt="Look around"),
        assistant(),
        task("p_2", None),
    )

    found = read(con)

    assert [(each.kind, each.tools, each.delegations) for each in found.exchanges] == [("command", 0, 1)]
    assert found.head.delegations == found.head.tool_calls == 1


def test_timeline_of_a_child_begins_with_it(open_index: OpenIndex) -> None:
    """Any session can be looked at by itself; it knows where it hangs."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1")),
        *conversation("ses_2", task("p_ses_2_1", "ses_3", "a_ses_2", "ses_2"), parentID="ses_1"),
        *conversation("ses_3", parentID="ses_2"),
    )

    found = read(con, "ses_2")

    assert (found.head.root_session_id, found.head.parent_session_id) == ("ses_1", "ses_1")
    assert links(found) == [("ses_2", "ok", 0, None), ("ses_3", "ok", 1, "p_ses_2_1")]
    assert found.head.subtree_tokens == 30


def test_timeline_child_that_is_missing_is_a_link(open_index: OpenIndex) -> None:
    """A call that names a session which is not stored leads to a row that says so."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_gone", "a_ses_1"), task("p_ses_1_2", None, "a_ses_1"))
    )

    found = read(con)

    assert links(found) == [("ses_1", "ok", 0, None), ("ses_gone", "missing", 1, "p_ses_1_1")]
    assert (found.sessions[1].own_tokens, found.sessions[1].title, found.sessions[1].started_at) == (
        None,
        None,
        START + timedelta(seconds=2),
    )
    assert [by_id(found)[each]["child"] for each in ("p_ses_1_1", "p_ses_1_2")] == [1, -1]


def test_timeline_parent_that_is_missing_is_named(open_index: OpenIndex) -> None:
    """A child whose parent is not stored is a root, and says what it lacks."""
    con = open_index(*conversation("ses_1", parentID="ses_gone"))

    head = read(con).head

    assert (head.root_session_id, head.parent_session_id, head.is_parent_missing) == ("ses_1", "ses_gone", True)


def test_timeline_resumed_child_appears_once(open_index: OpenIndex) -> None:
    """Both calls point to it; its exchanges stand under the first, the second is a link."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1"), task("p_ses_1_2", "ses_2", "a_ses_1")),
        *conversation("ses_2", parentID="ses_1"),
    )

    found = read(con)

    assert links(found) == [
        ("ses_1", "ok", 0, None),
        ("ses_2", "ok", 1, "p_ses_1_1"),
        ("ses_2", "resumed", 1, "p_ses_1_2"),
    ]
    assert [by_id(found)[each]["child"] for each in ("p_ses_1_1", "p_ses_1_2")] == [1, 1]
    assert [each.exchange_id for each in found.exchanges] == ["u_ses_1", "u_ses_2"]
    assert found.head.subtree_tokens == 30


def test_timeline_child_that_no_call_runs_comes_last(open_index: OpenIndex) -> None:
    """A child session that somebody made by hand is in the tree, after its parent."""
    con = open_index(*conversation("ses_1"), *conversation("ses_2", parentID="ses_1"))

    found = read(con)

    assert links(found) == [("ses_1", "ok", 0, None), ("ses_2", "ok", 1, None)]
    assert shown(found)[-3:] == ["  u_ses_2", "    prt_u_ses_2", "    p_ses_2_0"]
    assert found.exchanges[1].parent_trace_id is None


def parent_before(number: int, digits: int) -> dict[str, Any]:
    """Name the session with the number before as the parent; the first has none."""
    return {"parentID": f"ses_{number - 1:0{digits}}"} if number else {}


def test_timeline_tree_ten_deep_is_shown_to_the_end(open_index: OpenIndex) -> None:
    """Each session delegates to the next; numbers add up on the way."""
    docs: list[Doc] = []
    for number in range(11):
        own = f"ses_{number:02}"
        calls = [task(f"p_{own}_1", f"ses_{number + 1:02}", f"a_{own}", own)] if number < 10 else []
        docs += conversation(own, *calls, **parent_before(number, 2))
    con = open_index(*docs)

    found = read(con, "ses_00")

    assert [(each.session_id, each.depth) for each in found.sessions] == [(f"ses_{n:02}", n) for n in range(11)]
    assert [each.subtree_tokens for each in found.sessions] == [15 * (11 - n) for n in range(11)]
    assert [each.depth for each in found.exchanges] == [3 * n for n in range(11)]
    assert shown(found)[-1] == "  " * 31 + "p_ses_10_0"


def test_timeline_tree_deeper_than_python_nests_calls_is_read(open_index: OpenIndex) -> None:
    """Depth is not limited by the stack: of 400 calls here, as making a tree of 1,000 sessions takes long."""
    docs = []
    for number in range(500):
        own = f"ses_{number:04}"
        docs += [session(own, **parent_before(number, 4)), user(f"msg_{own}", own)]
    con = open_index(*docs)
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(400)

    try:
        found = read(con, "ses_0000")
    finally:
        sys.setrecursionlimit(usual)

    assert len(found.sessions) == len(found.exchanges) == 500
    assert found.sessions[-1].depth == found.exchanges[-1].depth == 499


def test_timeline_cycle_is_cut_and_marked(open_index: OpenIndex) -> None:
    """Two sessions that are each other's parent and call each other: both once, and the way back is a link."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1"), parentID="ses_2"),
        *conversation("ses_2", task("p_ses_2_1", "ses_1", "a_ses_2", "ses_2"), parentID="ses_1"),
    )

    found, other = read(con, "ses_1"), read(con, "ses_2")

    assert links(found) == [
        ("ses_1", "ok", 0, None),
        ("ses_2", "ok", 1, "p_ses_1_1"),
        ("ses_1", "cycle", 2, "p_ses_2_1"),
        ("ses_1", "cycle", 2, None),
    ]
    assert [each[:2] for each in links(other)][:3] == [("ses_2", "ok"), ("ses_1", "ok"), ("ses_2", "cycle")]
    assert found.head.subtree_tokens == other.head.subtree_tokens == 30
    assert by_id(found)["p_ses_2_1"]["child"] == 0


def test_timeline_session_that_is_its_own_parent_is_shown_once(open_index: OpenIndex) -> None:
    """The shortest cycle."""
    con = open_index(*conversation("ses_1", task("p_ses_1_1", "ses_1", "a_ses_1"), parentID="ses_1"))

    found = read(con)

    assert [each[:2] for each in links(found)] == [("ses_1", "ok"), ("ses_1", "cycle"), ("ses_1", "cycle")]
    assert len(found.exchanges) == 1


def test_timeline_call_of_a_session_elsewhere_is_a_link(open_index: OpenIndex) -> None:
    """A fork copies calls; the session that they ran belongs to the original."""
    original = conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1"))
    con = open_index(
        *original,
        *conversation("ses_2", parentID="ses_1"),
        session("ses_3", created=START_MS + 60_000, title="Fork"),
        *copied(original[1:], "ses_3", "x"),
    )

    found = read(con, "ses_3")

    assert links(found) == [("ses_3", "ok", 0, None), ("ses_2", "elsewhere", 1, "p_ses_1_1x")]
    assert found.sessions[1].title == "Title of ses_2"
    assert {event["flags"] & FORK_COPY for event in rows(found)} == {FORK_COPY}
    assert (found.head.total_tokens, found.head.inherited_tokens, found.head.fork_copies) == (0, 15, 1)
    assert [(each.is_fork_copy, each.tokens) for each in found.exchanges] == [(True, 0)]
    assert not any(event["flags"] & FORK_COPY for event in rows(read(con, "ses_1")))


def test_timeline_deleted_messages_stay_without_their_texts(open_index: OpenIndex, tmp_path: Path) -> None:
    """What OpenCode deleted is flagged and keeps its numbers."""
    open_index(*conversation("ses_1", tool("p_ses_1_1", message_id="a_ses_1")), *conversation("ses_2"))
    for folder in ("message/ses_1", "part/a_ses_1", "part/u_ses_1"):
        for path in (tmp_path / "opencode" / "storage" / folder).iterdir():
            path.unlink()
    con = open_index(tmp_path / "opencode")

    found = read(con)

    assert {event["flags"] & DELETED for event in rows(found)} == {DELETED}
    assert found.head.total_tokens == 15
    assert found.exchanges[0].label == ""
    assert {event["label"] for event in rows(found) if event["kind"] != "step"} == {""}


# --- rows of session_message


def test_timeline_rows_of_session_message_are_events(open_index: OpenIndex, tmp_path: Path) -> None:
    """Every row is an event or, as an answer, a step with its content."""
    call = {
        "type": "tool",
        "id": "call_1",
        "name": "bash",
        "state": {"status": "completed", "input": {"command": "ls"}, "content": [{"type": "text", "text": "a"}]},
        "time": {"created": START_MS + 2_100, "completed": START_MS + 2_400},
    }
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            row("msg_1", "user", 1, text="Look around"),
            answer("msg_2", 2, usage=tokens(10, 5), content=[{"type": "text", "text": "Looking"}, call]),
            row("msg_3", "idle", 3, outcome="succeeded"),
            row("msg_4", "compaction", 4, summary="So far", reason="auto", cost=0.1, tokens=tokens(40, 2)),
            row("msg_5", "shell", 5, command="pwd", status="completed", output="/"),
            row("msg_6", "user", 6, text="Go on"),
            answer("msg_7", 7, usage=tokens(3, 1), error={"type": "aborted", "message": "Stopped"}),
        ],
    )
    con = open_index(tmp_path / "rows")

    found = read(con)

    told = [tuple(event[name] for name in ("id", "kind", "name", "label", "parent", "tokens")) for event in rows(found)]
    assert told == [
        ("msg_1", "prompt", "user", "Look around", -1, None),
        ("msg_2:step", "step", "step", "nova", -1, 15),
        ("msg_2:0", "text", "text", "Looking", 1, None),
        ("msg_2:1", "tool", "bash", "ls", 1, None),
        ("msg_3", "other", "idle", '{"outcome":"succeeded"}', -1, None),
        ("msg_4", "compaction", "compaction", "So far", -1, 42),
        ("msg_5", "tool", "shell", "pwd", -1, None),
        ("msg_6", "prompt", "user", "Go on", -1, None),
        ("msg_7:step", "step", "step", "nova", -1, 4),
        ("msg_7:error", "error", "aborted", "Stopped", 8, None),
    ]
    assert [each.status for each in found.exchanges] == ["answered", "unanswered", "aborted"]
    assert sum(event["tokens"] or 0 for event in rows(found)) == found.head.total_tokens == 61
    assert by_id(found)["msg_5"]["status"] == "unknown"
    assert by_id(found)["msg_2:0"]["flags"] == UNKNOWN_TIMES


def test_timeline_rows_whose_times_fall_are_marked(open_index: OpenIndex, tmp_path: Path) -> None:
    """These rows are in the order of `seq`: a time before that of an earlier row is a clock that went backwards."""
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            row("msg_1", "user", 1, text="One"),
            answer("msg_2", 2),
            row("msg_3", "user", 3, text="Two", created=START_MS + 500),
        ],
    )
    con = open_index(tmp_path / "rows")

    found = by_id(read(con))

    assert [each for each, event in found.items() if event["flags"] & CLOCK_BACKWARDS] == ["msg_3"]


# --- waste on the timeline


def test_timeline_marks_loops_and_repeated_edits(open_index: OpenIndex) -> None:
    """The events concerned are flagged, and the exchange counts what was found in it."""
    same: dict[str, Any] = {"input": {"command": "make test"}}
    edit = {"filePath": "/home/dev/shop/a.py", "oldString": "a", "newString": "b"}
    docs = [session(), *prompt()]
    for number, made in enumerate(
        [
            tool("prt_1", message_id="msg_a0", **same),
            tool("prt_2", message_id="msg_a1", **same),
            tool("prt_3", message_id="msg_a2", **same),
            tool("prt_4", "edit", "msg_a3", input=edit, status="error", error="not found"),
            tool("prt_5", "edit", "msg_a4", input=edit),
        ]
    ):
        docs += [assistant(f"msg_a{number}", created=START_MS + 1_000 + number), made]
    con = open_index(*docs)

    found = read(con)

    flags = {event["id"]: event["flags"] for event in rows(found)}
    assert flags == {
        "prt_msg_1u": 0,
        **dict.fromkeys(("prt_1", "prt_2", "prt_3"), LOOP),
        **dict.fromkeys(("prt_4", "prt_5"), EDIT_FAIL_EDIT),
    }
    assert [(each.loops, each.edit_retries) for each in found.exchanges] == [(1, 1)]


# --- running sessions


@pytest.mark.parametrize(
    ("last", "is_running"),
    [
        ([assistant(completed=None)], True),
        ([assistant(completed=START_MS + 60_000, finish="tool-calls")], True),
        ([assistant(completed=START_MS + 60_000)], False),
        ([assistant(completed=None, error={"name": "MessageAbortedError", "data": {}})], False),
        ([], True),
    ],
)
def test_is_running_follows_from_the_last_message(open_index: OpenIndex, last: list[Doc], is_running: bool) -> None:
    """A prompt that waits, an answer without an end, and one that asked for tools."""
    con = open_index(session(), *prompt(), *last)

    head = read(con).head

    assert head.is_running(START + timedelta(minutes=5)) is is_running
    assert not head.is_running(START + timedelta(minutes=30))


def test_is_running_child_that_works_keeps_the_tree_running(open_index: OpenIndex) -> None:
    """The session itself may have ended while a child works on."""
    con = open_index(
        *conversation("ses_1"),
        session("ses_2", parentID="ses_1"),
        *prompt("Go", "msg_u2", "ses_2"),
        assistant("msg_a2", "ses_2", parent="msg_u2", created=START_MS + 20_000, completed=None),
    )

    head = read(con).head

    assert head.changed_at == START + timedelta(seconds=20)
    assert head.is_running(START + timedelta(minutes=1))


def test_timeline_other_rows_are_labelled_by_all_that_they_say(tmp_path: Path, open_index: OpenIndex) -> None:
    """Of the third generation: a switch of models names both, the one before perhaps first; a system row has a text."""
    switch = row("msg_2", "model-switched", 2, previous={"id": "nova"}, model={"id": "lyra"})
    rows = [row("msg_1", "user", 1, text="go"), switch, row("msg_3", "system", 3, text="Be brief")]
    docs = [session(version="2.0.0"), *rows]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    labels = read(con).events["label"].to_pylist()

    assert labels == ["go", '{"previous":{"id":"nova"},"model":{"id":"lyra"}}', "Be brief"]


# --- growth


def grow(open_index: OpenIndex, before: list[Doc], after: list[Doc]) -> tuple[Timeline, Growth | None, Timeline]:
    """Read a timeline, then what came with more documents, then the timeline afresh."""
    known = read(open_index(*before))
    con = open_index(*after)
    return known, events_since(con, known.marker), read(con)


def test_events_since_nothing_new_is_none(open_index: OpenIndex) -> None:
    """The same revision has nothing to tell."""
    con = open_index(*conversation("ses_1"))

    assert events_since(con, read(con).marker) is None


def test_events_since_session_that_is_gone_is_told(open_index: OpenIndex) -> None:
    """Not as if nothing had come."""
    known = read(open_index(*conversation("ses_1")))

    with pytest.raises(SessionGone):
        events_since(open_index(), replace(known.marker, session_id="ses_9"))


def test_events_since_new_events_are_told_with_their_place(open_index: OpenIndex) -> None:
    """A call that ended, one that is new, and a new exchange; the rest is not sent again."""
    before = [
        session(),
        *prompt(),
        assistant(completed=None),
        part("prt_1", "step-start"),
        tool("prt_2", status="running", output=None, time={"start": START_MS + 2_000}),
    ]
    after = [
        tool("prt_2"),
        tool("prt_3"),
        *prompt("Next", "msg_3u", created=START_MS + 60_000),
    ]

    known, growth, fresh = grow(open_index, before, after)

    assert growth is not None and not growth.is_restart
    told = [
        (growth.exchanges[event["exchange"]].exchange_id, event["id"], event["parent_id"], event["after_id"])
        for event in rows(growth)
    ]
    assert told == [
        ("msg_1u", "prt_2", "prt_1", "prt_1"),
        ("msg_1u", "prt_3", "prt_1", "prt_2"),
        ("msg_3u", "prt_msg_3u", None, None),
    ]
    assert rows(growth)[0]["status"] == "ok"
    assert [each.number for each in growth.exchanges] == [1, 2]
    assert growth.exchanges[1].start_ms == 60_000
    assert growth.head == fresh.head


def test_events_since_text_that_grew_is_told(open_index: OpenIndex) -> None:
    """A label follows the text; times need not change."""
    before = [session(), *prompt(), assistant(completed=None), part("prt_1", "text", text="")]

    _, growth, _ = grow(open_index, before, [part("prt_1", "text", text="Half an")])

    assert [(event["id"], event["label"]) for event in rows(growth)] == [("prt_1", "Half an")]


def test_events_since_third_equal_call_marks_the_first_two(open_index: OpenIndex) -> None:
    """A loop is known with its third call; the others change with it."""
    same: dict[str, Any] = {"input": {"command": "ls"}}
    before = [session(), *prompt(), assistant(completed=None), tool("prt_1", **same), tool("prt_2", **same)]

    _, growth, _ = grow(open_index, before, [tool("prt_3", **same)])

    assert [(event["id"], event["flags"]) for event in rows(growth)] == [(f"prt_{n}", LOOP) for n in (1, 2, 3)]


def test_events_since_child_that_appeared_is_in_the_sessions(open_index: OpenIndex) -> None:
    """First the call names a session that is not stored yet, then it is there."""
    before = conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1"))

    known, growth, fresh = grow(open_index, before, conversation("ses_2", parentID="ses_1"))

    assert [each.link for each in known.sessions] == ["ok", "missing"]
    assert growth is not None
    assert growth.sessions == fresh.sessions
    assert [each.exchange_id for each in growth.exchanges] == ["u_ses_2"]
    assert growth.exchanges[0].parent_trace_id == "p_ses_1_1"
    assert [event["id"] for event in rows(growth)] == ["prt_u_ses_2", "p_ses_2_0"]
    assert {growth.sessions[event["session"]].session_id for event in rows(growth)} == {"ses_2"}


def test_events_since_marker_of_the_growth_goes_on(open_index: OpenIndex) -> None:
    """With its marker the same is not told twice; with the first one it is."""
    before = [session(), *prompt(), assistant(completed=None)]
    known, growth, _ = grow(open_index, before, [tool("prt_1")])
    con = open_index(tool("prt_2"))
    assert growth is not None

    later, since_start = events_since(con, growth.marker), events_since(con, known.marker)

    assert [event["id"] for event in rows(later)] == ["prt_2"]
    assert [event["id"] for event in rows(since_start)] == ["prt_1", "prt_2"]


def test_events_since_exchange_that_is_gone_restarts(open_index: OpenIndex) -> None:
    """An answer came before its prompt: with the prompt, the exchange without one is gone."""
    before = [session(), assistant(), tool("prt_1")]

    _, growth, fresh = grow(open_index, before, prompt())

    assert growth is not None and growth.is_restart
    assert (growth.sessions, growth.exchanges, growth.events.num_rows) == ([], [], 0)
    assert growth.head == fresh.head


def test_events_since_event_that_is_gone_restarts(open_index: OpenIndex) -> None:
    """An error was taken back: the timeline has to forget it."""
    before = [session(), *prompt(), assistant(error={"name": "APIError", "data": {"message": "no"}}), tool("prt_1")]

    _, growth, _ = grow(open_index, before, [assistant()])

    assert growth is not None and growth.is_restart


def applied(known: Timeline, growth: Growth | None) -> dict[str, dict[str, Any]]:
    """Do what a viewer does: put new events in by id, with the ids of what they hang below."""
    events = rows(known)
    state = {
        event["id"]: (
            event["label"],
            event["status"],
            event["start_ms"],
            event["end_ms"],
            event["tokens"],
            event["flags"],
            events[event["parent"]]["id"] if event["parent"] >= 0 else None,
            known.exchanges[event["exchange"]].exchange_id,
        )
        for event in events
    }
    for event in rows(growth) if growth else []:
        assert growth is not None
        state[event["id"]] = (
            *(event[name] for name in ("label", "status", "start_ms", "end_ms", "tokens", "flags", "parent_id")),
            growth.exchanges[event["exchange"]].exchange_id,
        )
    return state  # type: ignore[return-value]


@pytest.mark.parametrize("cut", range(1, 14, 2))
def test_events_since_applied_equals_the_timeline_afresh(open_index: OpenIndex, cut: int) -> None:
    """However much was there before: what was known, with what came, is what is there."""
    docs = [
        session(),
        *prompt(),
        assistant(usage=tokens(10, 5)),
        part("prt_1", "step-start"),
        tool("prt_2", input={"command": "ls"}),
        tool("prt_3", input={"command": "ls"}),
        tool("prt_4", input={"command": "ls"}),
        task("prt_5", "ses_2"),
        step_finish("prt_6", tokens(10, 5)),
        *conversation("ses_2", parentID="ses_1"),
    ]

    known, growth, fresh = grow(open_index, docs[: cut + 1], docs[cut + 1 :])

    assert growth is not None
    assert applied(known, growth) == applied(fresh, None)
    assert growth.head == fresh.head
    assert growth.sessions == fresh.sessions
    assert events_since_of(open_index, growth) is None


def events_since_of(open_index: OpenIndex, growth: Growth) -> Growth | None:
    """Ask again with the marker of a growth, on the same documents."""
    return events_since(open_index(session("ses_9")), growth.marker)


# --- large timelines


def test_timeline_too_many_events_are_read_exchange_by_exchange(
    open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of exchanges is there, with labels and counts; the events come when they are asked for."""
    con = open_index(
        *conversation("ses_1", task("p_ses_1_1", "ses_2", "a_ses_1")),
        *prompt("More", "msg_u2", created=START_MS + 60_000),
        *conversation("ses_2", parentID="ses_1"),
    )
    whole = read(con)
    monkeypatch.setattr(module, "MAX_EVENTS", 3)

    found = read(con)
    events = events_of(con, "ses_1", ["msg_u2", "u_ses_1"])

    assert (found.events.num_rows, found.event_count) == (0, 6)
    assert [each.exchange_id for each in found.exchanges] == [each.exchange_id for each in whole.exchanges]
    assert [each.label for each in found.exchanges] == ["Ask ses_1", "Ask ses_2", "More"]
    assert [each["id"] for each in events.to_pylist() if each["exchange"] == 0] == ["prt_msg_u2"]
    assert [each["id"] for each in events.to_pylist() if each["exchange"] == 1] == [
        "prt_u_ses_1",
        "p_ses_1_0",
        "p_ses_1_1",
    ]
    assert isinstance(events, pa.Table)
    assert events_since(con, found.marker) is None
