"""Damaged, strange and hostile input: told, listed, left out, and never in the way of what is good beside it."""

import errno
import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from indexer import bulk_loader, storages, update
from indexer.batch import Batch, write_batch
from indexer.changes import Changes
from indexer.database import Database
from indexer.documents import Document, Generation, MessageDocuments
from indexer.exceptions import SourceUnusable
from indexer.json_values import read_object
from indexer.parsers import parse_message, parse_project, parse_session
from indexer.publish import Publisher
from indexer.published import IndexReader
from indexer.rows import EpochMs
from indexer.session_messages import parse_session_message
from indexer.sources import sqlite_file
from indexer.sources.json_tree import JsonTree
from indexer.storages import find_sources, open_storages
from indexer.totals import Totals, read_totals
from tests.builders import (
    START_MS,
    Doc,
    Json,
    answer,
    assistant,
    damaged,
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
from tests.indexer.disks import without_privileges

Write = Callable[[Path, Sequence[Doc]], Path]
Ledger = dict[str, tuple[str, str]]

LEFT_OUT = "It is left out; it is read again when it changes, and at the next start."
KEPT = "The version read before is kept; it is read again when it changes, and at the next start."
ELSEWHERE = "Another copy of it counts; it is read again when it changes, and at the next start."
THE_REST = "The rest of it counts; it is read again when it changes, and at the next start."

GOOD = b'{"role": "user", "time": {"created": 1767225600000}}'
UNREADABLE = {
    "empty": (b"", "is empty"),
    "blank": (b" \r\n\t", "is empty"),
    "nul_bytes": (b"\0" * 512, "holds nothing but NUL bytes"),
    "raw_nul": (b'{"role": "us\0er"}', "is not JSON, or cut off (at character 12 of 17)"),
    "truncated": (GOOD[:30], "is not JSON, or cut off (at character 26 of 30)"),
    "binary": (bytes(range(1, 256)) * 4, "is not UTF-8 text (byte 127 of 1,020)"),
    "latin1": ('{"role": "é"}'.encode("latin-1"), "is not UTF-8 text (byte 10 of 13)"),
    "utf16": (GOOD.decode().encode("utf-16"), "is not UTF-8 text (byte 0 of 106)"),
    "two": (GOOD + GOOD, f"is not JSON, or cut off (at character {len(GOOD)} of {2 * len(GOOD)})"),
    "comma": (b'{"role": "user",}', "is not JSON, or cut off (at character 16 of 17)"),
    "list": (b"[1, 2]", "is JSON, but no object: a list"),
    "number": (b"12", "is JSON, but no object: a number"),
    "text": (b'"text"', "is JSON, but no object: a text"),
    "null": (b"null", "is JSON, but no object: null"),
    "deep_5000": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "is nested too deeply to be read"),
    "deep_100000": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply to be read"),
}


def good() -> list[Doc]:
    """A session with one answer: 110 tokens, 0.25 USD."""
    usage = tokens(100, 10, total=110)
    return [project(), session(), user(), assistant(usage=usage), step_finish("prt_good", usage)]


def with_twin() -> list[Doc]:
    """The same with a second answer of 7 tokens, whose one part has the id of the first answer's."""
    usage = tokens(7, 0, total=7)
    return [
        *good(),
        assistant("msg_3a", usage=usage, created=START_MS + 9),
        step_finish("prt_good", usage, "msg_3a"),
    ]


def ledger(con: duckdb.DuckDBPyConnection) -> Ledger:
    """Read the documents that failed: key to state and reason."""
    rows = con.execute("SELECT key, state, reason FROM documents ORDER BY key").fetchall()
    return {key: (state, reason) for key, state, reason in rows}


def numbers(found: Totals) -> tuple[int, str]:
    """Shorten totals to what good() adds up to."""
    return found["tokens"]["total"], found["cost_recorded_usd"]


@contextmanager
def opened(index: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read a published index."""
    reader = IndexReader(index)
    try:
        yield reader.connection()
    finally:
        reader.close()


def sources(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str | None]]:
    """Read the state of every storage by its kind."""
    rows = con.execute("SELECT kind, state, reason FROM sources ORDER BY source_id").fetchall()
    return {kind: (state, reason) for kind, state, reason in rows}


def with_body(doc: Doc, **fields: object) -> Doc:
    """Replace fields of the text of a document, not its place; None removes one."""
    body = {name: value for name, value in {**doc.body, **fields}.items() if value is not None}
    return replace(doc, body=body)


# --- documents that cannot be read


def test_bulk_unreadable_files_are_listed_and_everything_else_counts(
    open_index: OpenIndex, caplog: pytest.LogCaptureFixture
) -> None:
    """Every damage in every kind of file, all in one batch with good ones. Nothing of their text is logged."""
    docs: list[Doc] = []
    expected: Ledger = {}
    for name, (raw, reason) in UNREADABLE.items():
        for doc, kind, folder in (
            (project(f"prj_{name}"), "project", "project"),
            (session(f"ses_{name}"), "session", f"session/{'p' * 40}"),
            (user(f"msg_{name}"), "message", "message/ses_1"),
            (part(f"prt_{name}", "text"), "part", "part/msg_2a"),
        ):
            docs.append(damaged(doc, raw))
            expected[f"storage/{folder}/{doc.id}.json"] = ("unreadable", f"The {kind} {reason}. {LEFT_OUT}")
    caplog.set_level(logging.INFO)

    con = open_index(*docs, *good())

    assert ledger(con) == expected
    assert numbers(read_totals(con)) == (110, "0.25")
    assert con.execute("SELECT message_id FROM messages ORDER BY 1").fetchall() == [("msg_1u",), ("msg_2a",)]
    for key, (_, reason) in expected.items():
        assert any(key in line and reason in line for line in caplog.messages), key
    assert "us?er" not in caplog.text


@pytest.mark.parametrize("write", [write_sqlite, write_session_messages])
def test_bulk_unreadable_rows_are_listed_and_everything_else_counts(
    write: Write, open_index: OpenIndex, tmp_path: Path
) -> None:
    """The same in the databases."""
    is_third = write is write_session_messages
    table = "session_message" if is_third else "message"
    docs: list[Doc] = []
    expected: Ledger = {}
    for name, (raw, reason) in UNREADABLE.items():
        doc = row(f"msg_{name}", "user", 100 + len(docs)) if is_third else user(f"msg_{name}")
        docs.append(damaged(doc, raw))
        expected[f"opencode.db:{table}:{doc.id}"] = ("unreadable", f"The message {reason}. {LEFT_OUT}")
    usage = tokens(100, 10)
    content: list[Json] = [{"type": "text", "text": "Hi"}]
    third = [project(), session(), answer("msg_2a", 1, usage=usage, cost=0.25, content=content)]

    con = open_index(write(tmp_path / "data", [*docs, *(third if is_third else good())]))

    assert ledger(con) == expected
    assert numbers(read_totals(con)) == (110, "0.25")


@pytest.mark.parametrize("write", [write_json_tree, write_sqlite])
def test_bulk_good_version_clears_the_entry(write: Write, build_index: BuildIndex, tmp_path: Path) -> None:
    """Message, part and session; a second look at the damage changes nothing, not even when it was first seen."""
    bad = [damaged(doc, b"{") for doc in good() if write is write_json_tree or doc.kind in ("message", "part")]
    data_dir = write(tmp_path / "data", [*good(), *bad])
    seen = "SELECT key, state, reason, first_seen_at FROM documents ORDER BY 1"
    with opened(build_index(data_dir)) as con:
        first, before = con.execute(seen).fetchall(), numbers(read_totals(con))
    with opened(build_index(data_dir)) as con:
        second = con.execute(seen).fetchall()
    write(data_dir, good())

    index = build_index(data_dir)

    with opened(index) as con:
        assert (len(first), second, before) == (len(bad), first, (0, "0"))
        assert ledger(con) == {}
        assert numbers(read_totals(con)) == (110, "0.25")
        assert con.execute("SELECT title FROM sessions").fetchall() == [("Title of ses_1",)]


@pytest.mark.parametrize("kind", ["message", "part", "session", "project"])
@pytest.mark.parametrize("raw", [b"", GOOD[:20]])
def test_bulk_bad_new_version_keeps_the_good_one(
    kind: str, raw: bytes, build_index: BuildIndex, tmp_path: Path
) -> None:
    """A file that was cut while it was written does not take away what is known, however often it is read."""
    docs = [*good(), part("prt_text", "text", text="kept text")]
    data_dir = write_json_tree(tmp_path / "data", docs)
    build_index(data_dir)
    write_json_tree(data_dir, [damaged(doc, raw) for doc in docs if doc.kind == kind])
    build_index(data_dir)

    index = build_index(data_dir)

    with opened(index) as con:
        assert numbers(read_totals(con)) == (110, "0.25")
        assert con.execute("SELECT count(*) FROM parts WHERE deleted_at IS NULL").fetchone() == (2,)
        assert con.execute("SELECT text FROM part_bodies WHERE part_id = 'prt_text'").fetchone() == ("kept text",)
        assert con.execute("SELECT title, deleted_at FROM sessions").fetchall() == [("Title of ses_1", None)]
        found = ledger(con)
        assert len(found) == sum(doc.kind == kind for doc in docs)
        assert all(reason.endswith(KEPT) for _, reason in found.values())


def test_bulk_message_that_ended_since_is_taken_without_its_damaged_part(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """The end of an answer, with its tokens, is worth more than an earlier version of one part."""
    running = [session(), assistant(completed=None, cost=0), part("prt_1", "text", text="half")]
    data_dir = write_json_tree(tmp_path / "data", running)
    build_index(data_dir)
    write_json_tree(data_dir, [*good(), damaged(running[2], b"{")])

    index = build_index(data_dir)

    with opened(index) as con:
        assert numbers(read_totals(con)) == (110, "0.25")
        assert [state for state, _ in ledger(con).values()] == ["unreadable"]


def test_bulk_part_that_never_was_readable_does_not_hold_its_message_back(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """Only what could be read before is worth keeping."""
    data_dir = write_json_tree(tmp_path / "data", [*good(), damaged(part("prt_bad", "text"), b"{")])
    build_index(data_dir)
    write_json_tree(data_dir, [part("prt_new", "text", text="later")])

    index = build_index(data_dir)

    with opened(index) as con:
        assert con.execute("SELECT part_id FROM parts ORDER BY 1").fetchall() == [("prt_good",), ("prt_new",)]
        assert list(ledger(con)) == ["storage/part/msg_2a/prt_bad.json"]


@pytest.mark.parametrize("write", [write_json_tree, write_sqlite])
def test_bulk_copy_that_can_be_read_counts(write: Write, open_index: OpenIndex, tmp_path: Path) -> None:
    """A message in two generations, unreadable in one of them."""
    other = write_sqlite if write is write_json_tree else write_json_tree
    data_dir = other(tmp_path / "data", good())
    write(data_dir, [session(), *(damaged(doc, b'{"role"') for doc in good() if doc.kind == "message")])

    con = open_index(data_dir)

    assert numbers(read_totals(con)) == (110, "0.25")
    assert {reason.split(". ", 1)[1] for _, reason in ledger(con).values()} == {ELSEWHERE}


def test_bulk_copy_of_a_project_or_session_that_can_be_read_counts(build_index: BuildIndex, tmp_path: Path) -> None:
    """The ledger says so in the first pass and in every later one: no version of the damaged copy was ever read."""
    data_dir = write_sqlite(tmp_path / "data", good())
    write_json_tree(data_dir, [damaged(project(), b"{"), damaged(session(), b"{")])
    reasons = []

    for _ in range(2):
        with opened(build_index(data_dir)) as con:
            reasons.append([reason.split(". ", 1)[1] for _, reason in ledger(con).values()])

    assert reasons == [[ELSEWHERE, ELSEWHERE]] * 2


def test_bulk_copy_in_the_third_generation_counts_where_the_older_one_is_unreadable(
    open_index: OpenIndex, tmp_path: Path
) -> None:
    """And the other way round."""
    usage = tokens(100, 10)
    new = [session(), answer("msg_2a", 1, usage=usage, cost=0.25), damaged(row("msg_1u", "user", 0), b"")]
    data_dir = write_session_messages(tmp_path / "data", new)
    write_json_tree(data_dir, [session(), user(), damaged(assistant(), b"\xff")])

    con = open_index(data_dir)

    assert numbers(read_totals(con)) == (110, "0.25")
    assert con.execute("SELECT message_id, generation FROM messages ORDER BY 1").fetchall() == [
        ("msg_1u", 1),
        ("msg_2a", 3),
    ]
    assert len(ledger(con)) == 2


# --- documents that can be read in part


def test_bulk_odd_values_are_left_out_and_named(open_index: OpenIndex, caplog: pytest.LogCaptureFixture) -> None:
    """Each value alone is NULL or 0; the rest of its document counts."""
    secret = "the text of a prompt"
    odd = {
        "id": (with_body(user("msg_id"), id=secret), "its id is not that of its place, which counts"),
        "session": (
            with_body(user("msg_s"), sessionID="ses_9"),
            "its sessionID is not that of its place, which counts",
        ),
        "role": (with_body(user("msg_role"), role=None), "role is missing or no text, taken as unknown"),
        "created": (with_body(user("msg_t1"), time={}), "time.created is missing"),
        "time": (with_body(user("msg_t2"), time=5), "time.created is missing; time is no object, left empty"),
        "late": (with_body(user("msg_t3"), time={"created": 10**15}), "time.created is no plausible time, left empty"),
        "early": (with_body(user("msg_t4"), time={"created": -1}), "time.created is no plausible time, left empty"),
        "text": (
            with_body(user("msg_t5"), time={"created": secret, secret: 1}),
            "time.created is no plausible time, left empty",
        ),
        "completed": (
            assistant("msg_t6", completed=2**70, cost=0),
            "time.completed is no plausible time, left empty",
        ),
        "tokens": (with_body(user("msg_k1"), tokens=[1]), "tokens is no object, counted as 0"),
        "count": (
            assistant("msg_k2", usage={**tokens(7, 0), "output": secret, "reasoning": 10**15}, cost=0),
            "tokens.output is no number, counted as 0; tokens.reasoning is out of range (10^15 or more), counted as 0",
        ),
        "cache": (
            assistant("msg_k3", usage={**tokens(1, 0), "cache": {"read": True, "write": -(10**30)}}, cost=0),
            "tokens.cache.read is no number, counted as 0; "
            "tokens.cache.write is out of range (10^15 or more), counted as 0",
        ),
        "cost": (assistant("msg_c1", cost=1_000_000), "cost is no amount below 1,000,000 USD, taken as not recorded"),
        "debt": (assistant("msg_c2", cost=-1e300), "cost is no amount below 1,000,000 USD, taken as not recorded"),
        "price": (
            with_body(assistant("msg_c3"), cost="0.25"),
            "cost is no amount below 1,000,000 USD, taken as not recorded",
        ),
        "nan": (
            assistant("msg_c4", cost=float("nan"), usage=tokens(2, 0)),
            "cost is no amount below 1,000,000 USD, taken as not recorded",
        ),
    }
    caplog.set_level(logging.INFO)

    con = open_index(*good(), *(doc for doc, _ in odd.values()))

    assert ledger(con) == {
        f"storage/message/ses_1/{doc.id}.json": ("partial", f"Read in part: {reason}. {THE_REST}")
        for doc, reason in odd.values()
    }
    assert numbers(read_totals(con)) == (110 + 7 + 1 + 2, "0.25")
    assert con.execute("SELECT count(*) FROM messages").fetchone() == (2 + len(odd),)
    assert con.execute("SELECT DISTINCT session_id FROM messages").fetchall() == [("ses_1",)]
    assert len(caplog.messages) >= len(odd)
    assert secret not in caplog.text


def test_bulk_odd_parts_are_taken_as_far_as_they_go(open_index: OpenIndex) -> None:
    """Wrong ids, types, times and numbers of parts."""
    usage = tokens(5, 0)
    odd = {
        "prt_1": (with_body(part("prt_1", "text"), id="prt_x"), "its id is not that of its place, which counts"),
        "prt_2": (
            with_body(part("prt_2", "text"), messageID="msg_x", sessionID=7),
            "its messageID is not that of its place, which counts; "
            "its sessionID is not that of its place, which counts",
        ),
        "prt_3": (with_body(part("prt_3", "text"), type=None), "type is missing or no text, taken as unknown"),
        "prt_4": (
            part("prt_4", "text", time={"start": 1e18, "end": START_MS}),
            "time.start is no plausible time, left empty",
        ),
        "prt_5": (part("prt_5", "text", time="now"), "time is no object, left empty"),
        "prt_6": (
            part("prt_6", "tool", state=[]),
            "tool is missing or no text; state.status is missing or no text, taken as unfinished",
        ),
        "prt_7": (
            part("prt_7", "tool", tool="bash", state={"status": "completed", "time": {"start": -5, "end": START_MS}}),
            "time.start is no plausible time, left empty",
        ),
        "prt_8": (
            step_finish("prt_8", {**usage, "input": 2**64}, cost=2e6),
            "tokens.input is out of range (10^15 or more), counted as 0; "
            "cost is no amount below 1,000,000 USD, taken as not recorded",
        ),
    }

    con = open_index(session(), user(), assistant(usage=usage), *(doc for doc, _ in odd.values()))

    assert ledger(con) == {
        f"storage/part/msg_2a/{part_id}.json": ("partial", f"Read in part: {reason}. {THE_REST}")
        for part_id, (_, reason) in odd.items()
    }
    assert con.execute("SELECT count(*) FROM parts WHERE message_id = 'msg_2a'").fetchone() == (len(odd),)


def test_bulk_odd_sessions_and_projects_are_taken_as_far_as_they_go(open_index: OpenIndex) -> None:
    """The path names them, and a bad time is no time."""
    con = open_index(
        with_body(project(), id="prj_x", time={"created": "soon"}),
        with_body(session("ses_1"), id="ses_x", time={"created": 10**17, "updated": START_MS}),
        with_body(session("ses_2"), title=["no", "text"], time=None, parentID=5),
        damaged(session("ses_3"), b"{}"),
    )

    place = "its id is not that of its place, which counts"
    assert list(ledger(con).values()) == [
        ("partial", f"Read in part: {reason}. {THE_REST}")
        for reason in (
            f"{place}; time.created is no plausible time, left empty",
            f"{place}; time.created is no plausible time, left empty",
            "time.created is missing",
            "time.created is missing",
        )
    ]
    found = con.execute("SELECT session_id, title, created_at IS NULL FROM sessions ORDER BY 1").fetchall()
    assert found == [("ses_1", "Title of ses_1", True), ("ses_2", None, True), ("ses_3", None, True)]


# --- values that only look like trouble


def test_bulk_strange_texts_and_numbers_are_kept(open_index: OpenIndex) -> None:
    """Lone surrogates, NUL characters, huge numbers, duplicate keys and a byte order mark harm nobody."""
    raw = {
        "msg_bom": b"\xef\xbb\xbf" + GOOD,
        "msg_dup": b'{"role": "user", "role": "assistant", "time": {"created": 1767225600000}}',
        "msg_big": b'{"role": "user", "time": {"created": 1767225600000}, "x": ' + b"7" * 30 + b', "y": 1e400}',
        "msg_huge": b'{"role": "user", "time": {"created": 1767225600000}, "x": ' + b"7" * 5_000 + b"}",
        "msg_nan": b'{"role": "user", "time": {"created": 1767225600000}, "x": [NaN, Infinity, -Infinity]}',
    }
    error = (
        b'{"role": "assistant", "time": {"created": 1767225600000}, "error": {"name": "E\\u0000\\ud83d", "data": %s}}'
    )
    raw["msg_nul"] = error % b'{"message": "a\\u0000b\\udc00", "NaN": NaN, "big": 123456789012345678901234567890}'
    texts = {
        "prt_nul": b'{"type": "text", "text": "a\\u0000b"}',
        "prt_low": b'{"type": "text", "text": "a\\udc00b"}',
        "prt_raw": b'{"type": "text", "text": "a\xed\xb0\x80b"}',
        "prt_key": b'{"type": "odd\\ud800", "k\\udc00": [1e999, {"\\ud800": "\\udfff"}]}',
    }
    docs = [damaged(user(name), body) for name, body in raw.items()]
    docs += [damaged(part(name, "text"), body) for name, body in texts.items()]

    con = open_index(*good(), *docs)

    assert ledger(con) == {}
    assert con.execute("SELECT count(*) FROM messages").fetchone() == (2 + len(raw),)
    assert con.execute("SELECT role FROM messages WHERE message_id = 'msg_dup'").fetchone() == ("assistant",)
    assert con.execute("SELECT error_name FROM messages WHERE message_id = 'msg_nul'").fetchone() == ("E\0?",)
    kept = con.execute("SELECT text FROM part_bodies WHERE text IS NOT NULL ORDER BY part_id").fetchall()
    assert kept == [("a?b",), ("a\0b",), ("a?b",)]
    assert con.execute("SELECT part_type FROM parts WHERE part_id = 'prt_key'").fetchone() == ("odd?",)


@pytest.mark.parametrize("depth", [200, 300, 900])
def test_bulk_deep_documents_are_kept(depth: int, open_index: OpenIndex, tmp_path: Path) -> None:
    """Deep, and still readable: wherever in the document, whatever becomes of it there."""
    deep: object = "core"
    for _ in range(depth):
        deep = [deep]
    state = {"status": "error", "input": {"a": deep}, "output": deep, "error": deep, "metadata": {"exit": deep}}
    item = {"type": "tool", "name": "bash", "id": "c", "state": state, "time": deep}
    strange: Json = {"error": deep, "model": {"providerID": deep, "id": deep}, "tokens": {"input": deep}, "time": deep}
    docs = [
        *good(),
        with_body(assistant("msg_deep"), **{**strange, "role": "assistant", "finish": deep, "cost": deep}),
        part("prt_1", "text", text=deep, synthetic=True),
        part("prt_2", "tool", tool="bash", callID=deep, state=state),
        part("prt_3", "file", url=deep, mime=deep, source=deep),
        part("prt_4", "mystery", time=deep, anything=deep),
        session("ses_deep", title=deep, summary=deep, parentID=deep),
    ]
    data_dir = write_json_tree(tmp_path / "old", docs)
    third = [
        session("ses_2"),
        row("msg_1", "user", 1, "ses_2", text=deep, files=[{"url": deep}, deep]),
        answer("msg_2", 2, "ses_2", cost=0.5, usage=tokens(1, 0), content=[item, {"type": "text", "text": deep}]),
        row("msg_3", "shell", 3, "ses_2", command=deep, output=deep),
        answer("msg_4", 4, "ses_2", cost=0.5, error=deep, model={"id": deep, "providerID": deep}),
    ]

    con = open_index(data_dir, write_session_messages(tmp_path / "new", third))

    assert {state for state, _ in ledger(con).values()} == {"partial"}
    assert numbers(read_totals(con)) == (111, "1.25")
    assert con.execute("SELECT count(*) FROM parts").fetchone() == (7,)


def test_bulk_huge_documents_are_cut_and_counted(open_index: OpenIndex) -> None:
    """5 MB and more: the text is cut, its true size is kept, and so is every number."""
    size = 6_000_000
    docs = [*good(), part("prt_huge", "text", text="x" * size), user("msg_huge", system="y" * size)]

    con = open_index(*docs)

    assert ledger(con) == {}
    assert numbers(read_totals(con)) == (110, "0.25")
    found = con.execute(
        "SELECT text_bytes, length(text) < 70000 FROM part_bodies WHERE part_id = 'prt_huge'"
    ).fetchone()
    assert found == (size, True)


def test_bulk_negative_tokens_and_costs_count_as_recorded(open_index: OpenIndex) -> None:
    """1.1 really wrote them."""
    con = open_index(*good(), assistant("msg_9", usage=tokens(-40, 10, total=-30), cost=-0.125))

    assert ledger(con) == {}
    assert numbers(read_totals(con)) == (80, "0.125")


# --- ids that more than one document claims


def test_bulk_message_in_two_session_folders_counts_once(open_index: OpenIndex) -> None:
    """That of the smaller session id, whatever the order of the folder."""
    docs = [assistant("msg_2a", name, usage=tokens(number, 0)) for number, name in ((1, "ses_b"), (2, "ses_a"))]
    docs += [assistant("msg_2a", "ses_c", usage=tokens(4, 0))]

    con = open_index(session("ses_a"), session("ses_b"), session("ses_c"), *docs)

    assert read_totals(con)["tokens"]["total"] == 2
    reason = f"The message has the id of a message of ses_a. {LEFT_OUT}"
    assert ledger(con)["storage/message/ses_b/msg_2a.json"] == ("unreadable", reason)
    assert set(ledger(con)) == {f"storage/message/{name}/msg_2a.json" for name in ("ses_b", "ses_c")}


def test_bulk_part_in_two_messages_counts_once(build_index: BuildIndex, tmp_path: Path) -> None:
    """The numbers of both messages count; the row exists once, and a second look does not forget why."""
    data_dir = write_json_tree(tmp_path / "data", with_twin())
    build_index(data_dir)

    index = build_index(data_dir)

    with opened(index) as con:
        assert read_totals(con)["tokens"]["total"] == 117
        assert con.execute("SELECT part_id, message_id FROM parts").fetchall() == [("prt_good", "msg_2a")]
        reason = f"The part has the id of a part of msg_2a. {LEFT_OUT}"
        assert ledger(con) == {"part prt_good of msg_3a": ("unreadable", reason)}


@pytest.mark.parametrize("is_message_gone", [False, True])
def test_bulk_part_that_its_message_lost_counts_in_the_other(
    is_message_gone: bool, build_index: BuildIndex, tmp_path: Path
) -> None:
    """It was left out there only as long as the first one had it, though nothing of the other one changed."""
    data_dir = write_json_tree(tmp_path / "data", with_twin())
    build_index(data_dir)
    storage = data_dir / "storage"
    (storage / "part" / "msg_2a" / "prt_good.json").unlink()
    if is_message_gone:
        (storage / "message" / "ses_1" / "msg_2a.json").unlink()

    index = build_index(data_dir)

    with opened(index) as con:
        assert con.execute("SELECT part_id, message_id FROM parts WHERE deleted_at IS NULL").fetchall() == [
            ("prt_good", "msg_3a")
        ]
        assert ledger(con) == {}


def test_bulk_part_left_out_of_a_folder_that_is_gone_is_settled_once(build_index: BuildIndex, tmp_path: Path) -> None:
    """The folder was renamed since: what was noted of it goes with the part, and nothing is due for ever."""
    before = write_json_tree(tmp_path / "before", with_twin())
    build_index(before)
    renamed = before.rename(tmp_path / "renamed")
    build_index(renamed)
    (renamed / "storage" / "part" / "msg_2a" / "prt_good.json").unlink()
    index = build_index(renamed)

    with Database.open(index) as database:
        storages = open_storages(database, find_sources([renamed]), [renamed])
        done = update.apply(database, storages, Changes(messages={"msg_3a": "ses_1"}), may_postpone=True)

    assert done.written == 0
    with opened(index) as con:
        assert con.execute("SELECT message_id FROM parts WHERE deleted_at IS NULL").fetchall() == [("msg_3a",)]
        assert ledger(con) == {}


def test_bulk_part_left_out_is_not_forgotten_while_another_is_damaged(build_index: BuildIndex, tmp_path: Path) -> None:
    """The version from before is kept then, and with it the note that one of its parts counts elsewhere."""
    text_part = part("prt_text", "text", "msg_3a", text="Hi")
    data_dir = write_json_tree(tmp_path / "data", [*with_twin(), text_part])
    build_index(data_dir)
    parts = data_dir / "storage" / "part"
    text = (parts / "msg_3a" / "prt_text.json").read_bytes()
    (parts / "msg_3a" / "prt_text.json").write_bytes(b"{")
    build_index(data_dir)
    (parts / "msg_3a" / "prt_text.json").write_bytes(text)
    build_index(data_dir)
    (parts / "msg_2a" / "prt_good.json").unlink()

    index = build_index(data_dir)

    with opened(index) as con:
        living = con.execute("SELECT part_id, message_id FROM parts WHERE deleted_at IS NULL ORDER BY 1").fetchall()
        assert living == [("prt_good", "msg_3a"), ("prt_text", "msg_3a")]
        assert ledger(con) == {}


# --- files and folders that are not what they should be


def test_messages_named_pipe_and_folder_are_none(tmp_path: Path) -> None:
    """An event names what came, whatever it is: to open a pipe would wait for ever, and with it the indexer."""
    data_dir = write_json_tree(tmp_path / "opencode", [session(), user()])
    messages = data_dir / "storage" / "message" / "ses_1"
    os.mkfifo(messages / "msg_pipe.json")
    (messages / "msg_dir.json").mkdir()
    named = dict.fromkeys(("msg_1u", "msg_pipe", "msg_dir"), "ses_1")

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(JsonTree(data_dir).messages, named, 1)
        is_done = not wait([reading], timeout=5).not_done
        os.close(os.open(messages / "msg_pipe.json", os.O_RDWR | os.O_NONBLOCK))  # lets it go on

    assert is_done
    assert [found.message_id for found in reading.result()] == ["msg_1u"]


def test_bulk_strange_files_and_folders_are_listed(open_index: OpenIndex, tmp_path: Path) -> None:
    """Links to nowhere and to themselves, folders as files, files as folders, a pipe, a name that is no text."""
    data_dir = write_json_tree(tmp_path / "data", good())
    storage = data_dir / "storage"
    messages, parts = storage / "message" / "ses_1", storage / "part" / "msg_2a"
    (messages / "msg_dangling.json").symlink_to("nowhere.json")
    (messages / "msg_self.json").symlink_to("msg_self.json")
    (messages / "msg_folder.json").mkdir()
    os.mkfifo(messages / "msg_pipe.json")
    (parts / "prt_self.json").symlink_to("prt_self.json")
    (parts / ".json").write_bytes(GOOD)
    (storage / "message" / "ses_loop").symlink_to("ses_loop")
    (storage / "message" / "ses_file").write_bytes(b"")
    (storage / "part" / "msg_1u").write_bytes(b"")
    (storage / "session" / "prj_loop").symlink_to("../session")
    (storage / "project" / "prj_self.json").symlink_to("prj_self.json")
    Path(os.fsdecode(os.fsencode(messages) + b"/msg_\xff.json")).write_bytes(GOOD)
    for harmless in (storage / "session" / ".DS_Store", messages / "msg_1u.json.swp", parts / "notes.txt"):
        harmless.write_bytes(b"\xff")

    con = open_index(data_dir)

    assert numbers(read_totals(con)) == (110, "0.25")
    assert con.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    no_file = ("unreadable", f"is no file, or a symbolic link that leads nowhere. {LEFT_OUT}")
    no_folder = ("unreadable", f"folder is none, or a symbolic link that leads nowhere. {LEFT_OUT}")
    assert {key: (state, reason.split(" ", 2)[2]) for key, (state, reason) in ledger(con).items()} == {
        "storage/message/ses_1/msg_dangling.json": no_file,
        "storage/message/ses_1/msg_self.json": no_file,
        "storage/message/ses_1/msg_folder.json": no_file,
        "storage/message/ses_1/msg_pipe.json": no_file,
        "storage/message/ses_1/msg_?.json": ("unreadable", f"has a name that is not UTF-8 text. {LEFT_OUT}"),
        "storage/part/msg_2a/prt_self.json": no_file,
        "storage/part/msg_2a/.json": ("unreadable", f"has no id: its name is empty. {LEFT_OUT}"),
        "storage/message/ses_loop": no_folder,
        "storage/message/ses_file": no_folder,
        "storage/part/msg_1u": ("unreadable", f"folder cannot be listed (Not a directory). {LEFT_OUT}"),
        "storage/project/prj_self.json": no_file,
    }


def test_bulk_link_to_another_session_folder_counts_nothing_twice(open_index: OpenIndex, tmp_path: Path) -> None:
    """A folder that is there under two names."""
    data_dir = write_json_tree(tmp_path / "data", good())
    (data_dir / "storage" / "message" / "ses_2").symlink_to("ses_1")

    con = open_index(data_dir)

    assert numbers(read_totals(con)) == (110, "0.25")
    assert con.execute("SELECT DISTINCT session_id FROM messages").fetchall() == [("ses_1",)]


@pytest.mark.parametrize("name", ["storage", "storage/message"])
def test_bulk_file_in_place_of_the_tree_is_an_unreadable_source(
    name: str, build_index: BuildIndex, tmp_path: Path
) -> None:
    """Named with what is wrong; the other source is read, and comes back when the folder does."""
    broken, other = write_json_tree(tmp_path / "broken", good()), write_sqlite(tmp_path / "other", [session("ses_2")])
    index = build_index(broken, other)
    aside = (broken / name).rename(tmp_path / "aside")
    if name != "storage":
        shutil.rmtree(broken / "storage" / "session")
    (broken / name).write_bytes(b"")

    build_index(broken, other)

    with opened(index) as con:
        state, reason = sources(con)["json_tree"]
        assert (state, numbers(read_totals(con))) == ("unreadable", (110, "0.25"))
        assert str(broken / "storage") in str(reason)
        assert "it is tried again by itself, and at the next start." in str(reason)
        assert sources(con)["sqlite_v1"][0] == "empty"
        assert con.execute("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL").fetchone() == (0,)
    (broken / name).unlink()
    aside.rename(broken / name)
    with opened(build_index(broken, other)) as con:
        assert sources(con)["json_tree"] == ("ok", None)


def test_bulk_missing_folder_is_an_unreadable_source(build_index: BuildIndex, tmp_path: Path) -> None:
    """A disk that is not there takes nothing away."""
    present, gone = write_json_tree(tmp_path / "present", good()), write_sqlite(tmp_path / "gone", [session("ses_2")])
    build_index(present, gone)
    shutil.rmtree(gone)

    index = build_index(present, gone)

    with opened(index) as con:
        rows = con.execute("SELECT kind, state, reason FROM sources ORDER BY source_id").fetchall()
        assert read_totals(con)["sessions"] == 2
        assert con.execute("SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL").fetchone() == (0,)
    assert [(kind, state) for kind, state, _ in rows] == [
        ("json_tree", "ok"),
        ("sqlite_v1", "unreadable"),
        ("json_tree", "unreadable"),
    ]
    assert rows[1][2] == storages.GONE
    assert f"{gone / 'storage'} cannot be listed (No such file or directory)" in rows[2][2]


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """Make a folder that everybody may reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]:
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_bulk_what_permissions_hide_is_listed_and_kept(
    shared_path: Path, monkeypatch: pytest.MonkeyPatch, build_index: BuildIndex
) -> None:
    """A file and two folders that may not be read: known rows stay, nothing counts as deleted."""
    docs = [*good(), session("ses_2"), user("msg_9u", "ses_2"), part("prt_9", "text", "msg_9u", "ses_2", text="kept")]
    data_dir = write_json_tree(shared_path / "data", docs)
    index = build_index(data_dir)
    hidden = [data_dir / "storage" / name for name in ("message/ses_1/msg_1u.json", "message/ses_2", "part/msg_2a")]
    for path in hidden:
        path.chmod(0)
    monkeypatch.setattr(JsonTree, "inventory", unprivileged(JsonTree.inventory))
    monkeypatch.setattr(JsonTree, "messages", unprivileged(JsonTree.messages))

    build_index(data_dir)

    with opened(index) as con:
        assert {key: reason for key, (_, reason) in ledger(con).items()} == {
            "storage/message/ses_1/msg_1u.json": f"The message cannot be read (Permission denied). {KEPT}",
            "storage/message/ses_2": f"The message folder cannot be listed (Permission denied). {LEFT_OUT}",
            "storage/message/ses_2/msg_9u.json": f"The message cannot be read (Permission denied). {KEPT}",
            "storage/part/msg_2a": f"The part folder cannot be listed (Permission denied). {KEPT}",
        }
        assert numbers(read_totals(con)) == (110, "0.25")
        assert con.execute("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL").fetchone() == (0,)
        assert con.execute("SELECT text FROM part_bodies WHERE part_id = 'prt_9'").fetchone() == ("kept",)
    for path in hidden:
        path.chmod(0o755)
    with opened(build_index(data_dir)) as con:
        assert ledger(con) == {}


def unprivileged(function: Callable[..., object]) -> Callable[..., object]:
    """Make a function run without root's rights."""

    def run(*values: object, **named: object) -> object:
        """Call it."""
        with without_privileges():
            return function(*values, **named)

    return run


# --- databases


def database(folder: Path, docs: Sequence[Doc] | None = None) -> Path:
    """Write a database and return its path."""
    return write_sqlite(folder, good() if docs is None else docs) / "opencode.db"


def test_bulk_columns_of_wrong_types_are_listed(open_index: OpenIndex, tmp_path: Path) -> None:
    """NULL, numbers and other bytes where text is expected, ids included."""
    path = database(tmp_path / "data")
    with sqlite3.connect(path) as con:
        for table in ("message", "part", "session"):
            columns = ", ".join(found[1] for found in con.execute(f"PRAGMA table_info({table})"))
            con.execute(f"ALTER TABLE {table} RENAME TO old")
            con.execute(f"CREATE TABLE {table} ({columns})")
            con.execute(f"INSERT INTO {table} SELECT * FROM old")
            con.execute("DROP TABLE old")
        insert = "INSERT INTO message VALUES (?, ?, 0, 0, ?)"
        con.execute(insert, ("msg_null", "ses_1", None))
        con.execute(insert, ("msg_int", "ses_1", 12))
        con.execute(insert, ("msg_real", "ses_1", 1.5))
        con.execute(insert, ("msg_blob", "ses_1", b"\xff\xfe\x00"))
        con.execute(insert, ("msg_json", "ses_1", GOOD))
        con.execute(insert, ("msg_alone", None, GOOD.decode()))
        con.execute(insert, (None, "ses_1", GOOD.decode()))
        con.execute(insert, (b"msg_bytes", "ses_1", GOOD.decode()))
        con.execute(insert.replace("?", "CAST(? AS TEXT)", 1), (b"msg_\xff", "ses_1", GOOD.decode()))
        con.execute("INSERT INTO part VALUES ('prt_null', 'msg_2a', 'ses_1', 0, 0, NULL)")
        con.execute("INSERT INTO part VALUES (NULL, 'msg_2a', 'ses_1', 0, 0, '{\"type\": \"text\"}')")
        con.execute("INSERT INTO part VALUES ('prt_lost', NULL, 'ses_1', 0, 0, '{\"type\": \"text\"}')")
        con.execute("INSERT INTO part VALUES ('prt_orphan', 'msg_gone', 'ses_1', 0, 0, '{\"type\": \"text\"}')")
        con.execute("INSERT INTO session (id, title, time_created, version) VALUES (7, 'x', 'soon', 3)")
        con.execute("INSERT INTO session (id, title, time_created, version) VALUES ('ses_x', x'ff', 'soon', 3)")
    con.close()

    found = open_index(path.parent)

    number = "has a number in its column data, where JSON text is expected"
    null = "has nothing (NULL) in its column data, where JSON text is expected"
    assert {key.removeprefix("opencode.db:"): reason for key, (_, reason) in ledger(found).items()} == {
        "message:msg_null": f"The message {null}. {LEFT_OUT}",
        "message:msg_int": f"The message {number}. {LEFT_OUT}",
        "message:msg_real": f"The message {number}. {LEFT_OUT}",
        "message:msg_blob": f"The message is not UTF-8 text (byte 0 of 3). {LEFT_OUT}",
        "message:msg_alone": f"The message names no session. {LEFT_OUT}",
        "message:row 9": f"The message has no id that is text. {LEFT_OUT}",
        "message:row 10": f"The message has no id that is text. {LEFT_OUT}",
        "message:row 11": f"The message has no id that is text. {LEFT_OUT}",
        "part:prt_null": f"The part {null}. {LEFT_OUT}",
        "part:msg_2a, part 3": f"The part has no id that is text. {LEFT_OUT}",
        "part:rows without message": f"The part has no message id that is text. {LEFT_OUT}",
        "session:row 2": f"The session has no id that is text. {LEFT_OUT}",
        "session:ses_x": f"Read in part: time.created is no plausible time, left empty. {THE_REST}",
    }
    assert numbers(read_totals(found)) == (110, "0.25")
    assert found.execute("SELECT message_id FROM messages ORDER BY 1").fetchall() == [
        ("msg_1u",),
        ("msg_2a",),
        ("msg_json",),
    ]
    assert found.execute("SELECT part_id, is_orphan FROM parts ORDER BY 1").fetchall() == [
        ("prt_good", False),
        ("prt_orphan", True),
    ]


UNUSABLE = {
    "empty": (lambda path: path.write_bytes(b""), "is empty: it has no tables yet"),
    "binary": (lambda path: path.write_bytes(b"no database " * 400), "file is not a database"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:6000]), "is malformed"),
    "header": (lambda path: path.write_bytes(path.read_bytes()[:50]), "is malformed"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is no file"),
    "dangling": (lambda path: (path.unlink(), path.symlink_to("nowhere.db")), "a symbolic link that leads nowhere"),
    "loop": (lambda path: (path.unlink(), path.symlink_to(path.name)), "a symbolic link that leads nowhere"),
    "other": (lambda path: alter(path, "DROP TABLE part"), "has no table 'part' (tables found: message, project, "),
    "columns": (
        lambda path: alter(path, "ALTER TABLE message RENAME COLUMN data TO body"),
        "lacks the columns data (found: body, id,",
    ),
}


def alter(path: Path, sql: str) -> None:
    """Change a database."""
    with sqlite3.connect(path) as con:
        con.execute(sql)
    con.close()


@pytest.mark.parametrize("name", UNUSABLE)
def test_bulk_unusable_database_is_told_and_the_rest_is_read(
    name: str, build_index: BuildIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows stay, the tree beside it is read, and a good file clears everything."""
    spoil, reason = UNUSABLE[name]
    path = database(write_json_tree(tmp_path / "data", [session("ses_2"), user("msg_9u", "ses_2")]))
    intact = path.read_bytes()
    index = build_index(path.parent)
    spoil(path)
    write_json_tree(path.parent, [user("msg_10u", "ses_2")])

    build_index(path.parent)

    with opened(index) as con:
        state, told = sources(con)["sqlite_v1"]
        assert state == "unreadable"
        assert reason in str(told)
        assert str(path) in str(told)
        assert "tried again by itself, and at the next start" in str(told)
        assert told in caplog.messages
        assert numbers(read_totals(con)) == (110, "0.25")
        assert con.execute("SELECT count(*) FROM messages WHERE deleted_at IS NULL").fetchone() == (4,)
        assert sources(con)["json_tree"] == ("ok", None)
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    path.write_bytes(intact)
    with opened(build_index(path.parent)) as con:
        assert sources(con)["sqlite_v1"] == ("ok", None)


@contextmanager
def locked(path: Path, *pragmas: str) -> Iterator[None]:
    """Let another process hold a database exclusively."""
    code = (
        "import sqlite3, sys\n"
        f"con = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        f"for sql in {[*pragmas, 'BEGIN EXCLUSIVE']!r}: con.execute(sql).fetchall()\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield


@pytest.mark.parametrize("pragmas", [(), ("PRAGMA journal_mode=WAL", "PRAGMA locking_mode=EXCLUSIVE")])
def test_bulk_locked_database_is_told_and_keeps_its_rows(
    pragmas: tuple[str, ...], build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a transaction without a write-ahead log, and by a program that never lets go."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    path = database(tmp_path / "data")
    index = build_index(path.parent)

    with locked(path, *pragmas):
        build_index(path.parent)

    with opened(index) as con:
        state, reason = sources(con)["sqlite_v1"]
        assert (state, numbers(read_totals(con))) == ("unreadable", (110, "0.25"))
        assert "database is locked. Another program has locked it." in str(reason)
    with opened(build_index(path.parent)) as con:
        assert sources(con)["sqlite_v1"] == ("ok", None)


def test_bulk_database_of_a_busy_opencode_is_read(build_index: BuildIndex, tmp_path: Path) -> None:
    """With a write-ahead log even an exclusive transaction locks nobody out."""
    path = database(tmp_path / "data")
    with locked(path, "PRAGMA journal_mode=WAL"):
        index = build_index(path.parent)

    with opened(index) as con:
        assert (sources(con)["sqlite_v1"], numbers(read_totals(con))) == (("ok", None), (110, "0.25"))


def test_bulk_database_that_locks_during_the_pass_is_given_up(
    build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was listed: nothing counts as deleted, the other source is read to its end."""
    path = database(tmp_path / "data")
    other = write_json_tree(tmp_path / "other", [session("ses_2"), assistant("msg_9", "ses_2", usage=tokens(5, 0))])
    build_index(path.parent)
    rows = sqlite_file.SqliteFile.rows

    def locked_for_documents(
        self: sqlite_file.SqliteFile, sql: str, values: Sequence[str] = ()
    ) -> list[sqlite_file.Row]:
        """Let lists through and nothing else."""
        if "data FROM part" in sql:
            raise SourceUnusable(f"Cannot read {self.path}: database is locked.")
        return rows(self, sql, values)

    monkeypatch.setattr(sqlite_file.SqliteFile, "rows", locked_for_documents)
    index = build_index(path.parent, other)

    with opened(index) as con:
        assert sources(con)["sqlite_v1"][0] == "unreadable"
        assert sources(con)["json_tree"] == ("ok", None)
        assert numbers(read_totals(con)) == (115, "0.5")
        assert con.execute("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL").fetchone() == (0,)


@pytest.mark.parametrize("write", [write_sqlite, write_session_messages])
def test_bulk_database_damaged_in_the_middle_gives_what_is_left(
    write: Write, open_index: OpenIndex, tmp_path: Path
) -> None:
    """One page of documents is overwritten: the others are read, and every message that is lost is named."""
    is_third = write is write_session_messages
    docs: list[Doc] = [session()]
    for number in range(40):
        message_id = f"msg_{number:02}"
        usage, text = tokens(1, 0, total=1), "x" * 1_500
        if is_third:
            docs.append(answer(message_id, number, usage=tokens(1, 0), content=[{"type": "text", "text": text}]))
        else:
            docs.append(assistant(message_id, created=START_MS + number, usage=usage, system=text))
    path = write(tmp_path / "data", docs) / "opencode.db"
    content, page_size = path.read_bytes(), 4_096
    rows = [at for at in range(0, len(content), page_size) if b"x" * 1_000 in content[at : at + page_size]]
    with path.open("r+b") as file:
        file.seek(rows[len(rows) // 2])
        file.write(b"\xde\xad" * (page_size // 2))

    found = open_index(path.parent)

    lost = ledger(found)
    count = found.execute("SELECT count(*) FROM messages").fetchone()
    assert count is not None
    assert (len(lost) + count[0], len(lost) > 0, count[0] > 30) == (40, True, True)
    assert read_totals(found)["tokens"]["total"] == count[0]
    assert {reason for _, reason in lost.values()} == {
        f"The message lies in a damaged place of the database file. {LEFT_OUT}"
    }


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_bulk_half_written_database_gives_what_is_left_or_says_why(
    share: float, open_index: OpenIndex, tmp_path: Path
) -> None:
    """Cut off by a full disk: either some rows and a list of the others, or one reason for all."""
    docs = [session(), *(assistant(f"msg_{n:02}", usage=tokens(1, 0, total=1), system="x" * 1_500) for n in range(40))]
    path = database(tmp_path / "data", docs)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    con = open_index(path.parent)

    state, reason = sources(con)["sqlite_v1"]
    count = con.execute("SELECT count(*) FROM messages").fetchone()
    assert count is not None
    assert read_totals(con)["tokens"]["total"] == count[0]
    assert len(ledger(con)) + count[0] == 40 or (state == "unreadable" and "malformed" in str(reason))


def test_inventory_no_space_for_the_copy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at all storages goes on with the others, and looks again."""

    def refuse(path: Path) -> sqlite3.Connection:
        """Fail as SQLite does where it cannot write beside the database."""
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    def be_full(prefix: str) -> None:
        """Fail as a full disk does."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data_dir = write_sqlite(tmp_path / "data", [session()])
    monkeypatch.setattr(sqlite_file, "_connect", refuse)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", be_full)

    (source,) = storages.find_sources([data_dir])
    with pytest.raises(SourceUnusable, match=r"No space left on device.*temporary files, which needs the space"):
        source.inventory()


def test_messages_of_a_read_only_folder_with_a_write_ahead_log_come_from_a_copy(shared_path: Path) -> None:
    """SQLite needs to write beside the database to read its log; where it may not, a copy is read, and removed."""
    live = database(shared_path / "live", [session()])
    writer = sqlite3.connect(live, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("SELECT count(*) FROM session").fetchone()  # from now on the log stays until it closes
    write_sqlite(live.parent, good())
    data_dir = shared_path / "data"
    data_dir.mkdir()
    for name in ("opencode.db", "opencode.db-wal"):
        shutil.copyfile(live.with_name(name), data_dir / name)
        (data_dir / name).chmod(0o444)
    writer.close()
    data_dir.chmod(0o555)
    before = sorted(Path(tempfile.gettempdir()).glob("opencode-analytics-*"))

    with without_privileges():
        reader = bulk_loader.find_sources([data_dir])[0]
        found = reader.inventory()
        documents = reader.messages(dict(sorted(found.messages.items())), 1)
        reader.close()

    assert sorted(found.messages) == ["msg_1u", "msg_2a"]
    assert [len(message.parts) for message in documents] == [0, 1]
    assert sorted(path.name for path in data_dir.iterdir()) == ["opencode.db", "opencode.db-wal"]
    assert sorted(Path(tempfile.gettempdir()).glob("opencode-analytics-*")) == before


def test_inventory_of_an_unreadable_database_says_so(shared_path: Path) -> None:
    """Permissions, by name."""
    path = database(shared_path / "data")
    path.chmod(0)

    with without_privileges(), pytest.raises(SourceUnusable) as raised:
        bulk_loader.find_sources([path.parent])[0].inventory()

    assert str(raised.value).startswith(f"Cannot read {path}: Permission denied. Check its permissions.")


def test_find_sources_unreadable_tree_is_listed(shared_path: Path) -> None:
    """A folder that hides whether it holds sessions is not the same as none."""
    folder = write_json_tree(shared_path / "data", good()) / "storage" / "session"
    shutil.rmtree(folder.parent / "message")
    folder.chmod(0)

    with without_privileges(), pytest.raises(SourceUnusable) as raised:
        bulk_loader.find_sources([shared_path / "data"])[0].inventory()

    assert "storage/session: the session folder cannot be listed (Permission denied)" in str(raised.value)


def test_find_sources_unreadable_folder_is_listed(shared_path: Path) -> None:
    """The data folder itself."""
    data_dir = write_json_tree(shared_path / "data", good())
    data_dir.chmod(0)

    with without_privileges(), pytest.raises(SourceUnusable) as raised:
        bulk_loader.find_sources([data_dir])[0].inventory()

    assert f"{data_dir / 'storage'} cannot be listed (Permission denied)" in str(raised.value)


def test_find_sources_folder_without_storage_has_none(tmp_path: Path) -> None:
    """A fresh installation is no damage."""
    (tmp_path / "storage").mkdir()

    assert bulk_loader.find_sources([tmp_path]) == []


def test_bulk_client_version_of_many_digits_is_no_version(open_index: OpenIndex, tmp_path: Path) -> None:
    """Python refuses to read such a number."""
    docs = [session(version="9" * 5_000 + ".1"), assistant(usage=tokens(7, 0), stamp_ms=START_MS + 86_400_000)]

    con = open_index(write_sqlite(tmp_path / "data", docs))

    assert read_totals(con)["tokens"]["total"] == 7


# --- properties: 200 seeds; where a transaction costs more than its rows, fifty of them share one

FIFTIES = [range(first, first + 50) for first in range(0, 200, 50)]


def named(doc: Doc, seed: int) -> Doc:
    """Give a document an id of its own among those of other seeds."""
    return replace(doc, id=f"{doc.id}_{seed}", message_id=f"{doc.message_id}_{seed}")


def random_value(chance: random.Random, depth: int = 0) -> object:
    """Make any JSON value, mostly an unpleasant one."""
    kind = chance.randrange(10 if depth < 3 else 8)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, -1, 10**15, -(10**15), 2**63, -(2**63) - 1, 10**30, START_MS, 253_402_300_799_999])
    if kind == 2:
        return chance.choice([0.1, -0.0, 1e-320, 1e308, 999_999.9999999999999, 1e6, float("nan"), float("inf")])
    if kind < 8:
        return chance.choice(
            ["", "x", "a\0b", "\ud800", "é\udfff", "\U0001f600", "1e5", "ses_1", "data:,", "x" * 70_000]
        )
    if kind == 8:
        return [random_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {str(random_value(chance, 3)): random_value(chance, depth + 1) for _ in range(chance.randrange(4))}


def scrambled(chance: random.Random, value: object) -> object:
    """Replace some values inside a document."""
    if chance.random() < 0.12:
        return random_value(chance)
    if isinstance(value, dict):
        return {name: scrambled(chance, item) for name, item in value.items() if chance.random() > 0.05}
    return [scrambled(chance, item) for item in value] if isinstance(value, list) else value


def sample_documents() -> list[Doc]:
    """One document of each shape."""
    usage = tokens(100, 10, 3, 2, 1, total=113)
    state = {
        "status": "completed",
        "input": {"command": "ls"},
        "output": "out",
        "title": "List",
        "metadata": {"exit": 1, "sessionId": "ses_2"},
        "time": {"start": START_MS, "end": START_MS + 5},
    }
    item: Json = {"type": "tool", "id": "c", "name": "bash", "state": {**state, "content": [{"text": "o"}]}, "time": {}}
    return [
        project(),
        session(summary={"additions": 1, "deletions": 2, "files": 3}, cost=0.5, tokens=usage),
        user(),
        assistant(usage=usage, error={"name": "APIError", "data": {"message": "no"}}),
        part("prt_1", "text", text="Hi", synthetic=True, time={"start": START_MS, "end": START_MS}),
        part("prt_2", "tool", tool="bash", callID="c", state=state),
        part("prt_3", "file", mime="image/png", url="data:image/png;base64,xx", filename="a.png", source={"path": "a"}),
        part("prt_4", "subtask", prompt="p", description="d", agent="a"),
        part("prt_5", "patch", hash="h", files=["a"]),
        step_finish("prt_6", usage),
        answer("msg_7", 7, usage=usage, content=[{"type": "text", "text": "x"}, item], error={"type": "x"}),
        row("msg_8", "shell", 8, command="ls", output="o", exit=0),
        row("msg_9", "compaction", 9, summary="s", cost=0.5, tokens=usage),
        row("msg_10", "user", 10, text="t", files=[{"url": "data:,x", "name": "n"}]),
        row("msg_11", "odd", 11, anything={"a": [1]}),
    ]


def empty(database: Database) -> None:
    """Forget everything."""
    with database.transaction() as con:
        for (table,) in con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'index_db' AND NOT temporary"
        ).fetchall():
            if table not in ("sync_state", "schema_migrations"):
                con.execute(f"DELETE FROM {table}")
    database.hot.forget()


def parsed_batch(bodies: Sequence[tuple[Doc, bytes]]) -> Batch:
    """Parse documents of any bytes into one batch."""
    batch = Batch()
    for doc, body in bodies:
        document = Document(doc.kind, doc.id, doc.id, body)
        if doc.kind == "project":
            found = parse_project(document, 1, Generation.JSON_TREE).row
            batch.projects += [found] if found else []
        elif doc.kind == "session":
            row_found = parse_session(document, 1, Generation.JSON_TREE, is_missing_in_newer=False).row
            batch.sessions += [row_found] if row_found else []
        elif doc.kind == "session_message":
            rows = MessageDocuments(
                doc.id, "ses_1", 1, Generation.SESSION_MESSAGE_ROWS, document, (), False, doc.body["type"], 1
            )
            parsed = parse_session_message(rows, is_missing_in_newer=False)
            batch.messages += [parsed.message] if parsed.message else []
            batch.parts += parsed.parts
            batch.bodies += parsed.bodies
    messages = [(doc, body) for doc, body in bodies if doc.kind == "message"]
    parts = tuple(Document("part", doc.id, doc.id, body) for doc, body in bodies if doc.kind == "part")
    for number, (doc, body) in enumerate(messages):
        own = parts if number == len(messages) - 1 else ()
        document = Document("message", doc.id, doc.id, body)
        parsed = parse_message(
            MessageDocuments(doc.id, "ses_1", 1, Generation.JSON_TREE, document, own), is_missing_in_newer=False
        )
        batch.messages += [parsed.message] if parsed.message else []
        batch.parts += parsed.parts
        batch.bodies += parsed.bodies
    return batch


@pytest.fixture(scope="module")
def one_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Open one index for all seeds: each writes over the rows of the one before."""
    with Database.open(tmp_path_factory.mktemp("properties") / "index.duckdb") as database:
        yield database


@pytest.mark.parametrize("seed", range(200))
def test_parse_damaged_bytes_never_raise(seed: int) -> None:
    """Cut, overwritten, inserted and repeated bytes of every document."""
    chance = random.Random(seed)
    bodies = []
    for doc in sample_documents():
        body = bytearray(json.dumps(doc.body).encode())
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(body) + 1)
            match chance.randrange(5):
                case 0:
                    del body[at:]
                case 1:
                    body[at : at + chance.randrange(8)] = chance.randbytes(chance.randrange(8))
                case 2:
                    body[at:at] = chance.choice([b"\0", b"\xff", b'"', b"}", b"[" * 2_000, b"9" * 5_000, b"\\ud800"])
                case 3:
                    body[at:at] = body[: chance.randrange(len(body) + 1)]
                case _:
                    del body[at : at + chance.randrange(1, 9)]
        bodies.append((doc, bytes(body)))

    batch = parsed_batch(bodies)

    assert len(batch.messages) <= 7
    assert all(isinstance(read_object(body), dict | str) for _, body in bodies)


@pytest.mark.parametrize("seeds", FIFTIES, ids=str)
def test_write_batch_any_parsed_row_can_be_written(seeds: range, one_index: Database) -> None:
    """Whatever a document says, its rows fit their tables, and so does what is derived from them."""
    empty(one_index)
    batch = Batch()
    for seed in seeds:
        chance = random.Random(seed)
        bodies = []
        for doc in sample_documents():
            body = scrambled(chance, doc.body)
            bodies.append((named(doc, seed), json.dumps(body if isinstance(body, dict) else doc.body).encode()))
        found = parsed_batch(bodies)
        batch.projects += found.projects
        batch.sessions += found.sessions
        batch.messages += found.messages
        batch.parts += found.parts
        batch.bodies += found.bodies

    write_batch(one_index, batch, EpochMs(START_MS))

    counts = one_index.con.execute("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM sessions)").fetchone()
    assert counts == (350, 51)  # fifty seeds; one session is only named by its messages


def random_storage(seed: int) -> list[Doc]:
    """Make sessions with answers, some documents of which are damaged."""
    chance = random.Random(seed)
    docs = [project(f"prj_{seed}"), *(session(f"ses_{seed}_{n}", created=START_MS + n) for n in range(3))]
    for number in range(6):
        session_id, message_id = f"ses_{seed}_{chance.randrange(3)}", f"msg_{seed}_{number}"
        usage, cost = tokens(chance.randrange(3), number), number / 8
        docs.append(assistant(message_id, session_id, created=START_MS + number, usage=usage, cost=cost))
        docs.append(step_finish(f"prt_{seed}_{number}", usage, message_id, session_id, cost=cost))
    raws = [raw for raw, _ in UNREADABLE.values() if len(raw) < 2_000]
    for at, doc in enumerate(docs):
        if chance.random() < 0.2:
            docs[at] = damaged(doc, chance.choice(raws))
        elif chance.random() < 0.1:
            docs[at] = with_body(doc, time=random_value(chance))
    return docs


def indexed(database: Database, data_dir: Path) -> list[list[tuple[object, ...]]]:
    """Bring an index up to date with a folder, without publishing it, and read its rows and its ledger."""
    sources = bulk_loader.find_sources([data_dir])
    bulk_loader.load(database, Unpublished(database), sources)
    return [
        database.con.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
        for table, columns in (
            ("projects", "*"),
            ("sessions", "*"),
            ("messages", "*"),
            ("parts", "*"),
            ("part_bodies", "*"),
            ("session_stats", "*"),
            ("exchanges", "*"),
            ("exchange_traces", "*"),
            ("documents", "* EXCLUDE (first_seen_at, last_seen_at)"),
        )
    ]


class Unpublished(Publisher):
    """Leaves the revisions where they are: only the working file is looked at."""

    def publish(self, *, new_base: bool = False) -> bool:
        """Make nothing visible."""
        return False

    def publish_if_due(self, interval_s: float | None = None) -> bool:
        """Make nothing visible."""
        return False


@pytest.mark.parametrize("seeds", FIFTIES[:2], ids=str)
def test_bulk_shuffled_and_repeated_indexing_agree(
    seeds: range, one_index: Database, no_retries: None, tmp_path: Path
) -> None:
    """The same rows and the same ledger, whatever the order of the files, and again after a second look."""
    docs = [doc for seed in seeds for doc in random_storage(seed)]
    data_dir = tmp_path / "data"
    empty(one_index)
    first = indexed(one_index, write_json_tree(data_dir, docs))
    again = indexed(one_index, data_dir)
    shutil.rmtree(data_dir)
    random.Random(seeds.start).shuffle(docs)
    empty(one_index)

    shuffled = indexed(one_index, write_json_tree(data_dir, docs))

    assert again == first
    assert shuffled == first
