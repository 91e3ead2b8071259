"""The figures of a session: they add up to what the session is known to have used."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from queries.session_figures import FileTouched, SessionFigures, TimeSplit, TokenKinds, session_figures
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


def call(
    part_id: str, name: str, start: int, end: int | None, given: dict[str, Any] | None = None, **state: Any
) -> Doc:
    """Make a tool call that ran between two milliseconds of the session; None: it never ended."""
    time = {"start": START_MS + start, **({} if end is None else {"end": START_MS + end})}
    made = {
        "status": "running" if end is None else "completed",
        "input": given or {},
        "output": "done",
        "title": f"Title of {part_id}",
        "time": time,
        **state,
    }
    return part(part_id, "tool", tool=name, callID=f"call_{part_id}", state=made)


def read(con: duckdb.DuckDBPyConnection, session_id: str = "ses_1") -> SessionFigures:
    """Read the figures of a session that exists."""
    found = session_figures(con, session_id)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["migrated-after"])  # holds all of the set json, and more
def test_session_figures_real_sessions_add_up(real_index: RealIndex, name: str) -> None:
    """Time parts are the wall time, exchanges and kinds are the session's totals, tools its calls."""
    con = real_index(name)
    stats = con.execute(
        """SELECT session_id, total_tokens, cost_recorded_usd, coalesce(calls, 0), coalesce(failed_calls, 0), wall_ms
           FROM session_stats LEFT JOIN (
               SELECT session_id, date_diff('millisecond', min(started_at), max(ended_at)) AS wall_ms
               FROM exchanges GROUP BY session_id
           ) USING (session_id) LEFT JOIN (
               SELECT session_id, count(*) AS calls, count(*) FILTER (is_failed) AS failed_calls
               FROM parts WHERE part_type = 'tool' AND NOT is_orphan GROUP BY session_id
           ) USING (session_id)"""
    ).fetchall()
    for session_id, total_tokens, cost_usd, calls, failed_calls, wall_ms in stats:
        found = read(con, session_id)
        time, costs = found.time, [each.cost_usd for each in found.exchanges if each.cost_usd is not None]

        parts = (time.model_ms, time.tools_ms, time.between_ms, time.unknown_ms)
        assert sum(parts) == time.wall_ms == (wall_ms or 0)
        assert min(parts) >= 0 and time.delegated_ms <= time.tools_ms
        assert sum(each.tokens for each in found.exchanges) == found.tokens.total_tokens == total_tokens
        assert (sum(costs, Decimal(0)) if costs else None) == found.cost_usd == cost_usd
        assert sum(each.calls for each in found.tools) == calls
        assert sum(each.failed_calls for each in found.tools) == failed_calls


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_session_figures_real_delegations_are_the_subtree(real_index: RealIndex, name: str) -> None:
    """Own tokens and what the exchanges delegated are those of the tree, where calls run all children."""
    con = real_index(name)
    uncalled = "SELECT parent_session_id FROM session_traces WHERE depth > 0 AND delegating_part_id IS NULL"
    for session_id, subtree in con.execute(
        f"""SELECT session_id, subtree_total_tokens FROM session_stats
            WHERE child_sessions > 0 AND session_id NOT IN ({uncalled})"""
    ).fetchall():
        found = read(con, session_id)

        delegated = sum(each.delegated_tokens for each in found.exchanges)
        assert found.tokens.total_tokens + delegated == subtree


def test_session_figures_unknown_session_is_none(open_index: OpenIndex) -> None:
    """A session that is not there has no figures; one without messages has empty ones."""
    con = open_index(session())

    assert session_figures(con, "ses_gone") is None
    assert read(con).time == TimeSplit(0, 0, 0, 0, 0, 0, 0)
    assert read(con).tokens.cache_read_share is None


# --- context


def test_session_figures_context_is_what_each_step_was_sent(open_index: OpenIndex) -> None:
    """Input and both caches, step by step; the request that made a summary is marked."""
    docs = [session(), user()]
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (tokens(100, 1, cache_read=20, cache_write=3), {}),
        (tokens(500, 2), {"summary": True, "mode": "compaction", "agent": "compaction"}),
        (tokens(30, 4), {}),
    ]
    for number, (usage, fields) in enumerate(steps):
        message_id, created = f"a{number}", START_MS + 1_000 + number
        docs += [
            assistant(message_id, created=created, usage=usage, **fields),
            part(f"p{number}_0", "step-start", message_id),
            step_finish(f"p{number}_1", usage, message_id),
        ]
    con = open_index(*docs)

    found = read(con)

    assert [(each.number, each.context_tokens, each.is_compaction) for each in found.context] == [
        (1, 123, False),
        (2, 500, True),
        (3, 30, False),
    ]
    assert found.compactions == 1
    assert (found.context[0].trace_id, found.context[0].exchange, found.context[0].model) == ("p0_0", 1, "acme/nova")


def test_session_figures_request_without_usage_is_left_out(open_index: OpenIndex) -> None:
    """What is not known is not drawn as an empty context."""
    con = open_index(
        session(),
        user(),
        assistant(usage=tokens(), cost=0),
        part("p_0", "step-start"),
        step_finish("p_1", tokens(), cost=0),
    )

    found = read(con)

    assert (found.context, found.missing_usage_messages) == ([], 1)


def test_session_figures_lost_step_counters_come_from_the_message(open_index: OpenIndex) -> None:
    """A step that lost its end has the numbers of its message."""
    con = open_index(session(), user(), assistant(usage=tokens(100, 1)), part("p_0", "step-start"))

    assert [each.context_tokens for each in read(con).context] == [100]


def test_session_figures_rows_of_session_message_have_a_context(open_index: OpenIndex, tmp_path: Path) -> None:
    """An answer is a request; so is a compaction, whose usage is on its own row."""
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            row("msg_1", "user", 1, text="Go"),
            answer("msg_2", 2, usage=tokens(10, 5, cache_read=1)),
            row("msg_3", "compaction", 3, summary="So far", tokens=tokens(40, 2), cost=0.1),
        ],
    )
    con = open_index(tmp_path / "rows")

    found = read(con)

    assert [(each.trace_id, each.context_tokens, each.is_compaction) for each in found.context] == [
        ("msg_2:step", 11, False),
        ("msg_3", 40, True),
    ]


def test_session_figures_fork_copies_are_in_the_context_but_not_in_the_costs(open_index: OpenIndex) -> None:
    """The model was sent them; they were paid for in the original."""
    usage = tokens(100, 10)
    original = [user(), assistant(usage=usage), part("p_0", "step-start"), step_finish("p_1", usage)]
    con = open_index(session(), *original, session("ses_2", created=START_MS + 60_000), *copied(original, "ses_2", "x"))

    found = read(con, "ses_2")

    assert [(each.context_tokens, each.is_fork_copy) for each in found.context] == [(100, True)]
    assert (found.tokens, found.cost_usd) == (TokenKinds(0, 0, 0, 0, 0, 0), None)
    assert [(each.tokens, each.cost_usd, each.is_fork_copy) for each in found.exchanges] == [(0, None, True)]


def test_cache_read_share_is_of_everything_sent() -> None:
    """Output is not sent."""
    assert TokenKinds(30, 500, 0, 60, 10, 600).cache_read_share == 0.6


# --- time


def test_session_figures_time_is_split_without_overlap(open_index: OpenIndex) -> None:
    """Two prompts; tools that overlap count once; what nobody recorded inside an exchange is unknown."""
    con = open_index(
        session(),
        user(created=START_MS),
        assistant(created=START_MS + 1_000, completed=START_MS + 10_000),
        call("c1", "bash", 2_000, 5_000),
        call("c2", "read", 4_000, 6_000),
        call("c3", "task", 7_000, 9_000),
        user("u2", created=START_MS + 60_000),
        assistant("a2", parent="u2", created=START_MS + 60_500, completed=START_MS + 62_000),
    )

    found = read(con).time

    assert found == TimeSplit(
        model_ms=3_000 + 1_500,
        tools_ms=4_000 + 2_000,
        between_ms=50_000,
        unknown_ms=1_000 + 500,
        delegated_ms=2_000,
        wall_ms=62_000,
        open_ended=0,
    )


def test_session_figures_open_ends_are_unknown(open_index: OpenIndex) -> None:
    """An answer and a call that never ended have no length; the time until something else is unknown."""
    con = open_index(
        session(),
        user(created=START_MS),
        assistant(created=START_MS + 1_000, completed=None),
        call("c1", "bash", 2_000, None),
        call("c2", "read", 3_000, 4_000),
    )

    found = read(con).time

    assert found == TimeSplit(
        model_ms=0, tools_ms=1_000, between_ms=0, unknown_ms=3_000, delegated_ms=0, wall_ms=4_000, open_ended=2
    )


def test_session_figures_clock_that_went_backwards_keeps_the_sum(open_index: OpenIndex) -> None:
    """A call that ends before it starts measures nothing, one that starts before the session is cut to it."""
    con = open_index(
        session(),
        user(created=START_MS),
        assistant(created=START_MS + 1_000, completed=START_MS + 5_000),
        call("c1", "bash", 3_000, 2_000),
        call("c2", "read", -9_000, 500),
    )

    found = read(con)

    time = found.time
    assert time.model_ms + time.tools_ms + time.between_ms + time.unknown_ms == time.wall_ms == 5_000
    assert (time.tools_ms, time.model_ms) == (500, 4_000)
    assert [(each.name, each.timed_calls) for each in found.tools] == [("read", 1), ("bash", 0)]


def test_session_figures_tools_are_ranked_by_time(open_index: OpenIndex) -> None:
    """Total and slowest of each tool, with what the slowest did."""
    con = open_index(
        session(),
        user(),
        assistant(completed=START_MS + 90_000),
        call("c1", "bash", 0, 1_000),
        call("c2", "bash", 1_000, 5_000, {"command": "make"}, title=None),
        call("c3", "read", 0, 4_500),
        call("c4", "grep", 0, None),
    )

    found = read(con).tools

    told = [(each.name, each.calls, each.total_ms, each.slowest_ms, each.slowest_trace_id) for each in found]
    assert told == [("bash", 2, 5_000, 4_000, "c2"), ("read", 1, 4_500, 4_500, "c3"), ("grep", 1, None, None, None)]
    assert [each.slowest_label for each in found] == ["make", "Title of c3", None]
    assert found[2].unfinished_calls == 1


# --- costs and files


def test_session_figures_delegated_costs_stand_at_the_exchange_that_called_first(open_index: OpenIndex) -> None:
    """With everything below the child; a second call of the same child adds nothing."""
    docs = [session()]
    for number in (1, 2):
        docs += [
            user(f"u{number}", created=START_MS + number * 60_000),
            assistant(f"a{number}", parent=f"u{number}", created=START_MS + number * 60_000 + 1, usage=tokens(number)),
            part(
                f"c{number}",
                "tool",
                f"a{number}",
                tool="task",
                state={"status": "completed", "input": {}, "metadata": {"sessionId": "ses_2"}},
            ),
        ]
    docs += [session("ses_2", parentID="ses_1"), assistant("b1", "ses_2", usage=tokens(100), cost=2)]
    docs += [session("ses_3", parentID="ses_2"), assistant("b2", "ses_3", usage=tokens(1_000), cost=3)]
    con = open_index(*docs)

    found = read(con).exchanges

    assert [(each.tokens, each.delegated_tokens, each.delegated_cost_usd) for each in found] == [
        (1, 1_100, Decimal(5)),
        (2, 0, None),
    ]


def test_session_figures_files_are_counted_under_one_name(open_index: OpenIndex) -> None:
    """Absolute and relative paths are one file; failed edits add no lines; reads and snapshots count."""
    edit = {"oldString": "a\n", "newString": "b\nc\n"}
    con = open_index(
        session(directory="/home/dev/shop"),
        user(),
        assistant(),
        call("c1", "read", 0, 1, {"filePath": "/home/dev/shop/a.py"}),
        call("c2", "edit", 1, 2, {"filePath": "/home/dev/shop/a.py", **edit}),
        call("c3", "edit", 2, 3, {"filePath": "a.py", **edit}, status="error", error="no"),
        call("c4", "apply_patch", 3, 4, {"patchText": "*** Update File: a.py\n@@\n-x\n+y"}),
        call("c5", "write", 4, 5, {"filePath": "/etc/hosts", "content": "one\n"}),
        part("c6", "patch", hash="c0", files=["/home/dev/shop/a.py", "/home/dev/shop/made.txt"]),
    )

    found = read(con).files

    assert found == [
        FileTouched("a.py", 3, 1, 1, 1, 3, 2, 0, "c1"),
        FileTouched("/etc/hosts", 1, 0, 0, 0, 1, None, 1, "c5"),
        FileTouched("made.txt", 0, 0, 0, 1, None, None, 0, "c6"),
    ]


def test_session_figures_recorded_changes_are_opencodes_own(open_index: OpenIndex) -> None:
    """What its prompts say, beside what the calls asked for."""
    diffs = [{"file": "a.py", "additions": 7, "deletions": 2}]
    con = open_index(session(), user(summary={"diffs": diffs}), session("ses_2"))

    found, other = read(con), read(con, "ses_2")

    assert (found.recorded_additions, found.recorded_deletions, found.recorded_files) == (7, 2, 1)
    assert other.recorded_files is None
