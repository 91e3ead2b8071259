"""What the world does to the files of an index: full disks, damage, files moved away. Nothing committed is lost."""

import logging
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer import kept_spend
from indexer.database import Database
from indexer.duckdb_file import attach
from indexer.exceptions import IndexBroken, IndexDamaged, IndexMissing, IndexUnwritable
from indexer.index_files import private_folder
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.indexer.disks import fill, no_room, small_disk
from tests.indexer.test_publish import MANY, revisions

Failing = Callable[[Path], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index that does not exist yet."""
    return tmp_path / "analytics.duckdb"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Open a fresh index for writing."""
    with Database.open(path) as opened:
        yield opened


@pytest.fixture
def reader(path: Path) -> Iterator[IndexReader]:
    """Open the same index for reading."""
    opened = IndexReader(path)
    yield opened
    opened.close()


def add(database: Database, first: int, count: int = 1) -> None:
    """Commit rows named by numbers."""
    with database.transaction() as con:
        con.execute(f"INSERT INTO agents SELECT lpad(range::VARCHAR, 200, '0') FROM range({first}, {first + count})")


def count(con: duckdb.DuckDBPyConnection) -> int:
    """Return the number of rows."""
    (found,) = con.execute("SELECT count(*) FROM agents").fetchone() or (-1,)
    return int(found)


def seen(reader: IndexReader) -> int:
    """Return the number of rows that a reader sees."""
    return count(reader.refresh().cursor())


def abandon(database: Database) -> None:
    """Leave the files as a kill would: the WAL is not taken in."""
    database.con.execute("PRAGMA disable_checkpoint_on_shutdown")
    database.close()


# Full disks. Each on a limit for every system, and on a real small disk where one can be mounted.


def test_transaction_no_room_leaves_nothing_and_the_next_one_works(path: Path, reader: IndexReader) -> None:
    """The message says what to do; the connection stays usable; nothing committed is lost, even by a kill."""
    database = Database.open(path)
    publisher = Publisher(database)
    add(database, 0)
    publisher.publish()
    with no_room(4096), pytest.raises(IndexUnwritable, match=r"cannot be written: .*too large.* goes on by itself"):
        add(database, 1, 1000)
    during = database.is_usable, database.in_transaction, database.revision, count(database.con), seen(reader)

    add(database, 5000)
    publisher.publish()

    assert (during, seen(reader)) == ((True, False, 1, 1, 1), 2)
    abandon(database)
    with Database.open(path) as database:
        assert (count(database.con), database.revision) == (2, 2)


def test_migrate_no_room_before_the_copy_changes_nothing(path: Path) -> None:
    """What waits in the log has to be written into the file first; that it cannot be is said, too."""
    with Database.open(path) as database:
        add(database, 0)
        version = database.schema_version
        with no_room(4096), pytest.raises(IndexBroken, match="cannot be copied before its schema changes: .*too large"):
            database.migrate(version - 1)

    with Database.open(path) as database:
        assert (count(database.con), database.schema_version) == (1, version)


def test_transaction_large_no_room_leaves_nothing(database: Database, reader: IndexReader) -> None:
    """The same for rows that go straight into the main file."""
    publisher = Publisher(database)
    with no_room(1 << 20), pytest.raises(IndexUnwritable):
        add(database, 0, 2 * MANY)
    usable = database.is_usable

    add(database, 0)
    publisher.publish()

    assert (usable, seen(reader)) == (True, 1)


def test_checkpoint_no_room_needs_a_new_connection_and_loses_nothing(path: Path, reader: IndexReader) -> None:
    """DuckDB refuses to go on with that connection; the WAL still has everything."""
    database = Database.open(path)
    publisher = Publisher(database)
    publisher.publish()
    add(database, 0, 30_000)
    with no_room(1 << 19), pytest.raises(IndexUnwritable, match=r"cannot be written: .*too large"):
        publisher.publish(new_base=True)
    during = database.is_usable, seen(reader)
    with pytest.raises(IndexUnwritable):
        add(database, 90_000)
    publisher.close()
    database.close()

    with Database.open(path) as database:
        Publisher(database).publish()

        assert (during, count(database.con), seen(reader)) == ((False, 0), 30_000, 30_000)


def test_publish_base_copied_in_part_is_not_used(
    database: Database, path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint worked, its copy did not: the next publication makes another one."""

    def copy_some(source: int, target: Path) -> int:
        """Fail as a full disk does."""
        target.write_bytes(os.pread(source, 100, 0))
        raise OSError(28, "No space left on device")

    publisher = Publisher(database)
    add(database, 0, 2 * MANY)
    publisher.publish()
    add(database, 3 * MANY)
    with monkeypatch.context() as patched:
        patched.setattr("indexer.publish.copy_file", copy_some)
        with pytest.raises(IndexUnwritable, match="No space left"):
            publisher.publish(new_base=True)
    during = database.is_usable, seen(reader), len(revisions(path))

    add(database, 3 * MANY + 1)
    publisher.publish()

    assert (during, seen(reader)) == ((True, 2 * MANY, 1), 2 * MANY + 2)


@pytest.mark.parametrize("failing", ["symlink", "replace", "link"])
def test_publish_link_refused_leaves_the_last_revision(
    database: Database, path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Also the last steps may find the disk full."""
    publisher = Publisher(database)
    publisher.publish()
    add(database, 0)

    def refuse(*names: Path) -> None:
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, refuse)
        with pytest.raises(IndexUnwritable, match=r"\([\d,]+ MB free\)\. Free some space"):
            publisher.publish()
    during = seen(reader), revisions(path)
    publisher.publish()

    assert (during, seen(reader), revisions(path)) == ((0, {"0"}), 1, {"0", "1"})


def test_publish_interrupted_after_the_swap_keeps_what_it_published(
    database: Database, path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the swap and its notes does not remove what readers open now."""
    publisher = Publisher(database)
    publisher.publish()
    add(database, 0)
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        """Swap, and be interrupted."""
        replace(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publisher.publish()
    during = seen(reader)
    add(database, 1)
    publisher.publish()

    assert (during, seen(reader)) == (1, 2)


def test_index_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A real disk: commits fail, publications fail, opening fails; nothing committed is lost, readers go on."""
    path = tmp_path / "small" / "index.duckdb"
    with small_disk(path.parent, 16) as is_mounted:
        if not is_mounted:
            pytest.skip("no small disk can be mounted here")
        database = Database.open(path)
        publisher, reader = Publisher(database), IndexReader(path)
        add(database, 0, 100)
        publisher.publish()
        add(database, 100, 100)
        filling = fill(path.parent)
        for failing in (lambda: add(database, 200, 10_000), publisher.publish, database.checkpoint):
            with pytest.raises(IndexUnwritable, match=r"No space left on device.*Free some space"):
                failing()
        during = database.is_usable, seen(reader)
        publisher.close()
        database.close()
        with Database.open(path) as database, pytest.raises(IndexUnwritable, match="No space left"):
            Publisher(database).publish()
        filling.unlink()

        with Database.open(path) as database:
            Publisher(database).publish()
            assert (during, count(database.con), seen(reader)) == ((False, 100), 200, 200)
        assert not list(path.parent.glob("*.broken-*"))
        reader.close()


def test_index_on_a_full_disk_goes_on_by_itself(tmp_path: Path) -> None:
    """While the disk is full for a moment only, the same connection goes on."""
    path = tmp_path / "small" / "index.duckdb"
    with small_disk(path.parent, 16) as is_mounted:
        if not is_mounted:
            pytest.skip("no small disk can be mounted here")
        database = Database.open(path)
        publisher, reader = Publisher(database), IndexReader(path)
        publisher.publish()
        for number in range(5):
            filling = fill(path.parent)
            with pytest.raises(IndexUnwritable):
                add(database, 10_000 * number, 5000)
            filling.unlink()
            add(database, 10_000 * number)
            publisher.publish()
            assert (database.is_usable, seen(reader)) == (True, number + 1)
        abandon(database)
        with Database.open(path) as database:
            assert count(database.con) == 5
        reader.close()


def test_open_new_index_on_a_full_disk_says_so(tmp_path: Path) -> None:
    """Nothing is set aside, and it works when there is room."""
    path = tmp_path / "small" / "index.duckdb"
    with small_disk(path.parent, 4) as is_mounted:
        if not is_mounted:
            pytest.skip("no small disk can be mounted here")
        filling = fill(path.parent)
        with pytest.raises(IndexUnwritable, match=r"No space left on device.*Free some space"):
            Database.open(path)
        filling.unlink()

        with Database.open(path) as database:
            assert count(database.con) == 0
        assert not list(path.parent.glob("*.broken-*"))


# Damage


def truncate(length: int) -> Failing:
    """Cut a file to a length."""
    return lambda file: os.truncate(file, length)


def scramble(first: int, last: int) -> Failing:
    """Write garbage into a file, from one byte up to another."""

    def write(file: Path) -> None:
        """Do it."""
        content = bytearray(file.read_bytes())
        content[first:last] = random.Random(1).randbytes(min(last, len(content)) - first)
        file.write_bytes(content)

    return write


def other_wal(file: Path) -> None:
    """Put the WAL of another file beside it."""
    with Database.open(file.parent.parent / "other.duckdb") as other:
        add(other, 0, 500)
        other.checkpoint()
        add(other, 500, 50)
        shutil.copyfile(f"{other.work_path}.wal", f"{file}.wal")


DAMAGES: dict[str, Failing] = {
    "garbage": lambda file: file.write_bytes(b"damaged" * 1000),
    "no bytes": lambda file: file.write_bytes(b""),
    "cut in its head": truncate(100),
    "cut behind its head": truncate(12_288),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "head": scramble(0, 4096),
    "second head": scramble(4096, 12_288),
    "everything": scramble(12_288, 1 << 30),
    "the WAL": lambda file: scramble(2000, 2050)(file.with_name(f"{file.name}.wal")),
    "another WAL": other_wal,
    "only the WAL is left": lambda file: file.unlink(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with content in both its file and its WAL, published. Never write to it."""
    path = tmp_path_factory.mktemp("whole") / "analytics.duckdb"
    database = Database.open(path)
    add(database, 0, 2 * MANY)
    Publisher(database).publish()
    add(database, 3 * MANY, 500)
    abandon(database)
    return path


def copy_damaged(whole: Path, path: Path, damage: str) -> None:
    """Copy an index, and damage its working file."""
    shutil.copytree(private_folder(whole), private_folder(path))
    path.symlink_to(whole.readlink())
    DAMAGES[damage](private_folder(path) / "work.duckdb")


@pytest.mark.parametrize("damage", DAMAGES)
def test_open_damaged_working_file_is_set_aside(
    path: Path, whole: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A new index is made, plainly told, and the damaged file kept outside of the private folder."""
    copy_damaged(whole, path, damage)
    work = private_folder(path) / "work.duckdb"
    before = work.read_bytes() if work.exists() else None

    with Database.open(path) as database:
        Publisher(database).publish()

        assert (count(database.con), database.revision) == (0, 0)
        add(database, 0)
    kept = [file for file in sorted(path.parent.glob("analytics.duckdb.broken-*")) if file.suffix != ".wal"]
    wal = list(path.parent.glob("analytics.duckdb.broken-*.wal"))
    assert [file.read_bytes() for file in kept] == ([] if before is None else [before])
    assert len(wal) == 1
    assert "is damaged (" in caplog.text
    assert "the sources are read again" in caplog.text
    with Database.open(path) as database:
        assert count(database.con) == 1


@pytest.mark.parametrize("damage", ["garbage", "cut in half", "the WAL", "only the WAL is left"])
def test_open_existing_damaged_names_the_command_and_touches_nothing(path: Path, whole: Path, damage: str) -> None:
    """Only a pass over the sources may begin anew."""
    copy_damaged(whole, path, damage)
    before = {file.name: file.read_bytes() for file in private_folder(path).glob("work*")}

    with pytest.raises(IndexDamaged, match=r"damaged \(.*`.venv/bin/python -m indexer bulk --db .*analytics\.duckdb`"):
        Database.open_existing(path)

    assert {file.name: file.read_bytes() for file in private_folder(path).glob("work*")} == before
    assert not list(path.parent.glob("*.broken-*"))


def test_open_damaged_again_and_again_keeps_the_newest_two(path: Path) -> None:
    """Broken files do not fill the disk; copies of the user are never removed."""
    (path.parent / "analytics.duckdb.bak-2026").touch()
    for number in range(4):
        Database.open(path).close()
        (private_folder(path) / "work.duckdb").write_bytes(b"%d" % number * 10_000)
        (private_folder(path) / "work.duckdb.wal").write_bytes(b"%d" % number)
    Database.open(path).close()

    kept = sorted(path.parent.glob("analytics.duckdb.broken-*"))

    assert [file.read_bytes()[:1] for file in kept] == [b"2", b"2", b"3", b"3"]
    assert (path.parent / "analytics.duckdb.bak-2026").exists()


def test_transaction_damage_found_while_running_begins_anew_at_the_next_open(path: Path) -> None:
    """A block that the open did not read: later reads fail, and the next start knows."""
    with Database.open(path) as database:
        add(database, 0, 2 * MANY)
    work = private_folder(path) / "work.duckdb"
    con = attach(work, path, "READ_ONLY", {})
    sql = "SELECT block_id FROM pragma_storage_info('agents') WHERE segment_type = 'VARCHAR' ORDER BY row_group_id"
    (block,) = con.execute(sql).fetchone() or (0,)
    con.close()
    scramble(12_288 + block * 262_144 + 100, 12_288 + block * 262_144 + 200)(work)

    database = Database.open(path)
    with pytest.raises(IndexDamaged), database.transaction() as con:
        con.execute("SELECT max(reverse(name)) FROM agents").fetchall()
    usable = database.is_usable
    database.close()
    with pytest.raises(IndexDamaged):
        Database.open_existing(path)
    with Database.open(path) as database:
        assert (usable, count(database.con)) == (False, 0)
    with Database.open_existing(path) as database:
        assert count(database.con) == 0


def test_open_new_file_gets_back_what_only_the_index_knew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup of spend is looked at by every start that reads the sources, with the schema in place."""
    asked: list[tuple[bool, Path]] = []

    def restore(con: duckdb.DuckDBPyConnection, index: Path) -> int:
        """Note the call."""
        asked.append((count(con) == 0, index))
        return 0

    monkeypatch.setattr(kept_spend, "restore", restore)
    Database.open(path).close()
    (private_folder(path) / "work.duckdb").write_bytes(b"damaged" * 1000)
    Database.open(path).close()
    Database.open_existing(path).close()

    assert asked == [(True, path)] * 2


def test_open_unreadable_for_another_reason_is_not_set_aside(path: Path) -> None:
    """Something else in the file's place is no damage."""
    Database.open(path).close()
    work = private_folder(path) / "work.duckdb"
    work.unlink()
    work.mkdir()

    with pytest.raises((IndexUnwritable, IndexBroken)):
        Database.open(path)

    assert not list(path.parent.glob("*.broken-*"))


@pytest.mark.parametrize("damage", ["base", "WAL", "link", "folder"])
def test_publish_published_files_damaged_are_made_anew_by_the_next_start(
    path: Path, reader: IndexReader, damage: str
) -> None:
    """The working file has it all."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()
        add(database, 0)
        publisher.publish()
        folder = path.resolve().parent
    if damage == "link":
        path.unlink()
    elif damage == "folder":
        shutil.rmtree(folder)
    else:
        file = folder / ("index.duckdb" if damage == "base" else "index.duckdb.wal")
        file.chmod(0o600)
        file.write_bytes(b"damaged" * 10_000)

    with Database.open(path) as database:
        Publisher(database).publish()

        assert seen(reader) == 1


# Files that are moved while they are open


@pytest.mark.parametrize("is_replaced", [True, False])
def test_transaction_working_file_moved_away_is_refused(path: Path, is_replaced: bool) -> None:
    """Nothing is written where nobody looks, and closing leaves the new one alone."""
    database = Database.open(path)
    publisher = Publisher(database)
    publisher.publish()
    add(database, 0)
    old = private_folder(path).rename(path.with_name("moved"))
    if is_replaced:
        made = Database.open(path.with_name("made.duckdb"))
        add(made, 0, 7)
        abandon(made)
        private_folder(made.path).rename(private_folder(path))

    for failing in (lambda: add(database, 1), publisher.publish, publisher.compact):
        with pytest.raises(IndexUnwritable, match="was moved, removed or replaced while it was open"):
            failing()
    usable = database.is_usable
    publisher.close()
    database.close()

    assert (usable, (old / "work.duckdb.wal").stat().st_size > 0) == (False, True)
    with Database.open(path) as database:
        assert count(database.con) == (7 if is_replaced else 0)


def test_reader_index_replaced_by_another_one_follows(tmp_path: Path, reader: IndexReader, path: Path) -> None:
    """FILE and FILE.d moved away, and new ones put there."""
    counts = []
    for rows in (1, 2):
        with Database.open(path) as database:
            add(database, 0, rows)
            Publisher(database).publish()
        counts.append(seen(reader))
        path.rename(tmp_path / f"away-{rows}")
        private_folder(path).rename(tmp_path / f"away-{rows}.d")
        with pytest.raises(IndexMissing):
            reader.snapshot()

    assert counts == [1, 2]


def test_reader_folder_restored_from_a_backup_follows(tmp_path: Path, reader: IndexReader, path: Path) -> None:
    """FILE.d as it was: the link may name a revision that it does not have, until the indexer starts."""
    with Database.open(path) as database:
        add(database, 0)
        Publisher(database).publish()
    shutil.copytree(private_folder(path), tmp_path / "backup", symlinks=True)
    with Database.open(path) as database:
        add(database, 1)
        Publisher(database).publish()
    newer = seen(reader)
    shutil.rmtree(private_folder(path))
    shutil.copytree(tmp_path / "backup", private_folder(path), symlinks=True)
    with pytest.raises(IndexMissing):
        reader.snapshot()

    with Database.open(path) as database:
        Publisher(database).publish()
        restored = seen(reader)
        add(database, 5, 5)
        Publisher(database).publish()

        assert (newer, restored, seen(reader)) == (2, 1, 6)


def test_reader_regular_file_put_there_follows(tmp_path: Path, reader: IndexReader, path: Path) -> None:
    """A backup, restored as one file, is read at once and taken over by the next start."""
    with Database.open(path) as database:
        add(database, 0, 3)
        Publisher(database).publish()
    before = seen(reader)
    with Database.open(tmp_path / "made.duckdb") as made:
        add(made, 0)
    path.unlink()
    shutil.copyfile(private_folder(tmp_path / "made.duckdb") / "work.duckdb", path)
    as_a_file = seen(reader)
    with Database.open(path) as database:
        Publisher(database).publish()

        assert (before, as_a_file, seen(reader)) == (3, 1, 1)


def test_reader_revision_removed_while_it_is_opened_follows_the_link(
    database: Database, path: Path, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base that is opened after its WAL was removed would show an older state: the newer revision is opened."""
    publisher = Publisher(database)
    publisher.publish()
    add(database, 0)
    publisher.publish()
    removed: list[Path] = []

    def late(file: Path, index: Path, option: str, settings: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        """Publish and remove the revision between two steps of its opening."""
        if not removed:
            removed.append(file)
            add(database, 1)
            publisher.publish()
            (file.parent / "index.duckdb.wal").unlink()
            con = attach(file, index, option, settings)
            shutil.rmtree(file.parent)
            return con
        return attach(file, index, option, settings)

    monkeypatch.setattr("indexer.published.attach", late)

    assert (seen(reader), len(removed)) == (2, 1)


# Threads


def test_cursor_other_thread_reads_while_this_one_writes_publishes_and_compacts(database: Database) -> None:
    """Short reads of another thread neither fail nor see half of anything."""
    publisher = Publisher(database)
    stop, seen_counts, failed = threading.Event(), [], []

    def read() -> None:
        """Read until told to stop."""
        while not stop.is_set():
            try:
                with database.cursor() as con:
                    (found, revision) = con.execute(
                        "SELECT (SELECT count(*) FROM agents), (SELECT revision FROM sync_state)"
                    ).fetchone() or (-1, -1)
                seen_counts.append((found, revision))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
                failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(60):
        add(database, 100 * number, 100)
        publisher.publish(new_base=number % 5 == 0)
        if number % 20 == 10:
            publisher.compact()
    stop.set()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(seen_counts) > 60
    assert all(found == 100 * revision for found, revision in seen_counts)


def test_close_waits_for_a_cursor(path: Path) -> None:
    """A read that began is not cut off."""
    database = Database.open(path)
    add(database, 0)
    began, closing = threading.Event(), threading.Event()
    found: list[int] = []

    def read() -> None:
        """Hold a cursor until the other thread is about to close."""
        with database.cursor() as con:
            began.set()
            closing.wait(0.2)
            found.append(count(con))

    thread = threading.Thread(target=read)
    thread.start()
    began.wait()
    database.close()
    closing.set()
    thread.join()

    assert found == [1]


def test_database_messages_of_a_lost_connection_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where even the look at the state fails, the log says that it has to be opened anew."""
    caplog.set_level(logging.WARNING)
    database = Database.open(path)
    with pytest.raises(IndexUnwritable), database.transaction() as con:
        con.close()
        con.execute("SELECT 1")
    database.close()

    assert (database.is_usable, "has to be opened anew" in caplog.text) == (False, True)
