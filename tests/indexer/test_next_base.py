"""The next base: the same as the working file whatever was copied, and made while others go on."""

import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from indexer import checks, compaction, next_base, publish
from indexer.database import Database
from indexer.exceptions import IndexUnwritable
from indexer.index_files import private_folder
from indexer.next_base import NextBase
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.following import wait_for
from tests.indexer.test_publish import MANY, Clock, bases, check, write

PIECE = next_base._PIECE
HALF_A_WAL = 600_000  # bytes: a base is prepared, and not yet due


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Open a fresh index that is followed, and whose bases take long, as those of a large one do."""
    monkeypatch.setattr(publish, "_LONG_BASE_S", -1.0)
    monkeypatch.setattr(publish, "_BASE_BYTES_PER_WAL_BYTE", 1)  # none is small
    with Database.open(tmp_path / "analytics.duckdb") as opened:
        opened.con.execute("CREATE TABLE slots (slot INTEGER PRIMARY KEY, revision BIGINT, ledger BIGINT)")
        opened.con.execute("CREATE TABLE bulk (revision BIGINT, number INTEGER)")
        opened.set_phase("real-time", "following")
        yield opened


@pytest.fixture
def reader(database: Database) -> Iterator[IndexReader]:
    """Open the same index for reading."""
    opened = IndexReader(database.path)
    yield opened
    opened.close()


def next_file(database: Database) -> Path:
    """Say where the next base is prepared."""
    return private_folder(database.path) / "next.duckdb"


def lengthen_wal(database: Database, size: int) -> None:
    """Commit so many bytes."""
    with database.transaction() as con:
        con.execute(f"INSERT INTO agents SELECT repeat(uuid()::VARCHAR, 10) FROM range({size // 360})")


def prepare(database: Database, publisher: Publisher) -> None:
    """Let the WAL become long enough that a base is prepared, and wait until it is."""
    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()
    publisher._remover.wait()  # of what takes up the room of a base
    with database.transaction():
        pass
    publisher.publish()
    assert publisher._next_base.is_begun
    wait_for(lambda: not publisher._next_base.is_being_made)


def is_base_the_same(database: Database) -> bool:
    """Compare the newest base with the working file, byte by byte; nothing was committed since it was made."""
    base = (private_folder(database.path) / "base.duckdb").read_bytes()
    with FileIO(database.main_fd, closefd=False) as work:
        work.seek(0)
        return base == work.readall()


def copied(base: Path, folder: Path) -> NextBase:
    """Copy a base."""
    copy = NextBase(folder / "next.duckdb", time.monotonic)
    copy.begin(base)
    wait_for(lambda: not copy.is_being_made)
    return copy


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[NextBase, list[int]]:
    """Begin to copy a long base; the first piece is written, and no other one until the copy is to end.

    Returns:
        The copy; the sizes of the pieces that are written.
    """
    (folder / "base").write_bytes(bytes(100 * PIECE))
    copy, written, write_all = NextBase(folder / "next.duckdb", time.monotonic), list[int](), next_base._write

    def write_until_stopped(file: FileIO, content: bytes) -> None:
        """Write a piece, and take as long as there is."""
        write_all(file, content)
        written.append(len(content))
        assert copy._stopping.wait(60)

    monkeypatch.setattr(next_base, "_write", write_until_stopped)
    copy.begin(folder / "base")
    wait_for(lambda: bool(written))
    return copy, written


# The copy


@pytest.mark.parametrize("change", ["nothing", "one byte", "first and last", "longer", "shorter", "other", "empty"])
def test_become_source_changed_since_is_the_same(tmp_path: Path, change: str) -> None:
    """What differs is written, at any place and of any length."""
    rng = random.Random(change)
    content = bytearray(rng.randbytes(3 * PIECE + 1_000))
    (tmp_path / "base").write_bytes(content)
    copy = copied(tmp_path / "base", tmp_path)
    if change == "one byte":
        content[PIECE + 5] ^= 1
    elif change == "first and last":
        content[0] ^= 1
        content[-1] ^= 1
    elif change == "longer":
        content += rng.randbytes(2 * PIECE)
    elif change == "shorter":
        del content[PIECE + 7 :]
    elif change == "other":
        content = bytearray(rng.randbytes(len(content)))
    elif change == "empty":
        content.clear()
    (tmp_path / "work").write_bytes(content)

    with FileIO(tmp_path / "work") as work:
        is_done = copy.become(work.fileno(), tmp_path / "made")

    assert (is_done, (tmp_path / "made").read_bytes() == content) == (True, True)
    assert (copy.is_begun, (tmp_path / "next.duckdb").exists()) == (False, False)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o400


def test_become_nothing_begun_does_nothing(tmp_path: Path) -> None:
    """Then the base is copied as a whole."""
    (tmp_path / "work").write_bytes(b"work")

    with FileIO(tmp_path / "work") as work:
        is_done = NextBase(tmp_path / "next.duckdb", time.monotonic).become(work.fileno(), tmp_path / "made")

    assert (is_done, (tmp_path / "made").exists()) == (False, False)


def test_become_copy_failed_does_nothing(tmp_path: Path) -> None:
    """Half a copy would only fill the disk."""
    (tmp_path / "work").write_bytes(b"work")
    copy = copied(tmp_path / "missing", tmp_path)
    is_begun = copy.is_begun

    with FileIO(tmp_path / "work") as work:
        is_done = copy.become(work.fileno(), tmp_path / "made")

    assert (is_begun, is_done, sorted(file.name for file in tmp_path.iterdir())) == (True, False, ["work"])


def test_become_copy_is_still_being_made_lets_go_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs a base now copies it at once."""
    copy, _ = begun(tmp_path, monkeypatch)

    with FileIO(tmp_path / "base") as work:
        is_done = copy.become(work.fileno(), tmp_path / "made")

    assert (is_done, copy.is_begun, [file.name for file in tmp_path.iterdir()]) == (False, False, ["base"])


def test_become_file_cut_short_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a base is never published."""
    (tmp_path / "base").write_bytes(bytes(2 * PIECE))
    copy = copied(tmp_path / "base", tmp_path)
    size_of = next_base._size_of
    monkeypatch.setattr(next_base, "_size_of", lambda file: size_of(file) + 1)

    with FileIO(tmp_path / "base") as work, pytest.raises(OSError, match="shorter"):
        copy.become(work.fileno(), tmp_path / "made")

    assert sorted(file.name for file in tmp_path.iterdir()) == ["base"]


def test_discard_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at once, however long the rest would take."""
    copy, written = begun(tmp_path, monkeypatch)

    copy.discard()

    assert (copy.is_begun, written, [file.name for file in tmp_path.iterdir()]) == (False, [PIECE], ["base"])


# Publishing


def test_publish_prepared_base_is_the_working_file(database: Database, reader: IndexReader) -> None:
    """After small changes, large ones and none, many times; readers see what was committed."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    publisher.publish()
    found = []
    for turn in range(6):
        clock.now += 100
        prepare(database, publisher)
        for _ in range(turn):
            write(database, MANY if turn % 3 == 2 else 0)
        write(database)
        inode = next_file(database).stat().st_ino
        publisher.publish(new_base=True)
        is_it = (private_folder(database.path) / "base.duckdb").stat().st_ino == inode
        reader.refresh()
        con = reader.connection()
        found.append((is_it, is_base_the_same(database), check(con) == database.revision))
        con.close()

    assert found == [(True, True, True)] * 6


def test_publish_base_that_takes_long_is_prepared_first(database: Database) -> None:
    """At half of the length; at the whole one it becomes the base. Never are there more than two."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    publisher.publish()

    prepare(database, publisher)
    before, is_there = len(bases(database.path)), next_file(database).exists()
    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()
    after = len(bases(database.path))

    assert (before, is_there, after, next_file(database).exists()) == (1, True, 2, False)
    assert is_base_the_same(database)


def test_publish_base_is_due_while_it_is_prepared_waits_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed meanwhile is visible at once, on the base of before."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    may_go, write_all = threading.Event(), next_base._write

    def write_slowly(*arguments: Any) -> None:
        """Take as long as the test wants."""
        assert may_go.wait(60)
        write_all(*arguments)

    monkeypatch.setattr(next_base, "_write", write_slowly)
    lengthen_wal(database, 3 * HALF_A_WAL)
    publisher.publish()
    write(database)
    publisher.publish()
    meanwhile = (len(bases(database.path)), publisher.is_behind)
    may_go.set()
    wait_for(lambda: not publisher._next_base.is_being_made)
    write(database)
    publisher.publish()

    assert (meanwhile, len(bases(database.path))) == ((1, False), 2)


def test_publish_short_base_is_not_prepared(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small index a copy is made at once."""
    monkeypatch.setattr(publish, "_LONG_BASE_S", 0.5)
    publisher = Publisher(database, clock=Clock())
    publisher.publish()

    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()

    assert not publisher._next_base.is_begun


@pytest.mark.parametrize("is_large", [True, False])
def test_publish_base_of_an_earlier_run_is_prepared_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """How long its copy took is not known: the first one of a large index would stall whoever waits."""
    monkeypatch.setattr(publish, "_LARGE_BASE_BYTES", 0 if is_large else 1 << 40)
    path = tmp_path / "analytics.duckdb"
    with Database.open(path) as database:
        Publisher(database).close()
    with Database.open(path) as database:
        database.set_phase("real-time", "following")
        publisher = Publisher(database, clock=Clock())
        publisher.publish()
        is_taken_over = publisher._is_base_taken_over

        lengthen_wal(database, HALF_A_WAL)
        publisher.publish()

        assert (is_taken_over, publisher._next_base.is_begun) == (True, is_large)
        publisher.close()


def test_publish_if_due_quiet_removes_the_prepared_base(database: Database) -> None:
    """Else it would take up the room of another index for as long as nobody works."""
    clock = Clock()
    publisher = Publisher(database, clock=clock)
    publisher.publish()
    prepare(database, publisher)

    clock.now += 9.9
    publisher.publish_if_due()
    publisher.compact_if_due(is_idle=True)
    soon = (next_file(database).exists(), publisher.is_at_rest)
    clock.now += 0.2
    publisher.publish_if_due()
    publisher.compact_if_due(is_idle=True)
    later = (next_file(database).exists(), publisher.is_at_rest, len(bases(database.path)))

    assert (soon, later) == ((True, False), (False, True, 1))


def test_publish_no_room_beside_the_next_base_prepares_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be done without; what the indexer and OpenCode write cannot."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    usage = shutil.disk_usage(database.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=256 << 20))

    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()
    is_begun = publisher._next_base.is_begun
    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()

    assert (is_begun, len(bases(database.path))) == (False, 2)


def test_publish_next_base_cannot_be_copied_makes_it_at_once(
    database: Database, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment; it is not tried again until the next base is due."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()

    def fill(*arguments: Any) -> None:
        """Have no room."""
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(next_base, "_write", fill)
        prepare(database, publisher)
        is_there = next_file(database).exists()
    lengthen_wal(database, HALF_A_WAL)
    publisher.publish()
    reader.refresh()

    assert (is_there, len(bases(database.path)), is_base_the_same(database)) == (False, 2, True)
    assert reader.revision() == database.revision


def test_publish_next_base_cannot_be_compared_leaves_no_half_of_it(
    database: Database, reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is visible, and the next revision makes the base that it needs."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    prepare(database, publisher)

    def fail(*arguments: Any) -> None:
        """Fail as a disk does."""
        raise OSError(errno.EIO, "Input/output error")

    lengthen_wal(database, HALF_A_WAL)
    with monkeypatch.context() as patch, pytest.raises(IndexUnwritable):
        patch.setattr(next_base, "_make_same", fail)
        publisher.publish()
    left = (next_file(database).exists(), (private_folder(database.path) / "base.duckdb").exists())
    seen = reader.revision() == database.revision
    with database.transaction():
        pass
    publisher.publish()

    assert (left, seen, is_base_the_same(database)) == ((False, False), True, True)


def test_compact_prepared_base_is_gone_before_it_begins(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was copied before the text was deleted, and takes the room that a compaction needs; also where that fails."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    prepare(database, publisher)
    found = []

    def fail(database: Database) -> None:
        """Note what is there, and have no room."""
        found.append(next_file(database).exists())
        raise IndexUnwritable("no room")

    monkeypatch.setattr(compaction, "compact", fail)
    with pytest.raises(IndexUnwritable):
        publisher.compact()

    assert found == [False]


@pytest.mark.parametrize("is_usable", [True, False])
def test_close_prepared_base_is_gone(database: Database, is_usable: bool) -> None:
    """Nobody needs it any more, and a full disk, after which nothing is written, may be full of it."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    prepare(database, publisher)
    database.is_usable = is_usable

    publisher.close()

    assert not next_file(database).exists()


def test_publisher_next_base_of_a_kill_goes_before_anything_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it fills the disk, not even a folder can be made."""
    Publisher(database).publish()
    next_file(database).write_bytes(b"half a copy")

    def full(*arguments: Any, **named: Any) -> None:
        """Have no room."""
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(IndexUnwritable):
        Publisher(database)

    assert not next_file(database).exists()


def test_check_disk_prepared_base_has_its_room(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base takes no more of the disk once it is prepared."""
    publisher = Publisher(database, clock=Clock())
    publisher.publish()
    work_bytes, usage = database.work_path.stat().st_size, shutil.disk_usage(database.folder)
    free = checks._SPARE_BYTES + work_bytes - 1
    place = checks.Place(database.path, None)
    states = []
    for content in (b"", b"x"):
        next_file(database).write_bytes(content)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free))
        states += [found.state for found in checks._check_disk(place)]

    assert states == [checks.PROBLEM, checks.OK]
