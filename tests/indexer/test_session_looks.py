"""What looks different in a session since it was listed: told by sums and late rows, or not at all."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer import update
from indexer.changes import Changes
from indexer.database import Database
from indexer.sources import Inventory
from indexer.sources.session_looks import LATE_MS, MOST_LOOKS, SessionLooks
from indexer.sources.sqlite_file import SqliteFile
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.storages import find_sources, open_storages
from tests.builders import START_MS, assistant, part, project, session, user, write_json_tree, write_sqlite
from tests.indexing import index

NOW_MS = START_MS + 3_600_000
STAMPS_LATER_MS = 60_000  # by then nothing changed "only just now"


class Store:
    """A database in use, and what is remembered of it."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        """Open it; a second connection reads."""
        self.client = sqlite3.connect(path, isolation_level=None)
        self.looks = SessionLooks(SqliteFile(path), "message", "part")
        self.now_ms = now_ms
        self._path = path

    def run(self, sql: str, *values: object) -> None:
        """Change rows."""
        self.client.execute(sql, values)

    def listed(self) -> dict[str, int]:
        """List the session with another memory."""
        found = Inventory()
        SessionLooks(SqliteFile(self._path), "message", "part").list_stamps(found, ["ses_1"])
        return found.stamps["message"]

    def look(self) -> dict[str, int]:
        """List the session, to be remembered."""
        found = Inventory()
        self.looks.list_stamps(found, ["ses_1"])
        return found.stamps["message"]


class Clock:
    """Stands still until it is put forward."""

    def __init__(self) -> None:
        """Begin long after everything that is in the storage."""
        self.ms = NOW_MS

    def __call__(self) -> int:
        """Return the time in ns."""
        return self.ms * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Take the place of the time of day."""
    clock = Clock()
    monkeypatch.setattr("time.time_ns", clock)
    return clock


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """Make a session of three answers with two parts each, and another session."""
    docs = [project(), session(), session("ses_2"), user(), user("msg_other", "ses_2")]
    for number in range(3):
        docs.append(assistant(f"msg_{number}"))
        docs += [part(f"prt_{number}{place}", "text", f"msg_{number}", text="Done.") for place in range(2)]
    write_sqlite(tmp_path / "opencode", docs)
    store = Store(tmp_path / "opencode" / "opencode.db", lambda: clock.ms)
    yield store
    store.client.close()


def test_renewed_session_that_was_not_listed_asks_for_a_list(store: Store) -> None:
    """Nothing is known of it."""
    assert store.looks.renewed("ses_1", []) is None


def test_renewed_nothing_changed_names_nothing(store: Store) -> None:
    """The sums are those of before."""
    store.look()

    assert store.looks.renewed("ses_1", []) == {}


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE part SET time_updated = ? WHERE id = 'prt_10'", "msg_1"),
        ("UPDATE message SET time_updated = ? WHERE id = 'msg_1u'", "msg_1u"),
        ("INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) "
         "VALUES ('prt_new', 'msg_2', 'ses_1', 0, ?, '{}')", "msg_2"),
        ("INSERT INTO message (id, session_id, time_created, time_updated, data) "
         "VALUES ('msg_new', 'ses_1', 0, ?, '{}')", "msg_new"),
    ],
    ids=["part", "message", "new-part", "new-message"],
)  # fmt: skip
def test_renewed_row_written_just_now_names_its_message(sql: str, named: str, store: Store, clock: Clock) -> None:
    """First without a stamp, as it may change again in the same moment; then with the one that a list has."""
    before = store.look()
    store.run(sql, clock.ms)
    at_once = store.looks.renewed("ses_1", [])
    clock.ms += STAMPS_LATER_MS

    later = store.looks.renewed("ses_1", [named])

    assert at_once == {named: None}
    assert later == {named: store.listed()[named]} != {named: before.get(named)}


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM part WHERE id = 'prt_10'",
        "DELETE FROM message WHERE id = 'msg_1'",
        "UPDATE part SET time_updated = time_updated + 1 WHERE id = 'prt_10'",
        "UPDATE part SET session_id = 'ses_2' WHERE id = 'prt_10'",
        "UPDATE message SET session_id = 'ses_1' WHERE id = 'msg_other'",
    ],
    ids=["part-gone", "message-gone", "clock-behind", "part-elsewhere", "message-from-elsewhere"],
)
def test_renewed_change_that_no_late_row_tells_asks_for_a_list(sql: str, store: Store) -> None:
    """The sums do not add up."""
    store.look()
    store.run(sql)

    assert store.looks.renewed("ses_1", []) is None


def test_renewed_row_written_late_with_an_old_time_asks_for_a_list(store: Store, clock: Clock) -> None:
    """Its writer waited longer than is looked back."""
    clock.ms += 2 * LATE_MS
    store.look()
    store.run("UPDATE part SET time_updated = ? WHERE id = 'prt_10'", clock.ms - LATE_MS - 1)

    assert store.looks.renewed("ses_1", []) is None


def test_renewed_doubtful_message_is_looked_at_and_a_gone_one_left_out(store: Store) -> None:
    """Whoever asks knows by that that it is gone."""
    stamps = store.look()

    found = store.looks.renewed("ses_1", ["msg_0", "msg_other", "msg_nowhere"])

    assert found == {"msg_0": stamps["msg_0"]}


def test_renewed_parts_without_their_message_ask_for_a_list(store: Store, clock: Clock) -> None:
    """Of which session the message is only a list tells."""
    store.look()
    store.run(
        "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?, ?, ?, 0, ?, '{}')",
        "prt_stray", "msg_stray", "ses_1", clock.ms,
    )  # fmt: skip

    assert store.looks.renewed("ses_1", []) is None


@pytest.mark.parametrize("value", ["x'ff00'", "NULL", "7", "CAST(x'ff' AS TEXT)"], ids=["blob", "null", "int", "bytes"])
def test_renewed_row_without_an_id_that_is_text_asks_for_a_list(value: str, store: Store, clock: Clock) -> None:
    """It is written lately, and found by no id."""
    store.run("PRAGMA ignore_check_constraints = 1")
    store.look()
    store.run("CREATE TABLE loose AS SELECT * FROM part")
    store.run("DROP TABLE part")
    store.run("ALTER TABLE loose RENAME TO part")
    store.look()
    store.run(f"UPDATE part SET message_id = {value}, time_updated = {clock.ms} WHERE id = 'prt_10'")

    assert store.looks.renewed("ses_1", []) is None


def test_renewed_random_changes_leave_what_a_list_tells(store: Store, clock: Clock) -> None:
    """Whatever is written, and however late: what is remembered and renewed is what another list has."""
    chance = random.Random(7)
    known: dict[str, int | None] = {**store.look()}
    answers, is_remembered = 0, True
    for number in range(300):
        clock.ms += chance.choice([0, 1, 100, 3_000, 30_000])
        for _ in range(chance.randrange(3)):
            _change(store, chance, f"{number}_{chance.randrange(1_000_000)}")
        doubtful = [message_id for message_id, stamp in known.items() if stamp is None]

        found = store.looks.renewed("ses_1", doubtful) if is_remembered else None

        if found is None:
            found = {**dict.fromkeys(_messages(store)), **store.look()}
            known = {}
            # of which session parts without their message are is not told, so such a list is not remembered
            is_remembered = found.keys() == {*_messages(store)}
        else:
            answers += 1
        known = {**{key: stamp for key, stamp in known.items() if stamp is not None}, **found}
        assert known == dict.fromkeys(_messages(store)) | store.listed()
    assert 100 < answers < 250


def test_list_stamps_more_sessions_than_are_remembered_forgets_the_oldest(store: Store) -> None:
    """Thousands may change at once: what is remembered is bounded, and so is what it takes to keep it so."""
    store.looks.list_stamps(Inventory(), ["ses_1", *(f"ses_x{number}" for number in range(MOST_LOOKS))])

    assert store.looks.renewed("ses_1", []) is None
    assert store.looks.renewed("ses_x1", []) == {}


def test_apply_session_with_parts_without_their_message_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never remembered, so a second list would say the same."""
    docs = [project(), session(), user(), part("prt_1", "text", "msg_stray", text="One.")]
    data_dir = write_sqlite(tmp_path / "opencode", docs)
    index(tmp_path / "index.duckdb", data_dir)
    asked = noted_lists(monkeypatch)

    with Database.open(tmp_path / "index.duckdb") as database:
        storages = open_storages(database, find_sources([data_dir]), [data_dir])
        for _ in range(2):
            update.apply(database, storages, Changes(touched_sessions={"ses_1"}), may_postpone=True)
        for storage in storages:
            storage.source.close()

    assert asked == [{"ses_1"}, {"ses_1"}]


def test_apply_second_change_of_a_session_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that tells what changed is not asked for everything; another one beside it is."""
    docs = [project(), session(), user(), assistant("msg_1"), part("prt_1", "text", "msg_1", text="One.")]
    data_dir = write_sqlite(tmp_path / "opencode", docs)
    write_json_tree(data_dir, docs)
    index(tmp_path / "index.duckdb", data_dir)
    asked = noted_lists(monkeypatch)
    with Database.open(tmp_path / "index.duckdb") as database:
        storages = open_storages(database, find_sources([data_dir]), [data_dir])
        for text in ("Two.", "Three."):
            write_sqlite(
                data_dir, [part(f"prt_{text}", "text", "msg_1", text=text, stamp_ms=time.time_ns() // 1_000_000)]
            )
            update.apply(database, storages, Changes(touched_sessions={"ses_1"}), may_postpone=True)
        texts = database.con.execute("SELECT text FROM part_bodies WHERE part_id LIKE 'prt_T%' ORDER BY ALL").fetchall()
        for storage in storages:
            storage.source.close()

    assert asked == [{"ses_1"}, set()]
    assert texts == [("Three.",), ("Two.",)]


def noted_lists(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return what databases are asked to list from now on."""
    asked: list[set[str]] = []
    list_messages = SqliteV1.messages_of

    def note(source: SqliteV1, session_ids: set[str]) -> Inventory:
        """Note what is asked for."""
        asked.append(session_ids)
        return list_messages(source, session_ids)

    monkeypatch.setattr(SqliteV1, "messages_of", note)
    return asked


def _messages(store: Store) -> list[str]:
    """List the messages of the session."""
    return [name for (name,) in store.client.execute("SELECT id FROM message WHERE session_id = 'ses_1'").fetchall()]


def _change(store: Store, chance: random.Random, name: str) -> None:
    """Change something as OpenCode does, or as nobody would expect."""
    written_ms = store.now_ms() - chance.choice([0, 0, 0, 0, 0, 1, 5_000, 60_000])
    message_id = "msg_nobody" if chance.random() < 0.02 else chance.choice(_messages(store))
    match chance.randrange(7):
        case 0 | 1:
            store.run("UPDATE part SET time_updated = ? WHERE message_id = ?", written_ms, message_id)
        case 2:
            store.run("UPDATE message SET time_updated = ? WHERE id = ?", written_ms, message_id)
        case 3:
            sql = "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) "
            store.run(sql + "VALUES (?, ?, 'ses_1', 0, ?, '{}')", f"prt_{name}", message_id, written_ms)
        case 4:
            sql = "INSERT INTO message (id, session_id, time_created, time_updated, data) "
            store.run(sql + "VALUES (?, 'ses_1', 0, ?, '{}')", f"msg_{name}", written_ms)
        case 5 if chance.random() < 0.3:
            store.run("DELETE FROM part WHERE message_id = ?", message_id)
            store.run("DELETE FROM message WHERE id = ? AND id <> 'msg_1u'", message_id)
            store.run("DELETE FROM part WHERE message_id = 'msg_nobody'")
        case 6 if chance.random() < 0.3:
            sql = "UPDATE part SET message_id = ?, time_updated = ? WHERE rowid = (SELECT max(rowid) FROM part)"
            store.run(sql, message_id, written_ms)
