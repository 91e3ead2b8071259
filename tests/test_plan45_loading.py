"""Exchanges and traces (story DQ-002): the numbers of the real sets, an independent count, and every rule by hand."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer.published import IndexReader
from indexer.session_trees import root_of, tree_of
from tests.builders import (
    START_MS,
    Doc,
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
from tests.conftest import BuildIndex, OpenIndex

DataSet = Callable[[str], Path]
RealPath = Callable[[str], Path]
Json = dict[str, Any]

# The story's validation query: how much of the history became exchanges and traces.
VALIDATION = "SELECT (SELECT count(*) FROM exchanges), (SELECT count(*) FROM exchange_traces)"


@pytest.mark.parametrize(
    ("name", "exchanges", "traces"),
    [
        ("json", 191, 1600),
        ("migrated-before", 191, 1600),
        ("migrated-intermediate", 191, 1600),
        ("sqlite", 198, 1622),
        ("migrated-after", 196, 1654),
        ("live-wal", 3, 21),
    ],
)
def test_rebuild_real_set_has_the_published_numbers(
    name: str, exchanges: int, traces: int, real_path: RealPath
) -> None:
    """The numbers that come with the data."""
    reader = IndexReader(real_path(name))

    found = reader.connection().execute(VALIDATION).fetchone()

    reader.close()
    assert found == (exchanges, traces)


def json_documents(data_dir: Path) -> tuple[dict[str, Json], list[Json]]:
    """Read messages and parts of a JSON tree, plainly."""
    store = data_dir / "storage"
    messages = {file.stem: json.loads(file.read_bytes()) for file in store.glob("message/*/*.json")}
    return messages, [json.loads(file.read_bytes()) for file in sorted(store.glob("part/*/*.json"))]


def row_documents(data_dir: Path) -> tuple[dict[str, Json], list[Json]]:
    """Read message and part rows, plainly."""
    connection = sqlite3.connect(f"file:{data_dir / 'opencode.db'}?mode=ro", uri=True)
    messages = {
        message_id: {**json.loads(data), "id": message_id, "sessionID": session_id}
        for message_id, session_id, data in connection.execute("SELECT id, session_id, data FROM message")
    }
    parts = [
        {**json.loads(data), "id": part_id, "messageID": message_id}
        for part_id, message_id, data in connection.execute("SELECT id, message_id, data FROM part ORDER BY rowid")
    ]
    connection.close()
    return messages, parts


def expected_traces(messages: dict[str, Json], parts: list[Json]) -> Iterator[tuple[str, str, str]]:
    """Apply the rules to plain documents: (trace id, exchange id, kind)."""
    of_message: dict[str, list[Json]] = {}
    for found in parts:
        of_message.setdefault(found["messageID"], []).append(found)
    for message_id, message in messages.items():
        is_user = message["role"] == "user"
        exchange_id = message_id if is_user else message["parentID"]
        step_open = False
        for found in of_message.get(message_id, []):
            kind: str = found["type"]
            if kind == "step-finish":
                if not step_open:
                    yield found["id"], exchange_id, "step"
                step_open = False
                continue
            if kind == "step-start":
                step_open = True
            names: dict[str, str] = {"step-start": "step", "subtask": "delegation", "snapshot": "other"}
            if is_user:
                names |= {"text": "prompt", "agent": "prompt"}
            if kind == "tool":
                kind = "delegation" if found["tool"] == "task" else "tool"
            yield found["id"], exchange_id, names.get(kind, kind)
        if message.get("error"):
            yield f"{message_id}:error", exchange_id, "error"


@pytest.mark.parametrize(("name", "read"), [("json", json_documents), ("sqlite", row_documents)])
def test_rebuild_real_set_equals_an_independent_count(
    name: str,
    read: Callable[[Path], tuple[dict[str, Json], list[Json]]],
    data_set: DataSet,
    real_path: RealPath,
) -> None:
    """Every trace, its exchange and its kind, from the documents themselves."""
    messages, parts = read(data_set(name))
    reader = IndexReader(real_path(name))

    found = (
        reader.connection()
        .execute(
            """
        SELECT t.trace_id, t.exchange_id, t.kind FROM exchange_traces t JOIN messages USING (message_id)
        WHERE generation < 3
        """
        )
        .fetchall()
    )

    reader.close()
    assert sorted(found) == sorted(expected_traces(messages, parts))


def exchanges(con: duckdb.DuckDBPyConnection) -> list[tuple[str, int, str, str]]:
    """Read id, number, kind and status of every exchange."""
    return con.execute("SELECT exchange_id, number, kind, status FROM exchanges ORDER BY session_id, number").fetchall()


def traces(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Read id and kind of every trace in order."""
    return con.execute("SELECT trace_id, kind FROM exchange_traces ORDER BY session_id, position").fetchall()


def test_rebuild_every_part_type_becomes_its_kind_in_document_order(open_index: OpenIndex) -> None:
    """The whole table of kinds, a pair of step parts as one."""
    prompt = [
        part("prt_01", "text", "msg_1u", text="Do it"),
        part("prt_02", "file", "msg_1u", mime="text/plain", filename="a.txt", url="file:///a.txt"),
        part("prt_03", "agent", "msg_1u", name="explore"),
        part("prt_04", "subtask", "msg_1u", agent="general", description="d", prompt="p"),
        part("prt_05", "compaction", "msg_1u", auto=True),
    ]
    done = {"status": "completed", "input": {}, "output": "", "metadata": {}, "time": {"start": 5, "end": 4}}
    answer = [
        part("prt_11", "step-start"),
        part("prt_12", "reasoning", text="Hm"),
        part("prt_13", "text", text="Yes"),
        part("prt_14", "tool", tool="bash", callID="c1", state=done),
        part("prt_15", "tool", tool="task", callID="c2", state=done),
        part("prt_16", "snapshot", snapshot="abc"),
        part("prt_17", "patch", hash="abc", files=["/a"]),
        part("prt_18", "retry", attempt=1),
        part("prt_19", "hologram", shape="cube"),
        step_finish("prt_20", tokens(1, 1, total=2)),
    ]
    error = {"name": "APIError", "data": {"message": "no"}}

    con = open_index(session(), user(), *prompt, assistant(error=error), *answer)

    assert traces(con) == [
        ("prt_01", "prompt"),
        ("prt_02", "file"),
        ("prt_03", "prompt"),
        ("prt_04", "delegation"),
        ("prt_05", "compaction"),
        ("prt_11", "step"),
        ("prt_12", "reasoning"),
        ("prt_13", "text"),
        ("prt_14", "tool"),
        ("prt_15", "delegation"),
        ("prt_16", "other"),
        ("prt_17", "patch"),
        ("prt_18", "retry"),
        ("prt_19", "other"),
        ("msg_2a:error", "error"),
    ]
    assert con.execute("SELECT name FROM exchange_traces WHERE trace_id = 'prt_19'").fetchone() == ("hologram",)


def test_rebuild_two_starts_and_one_finish_are_an_open_and_a_finished_step(open_index: OpenIndex) -> None:
    """A restarted request: the finish belongs to the second start."""
    con = open_index(
        session(),
        user(),
        assistant(),
        part("prt_1", "step-start"),
        part("prt_2", "step-start"),
        step_finish("prt_3", tokens(7, 1, total=8)),
        step_finish("prt_4", tokens(9, 1, total=10)),
    )

    found = con.execute(
        "SELECT trace_id, status, input_tokens FROM exchange_traces WHERE kind = 'step' ORDER BY position"
    ).fetchall()

    assert found == [("prt_1", "unfinished", None), ("prt_2", "finished", 7), ("prt_4", "finished", 9)]


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([part("prt_1", "text", "msg_1u", text="Hi")], "prompt"),
        ([], "prompt"),
        ([part("prt_1", "compaction", "msg_1u", auto=False)], "compaction"),
        ([part("prt_1", "subtask", "msg_1u", agent="g", description="d", prompt="p")], "command"),
        ([part("prt_1", "text", "msg_1u", text="Continue if you have next steps", synthetic=True)], "continuation"),
        (
            [part("prt_1", "text", "msg_1u", text="The following tool was executed by the user", synthetic=True)],
            "shell",
        ),
        (
            [
                part("prt_1", "text", "msg_1u", text="Called the Read tool", synthetic=True),
                part("prt_2", "text", "msg_1u", text="Look at this"),
            ],
            "prompt",
        ),
        (
            [
                part("prt_1", "text", "msg_1u", text="Called the Read tool", synthetic=True),
                part("prt_2", "file", "msg_1u", mime="text/plain", url="file:///a"),
            ],
            "prompt",
        ),
    ],
)
def test_rebuild_kind_follows_the_parts_of_the_user_message(parts: list[Doc], kind: str, open_index: OpenIndex) -> None:
    """Not every user message was typed by a person."""
    con = open_index(session(), user(), *parts, assistant())

    assert exchanges(con) == [("msg_1u", 1, kind, "answered")]


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([], "unanswered"),
        ([assistant()], "answered"),
        ([assistant(completed=None)], "unfinished"),
        ([assistant(error={"name": "APIError", "data": {}})], "failed"),
        ([assistant(error={"name": "MessageAbortedError", "data": {}})], "aborted"),
        (
            [
                assistant("msg_2a", error={"name": "APIError", "data": {}}),
                assistant("msg_3a", created=START_MS + 7_000, completed=START_MS + 8_000),
            ],
            "answered",
        ),
    ],
)
def test_rebuild_status_is_how_the_exchange_ended(answers: list[Doc], status: str, open_index: OpenIndex) -> None:
    """The last answer decides."""
    con = open_index(session(), user(), *answers)

    assert exchanges(con) == [("msg_1u", 1, "prompt", status)]


def closed(message_id: str = "msg_2a", *, created: int = START_MS + 1_000, **fields: Any) -> Doc:
    """Make an answer as OpenCode closes it where it is stopped in a wait: no `finish`, no error, nothing used."""
    doc = assistant(message_id, created=created, **{"usage": tokens(), "cost": 0, **fields})
    del doc.body["finish"]
    return doc


RUN = {"status": "completed", "input": {"command": "ls"}, "output": "", "metadata": {"exit": 0}}
LATER: Json = {"created": START_MS + 7_000, "completed": START_MS + 8_000}


@pytest.mark.parametrize("write", [write_json_tree, write_sqlite])
@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([closed()], "unanswered"),
        ([closed(), closed("msg_3a", **LATER)], "unanswered"),
        ([closed(), part("prt_1", "step-start"), part("prt_2", "step-start")], "unanswered"),
        (
            [
                closed(),
                part("prt_1", "retry", attempt=1),
                part("prt_2", "snapshot", snapshot="abc"),
                part("prt_3", "patch", hash="abc", files=["/a"]),
            ],
            "unanswered",
        ),
        ([closed(), part("prt_1", "step-start"), part("prt_2", "text", text="half an ans")], "unfinished"),
        ([closed(), part("prt_1", "step-start"), part("prt_2", "reasoning", text="Hm")], "unfinished"),
        ([assistant(finish="tool-calls"), closed("msg_3a", **LATER)], "unfinished"),
        (
            [closed(), part("prt_1", "tool", tool="bash", callID="c", state=RUN), closed("msg_3a", **LATER)],
            "unfinished",
        ),
        ([closed(completed=None)], "unfinished"),
        ([closed(error={"name": "MessageAbortedError", "data": {}})], "aborted"),
        ([closed(error={"name": "APIError", "data": {}})], "failed"),
        ([closed(), assistant("msg_3a", **LATER)], "answered"),
        ([closed(), part("prt_1", "tool", tool="bash", callID="c", state=RUN)], "answered"),
        ([closed(), part("prt_1", "text", text="Done")], "answered"),
        ([closed(), part("prt_1", "step-start"), step_finish("prt_2", tokens())], "answered"),
        ([closed(usage=tokens(7, 5, total=12))], "answered"),
    ],
)
def test_rebuild_status_answer_closed_before_its_request_ended_is_no_answer(
    answers: list[Doc],
    status: str,
    write: Callable[[Path, list[Doc]], Path],
    open_index: OpenIndex,
    tmp_path: Path,
) -> None:
    """Unanswered if nothing came; a user's command and the answers of old clients, which have no `finish`, are."""
    con = open_index(write(tmp_path / "data", [project(), session(), user(), *answers]))

    assert exchanges(con) == [("msg_1u", 1, "prompt", status)]


# What OpenCode 1.18.34 left of three prompts that its user stopped while it waited to try again: after an answer of
# 500, after one of 429 to the second request, and after an error in the middle of a stream.
STOPPED_IN_A_WAIT = """
message ses_1 msg_1u msg_1u {"role":"user","time":{"created":1796037027288},"agent":"build"}
part    ses_1 msg_1u prt_11 {"type":"text","text":"500"}
message ses_1 msg_1a msg_1a {"parentID":"msg_1u","role":"assistant","mode":"build","agent":"build","cost":0,\
"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}},"modelID":"nova-large",\
"providerID":"acme","time":{"created":1796037027437,"completed":1796037033111}}
message ses_2 msg_2u msg_2u {"role":"user","time":{"created":1796037033171},"agent":"build"}
part    ses_2 msg_2u prt_21 {"type":"text","text":"429 after a tool"}
message ses_2 msg_2a msg_2a {"parentID":"msg_2u","role":"assistant","mode":"build","agent":"build","cost":0.036564,\
"tokens":{"total":8584,"input":7683,"output":901,"reasoning":0,"cache":{"write":0,"read":0}},\
"modelID":"nova-large","providerID":"acme","time":{"created":1796037033184,"completed":1796037035630},\
"finish":"tool-calls"}
part    ses_2 msg_2a prt_22 {"snapshot":"f7723bd2","type":"step-start"}
part    ses_2 msg_2a prt_23 {"type":"tool","tool":"bash","callID":"call_1","state":{"status":"completed",\
"input":{"command":"echo w"},"output":"w","metadata":{"output":"w","exit":0,"truncated":false},"title":"echo w",\
"time":{"start":1796037034192,"end":1796037034900}}}
part    ses_2 msg_2a prt_24 {"reason":"tool-calls","snapshot":"f7723bd2","type":"step-finish",\
"tokens":{"total":8584,"input":7683,"output":901,"reasoning":0,"cache":{"write":0,"read":0}},"cost":0.036564}
message ses_2 msg_2b msg_2b {"parentID":"msg_2u","role":"assistant","mode":"build","agent":"build","cost":0,\
"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}},"modelID":"nova-large",\
"providerID":"acme","time":{"created":1796037035820,"completed":1796037037223}}
message ses_3 msg_3u msg_3u {"role":"user","time":{"created":1796037042506},"agent":"build"}
part    ses_3 msg_3u prt_31 {"type":"text","text":"an error in the stream"}
message ses_3 msg_3a msg_3a {"parentID":"msg_3u","role":"assistant","mode":"build","agent":"build","cost":0,\
"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}},"modelID":"nova-large",\
"providerID":"acme","time":{"created":1796037042549,"completed":1796037047899}}
part    ses_3 msg_3a prt_32 {"snapshot":"f7723bd2","type":"step-start"}
part    ses_3 msg_3a prt_33 {"type":"text","text":"","time":{"start":1796037042871}}
part    ses_3 msg_3a prt_34 {"snapshot":"f7723bd2","type":"step-start"}
part    ses_3 msg_3a prt_35 {"type":"text","text":"half an answer","time":{"start":1796037045647,"end":1796037047896}}
"""


def stored_rows(text: str) -> list[Doc]:
    """Read rows: table, session, message, id and data, each on a line that ends without a backslash."""
    lines = text.replace("\\\n", "").strip().splitlines()
    rows = [line.split(maxsplit=4) for line in lines]
    return [
        Doc(kind, key, session_id, message_id, {"id": key, "sessionID": session_id, **json.loads(data)})
        for kind, session_id, message_id, key, data in rows
    ]


def test_bulk_prompts_stopped_while_the_client_waited_to_try_again_have_no_answer(
    open_index: OpenIndex, tmp_path: Path
) -> None:
    """The client closes such an answer as it closes a good one, without an error."""
    sessions = [session(f"ses_{number}", version="1.18.34") for number in (1, 2, 3)]
    data_dir = write_sqlite(tmp_path / "data", [project(), *sessions, *stored_rows(STOPPED_IN_A_WAIT)])

    con = open_index(data_dir)

    assert exchanges(con) == [
        ("msg_1u", 1, "prompt", "unanswered"),
        ("msg_2u", 1, "prompt", "unfinished"),
        ("msg_3u", 1, "prompt", "unfinished"),
    ]


def test_rebuild_answers_go_to_the_prompt_they_name_whatever_their_time(open_index: OpenIndex) -> None:
    """Queued prompts: both were there before the first answer."""
    con = open_index(
        session(),
        user("msg_1u", created=START_MS),
        user("msg_2u", created=START_MS + 10),
        assistant("msg_3a", parent="msg_1u", created=START_MS + 20, usage=tokens(1, 0, total=1)),
        assistant("msg_4a", parent="msg_2u", created=START_MS + 30, usage=tokens(2, 0, total=2)),
    )

    found = con.execute("SELECT exchange_id, input_tokens, message_count FROM exchanges ORDER BY number").fetchall()

    assert found == [("msg_1u", 1, 2), ("msg_2u", 2, 2)]


def test_rebuild_answer_of_a_lost_prompt_goes_to_the_prompt_before_it(open_index: OpenIndex) -> None:
    """By time, up to the next user message; before any, an exchange without a prompt."""
    con = open_index(
        session(),
        assistant("msg_0a", parent="msg_lost", created=START_MS - 5_000, completed=START_MS - 4_000),
        user("msg_1u", created=START_MS),
        assistant("msg_2a", parent="msg_lost", created=START_MS + 1_000),
        user("msg_3u", created=START_MS + 9_000),
    )

    assert exchanges(con) == [
        ("ses_1:start", 1, "none", "answered"),
        ("msg_1u", 2, "prompt", "answered"),
        ("msg_3u", 3, "prompt", "unanswered"),
    ]


def test_rebuild_messages_of_one_millisecond_are_ordered_by_id(open_index: OpenIndex) -> None:
    """Equal times have an order, and it is always the same."""
    con = open_index(
        session(),
        user("msg_b", created=START_MS),
        user("msg_a", created=START_MS),
        part("prt_2", "text", "msg_b", text="second"),
        part("prt_1", "text", "msg_a", text="first"),
    )

    assert exchanges(con) == [("msg_a", 1, "prompt", "unanswered"), ("msg_b", 2, "prompt", "unanswered")]
    assert traces(con) == [("prt_1", "prompt"), ("prt_2", "prompt")]


def test_rebuild_part_times_never_sort(open_index: OpenIndex) -> None:
    """1.1 stamps a text when it ends, after the tools that came later."""
    con = open_index(
        session(),
        user(),
        assistant(),
        part("prt_1", "text", text="first", time={"start": START_MS + 9_000, "end": START_MS + 9_000}),
        part("prt_2", "reasoning", text="second", time={"start": START_MS + 1_000, "end": START_MS + 2_000}),
    )

    assert [trace_id for trace_id, _ in traces(con)] == ["prt_1", "prt_2"]


def test_rebuild_orphan_parts_have_no_trace(open_index: OpenIndex) -> None:
    """An undone message left them behind."""
    con = open_index(session(), user(), part("prt_9", "text", "msg_undone", text="gone"))

    assert traces(con) == []
    assert exchanges(con) == [("msg_1u", 1, "prompt", "unanswered")]


def test_rebuild_fork_copies_have_exchanges_without_spend(open_index: OpenIndex) -> None:
    """Rows like any other, but their money is counted where it was spent."""
    usage = tokens(100, 10, total=110)
    con = open_index(
        session("ses_1", created=START_MS),
        session("ses_2", created=START_MS + 60_000),
        user("msg_1u", "ses_1"),
        assistant("msg_1a", "ses_1", usage=usage),
        user("msg_2u", "ses_2"),
        assistant("msg_2a", "ses_2", parent="msg_2u", usage=usage),
    )

    found = con.execute("SELECT exchange_id, input_tokens, is_fork_copy FROM exchanges ORDER BY 1").fetchall()

    assert found == [("msg_1u", 100, False), ("msg_2u", 0, True)]


def test_rebuild_active_time_of_prompts_given_meanwhile_counts_once(open_index: OpenIndex) -> None:
    """A prompt may wait while another one is answered: no session is active for longer than it took."""
    con = open_index(
        session(),
        user("msg_1u", created=START_MS),
        user("msg_2u", created=START_MS + 1_000),
        assistant("msg_3a", parentID="msg_1u", created=START_MS + 500, completed=START_MS + 4_000),
        assistant("msg_4a", parentID="msg_2u", created=START_MS + 4_000, completed=START_MS + 6_000),
        user("msg_5u", created=START_MS + 9_000),
        assistant("msg_6a", parentID="msg_5u", created=START_MS + 9_000, completed=START_MS + 9_500),
    )

    found = con.execute("SELECT active_ms FROM session_stats").fetchall()

    assert found == [(6_500,)]


def test_rebuild_delegation_links_the_call_and_the_child_session(open_index: OpenIndex) -> None:
    """Which call started which session, and how deep it is."""
    state = {"status": "completed", "input": {}, "output": "", "metadata": {"sessionId": "ses_child"}}
    con = open_index(
        session("ses_1"),
        session("ses_child", parentID="ses_1"),
        session("ses_grandchild", parentID="ses_child"),
        user(),
        assistant(),
        part("prt_1", "tool", tool="task", callID="c", state=state),
    )

    found = con.execute(
        "SELECT session_id, depth, parent_session_id, delegating_part_id FROM session_traces ORDER BY depth"
    ).fetchall()

    assert found == [
        ("ses_1", 0, None, None),
        ("ses_child", 1, "ses_1", "prt_1"),
        ("ses_grandchild", 2, "ses_child", None),
    ]
    child = con.execute("SELECT child_session_id FROM exchange_traces WHERE kind = 'delegation'").fetchall()
    assert child == [("ses_child",)]


def test_rebuild_delegation_of_the_third_generation_has_its_newer_name(open_index: OpenIndex, tmp_path: Path) -> None:
    """OpenCode 2.0 calls the tool `subagent`, and what it started `sessionID`."""
    state = {"status": "completed", "input": {"agent": "explore"}, "content": [], "metadata": {"sessionID": "ses_2"}}
    call = {"type": "tool", "id": "c1", "name": "subagent", "state": state}
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            session("ses_2", parentID="ses_1"),
            row("msg_1", "user", 1, text="Go"),
            answer("msg_2", 2, usage=tokens(10, 5), content=[call]),
        ],
    )
    con = open_index(tmp_path / "rows")

    found = con.execute(
        "SELECT kind, name, child_session_id FROM exchange_traces WHERE trace_id = 'msg_2:0'"
    ).fetchall()

    assert found == [("delegation", "subagent", "ses_2")]


def test_rebuild_child_that_was_resumed_is_linked_to_the_first_call_by_time(open_index: OpenIndex) -> None:
    """Ids made before the times in them began anew are larger than later ones."""
    state = {"status": "completed", "input": {}, "output": "", "metadata": {"sessionId": "ses_child"}}
    con = open_index(
        session("ses_1"),
        session("ses_child", parentID="ses_1"),
        user(),
        assistant("msg_fffe", created=START_MS + 1_000),
        part("prt_fffe", "tool", "msg_fffe", tool="task", callID="first", state=state),
        assistant("msg_0001", created=START_MS + 9_000),
        part("prt_0001", "tool", "msg_0001", tool="task", callID="again", state=state),
    )

    found = con.execute("SELECT delegating_part_id FROM session_traces WHERE depth = 1").fetchall()

    assert found == [("prt_fffe",)]


def test_rebuild_cycle_of_parents_is_one_tree(open_index: OpenIndex) -> None:
    """Damaged links are shown, not lost, and end."""
    con = open_index(
        session("ses_a", parentID="ses_c"),
        session("ses_b", parentID="ses_a"),
        session("ses_c", parentID="ses_b"),
        session("ses_d", parentID="ses_c"),
    )

    found = con.execute("SELECT root_session_id, session_id, depth FROM session_traces ORDER BY depth").fetchall()

    assert found == [("ses_a", "ses_a", 0), ("ses_a", "ses_b", 1), ("ses_a", "ses_c", 2), ("ses_a", "ses_d", 3)]


@pytest.mark.parametrize(
    ("parents", "session_id", "expected"),
    [
        ({}, "a", "a"),
        ({"b": "a"}, "b", "a"),
        ({"c": "b", "b": "a"}, "c", "a"),
        ({"a": "a"}, "a", "a"),
        ({"a": "b", "b": "a", "c": "b"}, "c", "a"),
    ],
)
def test_root_of_any_links_ends_at_one_session(parents: dict[str, str], session_id: str, expected: str) -> None:
    """The top of a tree, or the smallest id of a cycle."""
    assert root_of(parents, session_id) == expected


def test_tree_of_ten_levels_lists_each_once() -> None:
    """Depth is counted from the root."""
    children = {f"s{depth - 1}": [f"s{depth}"] for depth in range(1, 11)}

    found = tree_of(children, "s0")

    assert [(session_id, depth) for _, session_id, depth, _ in found] == [(f"s{depth}", depth) for depth in range(11)]


def test_rebuild_session_that_moves_to_another_parent_leaves_its_old_tree(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """Both trees are complete afterwards, and the session is in one of them."""
    docs = [
        session("ses_1"),
        session("ses_1a", parentID="ses_1"),
        session("ses_1b", parentID="ses_1"),
        session("ses_2"),
        session("ses_2a", parentID="ses_2"),
    ]
    data_dir = write_json_tree(tmp_path / "data", docs)
    build_index(data_dir)
    write_json_tree(data_dir, [session("ses_1b", parentID="ses_2a", updated=START_MS + 1)])

    reader = IndexReader(build_index(data_dir))

    con = reader.connection()
    found = con.execute("SELECT root_session_id, session_id, depth FROM session_traces ORDER BY ALL").fetchall()
    reader.close()
    assert found == [
        ("ses_1", "ses_1", 0),
        ("ses_1", "ses_1a", 1),
        ("ses_2", "ses_1b", 2),
        ("ses_2", "ses_2", 0),
        ("ses_2", "ses_2a", 1),
    ]
