"""One session as a file: complete, exact, readable, inert, and without what is nobody's business."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer.published import IndexReader
from pages.ui.session_export import escaped, fenced, file_name, prose, session_json, session_markdown
from queries.session_dump import SessionDump, session_dump
from queries.timeline import timeline
from tests.builders import START_MS, Doc, assistant, part, session, step_finish, tokens, user
from tests.conftest import OpenIndex

HOSTILE = "<script>alert(1)</script><img src=x> ![p](http://x/p.png) [l](javascript:x) `c` # h\n> q\n---\n1. one\n| a |"


def call(part_id: str, name: str, given: dict[str, Any], **state: Any) -> Doc:
    """Make a tool call that ended well, unless its state says otherwise."""
    made = {
        "status": "completed",
        "input": given,
        "output": "done",
        "title": "A title",
        "time": {"start": START_MS + 2_000, "end": START_MS + 3_200},
        **state,
    }
    return part(part_id, "tool", tool=name, callID=f"call_{part_id}", state=made)


def exchange(*parts: Doc, asked: str = "Do it", **fields: Any) -> list[Doc]:
    """Make a session with one prompt and one answer that holds a step with some parts."""
    usage = tokens(100, 20)
    return [
        session(**fields),
        user(),
        part("prt_0", "text", "msg_1u", text=asked),
        assistant(usage=usage, cost=0.25),
        part("prt_1", "step-start"),
        *parts,
        step_finish("prt_9", usage, cost=0.25),
    ]


def read(con: duckdb.DuckDBPyConnection) -> SessionDump:
    """Read the session."""
    found = session_dump(con, "ses_1")
    assert found is not None
    return found


def document(dump: SessionDump, is_masked: bool = True) -> dict[str, Any]:
    """Write and read the JSON file."""
    found: dict[str, Any] = json.loads(session_json(dump, is_masked))
    return found


def markdown(dump: SessionDump, is_masked: bool = True, tz: str = "UTC") -> str:
    """Write the Markdown file."""
    return session_markdown(dump, tz, is_masked).decode()


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_session_json_real_sessions_are_complete(real_path: Callable[[str], Path], name: str) -> None:
    """Every event of the session with its text, exact costs, and no home folder anywhere."""
    reader = IndexReader(real_path(name))
    con = reader.connection()
    longest = con.execute(
        "SELECT session_id FROM session_stats ORDER BY part_count DESC, session_id LIMIT 12"
    ).fetchall()
    for (session_id,) in longest:
        dump = session_dump(con, session_id)
        assert dump is not None

        whole, written = document(dump, is_masked=False), document(dump)
        text = markdown(dump)

        events = [event for each in whole["exchanges"] for event in each["events"]]
        assert [event["trace_id"] for event in events] == [each.trace_id for each in dump.pieces]
        assert [event["text"] for event in events] == [each.text for each in dump.pieces]
        assert (
            whole["session"]["total_tokens"] == dump.head.total_tokens == sum(x["tokens"] for x in whole["exchanges"])
        )
        assert "/home/dev" not in json.dumps(written) and "/home/dev" not in text
        assert text.count("\n## Exchange ") == len(dump.exchanges)
    reader.close()


def test_session_json_holds_numbers_times_and_arguments_as_they_are(open_index: OpenIndex) -> None:
    """Costs are exact strings, times ISO 8601 in UTC, arguments objects."""
    con = open_index(*exchange(call("prt_2", "bash", {"command": "ls"}, output="a\nb")))

    found = document(read(con))

    assert (found["format"], found["version"], found["is_masked"]) == ("opencode-session", 1, True)
    assert found["session"]["cost_recorded_usd"] == "0.250000000000"
    assert found["session"]["started_at"] == "2026-01-01T00:00:00.000Z"
    step, ran = found["exchanges"][0]["events"][1:]
    assert (step["kind"], step["tokens"], step["input_tokens"]) == ("step", 120, 100)
    assert (ran["input"], ran["output"], ran["duration_ms"]) == ({"command": "ls"}, "a\nb", 1_200)
    assert found["tree"][0]["session_id"] == "ses_1"


def test_session_json_masks_unless_asked_otherwise(open_index: OpenIndex) -> None:
    """Prompts, arguments by their names, output, titles, folders."""
    given = {"command": "deploy", "password": "hunter2", "env": {"API_KEY": "k-1"}}
    con = open_index(
        *exchange(
            call("prt_2", "deploy", given, output="Authorization: Bearer abcdefghijkl\nfrom /home/dev/x"),
            asked="my password is: password=hunter2",
            title="Look into /home/dev/shop",
        )
    )
    dump = read(con)

    hidden, whole = json.dumps(document(dump)), json.dumps(document(dump, is_masked=False))

    for secret in ("hunter2", "k-1", "abcdefghijkl", "/home/dev"):
        assert secret not in hidden
        assert secret in whole
    assert document(dump)["session"]["directory"] == "~/shop"


def test_session_export_labels_hold_no_secret_that_was_cut(open_index: OpenIndex) -> None:
    """On one line of 120 characters no mask finds the start of a line, or the quote that ends a value."""
    data = json.dumps({"user": "ann", "password": "correct horse battery staple of production"})
    command = f"curl -X POST https://intranet.example/api/login -H accept:json -d '{data}'"
    failed = call("prt_2", "bash", {"command": command}, status="error", title="", output=None, error="refused")
    con = open_index(*exchange(failed, asked="This is my mail setup:\nSMTP_PASS=hunter2x\nSTRIPE=abc123xyz"))
    dump = read(con)

    written, text, whole = document(dump), markdown(dump), json.dumps(document(dump, is_masked=False))

    for secret in ("hunter2x", "abc123xyz", "correct horse"):
        assert secret not in json.dumps(written)
        assert secret not in text
        assert secret in whole
    asked = "This is my mail setup: SMTP_PASS=[masked] STRIPE=[masked]"
    assert written["exchanges"][0]["label"] == written["exchanges"][0]["events"][0]["label"] == asked
    assert "### Tool `bash` (failed" in text


def test_session_export_environment_file_has_no_values(open_index: OpenIndex) -> None:
    """A file that a call names `.env`, read, written and shown as a diff."""
    con = open_index(
        *exchange(
            call("prt_2", "read", {"filePath": "/home/dev/shop/.env"}, output="00001| mode=private\n00002| PORT=3000"),
            call("prt_3", "write", {"filePath": "/home/dev/shop/.env.local", "content": "mode=private\n"}),
            call("prt_4", "read", {"filePath": "/home/dev/shop/environment.py"}, output="mode=private"),
        )
    )
    dump = read(con)

    text, written = markdown(dump), json.dumps(document(dump))

    assert text.count("private") == written.count("private") == 1  # of the file that is none
    assert "3000" not in text


def test_session_markdown_reads_like_a_conversation(open_index: OpenIndex) -> None:
    """Head, exchange, prompt, call with input and output, answer."""
    con = open_index(
        *exchange(
            call("prt_2", "bash", {"command": "ls"}, output="a\nb", metadata={"exit": 2}),
            part("prt_3", "text", text="Done:\n\n```py\nx = 1  # <b>\n```\nBye"),
            title="Fix it",
        )
    )

    text = markdown(read(con), tz="Europe/Berlin")

    assert text.startswith("# Fix it\n\n- Session: `ses_1`\n- Folder: `~/shop`\n")
    assert "- Started: 2026-01-01 01:00:00 CET\n" in text
    assert "- Recorded cost: $0.2500\n" in text
    body = text[text.index("## Exchange 1") :]
    assert body == (
        "## Exchange 1\n\n2026-01-01 01:00:00 CET · answered · 120 tokens · $0.2500\n\n"
        "### Prompt\n\nDo it  \n\n"
        "### Tool `bash`: A title (failed, exit 2, 1.2 s)\n\n"
        'Input:\n\n```json\n{\n  "command": "ls"\n}\n```\n\nOutput:\n\n```text\na\nb\n```\n\n'
        "### Answer\n\nDone:  \n\n```py\nx = 1  # <b>\n```\nBye\n"
    )


def test_session_markdown_hostile_text_is_inert(open_index: OpenIndex) -> None:
    """Outside of code blocks nothing starts HTML, an image, a link, a heading, a quote, a rule or a list."""
    con = open_index(
        *exchange(
            part("prt_2", "reasoning", text=HOSTILE),
            part("prt_3", "text", text=HOSTILE),
            call("prt_4", "bash", {"command": HOSTILE}, title=HOSTILE, output=f"````\n{HOSTILE}\n```"),
            asked=HOSTILE,
            title=HOSTILE,
        )
    )

    text = markdown(read(con))

    outside, fence = [], ""
    for line in text.split("\n"):
        marks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if line == fence else fence
        elif len(marks) >= 3:
            fence = marks
        else:
            outside.append(line)
    assert fence == ""
    for line in outside:
        plain = line.replace("\\<", "").replace("\\[", "").replace("\\]", "").replace("\\|", "").replace("\\`", "")
        assert "<" not in plain and "[" not in plain and "|" not in plain
        assert not line.startswith((">", "---", "1. ")) or line.startswith("> Home folders")
        assert not line.startswith("#") or line.startswith(("# \\<script", "## Exchange 1", "### "))


def test_session_markdown_names_delegated_sessions(open_index: OpenIndex) -> None:
    """The tree at the top, the child at its call; links say what they are."""
    child = [session("ses_2", parentID="ses_1", title="Helper *x*"), user("u2", "ses_2"), assistant("a2", "ses_2")]
    con = open_index(
        *exchange(
            call("prt_2", "task", {"prompt": "Help"}, metadata={"sessionId": "ses_2"}),
            call("prt_3", "task", {"prompt": "Help"}, metadata={"sessionId": "ses_gone"}),
        ),
        *child,
    )

    text = markdown(read(con))

    assert "- Helper \\*x\\* (`ses_2`): 0 tokens, $0.2500\n- untitled (`ses_gone`): missing\n" in text
    assert "Delegated to Helper \\*x\\* (`ses_2`).\n" in text
    assert "Delegated to `ses_gone`.\n" in text


def test_session_markdown_says_what_is_missing(open_index: OpenIndex) -> None:
    """A text that the index shortened, a failed exchange, an error."""
    error = {"name": "APIError", "data": {"message": "No *more*"}}
    con = open_index(
        session(title=""),
        user(),
        part("prt_0", "file", "msg_1u", mime="image/png", filename="a`b.png", url="data:image/png;base64,AAAA"),
        assistant(error=error, cost=None),
        call("prt_2", "bash", {"command": "yes"}, output="y" * 100_000),
    )

    text = markdown(read(con))

    assert text.startswith("# Untitled session\n")
    assert "The middle of a text is missing" in text
    assert "### Error: APIError\n\nNo \\*more\\*" in text
    assert "- ``a`b.png`` (image/png, 26 B)\n" in text
    assert " · failed · " in text and "- Recorded cost: —\n" in text


def test_session_dump_unknown_session_is_none(open_index: OpenIndex) -> None:
    """There is nothing to export."""
    con = open_index(session())

    assert session_dump(con, "ses_gone") is None


def test_session_dump_has_the_exchanges_of_the_session_only(open_index: OpenIndex) -> None:
    """Child sessions are in the tree, their exchanges are theirs."""
    con = open_index(
        *exchange(call("prt_2", "task", {}, metadata={"sessionId": "ses_2"})),
        session("ses_2", parentID="ses_1"),
        user("u2", "ses_2"),
    )

    dump = read(con)

    assert [each.exchange_id for each in dump.exchanges] == ["msg_1u"]
    assert {each.session_id for each in dump.pieces} == {"ses_1"}
    assert [each.session_id for each in dump.sessions] == ["ses_1", "ses_2"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fix the tests", "opencode-session_Fix-the-tests_ses_1.md"),
        ("", "opencode-session_untitled_ses_1.md"),
        ("/home/dev/a: über", "opencode-session_-a-uber_ses_1.md"),
        ("x" * 300, f"opencode-session_{'x' * 60}_ses_1.md"),
    ],
)
def test_file_name_says_which_session(open_index: OpenIndex, title: str, expected: str) -> None:
    """ASCII, short, without home folders."""
    found = timeline(open_index(session(title=title)), "ses_1")
    assert found is not None

    assert file_name(found.head, "md") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <b> & *c* [d] `e` $f$", "a \\<b> \\& \\*c\\* \\[d\\] \\`e\\` \\$f\\$"),
        ("# h", "\\# h"),
        ("- item", "\\- item"),
        ("12. item", "12\\. item"),
        ("=== ", "\\==="),
        ("snake_case _x_ ~/a ~~b~~", "snake_case \\_x\\_ ~/a \\~\\~b\\~\\~"),
        ("two\nlines\x00 ", "two lines"),
        ("a \\* b", "a \\\\\\* b"),
    ],
)
def test_escaped_text_is_nothing_but_text(text: str, expected: str) -> None:
    """What Markdown would act on gets a backslash; what it would not stays readable."""
    assert escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n  b", ["a  ", "", "\u00a0\u00a0b  "]),
        ("```\n<b>\n```", ["```", "<b>", "```"]),
        ("~~~py\nx\n~~~\ny", ["```py", "x", "```", "y  "]),
        ("```\nnever closed <b>", ["\\`\\`\\`  ", "never closed \\<b>  "]),
        ("````\n```\n````", ["````", "```", "````"]),
        ("``` x`y\nz\n```", ["\\`\\`\\` x\\`y  ", "z  ", "\\`\\`\\`  "]),
    ],
)
def test_prose_keeps_code_blocks_and_escapes_the_rest(text: str, expected: list[str]) -> None:
    """Only a block that is closed is one."""
    assert list(prose(text)) == expected


def test_fenced_content_cannot_end_its_block() -> None:
    """The fence is longer than any in it."""
    assert list(fenced("a\r\n`````\nb\n\n", "text")) == ["``````text", "a", "`````", "b", "``````"]
