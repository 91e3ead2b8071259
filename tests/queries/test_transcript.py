"""Transcripts: what was said and done, in full or cut."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from queries.transcript import Attachment, FileDiff, Piece, piece, session_pieces, transcript
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


def call(part_id: str, name: str, given: dict[str, Any], **state: Any) -> Doc:
    """Make a tool call that ended well, unless its state says otherwise."""
    made = {
        "status": "completed",
        "input": given,
        "output": "done",
        "title": f"Title of {part_id}",
        "time": {"start": START_MS + 2_000, "end": START_MS + 3_000},
        **state,
    }
    return part(part_id, "tool", tool=name, callID=f"call_{part_id}", state=made)


def exchange(*parts: Doc) -> list[Doc]:
    """Make a session with one prompt and one answer that holds some parts."""
    return [session(), user(), part("prt_0", "text", "msg_1u", text="Do it"), assistant(), *parts]


def by_id(pieces: list[Piece]) -> dict[str, Piece]:
    """Return pieces by their ids."""
    return {each.trace_id: each for each in pieces}


@pytest.mark.parametrize("name", ["json", "live-wal"])
def test_session_pieces_real_sessions_have_every_event(real_index: RealIndex, name: str) -> None:
    """All events of a session in order, each with the texts that the index holds."""
    con = real_index(name)
    for (session_id,) in con.execute("SELECT session_id FROM sessions").fetchall():
        stored = con.execute(
            """SELECT trace_id, t.kind, text, input, output
               FROM exchange_traces t JOIN exchanges x USING (exchange_id) LEFT JOIN part_bodies ON part_id = trace_id
               WHERE t.session_id = ? ORDER BY number, position""",
            [session_id],
        ).fetchall()

        found = session_pieces(con, session_id)

        assert [(each.trace_id, each.kind) for each in found] == [each[:2] for each in stored]
        kept = [(each.text, each.input_json, each.output) for each in found if each.kind != "error"]
        assert kept == [each[2:] for each in stored if each[1] != "error"]
        assert not any(each.is_cut for each in found)


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_transcript_real_exchanges_equal_the_session(real_index: RealIndex, name: str) -> None:
    """One exchange is read as the whole session is; one event as its exchange is."""
    con = real_index(name)
    longest = con.execute("SELECT session_id, exchange_id FROM exchanges ORDER BY trace_count DESC LIMIT 5").fetchall()
    for session_id, exchange_id in longest:
        expected = [each for each in session_pieces(con, session_id) if each.exchange_id == exchange_id]

        assert transcript(con, exchange_id, None) == expected
        assert piece(con, expected[-1].trace_id) == expected[-1]


def test_transcript_unknown_exchange_is_empty(open_index: OpenIndex) -> None:
    """Neither an exchange nor an event that is not there is an error."""
    con = open_index(session())

    assert transcript(con, "msg_gone") == []
    assert piece(con, "prt_gone") is None
    assert session_pieces(con, "ses_gone") == []


def test_transcript_call_has_what_went_in_and_came_out(open_index: OpenIndex) -> None:
    """Arguments, output, times and ids of a call."""
    con = open_index(*exchange(call("prt_1", "bash", {"command": "ls"}, output="a\nb")))

    (found,) = [each for each in transcript(con, "msg_1u") if each.kind == "tool"]

    assert (found.name, found.title, found.label, found.status) == ("bash", "Title of prt_1", "Title of prt_1", "ok")
    assert (found.input_json, found.output, found.text) == ('{"command":"ls"}', "a\nb", None)
    assert (found.call_id, found.message_id, found.part_id, found.session_id) == (
        *("call_prt_1", "msg_2a", "prt_1", "ses_1"),
    )
    assert (found.role, found.agent, found.model) == ("assistant", "build", "acme/nova")
    assert (found.started_at, found.duration_ms) == (datetime(2026, 1, 1) + timedelta(seconds=2), 1_000)


def test_transcript_long_texts_are_cut_between_characters(open_index: OpenIndex) -> None:
    """Four bytes a character: a cut leaves whole ones, and says so; the whole is there on demand."""
    con = open_index(*exchange(part("prt_1", "text", text="🖥" * 2_000)))

    cut, whole = by_id(transcript(con, "msg_1u", 4_095))["prt_1"], piece(con, "prt_1")

    assert (cut.text, cut.is_cut, cut.is_shortened, cut.text_bytes) == ("🖥" * 1_023, True, False, 8_000)
    assert whole is not None
    assert (whole.text, whole.is_cut) == ("🖥" * 2_000, False)


def test_transcript_text_that_the_index_shortened_says_so(open_index: OpenIndex) -> None:
    """The index keeps 64 KB: the whole is not to be had."""
    con = open_index(*exchange(call("prt_1", "bash", {"command": "yes"}, output="y" * 100_000)))

    found = piece(con, "prt_1")

    assert found is not None and found.output is not None
    assert (found.is_cut, found.is_shortened, found.output_bytes) == (False, True, 100_000)
    assert len(found.output) <= 65_536


def test_transcript_failed_call_says_why(open_index: OpenIndex) -> None:
    """An error of the tool, and a program that ended badly or was stopped."""
    con = open_index(
        *exchange(
            part("prt_1", "tool", tool="read", state={"status": "error", "input": {}, "error": "no such file"}),
            call("prt_2", "bash", {"command": "false"}, metadata={"exit": 3}, output="bad"),
            call("prt_3", "bash", {"command": "sleep"}, metadata={"exit": None}, output="stopped"),
        )
    )

    found = by_id(transcript(con, "msg_1u"))

    assert [(found[each].status, found[each].error_message, found[each].exit_code) for each in sorted(found)[1:]] == [
        ("failed", "no such file", None),
        ("failed", "bad", "3"),
        ("failed", "stopped", "none"),
    ]
    assert found["prt_1"].output == "no such file"


def test_transcript_error_of_an_answer_has_its_object(open_index: OpenIndex) -> None:
    """What was reported as text, all of it as JSON."""
    error = {"name": "APIError", "data": {"message": "Too many requests", "statusCode": 429}}
    con = open_index(session(), user(), assistant(error=error))

    (found,) = transcript(con, "msg_1u")

    assert (found.kind, found.name, found.text, found.part_id) == ("error", "APIError", "Too many requests", None)
    assert json.loads(found.input_json or "") == error
    assert found.text_bytes == 17


def test_transcript_step_has_its_numbers(open_index: OpenIndex) -> None:
    """Five counters as recorded, the total with every token once, the exact cost."""
    usage = tokens(100, 20, 5, 7, 3, total=130)
    con = open_index(
        *exchange(part("prt_1", "step-start"), step_finish("prt_2", usage, cost=0.25)),
        assistant(usage=usage, cost=0.25),
    )

    found = by_id(transcript(con, "msg_1u"))["prt_1"]

    counters = (found.input_tokens, found.output_tokens, found.reasoning_tokens)
    assert (*counters, found.cache_read_tokens, found.cache_write_tokens) == (100, 20, 5, 7, 3)
    assert (found.tokens, found.cost_usd) == (130, Decimal("0.25"))


def test_transcript_attached_files_are_named(open_index: OpenIndex) -> None:
    """A picture whose content is not kept, and a file that is only referred to."""
    con = open_index(
        *exchange(),
        part("prt_1", "file", "msg_1u", mime="image/png", filename="shot.png", url="data:image/png;base64,AAAA"),
        part("prt_2", "file", "msg_1u", mime="text/plain", url="file:///home/dev/a.txt"),
    )

    found = by_id(transcript(con, "msg_1u"))

    assert found["prt_1"].attachments == (Attachment("shot.png", "image/png", 26),)
    assert found["prt_2"].attachments == (Attachment("file:///home/dev/a.txt", "text/plain", None),)


def test_transcript_edits_have_diffs(open_index: OpenIndex) -> None:
    """Of an edit what changed, of a write all lines, of a patch each file."""
    patch = "*** Begin Patch\n*** Add File: new.py\n+one\n*** Update File: old.py\n@@\n-two\n+three\n*** End Patch"
    con = open_index(
        *exchange(
            call("prt_1", "edit", {"filePath": "a.py", "oldString": "x\ny\n", "newString": "x\nz\n"}),
            call("prt_2", "write", {"filePath": "b.py", "content": "one\ntwo\n"}),
            call("prt_3", "apply_patch", {"patchText": patch}),
            call("prt_4", "bash", {"command": "ls"}),
        )
    )

    found = by_id(transcript(con, "msg_1u"))

    assert found["prt_1"].diffs == (FileDiff("a.py", "@@\n x\n-y\n+z", 1, 1),)
    assert found["prt_2"].diffs == (FileDiff("b.py", "+one\n+two", 2, None),)
    assert found["prt_3"].diffs == (
        FileDiff("new.py", "+one", 1, 0),
        FileDiff("old.py", "@@\n-two\n+three", 1, 1),
    )
    assert found["prt_4"].diffs == ()


def test_transcript_diff_of_a_long_edit_is_cut(open_index: OpenIndex) -> None:
    """The lines are counted in full, the text is cut with all others."""
    content = "line\n" * 2_000
    con = open_index(*exchange(call("prt_1", "write", {"filePath": "a.py", "content": content})))

    (found,) = by_id(transcript(con, "msg_1u"))["prt_1"].diffs

    assert (found.additions, found.is_cut, len(found.text)) == (2_000, True, 4_096)


def test_transcript_edit_that_the_index_shortened_names_its_file(open_index: OpenIndex) -> None:
    """Of arguments that are not known in full, no lines are told."""
    given = {"filePath": "a.py", "content": "x" * 100_000}
    con = open_index(*exchange(call("prt_1", "write", given)))

    (found,) = by_id(transcript(con, "msg_1u"))["prt_1"].diffs

    assert found == FileDiff("a.py", "", None, None, is_cut=True)


def test_transcript_rows_of_session_message_have_their_texts(open_index: OpenIndex, tmp_path: Path) -> None:
    """A prompt with a file, an answer with a tool, a shell command of the user, a summary."""
    tool = {
        "type": "tool",
        "id": "call_1",
        "name": "bash",
        "state": {"status": "completed", "input": {"command": "ls"}, "content": [{"type": "text", "text": "a"}]},
        "time": {"created": START_MS, "completed": START_MS + 400},
    }
    write_session_messages(
        tmp_path / "rows",
        [
            session("ses_1"),
            row("msg_1", "user", 1, text="Look", files=[{"name": "a.txt", "mime": "text/plain", "content": "abc"}]),
            answer("msg_2", 2, content=[{"type": "text", "text": "Looking"}, tool]),
            row("msg_3", "shell", 3, command="pwd", output="/"),
            row("msg_4", "compaction", 4, summary="So far"),
        ],
    )
    con = open_index(tmp_path / "rows")

    found = by_id(session_pieces(con, "ses_1"))

    assert (found["msg_1"].text, found["msg_1"].role) == ("Look", "user")
    assert found["msg_1"].attachments == (Attachment("a.txt", "text/plain", 3),)
    assert (found["msg_2:0"].text, found["msg_2:0"].part_id) == ("Looking", "msg_2:0")
    assert (found["msg_2:1"].input_json, found["msg_2:1"].output) == ('{"command":"ls"}', "a")
    assert (found["msg_3"].output, found["msg_3"].part_id) == ("/", None)
    assert found["msg_4"].text == "So far"


def test_transcript_fork_copies_and_synthetic_texts_are_told(open_index: OpenIndex) -> None:
    """Who typed it, and whether it is counted elsewhere."""
    original = [
        user(),
        part("prt_1", "text", "msg_1u", text="Called the Read tool", synthetic=True),
        assistant(usage=tokens(1)),
        part("prt_2", "text", text="Done"),
    ]
    con = open_index(session(), *original, session("ses_2", created=START_MS + 60_000), *copied(original, "ses_2", "x"))

    own, copy = by_id(transcript(con, "msg_1u")), by_id(transcript(con, "msg_1ux"))

    assert [(own[each].is_synthetic, own[each].is_fork_copy) for each in ("prt_1", "prt_2")] == [
        (True, False),
        (False, False),
    ]
    assert {each.is_fork_copy for each in copy.values()} == {True}


def test_transcript_deleted_message_has_no_texts(open_index: OpenIndex, tmp_path: Path) -> None:
    """Its events are there, flagged."""
    open_index(*exchange(part("prt_1", "text", text="secret")), session("ses_2"))
    for folder in ("message/ses_1", "part/msg_2a", "part/msg_1u"):
        for path in (tmp_path / "opencode" / "storage" / folder).iterdir():
            path.unlink()
    con = open_index(tmp_path / "opencode")

    found = transcript(con, "msg_1u")

    assert [(each.trace_id, each.text, each.is_deleted) for each in found] == [
        ("prt_0", None, True),
        ("prt_1", None, True),
    ]
