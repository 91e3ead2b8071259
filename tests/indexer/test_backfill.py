"""Backfill: an index without derived columns and tables equals a fresh one again, also where the source is gone."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer import backfill as backfill_module
from indexer.backfill import backfill
from indexer.database import Database
from indexer.invariants import DERIVED, broken
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.builders import assistant, row, session, tokens, user, write_json_tree, write_session_messages
from tests.commands import indexer
from tests.conftest import KINDS_OF_SETS, BuildIndex, OwnIndex
from tests.indexer.test_migrations import BOOKKEEPING, Rows, rows_of

DataSet = Callable[[str], Path]

# What an index lacks that was made before these columns and tables existed.
BLANK = """
    UPDATE messages SET root_tokens = 0, total_tokens = 0, is_fork_copy = FALSE;
    UPDATE part_bodies SET searched_text = NULL, long_searched_text = NULL;
    DELETE FROM session_stats;
    DELETE FROM exchanges;
    DELETE FROM exchange_traces;
    DELETE FROM session_traces;
    DELETE FROM request_chain;
    DELETE FROM agents;
    DELETE FROM models;
    DELETE FROM tools;
    DELETE FROM sessions WHERE is_placeholder;
    DELETE FROM projects WHERE generation = 0;
"""


def blank(index: Path) -> None:
    """Make an index look as if it came from a version without anything derived."""
    with Database.open(index) as database, database.transaction() as con:
        con.execute(BLANK)


def filled(index: Path) -> backfill_module.BackfillResult:
    """Backfill an index and publish it."""
    with Database.open(index) as database:
        publisher = Publisher(database)
        result = backfill(database, publisher)
        publisher.close()
    return result


def content_of(index: Path) -> Rows:
    """Read all rows that readers see."""
    reader = IndexReader(index)
    try:
        return rows_of(reader.connection())
    finally:
        reader.close()


def delete_sessions(data_dir: Path, session_ids: list[str]) -> None:
    """Delete sessions from every storage of a data folder, with all that belongs to them."""
    marks = ", ".join("?" * len(session_ids))
    for file in data_dir.glob("opencode*.db"):
        with sqlite3.connect(file) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in tables & {"message", "part", "session_message"}:
                connection.execute(f"DELETE FROM {table} WHERE session_id IN ({marks})", session_ids)
            for table in tables & {"session", "session_v2"}:
                connection.execute(f"DELETE FROM {table} WHERE id IN ({marks})", session_ids)
        connection.close()
    storage = data_dir / "storage"
    for session_id in session_ids:
        for message in (storage / "message" / session_id).glob("*.json"):
            shutil.rmtree(storage / "part" / message.stem, ignore_errors=True)
        shutil.rmtree(storage / "message" / session_id, ignore_errors=True)
        for file in storage.glob(f"session/*/{session_id}.json"):
            file.unlink()


@pytest.mark.parametrize("name", KINDS_OF_SETS)
def test_backfill_blanked_real_set_equals_a_fresh_index(name: str, own_index: OwnIndex) -> None:
    """Every derived column and table, from every real set."""
    index = own_index(name)
    fresh = content_of(index)
    blank(index)

    result = filled(index)

    assert content_of(index) == fresh
    assert result.messages_filled > 0


@pytest.mark.parametrize("name", ["json", "sqlite"])
def test_backfill_sessions_whose_source_is_gone_are_filled_too(
    name: str, data_set: DataSet, build_index: BuildIndex, tmp_path: Path
) -> None:
    """A third of the sessions deleted in OpenCode, and another folder that is no longer named."""
    data_dir = tmp_path / "opencode"
    shutil.copytree(data_set(name), data_dir)
    other = write_json_tree(
        tmp_path / "other",
        [
            session("ses_other", version="1.1.65"),
            user("msg_other_u", "ses_other"),
            assistant("msg_other_a", "ses_other", parent="msg_other_u", usage=tokens(7, 5, total=12)),
        ],
    )
    index = build_index(data_dir, other)
    ids = [str(row[0]) for row in read(index, "SELECT session_id FROM sessions WHERE session_id <> 'ses_other'")]
    delete_sessions(data_dir, ids[::3])
    build_index(data_dir)
    assert read(index, "SELECT count(*) > 0 FROM messages WHERE deleted_at IS NOT NULL") == [(True,)]
    before = content_of(index)
    blank(index)

    filled(index)

    assert content_of(index) == before
    assert read(index, "SELECT root_tokens FROM session_stats WHERE session_id = 'ses_other'") == [(12,)]


def test_backfill_third_generation_fills_the_searched_text_of_prompts(build_index: BuildIndex, tmp_path: Path) -> None:
    """A prompt has no part; another row that nobody typed stays unsearched."""
    rows = [row("msg_1", "user", 1, text="Find ME"), row("msg_2", "synthetic", 2, text="Not me")]
    index = build_index(write_session_messages(tmp_path / "data", [session(), *rows]))
    blank(index)

    filled(index)

    assert read(index, "SELECT part_id, searched_text FROM part_bodies ORDER BY part_id") == [
        ("msg_1", "find me"),
        ("msg_2", None),
    ]
    assert broken(IndexReader(index).connection(), DERIVED) == []


def read(index: Path, sql: str) -> list[tuple[object, ...]]:
    """Return what a query finds in the published index."""
    reader = IndexReader(index)
    try:
        return reader.connection().execute(sql).fetchall()
    finally:
        reader.close()


def test_backfill_in_small_transactions_gives_the_same(own_index: OwnIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children apart from their parents, copies apart from their originals: nothing depends on who comes together."""
    index = own_index("sqlite")
    fresh = content_of(index)
    blank(index)
    monkeypatch.setattr(backfill_module, "SESSIONS_PER_TRANSACTION", 7)

    filled(index)

    assert content_of(index) == fresh


def test_backfill_again_changes_nothing(own_index: OwnIndex) -> None:
    """Idempotent, on an index that lacks nothing."""
    index = own_index("sqlite")
    fresh = content_of(index)

    results = [filled(index), filled(index)]

    assert content_of(index) == fresh
    assert [result.messages_filled for result in results] == [0, 0]


def test_backfill_interrupted_is_finished_by_the_next(own_index: OwnIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut short is whole up to the last transaction."""
    index = own_index("json")
    fresh = content_of(index)
    blank(index)
    monkeypatch.setattr(backfill_module, "SESSIONS_PER_TRANSACTION", 20)

    def interrupt(done: int, total: int) -> None:
        """Stop after the first sessions."""
        raise KeyboardInterrupt

    with Database.open(index) as database, pytest.raises(KeyboardInterrupt):
        backfill(database, Publisher(database), interrupt)

    filled(index)

    assert content_of(index) == fresh


def test_backfill_command_migrates_fills_and_publishes(own_index: OwnIndex) -> None:
    """One command for an index of an older version."""
    index = own_index("json")
    fresh = content_of(index)
    blank(index)
    with Database.open_existing(index) as database:
        database.migrate(1)

    done = indexer("backfill", "--db", index)

    assert done.returncode == 0
    assert done.stdout.startswith("114 sessions computed anew; ")
    assert "schema version 1 is now" in done.stderr
    assert content_of(index) == fresh
    assert read(index, "SELECT phase FROM sync_state") == [("stopped",)]


def test_backfill_command_without_an_index_says_so(tmp_path: Path) -> None:
    """And makes none."""
    done = indexer("backfill", "--db", tmp_path / "none.duckdb")

    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "python -m indexer bulk" in done.stderr


def test_bookkeeping_is_all_that_is_not_compared(real_path: Callable[[str], Path]) -> None:
    """The comparison above sees every table that a data set fills."""
    compared = content_of(real_path("sqlite"))

    empty = {table for table, rows in compared.items() if not rows}

    assert set(BOOKKEEPING).isdisjoint(compared)
    assert empty <= {"documents", "first_slices"}
