"""What a value of a document means where the plain reading is wrong: unknown is not 0, a file's content is not kept."""

import base64
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from indexer.documents import Document, Generation, MessageDocuments
from indexer.json_values import MAX_TEXT_BYTES, cut, dump_body, without_data_urls
from indexer.parsers import MAX_TOKENS, ParsedMessage, extract_tokens, parse_message
from indexer.session_messages import parse_session_message
from indexer.sources.sqlite_file import SqliteFile
from indexer.totals import read_totals
from tests.builders import Doc, Json, answer, assistant, part, row, session, step_finish, tokens, user, write_sqlite
from tests.conftest import OpenIndex

CONTENT = base64.b64encode(b"what a file holds " * 40).decode()
DATA_URL = f"data:image/png;base64,{CONTENT}"


def document(doc: Doc) -> Document:
    """Write a document as its source hands it over."""
    return Document(doc.kind, doc.id, doc.id, json.dumps(doc.body).encode())


def parsed(message: Doc, *parts: Doc) -> ParsedMessage:
    """Read a message of the rows generation with its parts."""
    documents = MessageDocuments(
        message.id, message.session_id, 1, Generation.MESSAGE_ROWS, document(message), tuple(map(document, parts))
    )
    return parse_message(documents, is_missing_in_newer=False)


def parsed_row(doc: Doc) -> ParsedMessage:
    """Read a row of the third generation."""
    documents = MessageDocuments(
        doc.id,
        doc.session_id,
        1,
        Generation.SESSION_MESSAGE_ROWS,
        document(doc),
        (),
        row_type=doc.body["type"],
        seq=doc.body["seq"],
    )
    return parse_session_message(documents, is_missing_in_newer=False)


def spend(found: ParsedMessage) -> tuple[bool, bool, Decimal | None]:
    """Shorten a message to whether it counts, whether its usage is missing, and its cost."""
    assert found.message is not None
    return found.message.has_usage, found.message.is_usage_missing, found.message.cost_recorded_usd


# --- unknown is not 0


@pytest.mark.parametrize(
    ("fields", "usage", "cost", "expected"),
    [
        ({}, tokens(), 0, (True, True, None)),
        ({"finish": "length"}, tokens(), 0, (True, True, None)),
        ({}, None, 0, (True, True, None)),
        ({}, tokens(total=0), 0, (True, False, Decimal(0))),
        ({"finish": None}, tokens(), 0, (True, False, Decimal(0))),
        ({"finish": "tool-calls"}, tokens(), 0, (True, False, Decimal(0))),
        ({"finish": None, "error": {"name": "APIError"}}, tokens(), 0, (True, False, Decimal(0))),
        ({}, tokens(1), 0, (True, False, Decimal(0))),
        ({}, tokens(), 0.5, (True, False, Decimal("0.5"))),
    ],
    ids=["stop", "length", "no counters", "total", "shell", "subtask", "failed", "used", "paid"],
)
def test_parse_message_zeros_without_step_are_unknown_if_a_model_finished(
    fields: Json, usage: Json | None, cost: float, expected: tuple[bool, bool, Decimal | None]
) -> None:
    """A user's shell command has no `finish`, the wrapper of a subtask has "tool-calls": these asked no model."""
    found = parsed(assistant(usage=usage, cost=cost, **fields), part("prt_1", "text", text="Hi"))

    assert spend(found) == expected


def test_bulk_answer_without_usage_and_step_is_unrecorded(open_index: OpenIndex) -> None:
    """Unknown is shown as unknown all the way to the totals."""
    con = open_index(session(), user(), assistant(usage=tokens(), cost=0), part("prt_1", "text", text="Hi"))

    assert read_totals(con)["unrecorded_messages"] == 1
    assert con.execute("SELECT cost_recorded_usd, missing_usage_messages FROM session_stats").fetchall() == [(None, 1)]


@pytest.mark.parametrize(
    ("cost", "steps", "expected"),
    [
        (0, (0.25, 0.5), Decimal("0.75")),
        (None, (0.25, 0.5), Decimal("0.75")),
        (0, (0, 0), Decimal(0)),
        (0.125, (0.25, 0.5), Decimal("0.125")),
        (0, (), Decimal(0)),
    ],
)
def test_parse_message_cost_of_steps_counts_where_the_message_has_none_yet(
    cost: float | None, steps: tuple[float, ...], expected: Decimal
) -> None:
    """A client that was killed between its two writes left the cost in the steps only."""
    ends = [step_finish(f"prt_{place}", tokens(10, 1, total=11), cost=paid) for place, paid in enumerate(steps)]

    assert spend(parsed(assistant(usage=tokens(10, total=10), cost=cost), *ends)) == (True, False, expected)


@pytest.mark.parametrize(
    ("role", "cost", "expected"),
    [
        (None, 0.5, (True, False, Decimal("0.5"))),
        ("system", 0.5, (True, False, Decimal("0.5"))),
        (None, 0, (False, False, None)),
        ("user", 0.5, (False, False, None)),
    ],
)
def test_parse_message_cost_without_tokens_counts_for_every_role_but_user(
    role: str | None, cost: float, expected: tuple[bool, bool, Decimal | None]
) -> None:
    """Money spent is money spent, whoever the message says it is from."""
    message = assistant(usage=tokens(), cost=cost, role=role)

    assert spend(parsed(message)) == expected


def test_bulk_message_without_role_counts_its_cost(open_index: OpenIndex) -> None:
    """The sum of all messages has it."""
    con = open_index(session(), assistant(usage=tokens(), cost=0.5, role=None))

    assert read_totals(con)["cost_recorded_usd"] == "0.5"


@pytest.mark.parametrize(
    ("given", "output", "root"),
    [
        (MAX_TOKENS, -5, -5),
        (MAX_TOKENS - 1, 1, MAX_TOKENS),
        (MAX_TOKENS, -MAX_TOKENS, 0),
        (7, MAX_TOKENS, 7),
        (10**30, 3, 3),
        (-7, 3, -4),
    ],
)
def test_extract_tokens_absurd_counter_leaves_root_the_sum_of_what_is_kept(given: int, output: int, root: int) -> None:
    """A row never says other root tokens than the sum of its own columns."""
    found = extract_tokens({"tokens": tokens(given, output)}, is_reasoning_included_by_default=False)

    assert (found.root, found.input + found.output) == (root, root)


# --- contents of files


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (DATA_URL, {"data_url_bytes": len(DATA_URL)}),
        ("DATA:,x", {"data_url_bytes": 7}),
        (" \ndata:text/plain,é", {"data_url_bytes": 20}),
        ("data:image/png;BASE64", {"data_url_bytes": 21}),
        ("data: none", "data: none"),
        ("data: yes, please", "data: yes, please"),
        ("see data:,x", "see data:,x"),
        ({"a": [{"b": "Data:,x"}, 1, None]}, {"a": [{"b": {"data_url_bytes": 7}}, 1, None]}),
        (1.5, 1.5),
    ],
)
def test_without_data_urls_replaces_addresses_with_content_only(value: object, expected: object) -> None:
    """At any depth and in any case; a text that speaks of one is a text."""
    assert without_data_urls(value) == expected
    assert json.loads(dump_body(value)) == expected


def test_dump_body_nested_too_deeply_says_so() -> None:
    """Depth is no way around it, and no error."""
    value: object = DATA_URL
    for _ in range(900):
        value = [value]

    assert CONTENT not in dump_body(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "tool", "tool": "x", "state": {"status": "completed", "input": {"images": [{"url": DATA_URL}]}}},
        {"type": "tool", "tool": "x", "state": {"status": "completed", "input": {}, "output": [{"url": DATA_URL}]}},
        {
            "type": "tool",
            "tool": "x",
            "state": {"status": "completed", "output": {"url": DATA_URL}, "metadata": {"exit": 1}},
        },
        {"type": "tool", "tool": "x", "state": {"status": "error", "input": {}, "error": {"url": DATA_URL}}},
        {"type": "hologram", "frames": [{"source": {"uri": DATA_URL}}]},
        {"type": "text", "text": {"url": DATA_URL}},
        {"type": "subtask", "prompt": "x", "model": {"icon": DATA_URL}},
        {"type": "file", "mime": "image/png", "url": DATA_URL},
        {"type": "file", "mime": "image/png", "url": DATA_URL.replace("data:", "DATA:")},
        {"type": "file", "mime": "image/png", "filename": DATA_URL, "url": "file:///a", "source": {"path": DATA_URL}},
    ],
)
def test_parse_message_body_never_holds_attached_data(fields: Json) -> None:
    """Only its size is kept."""
    found = parsed(assistant(usage=tokens(1)), part("prt_1", fields["type"], **fields))

    kept = repr((found.bodies, found.parts, found.message))
    assert len(found.bodies) == 1
    assert CONTENT not in kept
    assert "data_url_bytes" in kept


def test_parse_message_plain_texts_are_kept_as_they_are() -> None:
    """Prompts, answers and what a tool printed may be anything."""
    call = part("prt_2", "tool", tool="bash", state={"status": "completed", "input": {}, "output": "data:,printed"})

    found = parsed(user(), part("prt_1", "text", text="data:,typed", message_id="msg_1u"), call)

    assert [(body.text, body.output) for body in found.bodies] == [("data:,typed", None), (None, "data:,printed")]


@pytest.mark.parametrize(
    "doc",
    [
        row("msg_1", "user", 1, text="Hi", files=[{"name": "a", "url": DATA_URL}]),
        row("msg_1", "user", 1, text="Hi", files=[{"name": "a", "source": {"type": "uri", "uri": DATA_URL}}]),
        row("msg_1", "user", 1, text="Hi", files=[{"name": "a", "content": CONTENT}]),
        row("msg_1", "user", 1, text="Hi", files=[{"name": "a", "content": [{"text": CONTENT}]}]),
        row("msg_1", "user", 1, text="Hi", files={"name": "a", "content": CONTENT}),
        row("msg_1", "synthetic", 1, files=[{"name": "a", "content": CONTENT}, {"uri": DATA_URL}]),
        row("msg_1", "synthetic", 1, parts=[{"file": {"uri": DATA_URL.upper().replace(CONTENT.upper(), CONTENT)}}]),
        row("msg_1", "shell", 1, command={"icon": DATA_URL}, output={"url": DATA_URL}),
        answer(
            "msg_1",
            1,
            content=[{"type": "tool", "name": "x", "state": {"status": "completed", "input": {"url": DATA_URL}}}],
        ),
        answer(
            "msg_1",
            1,
            content=[
                {
                    "type": "tool",
                    "name": "x",
                    "state": {"status": "error", "input": {}, "error": {"message": {"url": DATA_URL}}},
                }
            ],
        ),
    ],
)
def test_parse_session_message_body_never_holds_attached_data(doc: Doc) -> None:
    """Neither under `url` nor nested, nor as the plain content of a file."""
    found = parsed_row(doc)

    kept = repr((found.bodies, found.parts, found.message))
    assert CONTENT not in kept
    assert "data_url_bytes" in kept or "'content_bytes" in kept or '"content_bytes"' in kept


# --- tool calls that never finished


@pytest.mark.parametrize(
    ("status", "is_failed", "is_unfinished"),
    [
        ("pending", False, True),
        ("running", False, True),
        (None, False, True),
        ("completed", True, False),
        ("error", True, False),
    ],
)
def test_parse_invalid_call_that_never_finished_is_unfinished(
    status: str | None, is_failed: bool, is_unfinished: bool
) -> None:
    """Neither ok nor failed, in every generation."""
    state = {"status": status, "input": {"tool": "x", "error": "no such tool"}}
    call = {"type": "tool", "id": "call_1", "name": "invalid", "state": state}

    rows = [
        *parsed(assistant(usage=tokens(1)), part("prt_1", "tool", tool="invalid", state=state)).parts,
        *parsed_row(answer("msg_2", 1, content=[call])).parts,
    ]

    assert [(one.is_failed, one.is_unfinished) for one in rows] == [(is_failed, is_unfinished)] * 2


# --- sizes and names


@pytest.mark.parametrize("sign", ["x", "é", "漢", "\U0001f600"])
@pytest.mark.parametrize("extra", [1, 2, 3, 100, 10**7])
def test_cut_text_fits_with_its_marker(sign: str, extra: int) -> None:
    """Head, tail and the words between them are 64 KB at most, and the words are true."""
    text = sign * ((MAX_TEXT_BYTES + extra) // len(sign.encode()) + 1)

    kept, size = cut(text)

    assert kept is not None
    head, marker, tail = kept.split("\n")
    assert len(kept.encode()) <= MAX_TEXT_BYTES
    assert size == len(text.encode())
    assert marker == f"[… {size - len(head.encode()) - len(tail.encode()):,} bytes left out …]"


def test_cut_text_that_fits_is_kept_whole() -> None:
    """Up to the last byte."""
    assert cut("x" * MAX_TEXT_BYTES) == ("x" * MAX_TEXT_BYTES, MAX_TEXT_BYTES)


def test_sqlite_file_in_a_folder_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    """A name is bytes; SQLite gets the same ones."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write_sqlite(tmp_path / "written", [session()])
    (tmp_path / "written" / "opencode.db").rename(folder / "opencode.db")
    database = SqliteFile(folder / "opencode.db")

    found = database.rows("SELECT id FROM session")
    database.close()

    assert found == [{"id": b"ses_1"}]
    assert database.shown.endswith("caf?/opencode.db")
