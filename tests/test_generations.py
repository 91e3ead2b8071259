"""The third generation (`session_message`), alone and beside the other two: nothing twice, nothing lost."""

import sqlite3
from pathlib import Path

import duckdb
import pytest

from indexer.totals import read_totals
from tests.builders import (
    START_MS,
    Doc,
    Json,
    answer,
    assistant,
    part,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.conftest import OpenIndex


def generations(con: duckdb.DuckDBPyConnection, table: str, key: str) -> dict[str, int]:
    """Read which generation each row comes from."""
    return dict(con.execute(f"SELECT {key}, generation FROM {table} ORDER BY 1").fetchall())


def tool(status: str, **state: object) -> Json:
    """Make a tool call inside an answer."""
    return {
        "type": "tool",
        "id": "call_1",
        "name": "bash",
        "state": {"status": status, "input": {"command": "ls"}, **state},
        "time": {"created": START_MS, "ran": START_MS + 10, "completed": START_MS + 20},
    }


def third_only() -> list[Doc]:
    """A session of 2.0 with every type of row."""
    content: list[Json] = [
        {"type": "reasoning", "text": "Hm"},
        tool("completed", content=[{"type": "text", "text": "a.txt"}], metadata={"exit": 0}),
        {"type": "text", "text": "One file."},
    ]
    return [
        project(),
        session(version="2.0.1", created=START_MS),
        row("msg_1", "agent-switched", 1, text="build"),
        row("msg_2", "user", 2, text="List the files"),
        answer("msg_3", 3, usage=tokens(100, 10, 5, 50), cost=0.5, content=content),
        row("msg_4", "idle", 4, outcome="succeeded"),
        row("msg_5", "user", 5, text="Again"),
        answer("msg_6", 6, usage=tokens(200, 20), error={"type": "aborted", "message": "stopped"}),
        row("msg_7", "compaction", 7, status="completed", reason="auto", summary="s", cost=0.125, tokens=tokens(30, 3)),
        row("msg_8", "shell", 8, shellID="sh", command="make", status="completed", exit=0, output="done"),
    ]


def test_bulk_third_generation_alone_counts_every_row_with_tokens(open_index: OpenIndex, tmp_path: Path) -> None:
    """Answers, and the compaction whose usage is on no other row. Reasoning is apart: these rows have no total."""
    con = open_index(write_session_messages(tmp_path / "data", third_only()))

    found = read_totals(con)

    assert (found["sessions"], found["messages"], found["parts"]) == (1, 8, 3)
    assert found["tokens"] == {
        "input": 330,
        "output": 33,
        "reasoning": 5,
        "cache_read": 50,
        "cache_write": 0,
        "total": 418,
    }
    assert found["cost_recorded_usd"] == "0.875"
    assert found["per_model"]["unknown/unknown"]["tokens"]["input"] == 30


def test_bulk_third_generation_exchanges_open_at_user_rows_and_close_at_idle(
    open_index: OpenIndex, tmp_path: Path
) -> None:
    """Order is `seq`; every row that is no answer is one trace, an answer one step and one per item."""
    con = open_index(write_session_messages(tmp_path / "data", third_only()))

    exchanges = con.execute(
        "SELECT exchange_id, kind, status, message_count, trace_count FROM exchanges ORDER BY number"
    ).fetchall()
    traces = con.execute("SELECT trace_id, kind FROM exchange_traces ORDER BY position").fetchall()

    assert exchanges == [
        ("msg_2", "prompt", "answered", 4, 7),
        ("msg_5", "prompt", "aborted", 4, 5),
    ]
    assert traces == [
        ("msg_1", "other"),
        ("msg_2", "prompt"),
        ("msg_3:step", "step"),
        ("msg_3:0", "reasoning"),
        ("msg_3:1", "tool"),
        ("msg_3:2", "text"),
        ("msg_4", "other"),
        ("msg_5", "prompt"),
        ("msg_6:step", "step"),
        ("msg_6:error", "error"),
        ("msg_7", "compaction"),
        ("msg_8", "tool"),
    ]


@pytest.mark.parametrize(
    ("error", "name", "is_aborted"),
    [
        ({"type": "aborted", "message": "Step interrupted"}, "aborted", True),
        ({"type": "unknown", "message": "Provider turn interrupted"}, "aborted", True),  # the second API of 1.18
        ({"type": "unknown", "message": "Overloaded"}, "unknown", False),
        ({"type": "provider.transport", "message": "Cancelled"}, "provider.transport", False),
    ],
)
def test_bulk_third_generation_answer_that_the_user_cut_short_is_no_failure(
    error: Json, name: str, is_aborted: bool, open_index: OpenIndex, tmp_path: Path
) -> None:
    """Also where the error has no name for it; a cause with a name of its own stays what it is."""
    docs = [project(), session(version="1.18.33"), row("msg_1", "user", 1, text="Hi"), answer("msg_2", 2, error=error)]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    failures = con.execute("SELECT name, is_aborted FROM failures").fetchall()
    counted = con.execute("SELECT sum(failed_answers)::INT, sum(aborted_answers)::INT FROM usage_slices").fetchall()
    exchanges = con.execute("SELECT status, error_name FROM exchanges").fetchall()

    assert failures == [(name, is_aborted)]
    assert counted == [(0, 1) if is_aborted else (1, 0)]
    assert exchanges == [("aborted" if is_aborted else "failed", name)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"finish": None}, "unanswered"),
        ({"finish": None, "usage": tokens()}, "unanswered"),
        ({"finish": "stop"}, "answered"),  # a model may say nothing
        ({"finish": None, "usage": tokens(7, 5)}, "answered"),
        ({"finish": None, "content": [{"type": "text", "text": "Done"}]}, "answered"),
        ({"finish": None, "time": {"created": START_MS}}, "unfinished"),
    ],
)
def test_bulk_third_generation_answer_that_holds_nothing_is_none(
    data: Json, status: str, open_index: OpenIndex, tmp_path: Path
) -> None:
    """Its row is an event, but nothing of a reply."""
    docs = [project(), session(version="2.0.1"), row("msg_1", "user", 1, text="Hi"), answer("msg_2", 2, **data)]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    assert con.execute("SELECT status FROM exchanges").fetchall() == [(status,)]


@pytest.mark.parametrize(
    ("call", "error_data"),
    [
        (tool("completed", structured={"exit": 0}), None),
        (tool("completed"), None),
        (
            tool("completed", structured={"exit": 2}, content=[{"type": "text", "text": "no"}]),
            '{"status":"completed","exit":2,"message":"no"}',
        ),
        (tool("completed", metadata={"exit": None}), '{"status":"completed","exit":null,"message":null}'),
        (
            tool("error", error={"type": "x", "message": "broken"}),
            '{"status":"error","exit":null,"message":"broken"}',
        ),
    ],
)
def test_bulk_third_generation_tells_failed_tool_calls(
    call: Json, error_data: str | None, open_index: OpenIndex, tmp_path: Path
) -> None:
    """The exit code is in `structured` (1.18) or in `metadata` (2.0)."""
    docs = [session(version="2.0.1"), row("msg_1", "user", 1, text="Hi"), answer("msg_2", 2, content=[call])]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    found = con.execute("SELECT error_data, is_failed, is_unfinished FROM parts").fetchall()

    assert found == [(error_data, error_data is not None, False)]


def test_bulk_third_generation_running_call_is_unfinished(open_index: OpenIndex, tmp_path: Path) -> None:
    """Neither ok nor failed."""
    running = answer("msg_2", 2, cost=None, content=[tool("running")], time={"created": START_MS + 2_000}, finish=None)
    docs = [session(version="2.0.1"), row("msg_1", "user", 1, text="Hi"), running]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    assert con.execute("SELECT is_failed, is_unfinished FROM parts").fetchall() == [(False, True)]
    assert con.execute("SELECT status FROM exchanges").fetchall() == [("unfinished",)]
    assert con.execute("SELECT is_usage_missing FROM messages WHERE role = 'assistant'").fetchall() == [(False,)]


def test_bulk_third_generation_keeps_what_was_said_and_no_attached_data(open_index: OpenIndex, tmp_path: Path) -> None:
    """Prompts are searchable; a data: address is content and is left out."""
    files = [{"name": "cat.png", "url": "data:image/png;base64," + "A" * 1_000}]
    docs = [session(version="2.0.1"), row("msg_1", "user", 1, text="What is this?", files=files), answer("msg_2", 2)]
    con = open_index(write_session_messages(tmp_path / "data", docs))

    text, given = con.execute("SELECT text, input FROM part_bodies WHERE part_id = 'msg_1'").fetchall()[0]

    assert text == "What is this?"
    assert "AAAA" not in given
    assert "cat.png" in given


def test_bulk_empty_session_message_beside_rows_changes_nothing(open_index: OpenIndex, tmp_path: Path) -> None:
    """Every file since 1.18 has the empty table: it proves no third generation."""
    docs = [session(version="1.18.33"), user(), assistant(usage=tokens(1, 2, total=3))]
    data_dir = write_session_messages(write_sqlite(tmp_path / "data", docs), [])

    con = open_index(data_dir)

    assert con.execute("SELECT kind, state FROM sources").fetchall() == [("sqlite_v1", "ok")]
    assert con.execute("SELECT session_id, is_missing_in_newer FROM sessions").fetchall() == [("ses_1", False)]


def test_bulk_rows_without_numbers_are_taken_in_the_order_of_their_times(open_index: OpenIndex, tmp_path: Path) -> None:
    """OpenCode 1.14 and 1.15 note switches of agents and models there, beside message and part rows."""
    usage = tokens(100, 10, total=110)
    docs = [session(version="1.14.48"), user(), assistant(usage=usage), step_finish("prt_9", usage)]
    switches = [
        row("evt_2", "model-switched", 0, created=START_MS, model={"id": "nova", "providerID": "acme"}),
        row("evt_1", "agent-switched", 0, created=START_MS, agent="build"),
        row("evt_3", "agent-switched", 0, created=START_MS + 9_000, agent="plan"),
    ]
    data_dir = write_session_messages(write_sqlite(tmp_path / "data", docs), switches, is_numbered=False)

    con = open_index(data_dir)

    assert con.execute("SELECT kind, state FROM sources ORDER BY 1").fetchall() == [
        ("sqlite_v1", "ok"),
        ("sqlite_v2", "ok"),
    ]
    order = "SELECT message_id FROM exchange_traces WHERE message_id LIKE 'evt%' ORDER BY exchange_id, position"
    assert [name for (name,) in con.execute(order).fetchall()] == ["evt_1", "evt_2", "evt_3"]
    assert con.execute("SELECT count(*), sum(total_tokens) FROM spend").fetchone() == (1, 110)


def test_bulk_rows_that_get_numbers_later_are_read_again(open_index: OpenIndex, tmp_path: Path) -> None:
    """A newer client adds the column to the table that is there."""
    docs = [session(), row("msg_1", "user", 1, text="Hi"), answer("msg_2", 2, usage=tokens(100, 10))]
    data_dir = write_session_messages(tmp_path / "data", docs, is_numbered=False)
    numbers = "SELECT message_id, seq, total_tokens FROM messages ORDER BY 1"
    before = open_index(data_dir).execute(numbers).fetchall()
    with sqlite3.connect(data_dir / "opencode.db") as connection:
        connection.execute("ALTER TABLE session_message ADD COLUMN seq INTEGER")
        connection.execute("UPDATE session_message SET seq = rowid")
    connection.close()

    after = open_index(data_dir).execute(numbers).fetchall()

    assert before == [("msg_1", None, 0), ("msg_2", None, 110)]
    assert after == [("msg_1", 1, 0), ("msg_2", 2, 110)]


def test_bulk_all_three_generations_mixed_count_each_thing_once(open_index: OpenIndex, tmp_path: Path) -> None:
    """One session in all three, and one that only each of them has."""
    usage = tokens(100, 10, total=110)
    shared = [session("ses_all"), user("msg_1", "ses_all"), assistant("msg_2", "ses_all", parent="msg_1", usage=usage)]
    data_dir = tmp_path / "data"
    for number, write in ((1, write_json_tree), (2, write_sqlite)):
        name, usage_of_one = f"g{number}", tokens(number, 0, total=number)
        own = assistant(f"msg_{name}", f"ses_{name}", created=START_MS + number, usage=usage_of_one)
        write(data_dir, [*shared, session(f"ses_{name}"), own])
    write_session_messages(
        data_dir,
        [
            session("ses_all"),
            session("ses_g3"),
            row("msg_1", "user", 1, "ses_all", text="Hi"),
            answer("msg_2", 2, "ses_all", usage=tokens(999, 9)),
            answer("msg_g3", 1, "ses_g3", usage=tokens(3, 0)),
        ],
    )

    con = open_index(data_dir)

    found = read_totals(con)
    assert (found["sessions"], found["messages"]) == (4, 5)
    assert found["tokens"]["input"] == 100 + 1 + 2 + 3
    assert generations(con, "messages", "message_id") == {
        "msg_1": 3,
        "msg_2": 2,  # finished there, and only there it has its steps
        "msg_g1": 1,
        "msg_g2": 2,
        "msg_g3": 3,
    }
    missing = con.execute("SELECT session_id FROM sessions WHERE is_missing_in_newer ORDER BY 1").fetchall()
    assert missing == [("ses_g1",), ("ses_g2",)]


def test_bulk_session_of_all_generations_continued_in_the_newest(open_index: OpenIndex, tmp_path: Path) -> None:
    """Old answers keep their steps, new ones come from the newest storage, in one order."""
    two_steps = [
        session("ses_1", version="1.1.65"),
        user("msg_1"),
        assistant("msg_2", parent="msg_1", usage=tokens(20, 2, total=22), cost=0.5),
        part("prt_1", "step-start", "msg_2"),
        step_finish("prt_2", tokens(10, 1, total=11), "msg_2"),
        part("prt_3", "step-start", "msg_2"),
        step_finish("prt_4", tokens(20, 2, total=22), "msg_2"),
    ]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", two_steps), two_steps)
    write_session_messages(
        data_dir,
        [
            session("ses_1", version="1.1.65", updated=START_MS + 99_000, title="continued"),
            row("msg_1", "user", 1, text="Hi", created=START_MS),
            answer("msg_2", 2, usage=tokens(20, 2), cost=0.5),
            row("msg_3", "user", 30, text="And now?"),
            answer("msg_4", 31, usage=tokens(400, 4), cost=0.25),
        ],
    )

    con = open_index(data_dir)

    assert read_totals(con)["tokens"]["input"] == 10 + 20 + 400
    assert con.execute("SELECT title, generation FROM sessions").fetchall() == [("continued", 3)]
    exchanges = con.execute("SELECT exchange_id, message_count, input_tokens FROM exchanges ORDER BY number").fetchall()
    assert exchanges == [("msg_1", 2, 30), ("msg_3", 2, 400)]
    traces = con.execute("SELECT trace_id FROM exchange_traces ORDER BY position").fetchall()
    assert traces == [("msg_1",), ("prt_1",), ("prt_3",), ("msg_3",), ("msg_4:step",)]


def test_bulk_answer_still_open_in_the_old_rows_comes_from_the_newest(open_index: OpenIndex, tmp_path: Path) -> None:
    """A crash in the old client, finished by the new one."""
    data_dir = write_sqlite(tmp_path / "data", [session(), assistant("msg_2", completed=None, usage=tokens(1, 1))])
    write_session_messages(data_dir, [session(), answer("msg_2", 1, usage=tokens(5, 5))])

    con = open_index(data_dir)

    assert generations(con, "messages", "message_id") == {"msg_2": 3}
    assert read_totals(con)["tokens"]["input"] == 5


def test_bulk_session_only_in_the_oldest_generation_counts_and_is_flagged(
    open_index: OpenIndex, tmp_path: Path
) -> None:
    """Migrations were partial for many users."""
    data_dir = write_json_tree(
        tmp_path / "data", [session("ses_old"), assistant("msg_1", "ses_old", usage=tokens(7, 0))]
    )
    write_session_messages(data_dir, [session("ses_new"), answer("msg_2", 1, "ses_new", usage=tokens(1, 0))])

    con = open_index(data_dir)

    assert read_totals(con)["tokens"]["input"] == 8
    assert con.execute("SELECT session_id FROM sessions WHERE is_missing_in_newer").fetchall() == [("ses_old",)]


def test_bulk_fork_in_the_third_generation_counts_a_copied_compaction_once(
    open_index: OpenIndex, tmp_path: Path
) -> None:
    """2.0 names the origin; every copied row with usage is a copy, whatever its type."""
    usage: Json = {"cost": 0.125, "tokens": tokens(30, 3)}
    docs = [session("ses_1"), session("ses_2", forkSessionID="ses_1", created=START_MS - 1)]
    for number, session_id in ((1, "ses_1"), (2, "ses_2")):
        docs.append(answer(f"msg_a{number}", 1, session_id, usage=tokens(100, 10)))
        docs.append(row(f"msg_c{number}", "compaction", 2, session_id, status="completed", **usage))

    con = open_index(write_session_messages(tmp_path / "data", docs))

    found = read_totals(con)
    assert (found["tokens"]["input"], found["cost_recorded_usd"], found["fork_copies"]) == (130, "0.375", 2)
    assert found["per_session"]["ses_2"]["inherited"]["tokens"]["input"] == 130


def test_bulk_channel_databases_and_the_tree_are_one_history(open_index: OpenIndex, tmp_path: Path) -> None:
    """`opencode-<channel>.db` lies beside `opencode.db`."""
    data_dir = write_sqlite(tmp_path / "data", [session("ses_1"), assistant("msg_1", "ses_1", usage=tokens(1, 0))])
    beta = [session("ses_2"), assistant("msg_2", "ses_2", created=START_MS + 9, usage=tokens(2, 0))]
    write_sqlite(data_dir, beta, "opencode-beta.db")

    assert read_totals(open_index(data_dir))["tokens"]["input"] == 3
