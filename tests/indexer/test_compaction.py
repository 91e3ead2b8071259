"""Deleted texts leave every file; nothing else does. Real files, real kills, real small disks."""

import contextlib
import multiprocessing
import os
import random
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer import compaction, duckdb_file, publish
from indexer.database import Database
from indexer.exceptions import IndexUnwritable
from indexer.index_files import private_folder
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.indexer.disks import no_room, small_disk
from tests.indexer.test_publish import MANY, Clock, bases, revisions

SPAWN = multiprocessing.get_context("spawn")
NOW = datetime.now(UTC).replace(tzinfo=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index that does not exist yet, with a quote in its name."""
    return tmp_path / "user's.duckdb"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Open a fresh index for writing."""
    with Database.open(path) as opened:
        yield opened


def marker() -> str:
    """Make a text that nothing else contains and no compression shortens."""
    return secrets.token_urlsafe(150)


def write_text(database: Database, key: str, text: str) -> None:
    """Commit a text."""
    with database.transaction() as con:
        con.execute("INSERT INTO agents VALUES ($name)", {"name": f"{key} {text}"})


def delete_text(database: Database, key: str, now: datetime = NOW) -> None:
    """Delete a text as the indexer does: with a note that it has to be wiped out."""
    with database.transaction() as con:
        con.execute("DELETE FROM agents WHERE starts_with(name, $key)", {"key": key})
        con.execute("UPDATE sync_state SET texts_deleted_at = $now", {"now": now})


def holders(path: Path, text: str) -> set[str]:
    """Name the files of an index, beside it too, that hold a text, once nothing vanishes meanwhile.

    A publisher removes old revisions in a thread of its own.
    """
    while True:
        files = (file for file in path.parent.rglob("*") if file.is_file() and not file.is_symlink())
        with contextlib.suppress(FileNotFoundError):
            return {str(file.relative_to(private_folder(path))) for file in files if text.encode() in file.read_bytes()}


def rows(con: duckdb.DuckDBPyConnection) -> list[Any]:
    """Return the texts and what belongs to them."""
    return con.execute("SELECT name FROM agents ORDER BY name").fetchall()


def waiting_since(database: Database) -> datetime | None:
    """Return since when deleted texts wait."""
    return compaction.texts_deleted_at(database)


def described(database: Database) -> list[Any]:
    """Return everything about an index but the clocks: schema, keys, indexes, views, history, rows, format."""
    con = database.con
    schema = con.execute(compaction._SCHEMA, {"name": "index_db"}).fetchall()
    columns = con.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
        "WHERE database_name = 'index_db' ORDER BY ALL"
    ).fetchall()
    history = con.execute("FROM schema_migrations ORDER BY ALL").fetchall()
    tags = con.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'index_db'").fetchall()
    return [schema, columns, history, tags, rows(con)]


# What it keeps, and what not


def test_compact_rows_in_the_wal_count_in_what_it_says(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """What was written last is not in the main file yet: a compacted index would seem to have grown."""
    write_text(database, "kept", secrets.token_urlsafe(6_000_000))

    with caplog.at_level("INFO", logger=compaction.__name__):
        compaction.compact(database)

    before, after = re.findall(r"from (\d+) to (\d+) MB", caplog.text)[0]
    assert int(before) >= int(after) >= 4


def test_compact_deleted_text_is_in_no_file(database: Database, path: Path) -> None:
    """Its bytes are gone from the working file, from what is published and from every older revision."""
    publisher, text, kept = Publisher(database), marker(), marker()
    write_text(database, "gone", text)
    write_text(database, "kept", kept)
    publisher.publish(new_base=True)
    delete_text(database, "gone")
    publisher.publish(new_base=True)
    database.checkpoint()
    before = holders(path, text)

    publisher.compact()

    assert "work.duckdb" in before
    assert holders(path, text) == set()
    assert holders(path, kept) == {"work.duckdb", "base.duckdb", f"{path.resolve().parent.name}/index.duckdb"}
    assert (waiting_since(database), len(revisions(path)), len(bases(path))) == (None, 1, 1)


def test_compact_more_keys_than_memory_holds_works(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of a million parts could not be compacted: as one transaction, its keys need more than there is."""
    monkeypatch.setattr(duckdb_file, "_ROWS_COPIED", 1 << 14)
    publisher = Publisher(database)
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT md5(range::VARCHAR) FROM range(150_000)")
    write_text(database, "gone", marker())
    delete_text(database, "gone")
    publisher.publish(new_base=True)
    before = rows(database.con)
    database.con.execute("SET memory_limit = '28MB'")

    publisher.compact()

    assert rows(database.con) == before
    assert waiting_since(database) is None


def test_compact_row_groups_are_as_small_as_before(database: Database) -> None:
    """A checkpoint would write the last one of DuckDB's own size for 1.6 s, and the file would be twice as large."""
    publisher = Publisher(database)
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT md5(range::VARCHAR) FROM range(40_000)")

    publisher.compact()

    sql = "SELECT count(DISTINCT row_group_id) FROM pragma_storage_info('agents')"
    assert database.con.execute(sql).fetchall() == [(3,)]


def test_compact_everything_else_is_the_same(database: Database, path: Path) -> None:
    """Tables, keys, indexes, views, migrations, the storage version and the rows; writing goes on."""
    publisher = Publisher(database)
    write_text(database, "kept", marker())
    delete_text(database, "gone")
    before = described(database), database.revision

    publisher.compact()

    assert (described(database), database.revision) == before
    with pytest.raises(duckdb.ConstraintException), database.transaction() as con:
        con.execute("INSERT INTO agents SELECT name FROM agents")  # the key is still one
    write_text(database, "next", "text")
    publisher.publish()
    reader = IndexReader(path)
    assert [name.split()[0] for (name,) in rows(reader.connection())] == ["kept", "next"]
    reader.close()


def test_compact_rows_keep_their_order(database: Database) -> None:
    """Rows in order of arrival are what makes pages fast."""
    in_order = "SELECT md5(string_agg(message, ' ' ORDER BY rowid)) FROM sync_events"
    with database.transaction() as con:
        con.execute(f"INSERT INTO sync_events SELECT now()::TIMESTAMP, 'x', md5(range::VARCHAR) FROM range({3 * MANY})")
    before = database.con.execute(in_order).fetchall()

    Publisher(database).compact()

    assert database.con.execute(in_order).fetchall() == before


def test_compact_survives_closing(path: Path) -> None:
    """The new file is the working file of the next start."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        write_text(database, "kept", "text")
        publisher.compact()
        write_text(database, "next", "text")
        publisher.close()

    with Database.open(path) as database:
        assert rows(database.con) == [("kept text",), ("next text",)]


def test_compact_without_links_replaces_the_copy(database: Database, path: Path) -> None:
    """Where links are refused, the one published file is made anew."""
    publisher, text = Publisher(database, use_links=False), marker()
    write_text(database, "gone", text)
    publisher.publish()
    delete_text(database, "gone")

    publisher.compact()

    assert (holders(path, text), path.is_symlink()) == (set(), False)


def test_compact_open_readers_go_on(database: Database, path: Path) -> None:
    """Who has an older revision open keeps it."""
    publisher, text = Publisher(database), marker()
    write_text(database, "gone", text)
    publisher.publish()
    reader = IndexReader(path)
    held = reader.connection()
    delete_text(database, "gone")
    publisher.compact()

    assert rows(held) == [(f"gone {text}",)]
    assert rows(reader.refresh().cursor()) == []
    reader.close()


def test_compact_inside_a_transaction_is_refused(database: Database) -> None:
    """Half a transaction is never kept."""
    with pytest.raises(RuntimeError, match="inside a transaction"), database.transaction():
        Publisher(database).compact()


def test_publish_after_a_deletion_removes_older_revisions_at_once(database: Database, path: Path) -> None:
    """Their WAL copies hold the text; until the compaction only the base that all share does."""
    publisher, text = Publisher(database, clock=Clock()), marker()
    publisher.publish()
    write_text(database, "gone", text)
    publisher.publish()
    write_text(database, "other", "text")
    publisher.publish()
    delete_text(database, "gone")

    publisher.publish()

    assert revisions(path) == {"3"}


def test_publish_after_more_deletions_keeps_older_revisions_for_a_second(database: Database, path: Path) -> None:
    """Readers find one to open, however many deletions follow each other; an idle indexer removes them, too."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    for _ in range(3):
        delete_text(database, "gone")
        publisher.publish()
    young = revisions(path)

    clock.now += 1.1
    publisher.publish_if_due()

    assert (young, revisions(path)) == ({"1", "2", "3"}, {"3"})


def test_close_texts_waiting_are_wiped_out(path: Path) -> None:
    """Nobody would do it while no indexer runs."""
    text = marker()
    with Database.open(path) as database:
        publisher = Publisher(database)
        write_text(database, "gone", text)
        delete_text(database, "gone")
        publisher.close()

    assert holders(path, text) == set()


def test_close_no_room_to_wipe_out_says_so_and_ends(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping never fails for that; the next run does it."""
    monkeypatch.setattr(compaction, "_MIN_ROOM_BYTES", 1 << 60)
    publisher = Publisher(database)
    delete_text(database, "gone")

    publisher.close()

    assert "cannot be compacted" in caplog.text
    assert waiting_since(database) == NOW


# When


def test_compact_if_due_nothing_to_do_does_nothing(database: Database) -> None:
    """A small tidy file is left alone."""
    publisher = Publisher(database)
    publisher.publish()

    assert [publisher.compact_if_due(is_idle=is_idle) for is_idle in (True, False)] == [False, False]


def test_compact_if_due_deleted_text_waits_until_idle_or_eight_minutes(database: Database) -> None:
    """As soon as nothing else is to do, and in good time in any case."""
    publisher = Publisher(database)
    outcomes = []
    for is_idle, minutes in ((False, 7.9), (False, 8.0), (True, 0.0), (False, -8.0)):
        delete_text(database, "gone")
        publisher._compaction_cost_s = 0.0
        outcomes.append(publisher.compact_if_due(is_idle=is_idle, now=NOW + timedelta(minutes=minutes)))

    assert outcomes == [False, True, True, True]


def test_compact_if_due_while_following_waits_for_ten_quiet_seconds(database: Database) -> None:
    """A session that is being answered is not held up, unless it goes on for 8 minutes."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    database.set_phase("real-time", "following")
    outcomes = []
    for seconds in (0.0, 9.9, 9.9, 10.1):
        if seconds != 10.1:
            delete_text(database, "gone")
        publisher.publish()
        clock.now += seconds
        outcomes.append(publisher.compact_if_due(is_idle=True, now=NOW))
    delete_text(database, "gone")
    publisher.publish()
    outcomes.append(publisher.compact_if_due(is_idle=False, now=NOW + timedelta(minutes=8)))

    assert outcomes == [False, False, False, True, True]


def test_is_at_rest_after_a_deletion_is_so_when_it_is_wiped_out(database: Database) -> None:
    """Until then time alone brings something to do: whoever sleeps meanwhile would leave the text where it is."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    database.set_phase("real-time", "following")
    found = [publisher.is_at_rest]
    delete_text(database, "gone")
    found.append(publisher.is_at_rest)
    publisher.publish()
    found.append(publisher.is_at_rest)
    for seconds in (9.9, 0.2, 10.1):  # the last for a look whether the new file has unused space
        clock.now += seconds
        publisher.compact_if_due(is_idle=True, now=NOW)
        found.append(publisher.is_at_rest)

    assert found == [False, False, False, False, False, True]


def test_is_at_rest_after_a_commit_that_nobody_sees_is_so_when_looked_at(database: Database) -> None:
    """It may have deleted texts, too."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    publisher.publish()
    clock.now += 10.1
    found = []
    for is_written in (False, True, False):
        if is_written:
            with database.transaction(is_visible=False) as con:
                con.execute("UPDATE sync_state SET updated_at = $now", {"now": NOW})
            found.append(publisher.is_at_rest)
        publisher.compact_if_due(is_idle=True, now=NOW)
        found.append(publisher.is_at_rest)

    assert found == [True, False, True, True]


def test_compact_if_due_takes_a_twentieth_of_the_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions that follow each other do not keep the indexer busy."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    compact = compaction.compact

    def slow(database: Database) -> None:
        """Take three seconds."""
        clock.now += 3.0
        compact(database)

    monkeypatch.setattr(compaction, "compact", slow)
    outcomes = []
    for wait in (0.0, 56.9, 0.2):
        clock.now += wait
        delete_text(database, "gone")
        outcomes.append(publisher.compact_if_due(is_idle=True, now=NOW))

    assert outcomes == [True, False, True]


def test_compact_if_due_much_unused_space_is_given_back_when_idle(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over 30 % of the blocks, in a file worth it."""
    monkeypatch.setattr(publish, "_MIN_COMPACTED_BYTES", 1 << 20)
    publisher = Publisher(database)
    for sql in (
        f"INSERT INTO agents SELECT md5(range::VARCHAR) FROM range({2 * MANY})",
        f"INSERT INTO sync_events SELECT now()::TIMESTAMP, 'x', md5(range::VARCHAR) FROM range({MANY})",
        "DELETE FROM agents",  # what lies behind it keeps the file from being cut
    ):
        with database.transaction() as con:
            con.execute(sql)
        publisher.publish(new_base=True)
    before = database.work_path.stat().st_size

    outcomes = [publisher.compact_if_due(is_idle=is_idle) for is_idle in (False, True, True)]

    assert outcomes == [False, True, False]
    assert database.work_path.stat().st_size < 0.7 * before


def test_compact_if_due_no_room_is_told_and_tried_again(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexing goes on; a minute later it is tried again."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    delete_text(database, "gone")
    room = compaction._MIN_ROOM_BYTES
    monkeypatch.setattr(compaction, "_MIN_ROOM_BYTES", 1 << 60)
    outcomes = [publisher.compact_if_due(is_idle=True, now=NOW)]
    told = publisher.problem
    monkeypatch.setattr(compaction, "_MIN_ROOM_BYTES", room)
    outcomes.append(publisher.compact_if_due(is_idle=True, now=NOW))
    clock.now += 61
    outcomes.append(publisher.compact_if_due(is_idle=True, now=NOW))

    assert outcomes == [False, False, True]
    assert told is not None
    assert "MB are free. Free some space" in told
    assert publisher.problem is None


# Failures


def check_unharmed(database: Database, publisher: Publisher, path: Path) -> None:
    """Assert that an index is as it was before a compaction that failed, and works."""
    assert waiting_since(database) == NOW
    assert not list(private_folder(path).glob("compact*"))
    write_text(database, "next", "text")
    publisher.publish()
    reader = IndexReader(path)
    assert rows(reader.refresh().cursor())[-1] == ("next text",)
    reader.close()


def fill_index(database: Database) -> None:
    """Commit some megabytes."""
    with database.transaction() as con:
        con.execute(f"INSERT INTO agents SELECT 'a' || md5(range::VARCHAR) FROM range({MANY})")
    delete_text(database, "gone")


def test_compact_disk_full_keeps_the_old_file(database: Database, path: Path) -> None:
    """Whatever it had written is removed, and everything goes on."""
    publisher = Publisher(database)
    fill_index(database)
    database.checkpoint()
    publisher.publish(new_base=True)

    with no_room(1 << 20), pytest.raises(IndexUnwritable, match="cannot be compacted: .*too large"):
        publisher.compact()

    assert database.is_usable
    check_unharmed(database, publisher, path)


def test_compact_on_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a real one, that passes for large enough at first."""
    monkeypatch.setattr(compaction, "_MIN_ROOM_BYTES", 0)
    monkeypatch.setattr(compaction, "_ROOM", 0.0)
    path = tmp_path / "small" / "index.duckdb"
    with small_disk(path.parent, 64) as is_mounted:
        if not is_mounted:
            pytest.skip("no small disk can be mounted here")
        with Database.open(path) as database:
            publisher = Publisher(database)
            fill_index(database)
            publisher.publish(new_base=True)
            ballast = path.parent / "ballast"
            free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_bsize
            ballast.write_bytes(b"\0" * (free - (1 << 20)))
            with pytest.raises(IndexUnwritable, match=r"cannot be compacted: .*No space left.*Free some space"):
                publisher.compact()
            assert database.is_usable
            ballast.unlink()
            check_unharmed(database, publisher, path)


def test_compact_copy_that_differs_is_thrown_away(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is read and compared before it takes the place of the index."""
    publisher = Publisher(database)
    delete_text(database, "gone")
    everything = compaction._everything

    def lossy(con: duckdb.DuckDBPyConnection, name: str) -> list[object]:
        """Miss something in the copy."""
        return everything(con, name)[: 1 if name == "fresh" else 2]

    monkeypatch.setattr(compaction, "_everything", lossy)
    with pytest.raises(IndexUnwritable, match="not what can be read"):
        publisher.compact()

    assert database.is_usable
    check_unharmed(database, publisher, path)


def test_compact_copy_that_cannot_be_read_is_no_damage_of_the_index(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad new file does not make the next start throw away the old one."""
    publisher = Publisher(database)
    delete_text(database, "gone")
    everything = compaction._everything

    def unreadable(con: duckdb.DuckDBPyConnection, name: str) -> list[object]:
        """Fail on the copy."""
        if name == "fresh":
            raise duckdb.Error("Corrupt database file: computed checksum 1 does not match stored checksum 2")
        return everything(con, name)

    monkeypatch.setattr(compaction, "_everything", unreadable)
    with pytest.raises(IndexUnwritable, match="cannot be read"):
        publisher.compact()

    check_unharmed(database, publisher, path)


def test_compact_exchange_refused_goes_on_with_the_old_file(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file is opened again."""
    publisher = Publisher(database)
    publisher.publish()
    delete_text(database, "gone")

    def refuse(source: Path, target: Path) -> None:
        """Fail as a disk does."""
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(IndexUnwritable, match="Check its disk"):
            publisher.compact()

    assert database.is_usable
    check_unharmed(database, publisher, path)


def test_compact_publishing_fails_the_next_start_removes_older_revisions(path: Path) -> None:
    """Killed or failed between the two, the text is wiped out of what is published as soon as possible."""
    text = marker()
    with Database.open(path) as database:
        publisher = Publisher(database)
        write_text(database, "gone", text)
        publisher.publish(new_base=True)
        delete_text(database, "gone")
        compaction.compact(database)
    still = holders(path, text)

    with Database.open(path) as database:
        Publisher(database).publish()

    assert (still, holders(path, text)) == ({"base.duckdb", "1/index.duckdb"}, set())


# Kills


def compact_until_killed(path: Path, answer: Any, victim: str) -> None:
    """Commit and compact, and die on the way.

    Args:
        path: The index.
        answer: Where every acknowledged commit is sent.
        victim: `copy`, `compare`, `sync`, `close`, `exchange`, `open`: the step in which to die. `any`: go on until
            killed.
    """
    steps: dict[str, tuple[Any, str]] = {
        "copy": (compaction, "_check_room"),
        "compare": (compaction, "_everything"),
        "sync": (os, "fsync"),
        "close": (Database, "_close_file"),
        "exchange": (os, "replace"),
        "open": (Database, "_open_file"),
    }
    with Database.open(path) as database:
        publisher = Publisher(database)
        for number in range(100_000):
            with database.transaction() as con:
                con.execute(
                    f"INSERT INTO agents SELECT '{number} ' || md5(range::VARCHAR) FROM range(20_000)"
                    if number < 20
                    else f"INSERT INTO agents VALUES ('{number} 0')"
                )
            answer.send(number)
            publisher.publish()
            if victim != "any":
                owner, name = steps[victim]
                setattr(owner, name, lambda *_, **__: os._exit(9))
            publisher.compact()


def last_of(database: Database) -> int:
    """Assert that an index holds every commit up to one, and return that one."""
    found = database.con.execute("SELECT DISTINCT split_part(name, ' ', 1)::INTEGER FROM agents ORDER BY 1").fetchall()
    assert [number for (number,) in found] == list(range(len(found)))
    return len(found) - 1


@pytest.mark.parametrize("victim", ["copy", "compare", "sync", "close", "exchange", "open"])
def test_compact_killed_in_a_step_loses_nothing(path: Path, victim: str) -> None:
    """Before the exchange the old file is there, after it the new one; leftovers are removed."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=compact_until_killed, args=(path, theirs, victim))
    process.start()
    acknowledged = ours.recv()
    process.join()

    with Database.open(path) as database:
        publisher = Publisher(database)
        assert (process.exitcode, last_of(database)) == (9, acknowledged)
        publisher.compact()
        assert last_of(database) == acknowledged
        assert not list(private_folder(path).glob("compact*"))


def test_compact_killed_at_any_moment_loses_nothing(path: Path) -> None:
    """Ten kills at random moments of a loop of commits and compactions."""
    moments = random.Random(7)
    for _ in range(10):
        for file in sorted(path.parent.rglob("*"), reverse=True):
            file.unlink() if file.is_symlink() or file.is_file() else file.rmdir()
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=compact_until_killed, args=(path, theirs, "any"))
        process.start()
        theirs.close()
        acknowledged = ours.recv()
        end = time.monotonic() + moments.uniform(0.0, 1.0)
        while time.monotonic() < end:
            if ours.poll(max(0.0, end - time.monotonic())):
                acknowledged = ours.recv()
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                acknowledged = ours.recv()

        with Database.open(path) as database:
            assert last_of(database) in (acknowledged, acknowledged + 1)
            assert not list(path.parent.glob("*.broken-*"))
