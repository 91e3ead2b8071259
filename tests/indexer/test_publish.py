"""Publishing and reading: real files, real processes, kills at random moments."""

import contextlib
import errno
import gc
import multiprocessing
import os
import random
import re
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from indexer import publish, published
from indexer.database import Database, copy_file
from indexer.duckdb_file import SCHEMA_VERSION, attach, quoted
from indexer.exceptions import (
    IndexBroken,
    IndexForeign,
    IndexMissing,
    IndexNewer,
    IndexOlder,
    IndexUnavailable,
    IndexUnwritable,
)
from indexer.index_files import is_own_copy, private_folder, size_of
from indexer.publish import Publisher
from indexer.published import IndexReader, hold
from tests.following import wait_for

SPAWN = multiprocessing.get_context("spawn")
SLOTS = 100  # rows that every transaction of the tests rewrites
MANY = 130_000  # rows in one table: DuckDB writes them into the main file, past the WAL


class Clock:
    """Seconds that pass only when told, plus a fixed step at every look."""

    def __init__(self, step: float = 0.0) -> None:
        """Start at zero."""
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        """Return the time."""
        self.now += self.step
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index that does not exist yet."""
    return tmp_path / "analytics.duckdb"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Open a fresh index for writing."""
    with Database.open(path) as opened:
        opened.con.execute("CREATE TABLE slots (slot INTEGER PRIMARY KEY, revision BIGINT, ledger BIGINT)")
        opened.con.execute("CREATE TABLE bulk (revision BIGINT, number INTEGER)")
        yield opened


@pytest.fixture
def reader(path: Path) -> Iterator[IndexReader]:
    """Open the same index for reading."""
    opened = IndexReader(path)
    yield opened
    opened.close()


def write(database: Database, bulk_rows: int = 0) -> int:
    """Commit one transaction whose effect follows from its revision alone; see `check`.

    Args:
        database: The index.
        bulk_rows: Rows to append to the table `bulk`.

    Returns:
        The revision.
    """
    with database.transaction():
        revision = database.revision + 1
        values = pa.array([revision] * SLOTS, pa.int64())
        ledger = pa.array([revision * slot for slot in range(SLOTS)], pa.int64())
        rows = pa.table({"slot": pa.array(range(SLOTS), pa.int32()), "revision": values, "ledger": ledger})
        database.replace_rows("slots", ["slot"], rows)
        numbers = pa.array(range(bulk_rows), pa.int32())
        bulk = pa.table({"revision": pa.array([revision] * bulk_rows, pa.int64()), "number": numbers})
        database.replace_rows("bulk", ["revision"], bulk)
    return database.revision


def check(con: duckdb.DuckDBPyConnection) -> int:
    """Assert that a connection sees exactly one committed state.

    Returns:
        Its revision.
    """
    (revision,) = con.execute("SELECT revision FROM sync_state").fetchone() or (None,)
    slots = con.execute("SELECT count(*), min(revision), max(revision), sum(ledger)::BIGINT FROM slots").fetchone()
    torn = con.execute(
        "SELECT revision FROM bulk GROUP BY revision "
        f"HAVING count(*) <> {MANY} OR sum(number) <> {sum(range(MANY))} OR count(DISTINCT number) <> {MANY}"
    ).fetchall()
    assert revision is not None
    assert slots == ((SLOTS, revision, revision, revision * sum(range(SLOTS))) if revision else (0, None, None, None))
    assert torn == []
    return int(revision)


def checked(reader: IndexReader) -> int:
    """Check the newest published revision and return its number."""
    with contextlib.closing(reader.refresh().cursor()) as con:
        return check(con)


def revisions(path: Path) -> set[str]:
    """Return the names of the revision folders on disk."""
    return {entry.name for entry in private_folder(path).iterdir() if entry.is_dir() and entry.name[0].isdigit()}


def bases(path: Path) -> set[int]:
    """Return the inodes of the published bases, and of that for the next revision."""
    files = [*private_folder(path).glob("[0-9]*/index.duckdb"), *private_folder(path).glob("base.duckdb")]
    return {file.stat().st_ino for file in files}


def link_of(path: Path) -> str:
    """Return what the published link says."""
    return os.readlink(path)


# Publishing


def test_publish_commit_makes_it_visible(database: Database, reader: IndexReader) -> None:
    """What is committed and published is what a reader sees."""
    publisher = Publisher(database)
    write(database)

    published = publisher.publish()

    assert (published, reader.revision(), checked(reader)) == (True, 1, 1)


def test_publish_nothing_new_does_nothing(database: Database, path: Path) -> None:
    """The same revision is not published twice by one publisher."""
    publisher = Publisher(database)
    publisher.publish()
    before = link_of(path)

    assert (publisher.publish(), publisher.publish_if_due(), link_of(path)) == (False, False, before)


def test_publish_inside_a_transaction_is_refused(database: Database) -> None:
    """Half a transaction is never copied."""
    publisher = Publisher(database)

    with pytest.raises(RuntimeError, match="inside a transaction"), database.transaction():
        publisher.publish()


def test_publish_revisions_share_one_base(database: Database, path: Path) -> None:
    """Small commits cost a copy of the WAL, not of the file; the link is relative."""
    publisher = Publisher(database)
    for _ in range(3):
        write(database)
        publisher.publish()

    assert (revisions(path), len(bases(path))) == ({"1", "2", "3"}, 1)
    assert link_of(path) == "analytics.duckdb.d/3/index.duckdb"


def test_publish_files_are_read_only_and_private(database: Database, path: Path) -> None:
    """0400 files in 0700 folders."""
    publisher = Publisher(database)
    publisher.publish()
    write(database)
    publisher.publish()

    folder = private_folder(path) / "1"
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (folder, *folder.iterdir())}

    assert modes == {"1": 0o700, "index.duckdb": 0o400, "index.duckdb.wal": 0o400}


def test_publish_after_many_rows_in_one_transaction_has_a_new_base(
    database: Database, path: Path, reader: IndexReader
) -> None:
    """Such rows bypass the WAL: the old base with the new WAL would not open."""
    publisher = Publisher(database)
    publisher.publish()
    write(database, bulk_rows=MANY)
    publisher.publish()

    assert (checked(reader), len(bases(path))) == (1, 2)


def test_publish_after_many_small_inserts_in_one_transaction_opens(database: Database, reader: IndexReader) -> None:
    """What counts is what is pending in one table, not the size of a statement."""
    publisher = Publisher(database)
    publisher.publish()
    with database.transaction() as con:
        for start in range(0, MANY, 10_000):
            con.execute(f"INSERT INTO bulk SELECT 7, range::INTEGER FROM range({start}, {start + 10_000})")
    publisher.publish()

    with contextlib.closing(reader.connection()) as con:
        assert con.execute("SELECT count(*) FROM bulk").fetchone() == (MANY,)


def test_publish_json_change_in_the_wal_opens(database: Database, reader: IndexReader) -> None:
    """Replaying such a WAL needs the json extension first."""
    database.con.execute("CREATE TABLE notes (note VARCHAR)")
    publisher = Publisher(database)
    publisher.publish()
    with database.transaction() as con:
        con.execute("""INSERT INTO notes VALUES ('{"a": 1}')""")
        con.execute("ALTER TABLE notes ALTER COLUMN note TYPE JSON USING TRY_CAST(note AS JSON)")
    publisher.publish()

    with contextlib.closing(reader.connection()) as con:
        assert con.execute("SELECT note->>'a' FROM notes").fetchall() == [("1",)]


def test_publish_long_wal_gets_a_new_base(database: Database, path: Path, reader: IndexReader) -> None:
    """A reader replays a few megabytes at most; the revision that made it so long does not wait for the base."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 500) FROM range(4000)")
    assert (database.work_path.parent / "work.duckdb.wal").stat().st_size > 4 << 20

    publisher.publish()
    long_bytes = (path.resolve().parent / "index.duckdb.wal").stat().st_size
    write(database)
    publisher.publish()

    assert (len(bases(path)), checked(reader)) == (2, 2)
    assert (path.resolve().parent / "index.duckdb.wal").stat().st_size < 1 << 20 < long_bytes


def test_publish_long_wal_in_bulk_gets_a_new_base_at_once(database: Database, path: Path) -> None:
    """Until the next publication of bulk the WAL is too long again: a base for it would be made in vain."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    database.set_phase("bulk", "reading")
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 500) FROM range(4000)")

    publisher.publish()

    assert len(bases(path)) == 2
    assert not (path.resolve().parent / "index.duckdb.wal").exists()


def test_publish_no_room_for_the_next_base_leaves_no_half_of_it(
    database: Database, path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is visible all the same, and the next revision makes the base that it needs."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 500) FROM range(4000)")
    write(database)
    copy = copy_file

    def full(source: int, target: Path) -> int:
        """Have no room for a base."""
        size = copy(source, target)
        if target.name == "base.duckdb":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return size

    with monkeypatch.context() as patch, pytest.raises(IndexUnwritable):
        patch.setattr(publish, "copy_file", full)
        publisher.publish()
    seen, is_left = checked(reader), (private_folder(path) / "base.duckdb").exists()
    write(database)
    publisher.publish()
    reader.refresh()

    assert (seen, is_left, checked(reader)) == (2, False, 3)


def test_close_leaves_one_base(database: Database, path: Path) -> None:
    """A base that no revision has yet would only take room while nobody writes."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 500) FROM range(4000)")
    publisher.publish()
    before = len(bases(path))

    publisher.close()

    assert (before, len(bases(path))) == (2, 1)


def test_publish_long_wal_waits_for_the_bases_share_of_the_time(database: Database, path: Path) -> None:
    """Bases take at most 15 % of the time: a base that took 1 s is followed by none for 5.67 s."""
    clock = Clock(step=1.0)
    publisher = Publisher(database, clock=clock)
    publisher.publish()
    clock.step = 0.0
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 500) FROM range(4000)")

    publisher.publish()
    soon = len(bases(path))
    clock.now += 5.7
    write(database)
    publisher.publish()

    assert (soon, len(bases(path))) == (1, 2)


@pytest.mark.parametrize(("base_bytes_per_wal_byte", "count"), [(512, 2), (1, 1)])
def test_publish_short_wal_new_base_if_the_base_is_small(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch, base_bytes_per_wal_byte: int, count: int
) -> None:
    """What replays slowly is worth a copy sooner where the copy is small."""
    monkeypatch.setattr(publish, "_BASE_BYTES_PER_WAL_BYTE", base_bytes_per_wal_byte)
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 100) FROM range(700)")  # some 200 KB

    publisher.publish()

    assert len(bases(path)) == count


def test_publish_many_transactions_get_a_new_base(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many tiny transactions replay as slowly as a long WAL."""
    monkeypatch.setattr(publish, "_MAX_WAL_TRANSACTIONS", 3)
    publisher = Publisher(database, clock=Clock())
    counts = []
    for _ in range(5):
        write(database)
        publisher.publish()
        counts.append(len(bases(path)))

    assert counts == [1, 1, 1, 1, 2]


def test_publish_transactions_not_visible_wait_for_the_next_revision(
    database: Database, path: Path, reader: IndexReader
) -> None:
    """Bookkeeping publishes nothing, and goes out with the next revision, however much of it there was."""
    publisher = Publisher(database)
    publisher.publish()
    for rows in (10, MANY):
        with database.transaction(is_visible=False) as con:
            con.execute(f"INSERT INTO bulk SELECT 7, range::INTEGER FROM range({rows})")
    published = publisher.publish_if_due(), publisher.publish()
    write(database)
    publisher.publish()

    with contextlib.closing(reader.connection()) as con:
        assert con.execute("SELECT count(*) FROM bulk").fetchone() == (MANY + 10,)
    assert (published, revisions(path)) == ((False, False), {"0", "1"})


def test_publish_transactions_not_visible_count_for_a_new_base(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader has to replay them, too."""
    monkeypatch.setattr(publish, "_MAX_WAL_TRANSACTIONS", 3)
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    for _ in range(3):
        with database.transaction(is_visible=False):
            pass
    write(database)
    publisher.publish()

    assert len(bases(path)) == 2


def test_publish_new_base_asked_for_makes_one(database: Database, path: Path) -> None:
    """After a schema change the caller asks for it, even at the same revision."""
    publisher = Publisher(database)
    publisher.publish()

    assert (publisher.publish(new_base=True), len(bases(path)), revisions(path)) == (True, 2, {"0", "0.1"})


def test_publish_never_keeps_more_than_two_bases(database: Database, path: Path, reader: IndexReader) -> None:
    """Disk is bounded, however often the base changes."""
    publisher = Publisher(database)
    counts = []
    for _ in range(4):
        write(database)
        publisher.publish(new_base=True)
        counts.append(len(bases(path)))

    assert (counts, checked(reader)) == ([1, 2, 2, 2], 4)


def test_publish_old_revisions_are_removed_after_ten_seconds(database: Database, path: Path) -> None:
    """Young ones stay for readers about to open them, else the newest three."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    for _ in range(5):
        write(database)
        publisher.publish()
    young = revisions(path)

    clock.now += 11
    write(database)
    publisher.publish()

    assert (young, revisions(path)) == ({"1", "2", "3", "4", "5"}, {"4", "5", "6"})


def test_publish_base_that_takes_long_to_remove_is_not_waited_for(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next revision comes meanwhile; at the end nothing is left of it."""
    clock, may_go, remove = Clock(), threading.Event(), shutil.rmtree
    publisher = Publisher(database, clock=clock)
    publisher.publish()
    publisher.publish(new_base=True)

    def remove_when_allowed(folder: Path, ignore_errors: bool) -> None:
        """Take long, unless it is done by whoever publishes."""
        assert threading.current_thread() is threading.main_thread() or may_go.wait(60)
        remove(folder, ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", remove_when_allowed)
        clock.now += 11
        for _ in range(3):
            write(database)
            publisher.publish()
        meanwhile = revisions(path), len(list(private_folder(path).glob("gone-*")))
        may_go.set()
        publisher.close()

    assert meanwhile == ({"1", "2", "3"}, 1)
    assert list(private_folder(path).glob("gone-*")) == []


def test_publisher_left_revision_with_the_longest_name_is_removed(database: Database, path: Path) -> None:
    """What a kill left half removed goes at the next start, however long its name has become."""
    left = private_folder(path) / ("gone-" + 250 * "1")
    left.mkdir()

    Publisher(database).close()

    assert list(private_folder(path).glob("gone-*")) == []


def test_publish_large_wal_copies_are_not_kept_for_long(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a size, young revisions go as well, all but three."""
    monkeypatch.setattr(publish, "_KEPT_WAL_BYTES", 100)
    publisher = Publisher(database)
    for _ in range(5):
        write(database)
        publisher.publish()

    assert revisions(path) == {"3", "4", "5"}


@pytest.mark.parametrize("damage", ["touched", "removed"])
def test_publish_published_base_changed_makes_a_new_one(
    database: Database, path: Path, reader: IndexReader, damage: str
) -> None:
    """Root ignores file modes: a base that somebody wrote to or removed is not linked again."""
    publisher = Publisher(database)
    publisher.publish()
    base = path.resolve()
    os.utime(base, ns=(1, 1)) if damage == "touched" else shutil.rmtree(base.parent)
    inode = base.stat().st_ino if damage == "touched" else 0

    write(database)
    publisher.publish()

    assert (checked(reader), path.stat().st_ino != inode) == (1, True)


def test_publish_disk_full_leaves_the_last_revision(database: Database, path: Path, reader: IndexReader) -> None:
    """What could not be copied is removed, and the next attempt works."""
    publisher = Publisher(database)
    write(database)
    publisher.publish()
    write(database)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as if the disk had room for 100 bytes
    try:
        with pytest.raises(IndexUnwritable, match=r"cannot be published: .*too large.* goes on by itself"):
            publisher.publish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = revisions(path)

    assert (left, checked(reader), database.is_usable) == ({"1"}, 1, True)
    assert (publisher.publish(), checked(reader)) == (True, 2)


def test_publish_without_copy_file_range_is_the_same(
    database: Database, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Linux copies inside the kernel."""
    monkeypatch.delattr(os, "copy_file_range")
    publisher = Publisher(database)
    write(database, bulk_rows=MANY)

    publisher.publish()

    assert checked(reader) == 1


# Rates


def test_publish_if_due_too_soon_waits(database: Database) -> None:
    """At most once per 100 ms, whatever is asked for."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    database.set_phase("real-time", "following")
    outcomes = []
    for now in (0.0, 0.05, 0.11):
        clock.now = now
        write(database)
        outcomes.append(publisher.publish_if_due(interval_s=0.0))

    assert outcomes == [True, False, True]


def test_publish_if_due_bulk_waits_three_seconds(database: Database) -> None:
    """The first index appears every few seconds."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    database.set_phase("bulk", "reading")
    outcomes = []
    for now in (0.0, 2.9, 3.1):
        clock.now = now
        write(database)
        outcomes.append(publisher.publish_if_due())

    assert outcomes == [True, False, True]


def test_publish_if_due_bulk_takes_a_tenth_of_the_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication that takes seconds is followed by nine times as long without."""
    clock, taken = Clock(), []
    publisher = Publisher(database, clock=clock)
    database.set_phase("bulk", "reading")
    make_base = copy_file

    def slow_copy(source: int, target: Path) -> int:
        """Take two seconds."""
        clock.now += 2.0
        taken.append(2.0)
        return make_base(source, target)

    monkeypatch.setattr(publish, "copy_file", slow_copy)
    while clock.now < 600:
        clock.now += 0.5
        write(database)
        publisher.publish_if_due()

    assert 0.05 <= sum(taken) / clock.now <= 0.101


def test_publish_if_due_stale_base_waits_for_its_share(database: Database) -> None:
    """Outside bulk a base that must be new is waited for, so that bases stay under 15 % of the time."""
    clock = Clock(step=1.0)
    publisher = Publisher(database, clock=clock)
    database.set_phase("real-time", "following")
    publisher.publish()
    clock.step = 0.0
    write(database, bulk_rows=MANY)
    soon = publisher.publish_if_due()

    clock.now += 6.0

    assert (soon, publisher.publish_if_due()) == (False, True)


def test_publish_if_due_huge_wal_is_checkpointed_between_publications(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bulk does not pile up in memory what it has committed."""
    monkeypatch.setattr(publish, "_HUGE_WAL_BYTES", 10_000)
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    with database.transaction() as con:
        con.execute("INSERT INTO agents SELECT repeat(range::VARCHAR, 10) FROM range(2000)")
    before = size_of(publisher._work_wal)

    published = publisher.publish_if_due(interval_s=60)

    assert (published, before > 10_000, size_of(publisher._work_wal) < before) == (False, True, True)


def test_publish_if_due_many_unlogged_commits_are_checkpointed_between_publications(database: Database) -> None:
    """Without a WAL, too: a kill takes what came since, and no more."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    waiting, published = [], []

    with database.unlogged(1):
        for _ in range(publish._MOST_UNLOGGED_COMMITS + 1):
            write(database)
            waiting.append(database.unlogged_commits)
            published.append(publisher.publish_if_due(interval_s=60))
        left = database.unlogged_commits

    assert (waiting[-1], left, any(published)) == (publish._MOST_UNLOGGED_COMMITS + 1, 0, False)


def test_publish_unlogged_commit_is_in_a_new_base(database: Database, path: Path, reader: IndexReader) -> None:
    """There is no WAL that would bring it to readers, and the working file does not show it before its checkpoint."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()

    with database.unlogged(1):
        write(database)
        publisher.publish()
        seen = checked(reader)

    assert seen == database.revision
    assert len(bases(path)) == 2


def test_close_unpublished_commit_is_published(database: Database, reader: IndexReader) -> None:
    """Nothing committed stays invisible."""
    publisher = Publisher(database)
    write(database)

    publisher.close()

    assert checked(reader) == 1


# Starting again


def test_publisher_restart_makes_a_new_base_under_a_new_name(path: Path, reader: IndexReader) -> None:
    """A crash may have torn what was published, so the same revision is published anew."""
    with Database.open(path) as database:
        Publisher(database).publish()
    with Database.open(path) as database:
        Publisher(database).publish()

    assert link_of(path) == "analytics.duckdb.d/0.1/index.duckdb"
    assert (reader.revision(), reader.snapshot().revision, revisions(path)) == (0, 0, {"0.1"})


def test_publisher_leftovers_of_a_kill_are_removed(path: Path) -> None:
    """Half-made revisions, temporary links and old revisions go; what readers open now stays."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()
        with database.transaction():
            pass
        publisher.publish()
    folder = private_folder(path)
    (folder / "7").mkdir()
    (folder / "7" / "index.duckdb.wal").touch()
    (folder / "link.new").symlink_to("analytics.duckdb.d/7/index.duckdb")
    (folder / "copy.new").touch()
    (folder / "next.duckdb").touch()
    (folder / "links-x").mkdir()
    for name in ("spill", "spill-old", "spill-new", "held-old", "held-new"):
        (folder / name).mkdir()
    for name in ("spill-old", "held-old"):
        os.utime(folder / name, (0, 0))

    with Database.open(path) as database:
        Publisher(database)

        kept = {entry.name for entry in folder.iterdir()}

    files = {"indexer.lock", "indexer.pid", "work.duckdb", "base.origin", "whole"}
    assert kept == {"1", "spill-new", "held-new"} | files


def stopped(path: Path) -> int:
    """Write and publish twice, stop in order, and return the inode of the published base."""
    with Database.open(path) as database:
        database.con.execute("CREATE TABLE slots (slot INTEGER PRIMARY KEY, revision BIGINT, ledger BIGINT)")
        database.con.execute("CREATE TABLE bulk (revision BIGINT, number INTEGER)")
        publisher = Publisher(database)
        write(database)
        publisher.publish()
        write(database)
        publisher.close()
    return path.stat().st_ino


def test_publisher_restart_goes_on_with_the_base_and_makes_a_new_one_later(path: Path, reader: IndexReader) -> None:
    """Readers need not wait for the copy of a large file: it follows when nothing else is to do."""
    clock, before = Clock(), stopped(path)

    with Database.open(path) as database:
        publisher = Publisher(database, clock=clock)
        write(database)
        publisher.publish()
        at_once = (path.stat().st_ino == before, checked(reader))
        clock.now += 9.9
        is_renewed_soon = publisher.publish_if_due()
        publisher.compact_if_due(is_idle=True)
        is_at_rest = publisher.is_at_rest
        clock.now += 0.2
        is_renewed = publisher.publish_if_due()
        later = (path.stat().st_ino == before, checked(reader))
        clock.now += 100
        is_renewed_again = publisher.publish_if_due()

    assert (at_once, later) == ((True, 3), (False, 3))
    assert (is_renewed_soon, is_at_rest, is_renewed, is_renewed_again) == (False, False, True, False)


def test_close_soon_after_a_restart_makes_a_new_base(path: Path, reader: IndexReader) -> None:
    """So that no start, however short its run, leaves what an earlier one published."""
    before = stopped(path)

    with Database.open(path) as database:
        Publisher(database).close()

    assert (path.stat().st_ino == before, checked(reader)) == (False, 2)


def spoil_published(path: Path) -> None:
    """Write into the published file, as only root can."""
    base = path.resolve()
    base.chmod(0o600)
    base.write_bytes(base.read_bytes()[:-4_096] + bytes(4_096))


def write_into_main_file(path: Path) -> None:
    """Write more rows than DuckDB keeps in the WAL, and end without publishing them."""
    with Database.open(path) as database:
        write(database, MANY)


def restart_system(path: Path) -> None:
    """Note another run of the system."""
    note = private_folder(path) / "base.origin"
    note.write_text(f"another{note.read_text()}")


@pytest.mark.parametrize("change", [spoil_published, write_into_main_file, restart_system])
def test_publisher_restart_base_that_may_not_fit_is_made_anew(
    path: Path, reader: IndexReader, change: Callable[[Path], None]
) -> None:
    """Damaged, or of an older state of the working file, or perhaps torn when the system crashed."""
    before = stopped(path)
    change(path)

    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()

        found = (path.stat().st_ino == before, checked(reader), database.revision)

    assert found[0] is False
    assert found[1] == found[2]


def test_publisher_after_a_kill_goes_on_with_the_base(database: Database, path: Path, reader: IndexReader) -> None:
    """What was committed since is in the WAL, which the kill left beside the working file."""
    database.close()
    answers, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=write_and_wait, args=(path, theirs))
    process.start()
    answers.recv()
    process.kill()
    process.join()
    before = path.stat().st_ino

    with Database.open(path) as reopened:
        Publisher(reopened).publish()

        assert (path.stat().st_ino == before, checked(reader)) == (True, 3)


def test_publisher_link_removed_publishes_again(path: Path, reader: IndexReader) -> None:
    """A user who deletes the link gets it back at the next start."""
    with Database.open(path) as database:
        Publisher(database).publish()
    path.unlink()

    with Database.open(path) as database:
        Publisher(database).publish()

    assert (reader.revision(), revisions(path)) == (0, {"0"})


def test_publisher_folder_removed_starts_afresh(path: Path) -> None:
    """A link without its folder is no obstacle; a rebuilt index has other keys at the same revision."""
    keys = []
    for _ in range(2):
        with Database.open(path) as database:
            Publisher(database).publish()
        reader = IndexReader(path)
        keys.append(reader.snapshot().key)
        reader.close()
        shutil.rmtree(private_folder(path))

    assert keys[0] != keys[1]


# Without links


def test_publish_without_links_replaces_a_full_copy(database: Database, path: Path, reader: IndexReader) -> None:
    """Where links are refused, FILE is the whole index, read-only."""
    publisher = Publisher(database, use_links=False)
    seen = []
    for _ in range(2):
        write(database, bulk_rows=MANY)
        publisher.publish()
        seen.append((checked(reader), reader.revision()))

    assert seen == [(1, 1), (2, 2)]
    assert (path.is_symlink(), stat.S_IMODE(path.stat().st_mode), revisions(path)) == (False, 0o400, set())


def test_publish_if_due_without_links_is_slower(database: Database) -> None:
    """A full copy is not made ten times a second."""
    clock = Clock()
    publisher = Publisher(database, use_links=False, clock=clock)
    outcomes = []
    for now in (0.0, 1.0, 5.1):
        clock.now = now
        write(database)
        outcomes.append(publisher.publish_if_due())

    assert outcomes == [True, False, True]


def test_open_own_full_copy_is_no_backup(path: Path, reader: IndexReader) -> None:
    """The copy that we published is recognised at the next start, and replaced by a link where that works now."""
    with Database.open(path) as database:
        Publisher(database, use_links=False).publish()
    assert is_own_copy(path)

    with Database.open(path) as database:
        Publisher(database).publish()

    assert (path.is_symlink(), list(path.parent.glob("*.bak-*")), reader.revision()) == (True, [], 0)


def test_has_links_refused_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without links is found out by trying."""

    def refuse(source: str, target: Path) -> None:
        """Refuse, as Windows does without the privilege."""
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)

    assert (publish._has_links(tmp_path), list(tmp_path.iterdir())) == (False, [])


# Reading


def test_reader_no_index_says_how_to_build_one(reader: IndexReader) -> None:
    """A missing index is a designed state."""
    for read in (reader.revision, reader.snapshot, reader.connection, reader.refresh):
        with pytest.raises(IndexMissing, match=r"No index at .*\. Build it with `.venv/bin/python -m indexer bulk`\."):
            read()


def test_reader_no_path_takes_the_configured_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard is told through the environment."""
    monkeypatch.setenv("ANALYTICS_DB", str(path))

    assert IndexReader().path == path


def test_reader_dangling_link_is_a_missing_index(path: Path, reader: IndexReader) -> None:
    """The folder was removed, the link stayed."""
    path.symlink_to("analytics.duckdb.d/1/index.duckdb")

    with pytest.raises(IndexMissing):
        reader.revision()


def test_reader_link_in_a_circle_cannot_be_reached(path: Path, reader: IndexReader) -> None:
    """The system's own words are part of the message."""
    path.symlink_to(path.name)

    with pytest.raises(IndexBroken, match="cannot be reached"):
        reader.snapshot()


def test_reader_other_file_is_broken(path: Path, reader: IndexReader) -> None:
    """Whatever DuckDB cannot open, and no indexer made."""
    path.write_bytes(b"no database")

    with pytest.raises(IndexBroken, match="cannot be opened .* move it away, or choose another file"):
        reader.snapshot()


def test_reader_other_programs_database_is_foreign(path: Path, reader: IndexReader) -> None:
    """A DuckDB file without our tables."""
    con = duckdb.connect()
    con.execute(f"ATTACH {quoted(path)} AS other")
    con.execute("CREATE TABLE other.t (i INTEGER)")
    con.close()

    with pytest.raises(IndexForeign):
        reader.snapshot()


@pytest.mark.parametrize(("step", "error"), [(-1, IndexOlder), (1, IndexNewer)])
def test_reader_other_schema_version_is_its_own_state(
    database: Database, reader: IndexReader, step: int, error: type[IndexUnavailable]
) -> None:
    """Older and newer are told apart; the reader recovers when the index does."""
    publisher = Publisher(database)
    for claimed in (SCHEMA_VERSION + step, SCHEMA_VERSION):
        with database.transaction() as con:
            con.execute("DELETE FROM schema_migrations WHERE version >= $version", {"version": SCHEMA_VERSION - 1})
            con.execute("INSERT INTO schema_migrations VALUES ($version, 'claimed', now(), '')", {"version": claimed})
        publisher.publish()
        if claimed != SCHEMA_VERSION:
            with pytest.raises(error):
                reader.snapshot()

    assert reader.snapshot().revision == 2


def test_reader_state_row_lost_is_broken(database: Database, reader: IndexReader) -> None:
    """An index without its state row says so."""
    database.con.execute("DELETE FROM sync_state")
    Publisher(database).publish()

    with pytest.raises(IndexBroken, match="lost its state row"):
        reader.snapshot()


def test_reader_damaged_content_is_broken(path: Path, database: Database, reader: IndexReader) -> None:
    """A file that opens and cannot be read."""
    write(database, bulk_rows=MANY)
    Publisher(database, use_links=False).publish()
    content = bytearray(path.read_bytes())
    content[12_288:] = random.Random(1).randbytes(len(content) - 12_288)
    path.unlink()
    path.write_bytes(content)

    with pytest.raises(IndexBroken, match="cannot be"):
        reader.snapshot()


def test_reader_index_removed_while_open_is_missing(database: Database, path: Path, reader: IndexReader) -> None:
    """An open revision does not hide that the index is gone."""
    Publisher(database).publish()
    reader.snapshot()

    path.unlink()

    with pytest.raises(IndexMissing):
        reader.snapshot()


def test_snapshot_held_stays_the_same_and_readable(database: Database, path: Path, reader: IndexReader) -> None:
    """A page reads one revision to its end, even when its files have been removed."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    write(database)
    publisher.publish()
    held = reader.snapshot()
    cursor = held.cursor()
    for _ in range(5):
        clock.now += 11
        write(database)
        publisher.publish(new_base=True)
    assert "1" not in revisions(path)

    seen = [check(cursor), check(held.cursor()), held.revision, checked(reader)]

    assert seen == [1, 1, 1, 6]


def test_cursor_alone_keeps_its_revision_open(database: Database, reader: IndexReader) -> None:
    """Letting go of the snapshot and the reader does not close a cursor in use."""
    publisher = Publisher(database)
    write(database)
    publisher.publish()
    cursor = reader.connection()
    write(database)
    publisher.publish(new_base=True)
    reader.refresh()
    reader.close()
    gc.collect()

    assert check(cursor) == 1


def test_snapshot_nobody_holds_is_closed(database: Database, reader: IndexReader) -> None:
    """Old revisions do not pile up in memory or on disk."""
    publisher = Publisher(database)
    for _ in range(4):
        write(database)
        publisher.publish()
        checked(reader)
    gc.collect()

    opened = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and os.path.lexists(fd)}
    ours = {name for name in opened if re.search(r"/\d+/index\.duckdb", name) and str(reader.path) in name}

    assert len(ours) == 1


def test_snapshot_same_revision_is_the_same_object(database: Database, reader: IndexReader) -> None:
    """Nothing is opened twice."""
    Publisher(database).publish()

    assert reader.snapshot() is reader.snapshot() is reader.refresh()


def test_snapshot_newer_revision_is_opened_behind_a_fresh_one(database: Database, path: Path) -> None:
    """Within a second of being the newest, the open revision is returned at once; later the new one is waited for."""
    clock = Clock()
    clock.now = 100.0
    reader = IndexReader(path, clock=clock)
    publisher = Publisher(database)
    publisher.publish()
    first = reader.snapshot()
    write(database)
    publisher.publish()

    paused = reader.snapshot()  # an open has just ended
    clock.now += 0.9
    fresh = reader.snapshot()
    reader.refresh()  # after what the last call began
    opened = reader.snapshot()
    write(database)
    publisher.publish()
    clock.now += 5
    waited = reader.snapshot()

    seen = [first.revision, paused.revision, fresh.revision, opened.revision, waited.revision]
    assert seen == [0, 0, 0, 1, 2]
    reader.close()


def test_snapshot_looking_ahead_has_opened_what_came_meanwhile(database: Database, path: Path) -> None:
    """A page that asks twice a second gets what was published between two looks, not only with the look after."""
    publisher = Publisher(database)
    publisher.publish()
    reader = IndexReader(path, looks_ahead=True)
    first = reader.snapshot()
    write(database)
    publisher.publish()

    wait_for(lambda: reader._current is not first, "the newer revision, which nobody asks for")
    opened = reader._current

    assert opened is not None
    assert (first.revision, opened.revision) == (0, 1)
    assert reader.snapshot() is opened
    reader.close()
    assert reader._lookout is not None
    assert not reader._lookout.is_alive()


def test_connection_cannot_reach_other_files_or_settings(
    database: Database, tmp_path: Path, reader: IndexReader
) -> None:
    """A query reads the index and nothing else, and writes nothing."""
    Publisher(database).publish()
    (tmp_path / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    con = reader.connection()

    for sql in (
        f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')",
        f"ATTACH '{tmp_path / 'new.duckdb'}' AS other",
        f"COPY agents TO '{tmp_path / 'out.csv'}'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSERT INTO agents VALUES ('x')",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(sql)

    assert {entry.name for entry in tmp_path.iterdir()} == {path.name for path in tmp_path.glob("analytics*")} | {
        "secret.csv"
    }


def test_connection_large_query_spills_beside_the_index(database: Database, path: Path, reader: IndexReader) -> None:
    """More than the memory limit goes to the private folder, and goes away again."""
    Publisher(database).publish()
    con = reader.connection()

    count = con.execute(
        "SELECT count(*) FROM (SELECT hash(range)::VARCHAR || repeat('x', 60) AS h FROM range(6000000) ORDER BY h)"
    ).fetchone()
    con.close()
    reader.close()
    del con
    gc.collect()

    assert (count, list(private_folder(path).glob("spill*"))) == ((6_000_000,), [])


def test_connection_time_zones_and_json_work_offline(database: Database, reader: IndexReader) -> None:
    """What pages need is built in: nothing is loaded from outside."""
    Publisher(database).publish()

    sql = "SELECT hour(TIMESTAMP '2026-01-01' AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'), '[\"a\"]'::JSON->>0"
    row = reader.connection().execute(sql).fetchone()

    assert row == (1, "a")


def test_connection_many_threads_see_whole_revisions(database: Database, reader: IndexReader) -> None:
    """The dashboard's threads share one reader while revisions come."""
    publisher = Publisher(database)
    write(database)
    publisher.publish()
    stop, errors, counts = threading.Event(), [], []

    def read() -> None:
        """Check revisions until told to stop."""
        last = count = 0
        try:
            while not stop.is_set():
                with contextlib.closing(reader.connection()) as con:
                    revision = check(con)
                assert revision >= last
                last, count = revision, count + 1
        except (AssertionError, duckdb.Error, IndexUnavailable) as error:
            errors.append(error)
        counts.append(count)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        write(database, bulk_rows=MANY if number % 20 == 19 else 0)
        publisher.publish()
    stop.set()
    for thread in threads:
        thread.join()

    assert (errors, min(counts) > 0, checked(reader)) == ([], True, 61)


# Other processes


def read_until_stopped(path: Path, stop: Any, answer: Any) -> None:
    """Check revisions in another process and send how many, which was last, and what went wrong."""
    reader = IndexReader(path)
    answer.send("ready")
    count, error = 0, ""
    try:
        while not stop.is_set():
            seen = check(reader.connection())  # first: the next revision may be published in between
            assert seen <= reader.revision(), "read ahead of what is published"
            count += 1
        last = checked(reader)
    except (AssertionError, duckdb.Error, IndexUnavailable) as failure:
        error, last = repr(failure), -1
    answer.send((count > 0, last, error))
    reader.close()


def test_reader_other_processes_while_writing_see_balanced_sums(database: Database, path: Path) -> None:
    """No lock error and no torn read, whatever is committed meanwhile."""
    publisher = Publisher(database)
    write(database)
    publisher.publish()
    stop, pipes = SPAWN.Event(), [SPAWN.Pipe() for _ in range(2)]
    processes = [SPAWN.Process(target=read_until_stopped, args=(path, stop, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    assert [ours.recv() for ours, _ in pipes] == ["ready", "ready"]

    for number in range(80):
        write(database, bulk_rows=MANY if number % 20 == 19 else 0)
        publisher.publish()
    stop.set()

    assert [ours.recv() for ours, _ in pipes] == [(True, 81, "")] * 2
    for process in processes:
        process.join()


def open_plainly(path: Path, answer: Any) -> None:
    """Open the published file as a person's client does."""
    con = duckdb.connect(str(path), read_only=True)
    answer.send(con.execute("SELECT revision FROM sync_state").fetchall())
    con.close()


def test_publish_persons_own_client_can_read_it(database: Database, path: Path) -> None:
    """`duckdb -readonly FILE` works while the indexer runs, and sees what is in the WAL."""
    publisher = Publisher(database)
    publisher.publish()
    write(database)
    publisher.publish()
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=open_plainly, args=(path, theirs))
    process.start()

    assert ours.recv() == [(1,)]
    process.join()


def write_until_killed(path: Path, answer: Any) -> None:
    """Commit and publish without end, sending each committed and each published revision."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()
        while True:
            revision = write(database, bulk_rows=MANY if database.revision % 8 == 7 else 0)
            answer.send(("committed", revision))
            if publisher.publish(new_base=revision % 5 == 0):
                answer.send(("published", revision))


def write_and_wait(path: Path, answer: Any) -> None:
    """Commit three times, publish all but the last, and wait for the end."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        for _ in range(2):
            write(database)
            publisher.publish()
        write(database)
        answer.send("written")
        threading.Event().wait()


def acknowledged(answers: Any) -> dict[str, int]:
    """Return the last committed and published revisions that a killed writer has sent."""
    last = {"committed": 0, "published": 0}
    try:
        while True:
            kind, revision = answers.recv()
            last[kind] = revision
    except EOFError:
        return last


def kill_after(process: BaseProcess, answers: Any, random_: random.Random) -> dict[str, int]:
    """Let a writer commit a few times, then kill it at a random moment.

    Returns:
        What it had acknowledged.
    """
    for _ in range(random_.randrange(1, 14)):
        answers.recv()
    process.join(timeout=random_.uniform(0, 0.03))
    process.kill()
    process.join()
    return acknowledged(answers)


def test_publish_writer_killed_at_random_moments_loses_nothing(database: Database, path: Path) -> None:
    """After each kill: the published file opens and is one committed state, and nothing acknowledged is lost."""
    database.close()
    random_ = random.Random(20261123)
    for _ in range(10):
        answers, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=write_until_killed, args=(path, theirs))
        process.start()
        theirs.close()
        last = kill_after(process, answers, random_)

        reader = IndexReader(path)
        published = checked(reader)
        reader.close()
        with Database.open(path) as reopened:
            committed = check(reopened.con)

        assert published >= last["published"]
        assert committed >= max(last["committed"], published)


def test_sizes_shared_files_count_once(database: Database, reader: IndexReader, path: Path) -> None:
    """What is published is its base and its WAL; revisions that share a base take its space once."""
    publisher = Publisher(database, clock=Clock())
    for _ in range(3):
        write(database)
        publisher.publish()
    publisher.close()  # a thread may remove an old revision until then, also between both counts
    files = {os.stat(file).st_ino: os.stat(file).st_size for file in private_folder(path).rglob("*") if file.is_file()}

    published, whole = reader.sizes()

    assert (published, whole) == (
        sum(file.stat().st_size for file in path.resolve().parent.iterdir()),
        sum(files.values()),
    )
    assert published < whole


def test_sizes_nothing_published_is_missing(path: Path, reader: IndexReader) -> None:
    """There is nothing to measure."""
    with pytest.raises(IndexMissing):
        reader.sizes()


def test_hold_many_revisions_later_still_opens_the_held_one(database: Database, path: Path, tmp_path: Path) -> None:
    """Base and WAL of one revision, also when the publisher has removed it and made other bases."""
    publisher = Publisher(database)
    publisher.publish()
    write(database)
    publisher.publish()  # its rows are in the WAL
    (tmp_path / "held").mkdir()

    held = hold(path, tmp_path / "held")
    for _ in range(5):
        write(database)
        publisher.publish(new_base=True)

    con = attach(held, path, "READ_ONLY", {})
    assert check(con) == 1
    con.close()


def test_hold_no_links_copies(database: Database, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system refuses links."""
    Publisher(database).publish()
    (tmp_path / "held").mkdir()

    def refuse(*args: object) -> None:
        """Refuse a link as FAT does."""
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    held = hold(path, tmp_path / "held")

    assert held.stat().st_nlink == 1
    con = attach(held, path, "READ_ONLY", {})
    assert con.execute("SELECT revision FROM sync_state").fetchone() == (0,)
    con.close()


def test_hold_revision_removed_meanwhile_takes_the_next(
    database: Database, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the base and the WAL the publisher goes on."""
    publisher = Publisher(database)
    publisher.publish()
    (tmp_path / "held").mkdir()
    link = published._link_or_copy

    def interrupted(file: Path, target: Path) -> None:
        """Publish and remove the old revision once the first base is linked."""
        link(file, target)
        if database.revision == 0:
            write(database)
            publisher.publish(new_base=True)
            shutil.rmtree(file.parent)

    monkeypatch.setattr(published, "_link_or_copy", interrupted)
    held = hold(path, tmp_path / "held")

    con = attach(held, path, "READ_ONLY", {})
    assert check(con) == 1
    con.close()


def test_hold_nothing_published_says_so(path: Path, tmp_path: Path) -> None:
    """As readers do."""
    with pytest.raises(IndexMissing):
        hold(path, tmp_path)
