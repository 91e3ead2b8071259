"""What the indexer says about itself: how far it is, what it reads, what it could not read."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from queries.indexing import Indexing, document_problems, history, indexing, source_states
from tests.builders import assistant, damaged, part, session, user, write_json_tree
from tests.conftest import OpenIndex

RealIndex = Callable[[str], duckdb.DuckDBPyConnection]
START = datetime(2026, 11, 23, 12)
RUNNING = Indexing(
    revision=7,
    phase="bulk",
    phase_since=START - timedelta(days=1),
    message="reading 1 sources",
    pass_started_at=START,
    documents_total=4_000,
    documents_done=1_000,
    last_full_pass_at=None,
    has_first_totals=False,
    last_reconciled_at=None,
    updated_at=START + timedelta(seconds=20),
    sessions=3,
    messages=1_000,
    parts=3_000,
    unreadable=0,
    incomplete=0,
    size_bytes=1,
)


def test_indexing_remaining_follows_the_pace_of_this_pass() -> None:
    """A quarter in 20 s leaves 60 s, however long ago an indexer that was killed began."""
    assert RUNNING.remaining == timedelta(seconds=60)


@pytest.mark.parametrize(
    "odd",
    [
        replace(RUNNING, documents_total=None),
        replace(RUNNING, documents_total=0),
        replace(RUNNING, documents_done=0),
        replace(RUNNING, pass_started_at=None),
        replace(RUNNING, updated_at=START + timedelta(seconds=1)),
        replace(RUNNING, updated_at=START - timedelta(seconds=9)),
        replace(RUNNING, phase="real-time"),
    ],
    ids=["size not known", "nothing to read", "nothing read", "no begin", "just begun", "clock", "no pass"],
)
def test_indexing_remaining_is_not_invented(odd: Indexing) -> None:
    """Where the pace says nothing, nothing is said."""
    assert odd.remaining is None


def test_indexing_remaining_since_follows_the_pace_since_then() -> None:
    """500 in the last 10 s leave 60 s, whatever the pace was before."""
    earlier = replace(RUNNING, documents_done=500, updated_at=START + timedelta(seconds=10))

    assert RUNNING.remaining_since(earlier) == timedelta(seconds=60)
    assert RUNNING.remaining_since(RUNNING) is None
    assert RUNNING.remaining_since(replace(earlier, pass_started_at=START - timedelta(days=1))) is None


@pytest.mark.parametrize(
    ("full", "reconciled", "expected"), [(None, None, None), (START, None, START), (START, RUNNING.updated_at, START)]
)
def test_indexing_compared_at_is_the_newest_look_at_everything(
    full: datetime | None, reconciled: datetime | None, expected: datetime | None
) -> None:
    """A full pass compares everything, too."""
    found = replace(RUNNING, last_full_pass_at=full, last_reconciled_at=reconciled)

    assert found.compared_at == (reconciled if reconciled else expected)


def test_indexing_remaining_more_than_expected_is_not_negative() -> None:
    """Documents that came while the pass ran may exceed its total."""
    assert replace(RUNNING, documents_done=5_000).remaining == timedelta()


def test_indexing_after_a_pass_counts_what_is_there(open_index: OpenIndex) -> None:
    """One row about everything, and the size of the file."""
    bad = damaged(part("prt_1", "text"), b"{")

    found = indexing(open_index(session(), user(), assistant(), bad))

    assert (found.phase, found.message) == ("stopped", "test")
    assert (found.sessions, found.messages, found.unreadable, found.incomplete) == (1, 2, 1, 0)
    assert (found.documents_done, found.documents_total) == (2, 2)
    assert found.pass_started_at and found.last_full_pass_at and found.pass_started_at <= found.last_full_pass_at
    assert found.size_bytes > 100_000


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("json", ["json_tree"]), ("sqlite", ["sqlite_v2", "sqlite_v1"]), ("migrated-after", ["sqlite_v1", "json_tree"])],
)
def test_source_states_lists_every_generation(name: str, kinds: list[str], real_index: RealIndex) -> None:
    """Newest generation of a file first; each with its newest time."""
    rows = source_states(real_index(name), "UTC")

    assert [row.kind for row in rows] == kinds
    assert all(row.state == "ok" and row.newest_at for row in rows)


def test_source_states_missing_folder_says_why(open_index: OpenIndex, tmp_path: Path) -> None:
    """A folder that is not there is listed, with a reason."""
    write_json_tree(tmp_path / "here", [session(), assistant()])

    rows = source_states(open_index(tmp_path / "here", tmp_path / "gone"), "UTC")

    assert {row.state for row in rows} == {"ok", "unreadable"}
    assert [bool(row.reason) for row in rows] == [row.state == "unreadable" for row in rows]


def test_document_problems_pages_hold_every_row_once(open_index: OpenIndex) -> None:
    """The order is total: pages neither repeat nor lose a document."""
    bad = [damaged(part(f"prt_{number:02}", "text"), b"\xff{") for number in range(25)]
    con = open_index(session(), assistant(), *bad)

    rows = document_problems(con)

    pages = [document_problems(con, 10, offset) for offset in (0, 10, 20)]
    assert [row for page in pages for row in page] == rows
    assert (len(rows), {row.state for row in rows}, {row.kind for row in rows}) == (25, {"unreadable"}, {"part"})
    assert all(row.key.endswith(".json") and row.reason and row.source_path for row in rows)


def test_history_newest_line_comes_first(open_index: OpenIndex) -> None:
    """Each change of what the indexer does is a line."""
    rows = history(open_index(session()), "UTC", 50)

    assert [row.phase for row in rows] == ["stopped", "bulk"]
    assert len(history(open_index(session()), "UTC", 1)) == 1
