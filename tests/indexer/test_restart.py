"""A start spares the comparison where no database was written meanwhile; whatever did change is found all the same."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from indexer import parsers, survey
from indexer.sources import Inventory
from indexer.storages import Storage, take_inventory
from tests.builders import Doc, assistant, damaged, project, session, user, write_json_tree, write_sqlite
from tests.following import following, move_back

Restart = Callable[..., int]
Change = Callable[[Path], object]


def conversation(number: int) -> list[Doc]:
    """Make a session with a question and an answer."""
    session_id, question, reply = f"ses_{number}", f"msg_{number}u", f"msg_{number}a"
    return [session(session_id), user(question, session_id), assistant(reply, session_id, parent=question, cost=0.5)]


def write_settled(data_dir: Path, docs: Sequence[Doc]) -> Path:
    """Write rows that look as if they had been written an hour ago: what changed just now is never trusted."""
    write_sqlite(data_dir, docs)
    move_back(data_dir / "opencode.db")
    return data_dir


def run(data_dir: Path, *statements: str) -> None:
    """Change the database in one transaction, an hour ago."""
    with closing(sqlite3.connect(data_dir / "opencode.db")) as con:
        for statement in statements:
            con.execute(statement)
        con.commit()
    move_back(data_dir / "opencode.db", 1_800)


def put_other_in_place(data_dir: Path) -> None:
    """Put a database with one answer less in place of the file, with its size and modification time."""
    file = data_dir / "opencode.db"
    status = file.stat()
    run(data_dir, "DELETE FROM message WHERE id = 'msg_1a'")
    os.truncate(file, status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_for_copy(data_dir: Path) -> None:
    """Put a changed copy in place of the file."""
    copy = data_dir.with_name("copy")
    shutil.copytree(data_dir, copy)
    run(copy, "DELETE FROM session WHERE id = 'ses_1'", "DELETE FROM message WHERE session_id = 'ses_1'")
    os.replace(copy / "opencode.db", data_dir / "opencode.db")


CHANGES: dict[str, Change] = {
    "new session": lambda data_dir: write_settled(data_dir, conversation(7)),
    "updated in place": lambda data_dir: run(
        data_dir, "UPDATE message SET time_updated = time_updated + 1, data = replace(data, '0.5', '0.7')"
    ),
    "renamed session": lambda data_dir: run(data_dir, "UPDATE session SET title = 'Other' WHERE id = 'ses_1'"),
    "deleted message": lambda data_dir: run(data_dir, "DELETE FROM message WHERE id = 'msg_1a'"),
    "same size and time": put_other_in_place,
    "another file": swap_for_copy,
    "tree beside it": lambda data_dir: write_json_tree(data_dir, conversation(8)),
    "second database": lambda data_dir: write_sqlite(data_dir, conversation(9), "opencode-beta.db"),
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """OpenCode's data folder with a database that is at rest."""
    return write_settled(tmp_path / "opencode", [project(), *conversation(1), *conversation(2)])


@pytest.fixture
def restart(tmp_path: Path, no_retries: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restart]:
    """Follow some folders until everything is read, compare the index with a fresh one, and stop."""
    listed: list[Storage] = []

    def recorded(storage: Storage, *, with_stamps: bool) -> Inventory:
        """List a storage and note that it was."""
        listed.append(storage)
        return take_inventory(storage, with_stamps=with_stamps)

    def start(*data_dirs: Path, excluded: Sequence[str] = (), is_compared: bool = True) -> int:
        """Return how many storages were listed."""
        listed.clear()
        with following(tmp_path / "index.duckdb", *data_dirs, excluded=excluded) as live:
            live.start()
            count = len(listed)
            if is_compared:
                live.agrees()
        return count

    monkeypatch.setattr(survey, "take_inventory", recorded)
    yield start


def test_follow_nothing_written_meanwhile_lists_nothing(data_dir: Path, restart: Restart) -> None:
    """Only the first start has to know what there is."""
    assert [restart(data_dir) for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_follow_changed_meanwhile_is_found(change: Change, data_dir: Path, restart: Restart) -> None:
    """The index is what a fresh one would be, at once."""
    restart(data_dir)
    change(data_dir)

    listed = restart(data_dir)

    assert listed >= 1


def test_follow_changed_only_in_the_log_is_found(data_dir: Path, restart: Restart) -> None:
    """A client that still runs has written nothing into the file itself."""
    restart(data_dir)
    with closing(sqlite3.connect(data_dir / "opencode.db", isolation_level=None)) as client:
        client.execute("PRAGMA journal_mode = WAL")
        client.execute("DELETE FROM message WHERE id = 'msg_1a'")
        for name in ("opencode.db", "opencode.db-wal"):
            move_back(data_dir / name)

        listed = restart(data_dir)

    assert listed == 1


def test_follow_changed_while_it_ran_is_compared_by_the_next_start(data_dir: Path, restart: Restart) -> None:
    """What was followed may have been cut short: only a comparison tells that everything is read."""
    with_one_more: list[int] = []
    restart(data_dir)
    write_settled(data_dir, conversation(3))

    with_one_more += [restart(data_dir), restart(data_dir)]

    assert with_one_more == [1, 0]


def test_follow_pass_that_was_cut_short_is_taken_up(data_dir: Path, tmp_path: Path, restart: Restart) -> None:
    """A file is noted as read in the transaction that ends the pass."""

    def stop(done: int, total: int) -> None:
        """Stop as Ctrl-C does, after the first batch."""
        raise KeyboardInterrupt

    with following(tmp_path / "index.duckdb", data_dir, progress=stop) as cut:
        cut.begin()
        cut.join()

    assert restart(data_dir) == 1


def test_follow_newer_parser_reads_everything_anew(
    data_dir: Path, restart: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes may mean something else."""
    restart(data_dir)
    monkeypatch.setattr(parsers, "PARSER_VERSION", parsers.PARSER_VERSION + 1)

    assert restart(data_dir) == 1


def test_follow_other_settings_and_folders_are_compared(data_dir: Path, tmp_path: Path, restart: Restart) -> None:
    """What was left out comes back; a folder that was not looked at may hold other copies."""
    other = write_settled(tmp_path / "other", conversation(4))
    restart(data_dir)

    listed = [
        restart(data_dir, excluded=["/home/dev/*"], is_compared=False),
        restart(data_dir),
        restart(data_dir),
        restart(data_dir, other),
        restart(data_dir, other),
    ]

    assert listed == [1, 1, 0, 2, 0]


def test_follow_unreadable_document_is_tried_again(data_dir: Path, restart: Restart) -> None:
    """As every start promises."""
    write_settled(data_dir, [damaged(assistant("msg_9", "ses_1"), b"{")])

    assert [restart(data_dir), restart(data_dir)] == [1, 1]


def test_follow_storage_that_was_gone_is_compared_when_it_is_back(data_dir: Path, restart: Restart) -> None:
    """The index still says that it cannot be read, and has to say that it can."""
    restart(data_dir)
    away = data_dir.with_name("away.db")
    status = (data_dir / "opencode.db").stat()
    os.replace(data_dir / "opencode.db", away)
    (data_dir / "storage" / "session").mkdir(parents=True)
    restart(data_dir, is_compared=False)
    shutil.rmtree(data_dir / "storage")
    os.replace(away, data_dir / "opencode.db")
    os.utime(data_dir / "opencode.db", ns=(status.st_atime_ns, status.st_mtime_ns))

    assert restart(data_dir) >= 1
