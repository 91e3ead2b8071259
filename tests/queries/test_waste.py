"""Loops, edits that had to be made again, and exchanges that failed, each with what it cost."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from queries.waste import ABORTED, EDIT_FAIL_EDIT, FAILED, LOOP, WasteReport, WasteTotal, findings, waste
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
EDIT = {"filePath": "/a.py", "oldString": "a", "newString": "b"}


def step(number: int, *calls: Doc, session_id: str = "ses_1", **fields: Any) -> list[Doc]:
    """Make the answer `a<number>`: one request of 10 tokens and $1 that made some calls."""
    message_id, created = f"a{number}", START_MS + 1_000 * number
    usage = tokens(9, 1, total=10)
    made = [Doc(each.kind, each.id, session_id, message_id, {**each.body, "messageID": message_id}) for each in calls]
    answered = assistant(
        message_id, session_id, created=created, completed=created + 900, usage=usage, cost=1, **fields
    )
    return [
        answered,
        part(f"p{number}_0", "step-start", message_id, session_id),
        *made,
        step_finish(f"p{number}_9", usage, message_id, session_id, cost=1),
    ]


def call(part_id: str, name: str, given: dict[str, Any], **state: Any) -> Doc:
    """Make a tool call that ended well, unless its state says otherwise."""
    made = {"status": "completed", "input": given, "output": "done", "title": f"Title of {part_id}", **state}
    return part(part_id, "tool", tool=name, callID=f"call_{part_id}", state=made)


def failed(part_id: str, name: str, given: dict[str, Any]) -> Doc:
    """Make a tool call that failed."""
    return call(part_id, name, given, status="error", error="no")


def failing(part_id: str, command: str = "make test") -> Doc:
    """Make a command that ended with an exit code."""
    return call(part_id, "bash", {"command": command}, metadata={"exit": 1})


def asked(*steps: list[Doc]) -> list[Doc]:
    """Make a session with one prompt and some answers."""
    return [session(), user(), part("p_u", "text", "msg_1u", text="Do it"), *(doc for made in steps for doc in made)]


def told(report: WasteReport) -> list[tuple[str, str, int, tuple[str, ...], int, Decimal | None]]:
    """Say what was found: category, name, count, events, tokens, cost."""
    return [
        (
            each.finding.category,
            each.finding.name,
            each.finding.count,
            each.finding.trace_ids,
            each.tokens,
            each.cost_usd,
        )
        for each in report.findings
    ]


# --- loops


def test_waste_three_equal_calls_are_a_loop(open_index: OpenIndex) -> None:
    """Charged are the requests that made them again, one of which made two."""
    con = open_index(
        *asked(
            step(1, call("c1", "bash", {"command": "ls"})),
            step(2, call("c2", "bash", {"command": "ls"}), call("c3", "bash", {"command": "ls"})),
            step(3, call("c4", "bash", {"command": "ls -l"})),
        )
    )

    report = waste(con, "ses_1")

    assert told(report) == [(LOOP, "bash", 3, ("c1", "c2", "c3"), 10, Decimal(1))]
    assert report.findings[0].finding.label == "Title of c1"
    assert report.totals == [WasteTotal(LOOP, 1, 10, Decimal(1))]


@pytest.mark.parametrize(
    "calls",
    [
        [call("c1", "bash", {"command": "ls"}), call("c2", "bash", {"command": "ls"})],
        [call(f"c{n}", "bash", {"command": f"ls {n}"}) for n in range(3)],
        [call(f"c{n}", name, {"path": "x"}) for n, name in enumerate(("glob", "grep", "list"))],
        [call(f"c{n}", "bash", {}, status="pending", input={}) for n in range(3)],
        [call(f"c{n}", "write", {"filePath": "x", "content": "y" * 70_000 + str(n)}) for n in range(3)],
    ],
    ids=["twice", "other arguments", "other tools", "arguments not written yet", "arguments not known in full"],
)
def test_waste_other_calls_are_no_loop(open_index: OpenIndex, calls: list[Doc]) -> None:
    """Only the same tool with the same arguments, three times."""
    con = open_index(*asked(step(1, *calls)))

    assert waste(con, "ses_1").findings == []


def test_waste_equal_calls_of_several_exchanges_are_no_loop(open_index: OpenIndex) -> None:
    """A person asked for it again."""
    docs = asked()
    for number in range(3):
        docs += [user(f"u{number}", created=START_MS + 1_000 * number)]
        docs += step(number, call(f"c{number}", "bash", {"command": "ls"}), parent=f"u{number}")
    con = open_index(*docs)

    assert waste(con, "ses_1").findings == []


def test_waste_loop_without_arguments_or_by_delegation_counts(open_index: OpenIndex) -> None:
    """Calls without arguments are equal, and so are delegations."""
    con = open_index(
        *asked(
            step(1, *(call(f"c{n}", "todoread", {}) for n in range(3))),
            step(2, *(call(f"d{n}", "task", {"prompt": "Look"}) for n in range(4))),
        )
    )

    assert [(each[1], each[2]) for each in told(waste(con, "ses_1"))] == [("todoread", 3), ("task", 4)]


# --- edit, fail, edit


def test_waste_edit_that_failed_and_was_made_again_is_found(open_index: OpenIndex) -> None:
    """The failed call and the next edit of the file are charged; both requests."""
    con = open_index(
        *asked(
            step(1, failed("c1", "edit", EDIT)),
            step(2, call("c2", "read", {"filePath": "/a.py"})),
            step(3, call("c3", "edit", EDIT | {"oldString": "A"})),
        )
    )

    assert told(waste(con, "ses_1")) == [(EDIT_FAIL_EDIT, "/a.py", 2, ("c1", "c3"), 20, Decimal(2))]


def test_waste_edit_after_a_failed_command_is_found(open_index: OpenIndex) -> None:
    """Edit, test, edit, test, edit: one finding of the file; its first edit is no waste."""
    con = open_index(
        *asked(
            step(1, call("c1", "edit", EDIT)),
            step(2, failing("c2")),
            step(3, call("c3", "write", {"filePath": "/a.py", "content": "b"})),
            step(4, failing("c4", "make lint")),
            step(5, call("c5", "apply_patch", {"patchText": "*** Update File: /a.py\n@@\n-a\n+b"})),
        )
    )

    assert told(waste(con, "ses_1")) == [
        (EDIT_FAIL_EDIT, "/a.py", 3, ("c1", "c2", "c3", "c4", "c5"), 40, Decimal(4)),
    ]


@pytest.mark.parametrize(
    "steps",
    [
        [step(1, call("c1", "edit", EDIT)), step(2, call("c2", "edit", EDIT))],
        [step(1, failing("c1")), step(2, call("c2", "edit", EDIT)), step(3, call("c3", "edit", EDIT))],
        [step(1, failed("c1", "edit", EDIT)), step(2, call("c2", "edit", {**EDIT, "filePath": "/b.py"}))],
        [step(1, failed("c1", "edit", EDIT), call("c2", "edit", EDIT))],
        [step(1, call("c1", "edit", EDIT)), step(2, failed("c2", "webfetch", {})), step(3, call("c3", "edit", EDIT))],
    ],
    ids=["no failure", "failed before", "another file", "at once", "what failed tried nothing out"],
)
def test_waste_other_edits_are_not_found(open_index: OpenIndex, steps: list[list[Doc]]) -> None:
    """An edit that did not follow a failure is work."""
    con = open_index(*asked(*steps))

    assert waste(con, "ses_1").findings == []


# --- exchanges that failed


@pytest.mark.parametrize(("name", "category"), [("APIError", FAILED), ("MessageAbortedError", ABORTED)])
def test_waste_exchange_that_ended_badly_is_charged_whole(open_index: OpenIndex, name: str, category: str) -> None:
    """All of its requests, and the error is its event."""
    error = {"name": name, "data": {"message": "It is over"}}
    con = open_index(*asked(step(1), step(2, error=error)))

    report = waste(con, "ses_1")

    assert told(report) == [(category, name, 1, ("a2:error",), 20, Decimal(2))]
    assert report.findings[0].finding.label == "It is over"


def test_waste_error_that_was_overcome_is_none(open_index: OpenIndex) -> None:
    """The exchange went on and was answered."""
    con = open_index(*asked(step(1, error={"name": "APIError", "data": {}}), step(2)))

    assert waste(con, "ses_1").findings == []


def test_waste_message_without_traces_is_charged(open_index: OpenIndex) -> None:
    """Its parts are lost; it still belongs to the exchange."""
    con = open_index(
        *asked(step(2, error={"name": "APIError", "data": {}})),
        assistant("a1", created=START_MS + 500, usage=tokens(5), cost=0.5),
    )

    assert told(waste(con, "ses_1")) == [(FAILED, "APIError", 1, ("a2:error",), 15, Decimal("1.5"))]


# --- totals


def test_waste_request_in_two_categories_is_charged_once_together(open_index: OpenIndex) -> None:
    """A loop inside an exchange that failed: the sum of the categories is more than was spent, and says so."""
    con = open_index(
        *asked(
            step(1, call("c1", "bash", {"command": "ls"})),
            step(2, call("c2", "bash", {"command": "ls"})),
            step(3, call("c3", "bash", {"command": "ls"}), error={"name": "APIError", "data": {}}),
        )
    )

    report = waste(con, "ses_1")

    assert report.totals == [WasteTotal(LOOP, 1, 20, Decimal(2)), WasteTotal(FAILED, 1, 30, Decimal(3))]
    assert report.together == WasteTotal(None, 2, 30, Decimal(3))
    assert (report.overlap_tokens, report.overlap_cost_usd) == (20, Decimal(2))


def test_waste_request_in_two_findings_of_a_category_is_charged_once(open_index: OpenIndex) -> None:
    """Two loops that one request made: each costs all of it, together they cost it once."""
    loops = [call(f"{name}{n}", name, {"path": "x"}) for name in ("glob", "grep") for n in range(3)]
    con = open_index(*asked(step(1, *loops)))

    report = waste(con, "ses_1")

    assert [each.tokens for each in report.findings] == [10, 10]
    assert report.totals == [WasteTotal(LOOP, 2, 10, Decimal(1))]
    assert (report.overlap_tokens, report.overlap_cost_usd) == (0, Decimal(0))


def test_waste_nothing_recorded_is_unknown_not_free(open_index: OpenIndex) -> None:
    """Without a recorded cost there is none, and no overlap of costs."""
    con = open_index(session(), user(), assistant(usage=tokens(5), cost=None, error={"name": "APIError", "data": {}}))

    report = waste(con, "ses_1")

    assert report.together == WasteTotal(None, 1, 5, None)
    assert report.overlap_cost_usd is None


def test_waste_fork_copies_cost_nothing_here(open_index: OpenIndex) -> None:
    """The copy of a loop is found, and charged where it was spent."""
    docs = asked(step(1, *(call(f"c{n}", "bash", {"command": "ls"}) for n in range(3))))
    con = open_index(*docs, session("ses_2", created=START_MS + 60_000), *copied(docs[1:], "ses_2", "x"))

    own, copy = waste(con, "ses_1"), waste(con, "ses_2")

    assert [(each.tokens, each.cost_usd, each.is_fork_copy) for each in own.findings] == [(10, Decimal(1), False)]
    assert [(each.tokens, each.cost_usd, each.is_fork_copy) for each in copy.findings] == [(0, None, True)]


def test_waste_child_sessions_are_searched(open_index: OpenIndex) -> None:
    """What a child wasted is in the report of its parent, after the parent's own."""
    con = open_index(
        *asked(step(1, *(call(f"c{n}", "bash", {"command": "ls"}) for n in range(3)))),
        session("ses_2", parentID="ses_1"),
        user("u2", "ses_2"),
        *step(2, *(call(f"d{n}", "bash", {"command": "ls"}) for n in range(3)), session_id="ses_2", parent="u2"),
    )

    report = waste(con, "ses_1")

    assert [each.finding.session_id for each in report.findings] == ["ses_1", "ses_2"]
    assert report.together.tokens == 20


def test_findings_of_some_exchanges_leaves_out_the_others(open_index: OpenIndex) -> None:
    """As a growing timeline asks."""
    con = open_index(*asked(step(1, *(call(f"c{n}", "bash", {"command": "ls"}) for n in range(3)))))

    assert [each.category for each in findings(con, ["ses_1"], ["msg_1u"])] == [LOOP]
    assert findings(con, ["ses_1"], ["msg_other"]) == findings(con, ["ses_1"], []) == []


def test_waste_unknown_session_has_nothing(open_index: OpenIndex) -> None:
    """An empty report, not an error."""
    con = open_index(session())

    assert waste(con, "ses_gone") == WasteReport([], [], WasteTotal(None, 0, 0, None), 0, None)


def test_waste_rows_of_session_message_are_searched(open_index: OpenIndex, tmp_path: Path) -> None:
    """Content of answers is compared as parts are; the user's own shell commands are no loop."""
    content = [
        {"type": "tool", "id": f"c{n}", "name": "bash", "state": {"status": "completed", "input": {"command": "ls"}}}
        for n in range(3)
    ]
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            row("msg_1", "user", 1, text="Go"),
            answer("msg_2", 2, usage=tokens(10, 5), content=content),
            *(row(f"msg_{n}", "shell", n, command="pwd") for n in range(3, 7)),
        ],
    )
    con = open_index(tmp_path / "rows")

    assert told(waste(con, "ses_1")) == [(LOOP, "bash", 3, ("msg_2:0", "msg_2:1", "msg_2:2"), 15, Decimal("0.25"))]


@pytest.mark.parametrize("name", ["sqlite"])
def test_waste_real_sessions_add_up(real_index: RealIndex, name: str) -> None:
    """A failed exchange costs what exchanges do; loops are what a plain count finds; no total exceeds the tree."""
    con = real_index(name)
    exchanges = {
        exchange_id: numbers
        for exchange_id, *numbers in con.execute(
            "SELECT exchange_id, status, total_tokens, cost_recorded_usd FROM exchanges"
        ).fetchall()
    }
    calls: dict[tuple[str, str, str], int] = {}
    for exchange_id, tool, given in con.execute(
        """SELECT exchange_id, name, input FROM exchange_traces JOIN part_bodies ON part_id = trace_id
           WHERE kind IN ('tool', 'delegation') AND input IS NOT NULL AND status <> 'pending'"""
    ).fetchall():
        key = (exchange_id, tool, json.dumps(json.loads(given), sort_keys=True))
        calls[key] = calls.get(key, 0) + 1
    loops, ended = [], []

    for session_id, subtree in con.execute("SELECT session_id, subtree_total_tokens FROM session_stats").fetchall():
        report = waste(con, session_id)
        own = [each for each in report.findings if each.finding.session_id == session_id]
        loops += [each.finding.count for each in own if each.finding.category == LOOP]
        for each in own:
            if each.finding.category in (FAILED, ABORTED):
                ended.append(each.finding.exchange_id)
                status, total_tokens, cost_usd = exchanges[each.finding.exchange_id]
                assert (each.finding.category, each.tokens, each.cost_usd) == (status, total_tokens, cost_usd)
        assert report.together.tokens <= subtree
        assert sum(total.tokens for total in report.totals) == report.together.tokens + report.overlap_tokens

    assert sorted(loops) == sorted(count for count in calls.values() if count >= 3)
    assert sorted(ended) == sorted(each for each, (status, *_) in exchanges.items() if status in (FAILED, ABORTED))
