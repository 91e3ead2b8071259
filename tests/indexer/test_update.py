"""Looking at changed documents: how they are put into transactions."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from indexer import batch, update
from indexer.changes import Changes
from indexer.database import Database
from indexer.exceptions import SourceUnusable
from indexer.sources import Inventory
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.storages import Storage, find_sources, open_storages
from tests.builders import (
    PROJECT,
    START_MS,
    assistant,
    part,
    project,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_sqlite,
)
from tests.indexing import index

# id, project, parent, directory, created_at, is_placeholder, is deleted, what it adds to the tree of its parent
LIVING_CHILD = ("ses_2", PROJECT, "ses_1", "/home/dev/shop", datetime(2026, 1, 1), False, False, 100)
DELETED_CHILD = (*LIVING_CHILD[:-2], True, 100)
DELETED_MESSAGES = [("msg_1a", False), ("msg_2a", True)]
LIVING_MESSAGES = [("msg_1a", False), ("msg_2a", False)]

TOUCHED = Changes(sessions={"ses_1", "ses_2"}, touched_sessions={"ses_1", "ses_2"})


class Store:
    """A database of OpenCode and an index that has read it: a session of 10 tokens, and its child of 100."""

    def __init__(self, tmp_path: Path) -> None:
        """Write the database."""
        docs = [session("ses_1"), assistant("msg_1a", "ses_1", usage=tokens(10))]
        docs += [session("ses_2", parentID="ses_1"), assistant("msg_2a", "ses_2", usage=tokens(100))]
        self.data_dir = write_sqlite(tmp_path / "opencode", [project(), *docs])
        self.index = tmp_path / "index.duckdb"
        index(self.index, self.data_dir)

    def change_parent_and_delete_child(self) -> None:
        """Do what OpenCode does when a session goes; the parent gets a part meanwhile."""
        write_sqlite(self.data_dir, [part("prt_1", "text", "msg_1a", "ses_1", text="Done.", stamp_ms=START_MS + 1)])
        self.delete_child()

    def delete_child(self) -> None:
        """Delete a session with its rows."""
        with closing(sqlite3.connect(self.data_dir / "opencode.db")) as client, client:
            client.execute("DELETE FROM message WHERE session_id = 'ses_2'")
            client.execute("DELETE FROM session WHERE id = 'ses_2'")

    def look(self, changes: Changes, on_batch: Callable[[int], None] | None = None) -> None:
        """Look at some documents as the follower does."""
        with self.opened() as (database, storages):
            update.apply(database, storages, changes, may_postpone=True, on_batch=on_batch)

    def child(self) -> tuple[Any, ...]:
        """Return what the index has of the child session, and what the parent's tree has beside the parent's own."""
        (found,) = self.rows(
            """
            SELECT session_id, project_id, parent_id, directory, created_at, is_placeholder, deleted_at IS NOT NULL,
                   (SELECT subtree_root_tokens - root_tokens FROM session_stats WHERE session_id = 'ses_1')
            FROM sessions WHERE session_id = 'ses_2'
            """
        )
        return found

    def messages(self) -> list[tuple[Any, ...]]:
        """List the messages, and whether they are flagged as deleted."""
        return self.rows("SELECT message_id, deleted_at IS NOT NULL FROM messages ORDER BY message_id")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the index."""
        with Database.open(self.index) as database:
            return database.con.execute(query).fetchall()

    @contextmanager
    def opened(self) -> Iterator[tuple[Database, list[Storage]]]:
        """Open the index to write it, and the storages."""
        with Database.open(self.index) as database:
            storages = open_storages(database, find_sources([self.data_dir]), [self.data_dir])
            yield database, storages
            for storage in storages:
                storage.source.close()


@pytest.fixture
def store(tmp_path: Path, no_retries: None) -> Store:
    """Make a database and its index."""
    return Store(tmp_path)


@pytest.mark.parametrize(("sessions_first", "transactions"), [(update.SESSIONS_FIRST, 1), (10, 2)])
def test_apply_many_messages_at_once_sessions_are_written_first_only_if_they_take_long(
    sessions_first: int, transactions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live change of more messages than are read at once is one transaction: each derives its sessions anew."""
    monkeypatch.setattr(update, "SESSIONS_FIRST", sessions_first)
    messages = {f"msg_{number:03}": "ses_1" for number in range(update.MESSAGES_PER_READ + 20)}
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), *map(user, messages)])
    with Database.open(tmp_path / "index.duckdb") as database:
        storages = open_storages(database, find_sources([data_dir]))
        before = database.revision

        done = update.apply(database, storages, Changes(sessions={"ses_1"}, messages={**messages}), may_postpone=True)

        assert done.written == len(messages)
        assert database.revision - before == transactions


@pytest.mark.parametrize(
    ("sessions_first", "max_rows"),
    [(update.SESSIONS_FIRST, batch.MAX_ROWS), (0, batch.MAX_ROWS), (update.SESSIONS_FIRST, 1)],
    ids=["one-batch", "sessions-first", "full-batch"],
)
@pytest.mark.parametrize("is_live", [True, False], ids=["live", "restart"])
def test_apply_session_deleted_over_several_batches_keeps_its_place(
    is_live: bool, sessions_first: int, max_rows: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its rows are put into transactions, a deleted session keeps its project, parent and spend."""
    monkeypatch.setattr(update, "SESSIONS_FIRST", sessions_first)
    monkeypatch.setattr(batch, "MAX_ROWS", max_rows)
    store.change_parent_and_delete_child()

    if is_live:
        store.look(TOUCHED)
    else:
        index(store.index, store.data_dir)

    assert store.child() == DELETED_CHILD
    assert store.messages() == DELETED_MESSAGES
    assert store.rows("SELECT part_id FROM parts") == [("prt_1",)]


@pytest.mark.parametrize("messages", [{}, {"msg_1a": "ses_1"}], ids=["nothing-else", "parent-too"])
@pytest.mark.parametrize("sessions_first", [update.SESSIONS_FIRST, 0], ids=["one-batch", "sessions-first"])
def test_apply_session_deleted_after_its_messages_were_listed_keeps_its_place(
    sessions_first: int, messages: dict[str, str | None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages looked as ever, so nobody named them; then OpenCode deleted it before its row was read."""
    monkeypatch.setattr(update, "SESSIONS_FIRST", sessions_first)
    list_messages = SqliteV1.messages_of

    def delete_then(source: SqliteV1, session_ids: set[str]) -> Inventory:
        """List them, and let OpenCode delete the session."""
        found = list_messages(source, session_ids)
        store.delete_child()
        return found

    monkeypatch.setattr(SqliteV1, "messages_of", delete_then)

    store.look(Changes(sessions={"ses_2"}, messages=messages, touched_sessions={"ses_2"}))

    assert store.child() == DELETED_CHILD
    assert store.messages() == DELETED_MESSAGES


def test_apply_session_deleted_without_its_messages_becomes_a_name(store: Store) -> None:
    """They count as long as they are there, as in a fresh index."""
    with closing(sqlite3.connect(store.data_dir / "opencode.db")) as client, client:
        client.execute("DELETE FROM session WHERE id = 'ses_2'")

    store.look(Changes(sessions={"ses_2"}))

    assert store.child() == ("ses_2", None, None, None, None, True, False, 0)
    assert store.messages() == LIVING_MESSAGES


def test_apply_interrupted_between_batches_the_next_start_finds_the_deleted_session(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as living until all of its messages are flagged."""
    monkeypatch.setattr(update, "MESSAGES_PER_READ", 1)
    monkeypatch.setattr(batch, "MAX_ROWS", 1)
    store.change_parent_and_delete_child()

    def interrupt(done: int) -> None:
        """Stop after the first transaction."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.look(TOUCHED, interrupt)
    interrupted = store.child()
    index(store.index, store.data_dir)

    assert interrupted == LIVING_CHILD
    assert store.child() == DELETED_CHILD
    assert store.messages() == DELETED_MESSAGES


def test_apply_storage_lost_before_messages_are_read_session_counts_as_gone_with_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its messages are gone, nobody can tell: so it stays, and is found when the storage is read again."""
    store.delete_child()

    def fail(source: SqliteV1, ids: object, source_id: int) -> list[object]:
        """Fail as with a file that somebody locked."""
        raise SourceUnusable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteV1, "messages", fail)
        store.look(TOUCHED)
        lost = store.child(), store.messages()
    index(store.index, store.data_dir)

    assert lost == (LIVING_CHILD, LIVING_MESSAGES)
    assert store.child() == DELETED_CHILD
    assert store.messages() == DELETED_MESSAGES


@pytest.mark.parametrize("is_named", [True, False], ids=["unreadable", "not-configured"])
def test_apply_session_gone_while_another_storage_cannot_be_read_comes_back_with_it(
    is_named: bool, store: Store, tmp_path: Path
) -> None:
    """A copy of the data folder has it still, and did not change meanwhile."""
    copy, hidden = tmp_path / "copy", tmp_path / "hidden.db"
    shutil.copytree(store.data_dir, copy)
    index(store.index, store.data_dir, copy)
    store.delete_child()
    (copy / "opencode.db").rename(hidden)
    (copy / "opencode.db").write_bytes(b"no database")

    index(store.index, store.data_dir, *([copy] if is_named else []))
    lost = store.child(), store.messages()
    hidden.rename(copy / "opencode.db")
    index(store.index, store.data_dir, copy)

    assert lost == (DELETED_CHILD, DELETED_MESSAGES)
    assert store.child() == LIVING_CHILD
    assert store.messages() == LIVING_MESSAGES


# --- a message that a tree and a database have in different sessions


def test_apply_row_in_another_session_than_the_file_is_compared_with_it(tmp_path: Path) -> None:
    """The tree's copy records a later time, so it counts; that the database names another session hides it not."""
    file = user("msg_1u", "ses_1", created=START_MS + 9_000)
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), file])
    write_sqlite(data_dir, [project(), session(), session("ses_2")])
    index(tmp_path / "index.duckdb", data_dir)
    write_sqlite(data_dir, [user("msg_1u", "ses_2", created=START_MS)])

    assert looked_at(tmp_path / "index.duckdb", data_dir, Changes(touched_sessions={"ses_2"})) == [("ses_1", 1, False)]


def test_apply_row_gone_whose_file_is_in_another_session_leaves_the_file(tmp_path: Path) -> None:
    """It is not gone: the tree has it still, where nothing but a search finds it."""
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), user("msg_1u", "ses_1")])
    write_sqlite(data_dir, [project(), session(), session("ses_2"), user("msg_1u", "ses_2")])
    index(tmp_path / "index.duckdb", data_dir)
    with closing(sqlite3.connect(data_dir / "opencode.db")) as client, client:
        client.execute("DELETE FROM message")

    assert looked_at(tmp_path / "index.duckdb", data_dir, Changes(touched_sessions={"ses_2"})) == [("ses_1", 1, False)]


def looked_at(path: Path, data_dir: Path, changes: Changes) -> list[tuple[Any, ...]]:
    """Look at changes, and return session, generation and whether it is deleted of every message."""
    with Database.open(path) as database:
        storages = open_storages(database, find_sources([data_dir]), [data_dir])
        update.apply(database, storages, changes, may_postpone=True)
        for storage in storages:
            storage.source.close()
        return database.con.execute("SELECT session_id, generation, deleted_at IS NOT NULL FROM messages").fetchall()


# --- parts that move to another message


@pytest.mark.parametrize("are_apart", [False, True])
def test_apply_part_found_where_it_is_before_it_is_missed_where_it_was(are_apart: bool, tmp_path: Path) -> None:
    """A folder of parts was renamed, and its two halves are looked at one after the other."""
    usage = tokens(7, 0, total=7)
    docs = [session(), assistant("msg_1a", usage=usage), step_finish("prt_1", usage, "msg_1a")]
    docs += [session("ses_2"), assistant("msg_2a", "ses_2", usage=usage)]
    data_dir = write_json_tree(tmp_path / "opencode", [project(), *docs])
    path = tmp_path / "index.duckdb"
    index(path, data_dir)
    parts = data_dir / "storage" / "part"
    (parts / "msg_1a").rename(parts / "msg_2a")
    halves = [Changes(messages={"msg_2a": "ses_2"}), Changes(messages={"msg_1a": "ses_1"})]
    both = Changes()
    for half in halves:
        both.add(half)

    with Database.open(path) as database:
        storages = open_storages(database, find_sources([data_dir]), [data_dir])
        for changes in halves if are_apart else [both]:
            update.apply(database, storages, changes, may_postpone=True)
        rows = database.con.execute("SELECT message_id, deleted_at IS NULL FROM parts").fetchall()
        traces = database.con.execute("SELECT session_id FROM exchange_traces WHERE trace_id = 'prt_1'").fetchall()
        left_out = database.con.execute("SELECT key FROM documents WHERE state = 'unreadable'").fetchall()

    assert rows == [("msg_2a", True)]
    assert traces == [("ses_2",)]
    assert left_out == []
