"""Following one database: every session that changed is named, by whatever sign; an idle look reads nothing."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.changes import Changes
from indexer.exceptions import SourceUnusable
from indexer.sources import sqlite_changes, sqlite_file
from indexer.sources.sqlite_changes import DatabaseChanges
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    part,
    project,
    row,
    session,
    user,
    write_session_messages,
    write_sqlite,
)

EVERYTHING = Changes(is_everything=True)
INDEXES = """
CREATE INDEX message_session ON message (session_id, time_created, id);
CREATE INDEX part_session ON part (session_id);
"""


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        """Start anywhere."""
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Store:
    """A database in use: a client that writes, and who follows it."""

    def __init__(self, path: Path) -> None:
        """Open a database as the client does, and begin to follow it."""
        self.path = path
        self.client = sqlite3.connect(path, isolation_level=None)
        self.client.execute("PRAGMA journal_mode=WAL")
        self.clock = Clock()
        self.changes = DatabaseChanges(path, self.clock, lambda: 0.0)

    def write(self, *docs: Doc) -> None:
        """Insert rows."""
        write_sqlite(self.path.parent, docs, self.path.name)

    def run(self, sql: str, *values: object) -> None:
        """Change rows, in a transaction of its own."""
        self.client.execute(sql, values)

    def poll(self) -> Changes:
        """Look once."""
        return self.changes.poll()

    def pass_by(self, seconds: float) -> None:
        """Let time pass in which nothing that matters is written, and look again and again."""
        for _ in range(4):
            self.clock.now += seconds / 4
            self.run("PRAGMA user_version = 1")
            self.poll()

    def close(self) -> None:
        """Stop both."""
        self.changes.close()
        self.client.close()


def touched(*names: str) -> Changes:
    """Expect sessions that changed."""
    return Changes(sessions=set(names), touched_sessions=set(names))


def talk(session_id: str, number: int) -> list[Doc]:
    """Make a session with a prompt and an answer, long ago or less long."""
    at = START_MS + number * 3_600_000
    return [
        session(session_id, created=at),
        user(f"msg_{session_id}_1", session_id, created=at),
        part(f"prt_{session_id}_1", "text", f"msg_{session_id}_1", session_id, stamp_ms=at),
        assistant(f"msg_{session_id}_2", session_id, created=at, completed=at),
        part(f"prt_{session_id}_2", "text", f"msg_{session_id}_2", session_id, stamp_ms=at),
    ]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Write twelve sessions with two messages each; the first two are too old to be watched from the start."""
    docs = [doc for number in range(12) for doc in talk(f"ses_{number}", number)]
    path = write_sqlite(tmp_path / "opencode", [project(), *docs]) / "opencode.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(INDEXES)
    connection.close()
    return path


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Store]]:
    """Follow any database, from now on."""
    stores: list[Store] = []

    def follow(path: Path) -> Store:
        """Begin to follow; what is there is known."""
        store = Store(path)
        stores.append(store)
        assert store.poll() == Changes()
        return store

    yield follow
    for store in stores:
        store.close()


@pytest.fixture
def store(database: Path, opened: Callable[[Path], Store]) -> Store:
    """Follow the twelve sessions; what was noticed before has settled."""
    store = opened(database)
    store.pass_by(4 * sqlite_changes.SETTLING_S)
    return store


def test_poll_nothing_committed_reads_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the number of the last commit is looked at."""
    queries: list[str] = []
    read = sqlite_file.SqliteFile.tuples

    def counted(file: sqlite_file.SqliteFile, sql: str, values: tuple[str, ...] = ()) -> object:
        """Note a query."""
        queries.append(sql)
        return read(file, sql, values)

    monkeypatch.setattr(sqlite_file.SqliteFile, "tuples", counted)

    found = [store.poll() for _ in range(3)]

    assert found == [Changes()] * 3
    assert queries == ["PRAGMA data_version"] * 3


def test_poll_reads_no_table_of_parts_from_end_to_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to note what is there nor to compare: a few lookups by place or by session."""
    plans: list[str] = []
    read = sqlite_file.SqliteFile.tuples

    def explained(file: sqlite_file.SqliteFile, sql: str, values: tuple[str, ...] = ()) -> object:
        """Ask SQLite how it finds the rows."""
        if " FROM part" in sql or " FROM message" in sql:
            plans.extend(f"{step[3]}: {sql}" for step in store.client.execute(f"EXPLAIN QUERY PLAN {sql}", values))
        return read(file, sql, values)

    monkeypatch.setattr(sqlite_file.SqliteFile, "tuples", explained)
    store.changes.close()
    store.poll()
    store.pass_by(60)
    store.write(part("prt_new", "text", "msg_ses_0_1", "ses_0"))
    store.poll()
    scans = [plan for plan in plans if plan.startswith("SCAN") and not plan.endswith("ORDER BY rowid DESC LIMIT 1")]

    assert scans == []
    assert any(plan.startswith("SEARCH part USING INTEGER PRIMARY KEY (rowid>?)") for plan in plans)
    assert any(plan.startswith("SEARCH part USING INDEX part_session") for plan in plans)


def test_poll_inserted_rows_name_their_sessions(store: Store) -> None:
    """Old sessions too, each once."""
    store.write(user("msg_new", "ses_0"), part("prt_new", "text", "msg_ses_1_1", "ses_1"))

    found = [store.poll(), store.poll()]

    assert found == [touched("ses_0", "ses_1"), Changes()]


def test_poll_row_updated_in_place_names_its_session(store: Store) -> None:
    """Nothing else tells of it: the session's own row stays as it was."""
    store.run("UPDATE part SET time_updated = time_updated + 5, data = '{}' WHERE id = 'prt_ses_11_1'")

    assert store.poll() == touched("ses_11")


def test_poll_session_row_names_any_session(store: Store) -> None:
    """However old: the client notes in it that something happened."""
    store.run("UPDATE session SET time_updated = time_updated + 1 WHERE id = 'ses_0'")

    assert store.poll() == touched("ses_0")


@pytest.mark.parametrize("change", ["title = 'Renamed'", "time_archived = 5", "time_archived = 0"])
def test_poll_session_renamed_or_archived_is_named(store: Store, change: str) -> None:
    """Neither changes its update time."""
    store.run(f"UPDATE session SET {change} WHERE id = 'ses_0'")

    assert store.poll() == touched("ses_0")


def test_poll_old_session_once_named_is_watched(store: Store) -> None:
    """What follows is written in place."""
    store.run("UPDATE session SET time_updated = time_updated + 1 WHERE id = 'ses_0'")
    store.poll()
    store.pass_by(60)
    store.run("UPDATE message SET time_updated = time_updated + 1 WHERE id = 'msg_ses_0_1'")

    assert store.poll() == touched("ses_0")


def test_poll_clock_of_the_client_jumps_back_is_noticed(store: Store) -> None:
    """Any other time is a change, not only a later one."""
    store.run("UPDATE session SET time_updated = 5 WHERE id = 'ses_11'")
    by_session = store.poll()
    store.pass_by(60)
    store.run("UPDATE part SET time_updated = 6 WHERE id = 'prt_ses_11_2'")
    by_part = store.poll()

    assert (by_session, by_part) == (touched("ses_11"), touched("ses_11"))


def test_poll_spend_without_a_time_names_the_session(store: Store) -> None:
    """The client adds up cost and tokens of a session without noting when."""
    store.run("UPDATE session SET cost = cost + 0.5, tokens_input = 7 WHERE id = 'ses_11'")

    assert store.poll() == touched("ses_11")


def test_poll_updated_twice_in_one_millisecond_is_named_twice(store: Store) -> None:
    """Between the two the row was read; the second update looks like the first."""
    update = "UPDATE part SET time_updated = ?, data = ? WHERE id = 'prt_ses_11_2'"
    store.run(update, START_MS, '{"text": "one"}')
    first = store.poll()
    store.clock.now += 5
    store.run(update, START_MS, '{"text": "two"}')
    second = store.poll()
    store.pass_by(60)
    store.run("PRAGMA user_version = 2")
    after = store.poll()

    assert (first, second, after) == (touched("ses_11"), touched("ses_11"), Changes())


def test_poll_updated_twice_in_one_millisecond_and_asked_late_is_named_twice(store: Store) -> None:
    """Who asks may have been busy with the first for any time."""
    update = "UPDATE part SET time_updated = ?, data = ? WHERE id = 'prt_ses_11_2'"
    store.run(update, START_MS, '{"text": "one"}')
    store.poll()
    store.run(update, START_MS, '{"text": "two"}')
    store.clock.now += 500

    assert store.poll() == touched("ses_11")


def test_poll_deleted_message_names_its_session(store: Store) -> None:
    """A row in the middle of the table, of a session that is in use."""
    store.run("DELETE FROM message WHERE id = 'msg_ses_10_1'")

    assert store.poll() == touched("ses_10")


def test_poll_deleted_session_is_named(store: Store) -> None:
    """With everything in it, as the client does it."""
    store.run("BEGIN")
    for table, column in (("part", "session_id"), ("message", "session_id"), ("session", "id")):
        store.run(f"DELETE FROM {table} WHERE {column} = 'ses_0'")
    store.run("COMMIT")

    assert store.poll() == touched("ses_0")


def test_poll_place_used_again_names_the_new_session(store: Store) -> None:
    """The highest row goes and another one comes into its place between two looks."""
    store.run("DELETE FROM part WHERE id = 'prt_ses_11_2'")
    store.write(part("prt_new", "text", "msg_ses_0_1", "ses_0"))

    assert store.poll() == touched("ses_0", "ses_11")


def test_poll_many_places_used_again_names_the_new_session(store: Store) -> None:
    """Fewer rows came than went; the highest place is lower than before."""
    store.run("DELETE FROM part WHERE session_id IN ('ses_10', 'ses_11')")
    store.write(part("prt_new", "text", "msg_ses_0_1", "ses_0"))

    assert {"ses_0", "ses_10", "ses_11"} <= store.poll().touched_sessions


def test_poll_rebuilt_table_names_every_session_in_it(store: Store) -> None:
    """No row is where it was."""
    store.run("DELETE FROM part WHERE session_id IN ('ses_2', 'ses_11')")
    store.run("UPDATE part SET rowid = rowid + 1000")

    assert {f"ses_{number}" for number in range(12)} <= store.poll().touched_sessions


def test_poll_emptied_table_fills_again(store: Store) -> None:
    """From the first place on."""
    store.run("DELETE FROM part")
    store.poll()
    store.pass_by(60)
    store.write(part("prt_new", "text", "msg_ses_0_1", "ses_0"))

    assert store.poll() == touched("ses_0")


def test_poll_many_looks_keep_few_marks(store: Store) -> None:
    """And still find what comes into the place of what was deleted long ago."""
    for number in range(150):
        store.write(part(f"prt_new_{number}", "text", "msg_ses_11_1", "ses_11"))
        store.poll()
    store.pass_by(60)
    store.run("DELETE FROM part WHERE id LIKE 'prt_new%'")
    store.write(part("prt_last", "text", "msg_ses_0_1", "ses_0"))
    found = store.poll()
    seen = store.changes._seen

    assert {"ses_0", "ses_11"} <= found.touched_sessions
    assert seen is not None
    assert len(seen.marks["part"]) <= sqlite_changes.MARKS


def test_poll_event_log_names_sessions_of_any_age(database: Path, opened: Callable[[Path], Store]) -> None:
    """The client notes every write there; what is deleted from an old session leaves no other sign."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE event (id TEXT PRIMARY KEY, aggregate_id TEXT NOT NULL, data TEXT NOT NULL)")
    connection.close()
    store = opened(database)
    store.pass_by(60)
    store.run("DELETE FROM message WHERE id = 'msg_ses_0_1'")
    store.run("INSERT INTO event VALUES ('evt_1', 'ses_0', '{}')")

    assert store.poll() == touched("ses_0")


def test_poll_projects_new_changed_and_gone(store: Store) -> None:
    """Each by its id."""
    store.write(project("other"))
    new = store.poll()
    store.run("UPDATE project SET name = 'Shop' WHERE id = 'other'")
    changed = store.poll()
    store.run("DELETE FROM project WHERE id = 'other'")
    gone = store.poll()

    assert [new, changed, gone] == [Changes(projects={"other"})] * 3


def test_poll_checkout_that_was_opened_names_its_project(database: Path, opened: Callable[[Path], Store]) -> None:
    """OpenCode 1.18 notes it in a table of its own."""
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE project_directory (project_id TEXT, directory TEXT, strategy TEXT)")
    connection.close()
    store = opened(database)
    store.pass_by(60)
    store.run("INSERT INTO project_directory VALUES ('other', '/home/dev/copy', NULL)")

    assert store.poll() == Changes(projects={"other"})


def test_poll_session_that_is_no_longer_watched_is_still_named_by_new_rows(store: Store) -> None:
    """After ten quiet minutes nobody looks at its rows any more."""
    store.pass_by(2 * sqlite_changes.ACTIVE_S)
    store.run("UPDATE part SET time_updated = 7 WHERE id = 'prt_ses_11_1'")
    unseen = store.poll()
    store.write(part("prt_new", "text", "msg_ses_11_1", "ses_11"))

    assert (unseen, store.poll()) == (Changes(), touched("ses_11"))


@pytest.mark.parametrize("gap_s", [30.0, 2 * sqlite_changes.ACTIVE_S])
@pytest.mark.parametrize("others", [0, sqlite_changes.MOST_ACTIVE + 8])
def test_poll_after_a_long_gap_compares_what_was_watched(store: Store, gap_s: float, others: int) -> None:
    """However long nobody looked, and whatever else changed: a tool may have ended meanwhile, without new rows."""
    names = [f"ses_more_{number}" for number in range(others)]
    store.write(*[session(name) for name in names])
    store.poll()
    store.write(part("prt_new", "tool", "msg_ses_11_2", "ses_11"))
    store.poll()
    store.pass_by(20)
    store.run("UPDATE part SET time_updated = 7 WHERE id = 'prt_new'")
    store.run("UPDATE session SET time_updated = 1 WHERE id LIKE 'ses_more%'")
    store.clock.now += gap_s

    assert "ses_11" in store.poll().touched_sessions


def test_poll_flood_names_all_and_watches_few(store: Store) -> None:
    """As when a migration stamps every row."""
    store.write(*[session(f"ses_more_{number}") for number in range(500)])
    new = store.poll()
    store.run("UPDATE session SET time_updated = 1")
    stamped = store.poll()
    store.pass_by(60)
    seen = store.changes._seen

    assert (len(new.touched_sessions), len(stamped.touched_sessions)) == (500, 512)
    assert seen is not None
    assert len(seen.signatures) == sqlite_changes.MOST_ACTIVE


def test_poll_third_generation_names_sessions(tmp_path: Path, opened: Callable[[Path], Store]) -> None:
    """`session_v2` and `session_message`, without any older table."""
    data_dir = write_session_messages(
        tmp_path / "opencode",
        [project(), session(), row("msg_1", "user", 1), answer("msg_2", 2), session("ses_2")],
    )
    store = opened(data_dir / "opencode.db")
    store.pass_by(60)
    write_session_messages(data_dir, [row("msg_3", "user", 1, "ses_2")])
    inserted = store.poll()
    store.pass_by(60)
    store.run("UPDATE session_message SET time_updated = 5 WHERE id = 'msg_2'")
    updated = store.poll()
    store.pass_by(60)
    store.run("DELETE FROM session_v2 WHERE id = 'ses_2'")

    assert (inserted, updated, store.poll()) == (touched("ses_2"), touched("ses_1"), touched("ses_2"))


def test_poll_large_table_is_compared_later_without_another_commit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session without new rows, in a table of twelve."""
    monkeypatch.setattr(sqlite_changes, "LARGE_TABLE", 11)
    store.run("UPDATE session SET title = 'Renamed' WHERE id = 'ses_0'")
    at_once = store.poll()
    store.clock.now += sqlite_changes.LARGE_EVERY_S / 2
    too_early = store.poll()
    store.clock.now += sqlite_changes.LARGE_EVERY_S / 2

    assert (at_once, too_early, store.poll(), store.poll()) == (Changes(), Changes(), touched("ses_0"), Changes())


def test_poll_older_release_without_columns_and_tables(tmp_path: Path, opened: Callable[[Path], Store]) -> None:
    """Times, projects and indexes may be missing."""
    path = tmp_path / "opencode.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE session (id TEXT PRIMARY KEY); CREATE TABLE part (id TEXT, session_id TEXT);"
            "CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_updated INTEGER, data TEXT);"
        )
    connection.close()
    store = opened(path)
    store.run("INSERT INTO part VALUES ('prt_1', 'ses_1')")
    by_part = store.poll()
    store.run("INSERT INTO session VALUES ('ses_2')")

    assert (by_part, store.poll()) == (touched("ses_1"), touched("ses_1", "ses_2"))


def test_poll_odd_values_are_no_error(store: Store) -> None:
    """What has no id that is text is found by nobody; huge and textual times are only compared."""
    store.write(session("ses_odd"), session("ses_\x00null"))
    store.client.text_factory = bytes
    store.run("PRAGMA ignore_check_constraints = 1")
    store.run("INSERT INTO part SELECT NULL, message_id, session_id, 9e300, ?, x'00' FROM part LIMIT 1", 2**63 - 1)
    store.run("INSERT INTO part SELECT 5, message_id, CAST(x'ff' AS TEXT), 'soon', 'never', 7 FROM part LIMIT 1")
    store.run("INSERT INTO message VALUES (NULL, 'ses_odd', -9, ?, '')", -(2**63))
    store.run("INSERT INTO message VALUES (7.5, 'ses_odd', -9, 'text', '')")
    store.run("INSERT INTO message (rowid, id, session_id, time_created, time_updated, data) VALUES (?, 'm', 's', 1, 1, '')", 2**62)  # fmt: skip # noqa: E501

    found = [store.poll(), store.poll()]

    assert found == [touched("ses_odd", "ses_\x00null", "ses_0", "s"), Changes()]


def test_poll_biggest_session_takes_a_pause_after_a_slow_look(database: Path) -> None:
    """A look that took a second is followed by several that read nothing; nothing is forgotten meanwhile."""
    client = sqlite3.connect(database, isolation_level=None)
    clock, work = Clock(), iter([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    changes = DatabaseChanges(database, clock, lambda: next(work))
    changes.poll()
    client.execute("UPDATE session SET time_updated = 1 WHERE id = 'ses_0'")
    client.execute("UPDATE session SET time_updated = 1 WHERE id = 'ses_3'")
    slow = changes.poll()
    client.execute("UPDATE session SET time_updated = 2 WHERE id = 'ses_0'")

    assert slow.touched_sessions >= {"ses_0", "ses_3"}
    clock.now += sqlite_changes.PAUSE_FACTOR - 1
    assert changes.poll() == Changes()
    clock.now += 2
    assert "ses_0" in changes.poll().touched_sessions
    changes.close()
    client.close()


def test_poll_table_added_by_an_upgrade_names_everything(store: Store) -> None:
    """Another generation may be in the file from now on."""
    write_session_messages(store.path.parent, [session("ses_v2"), row("msg_v2", "user", 1, "ses_v2")])

    found = [store.poll(), store.poll()]
    write_session_messages(store.path.parent, [row("msg_v3", "user", 2, "ses_v2")])
    found.append(store.poll())

    assert found[:2] == [EVERYTHING, Changes()]
    assert "ses_v2" in found[2].touched_sessions


def test_poll_vacuum_names_everything(store: Store) -> None:
    """It gives rows other places."""
    store.run("DELETE FROM part WHERE session_id = 'ses_3'")
    store.poll()
    store.run("VACUUM")

    assert [store.poll(), store.poll()] == [EVERYTHING, Changes()]


def test_poll_file_replaced_by_a_smaller_one_names_everything(store: Store, tmp_path: Path) -> None:
    """Under the same name; the old one is still open."""
    write_sqlite(tmp_path / "other", talk("ses_other", 1))
    os.replace(tmp_path / "other" / "opencode.db", store.path)
    for suffix in ("-wal", "-shm"):
        store.path.with_name(f"opencode.db{suffix}").unlink()

    found = [store.poll(), store.poll()]
    store.write(user("msg_new", "ses_other"))
    found.append(store.poll())

    assert found == [EVERYTHING, Changes(), touched("ses_other")]


def test_poll_log_removed_names_everything_and_follows_the_new_one(store: Store) -> None:
    """Whoever opens the database then makes a new log that the old connection never sees."""
    store.run("PRAGMA wal_checkpoint(TRUNCATE)")
    store.client.close()
    store.poll()
    for suffix in ("-wal", "-shm"):
        store.path.with_name(f"opencode.db{suffix}").unlink()
    store.client = sqlite3.connect(store.path, isolation_level=None)
    store.run("UPDATE session SET time_updated = 1 WHERE id = 'ses_3'")

    found = store.poll()
    store.run("UPDATE session SET time_updated = 1 WHERE id = 'ses_4'")

    assert found == EVERYTHING
    assert "ses_4" in store.poll().touched_sessions


@pytest.mark.parametrize("has_log", [True, False])
def test_poll_file_copied_over_in_place_names_everything(store: Store, tmp_path: Path, has_log: bool) -> None:
    """The same file with other content; SQLite's own numbers stay as they were."""
    if not has_log:
        store.changes.close()
        store.run("PRAGMA journal_mode=DELETE")
        store.poll()
    store.run("PRAGMA wal_checkpoint(TRUNCATE)")
    store.poll()
    backup = shutil.copyfile(store.path, tmp_path / "backup.db")
    with sqlite3.connect(backup) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE part SET data = '{}' WHERE id = 'prt_ses_0_1'")
    connection.close()
    store.client.close()
    with open(backup, "rb") as source, open(store.path, "r+b") as target:
        header = target.read(100)
        target.seek(0)
        shutil.copyfileobj(source, target)
        target.seek(0)
        target.write(header)  # as if both had seen the same number of commits
    before = store.poll()
    store.clock.now += sqlite_changes.CHECKPOINT_S

    assert (before, store.poll()) == (Changes(), EVERYTHING)
    store.clock.now += sqlite_changes.CHECKPOINT_S
    assert store.poll() == Changes()


def test_poll_checkpoints_are_no_replacement(store: Store) -> None:
    """They write the main file, and a reader that holds no transaction does not keep them from it."""
    results = []
    for number in range(5):
        store.run("UPDATE session SET time_updated = ? WHERE id = 'ses_0'", number)
        store.poll()
        results.append(store.client.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        for _ in range(3):
            store.clock.now += sqlite_changes.CHECKPOINT_S
            assert not store.poll().is_everything

    assert [blocked for blocked, _, _ in results] == [0] * 5
    assert store.path.with_name("opencode.db-wal").stat().st_size == 0


def test_poll_commits_without_a_log_are_no_replacement(database: Path) -> None:
    """Each writes the main file."""
    clock = Clock()
    changes = DatabaseChanges(database, clock, lambda: 0.0)
    changes.poll()
    client = sqlite3.connect(database, isolation_level=None)
    found = []
    for number in range(3):
        client.execute("UPDATE session SET time_updated = ? WHERE id = 'ses_0'", (number,))
        found.append(changes.poll())
        clock.now += 10 * sqlite_changes.CHECKPOINT_S
        changes.poll()

    assert ["ses_0" in one.touched_sessions and not one.is_everything for one in found] == [True] * 3
    changes.close()
    client.close()


def test_poll_missing_file_is_told_until_it_is_back(store: Store) -> None:
    """Then everything is compared: who knows what it is."""
    store.client.close()
    away = store.path.rename(store.path.with_name("away"))
    for _ in range(2):
        with pytest.raises(SourceUnusable, match="does not exist"):
            store.poll()
    away.rename(store.path)

    assert [store.poll(), store.poll()] == [EVERYTHING, Changes()]


def test_poll_file_that_comes_after_the_first_call_names_everything(tmp_path: Path) -> None:
    """It was not there when the others were read."""
    changes = DatabaseChanges(tmp_path / "opencode.db")
    with pytest.raises(SourceUnusable):
        changes.poll()
    write_sqlite(tmp_path, [session()])

    assert changes.poll() == EVERYTHING
    changes.close()


def test_poll_locked_file_is_told_and_nothing_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another program keeps it for itself."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    store.changes.close()
    store.run("PRAGMA locking_mode=EXCLUSIVE")
    store.run("UPDATE session SET time_updated = 1 WHERE id = 'ses_0'")

    with pytest.raises(SourceUnusable, match="locked it"):
        store.poll()
    store.client.close()

    assert store.poll() == EVERYTHING


def test_poll_unfinished_write_does_not_disturb(store: Store) -> None:
    """A writer in its transaction blocks nobody; its rows are named once they are there."""
    store.run("BEGIN IMMEDIATE")
    store.run("UPDATE session SET time_updated = 1 WHERE id = 'ses_0'")
    during = store.poll()
    store.run("COMMIT")

    assert (during, store.poll()) == (Changes(), touched("ses_0"))


def test_poll_error_that_a_new_connection_cures_names_everything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half compared counts as lost."""
    read = sqlite_changes.DatabaseChanges._inserted
    failures = iter([SourceUnusable("disk I/O error")])

    def failing(changes: DatabaseChanges, seen: sqlite_changes._Seen, table: str) -> set[str]:
        """Fail once."""
        for error in failures:
            raise error
        return read(changes, seen, table)

    monkeypatch.setattr(DatabaseChanges, "_inserted", failing)
    store.run("UPDATE session SET time_updated = 1 WHERE id = 'ses_0'")

    assert [store.poll(), store.poll()] == [EVERYTHING, Changes()]
    store.run("UPDATE session SET time_updated = 2 WHERE id = 'ses_0'")
    assert "ses_0" in store.poll().touched_sessions


def test_poll_damaged_rows_do_not_hide_other_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of parts cannot be read by session; the rest tells enough."""
    read = sqlite_file.SqliteFile.tuples

    def damaged(file: sqlite_file.SqliteFile, sql: str, values: tuple[str, ...] = ()) -> object:
        """Fail where the parts of a session are read."""
        if "FROM part WHERE session_id" in sql:
            raise sqlite_file.DamagedFile("malformed")
        return read(file, sql, values)

    store.poll()
    monkeypatch.setattr(sqlite_file.SqliteFile, "tuples", damaged)
    store.run("UPDATE message SET time_updated = 1 WHERE id = 'msg_ses_11_1'")

    found = store.poll()

    assert "ses_11" in found.touched_sessions
    assert not found.is_everything


def test_poll_closed_and_asked_again_names_everything(store: Store) -> None:
    """Something may have happened meanwhile."""
    store.changes.close()

    assert [store.poll(), store.poll()] == [EVERYTHING, Changes()]


def test_poll_copy_of_a_read_only_folder_follows_the_original(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes to the copy: the original's files tell, every few seconds."""
    client = sqlite3.connect(database, isolation_level=None)
    client.execute("PRAGMA journal_mode=WAL")
    connect = sqlite_file._connect

    def refused(path: Path) -> sqlite3.Connection:
        """Fail as SQLite does where it cannot write beside the database."""
        if path == database:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(path)

    monkeypatch.setattr(sqlite_file, "_connect", refused)
    before = set(Path(tempfile.gettempdir()).glob("opencode-analytics-*"))
    clock = Clock()
    changes = DatabaseChanges(database, clock, lambda: 0.0)
    found = [changes.poll()]
    clock.now += sqlite_changes.COPY_EVERY_S
    found.append(changes.poll())
    client.execute("UPDATE session SET time_updated = 1 WHERE id = 'ses_0'")
    found.append(changes.poll())
    client.execute("UPDATE session SET time_updated = 2 WHERE id = 'ses_0'")
    found.append(changes.poll())
    clock.now += sqlite_changes.COPY_EVERY_S
    found.append(changes.poll())
    changes.close()
    client.close()

    assert found == [Changes(), Changes(), EVERYTHING, Changes(), EVERYTHING]
    assert set(Path(tempfile.gettempdir()).glob("opencode-analytics-*")) == before


# --- SQLite's own locks

_TAKES_ITSELF_FOR_THE_FIRST = """
import fcntl, sys
with open(sys.argv[1], "r+b") as index_of_the_log:
    fcntl.lockf(index_of_the_log, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks belong to descriptors there")
def test_poll_leaves_sqlites_lock_on_the_index_of_the_log(store: Store) -> None:
    """Whoever opens the database could lock it for himself, and would cut off what is mapped here: SIGBUS."""
    store.write(session("ses_2"))
    store.changes.poll()
    store.client.close()  # its lock goes with it, and so does the log, if nobody else has it open
    index_of_the_log = store.path.with_name(f"{store.path.name}-shm")

    first = subprocess.run(
        [sys.executable, "-c", _TAKES_ITSELF_FOR_THE_FIRST, str(index_of_the_log)], capture_output=True, check=False
    )

    assert b"BlockingIOError" in first.stderr
    store.changes.close()


def test_poll_databases_that_are_gone_are_let_go_of(tmp_path: Path) -> None:
    """Of each, one file is held open no longer than it is there."""
    held = []
    for number in range(3):
        store = Store(write_sqlite(tmp_path / str(number), [session()]) / "opencode.db")
        store.changes.poll()
        store.changes.close()
        store.client.close()
        held.append(len(sqlite_changes._DESCRIPTORS))
        shutil.rmtree(tmp_path / str(number))

    assert len(set(held)) == 1
