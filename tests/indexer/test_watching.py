"""Watching data folders: databases are looked at when something is written, else rarely."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer import watching
from indexer.changes import ChangeQueue, Changes
from indexer.exceptions import SourceUnusable
from indexer.folder_events import FolderEvents
from indexer.sources.sqlite_changes import DatabaseChanges
from indexer.watching import Watch
from tests.builders import session, write_json_tree, write_sqlite
from tests.following import wait_for

Start = Callable[[Path], Watch]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere databases are looked at all the time")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every look at a database."""
    found: list[Path] = []
    poll = DatabaseChanges.poll

    def count(changes: DatabaseChanges) -> Changes:
        """Count, and look."""
        found.append(changes._path)
        return poll(changes)

    monkeypatch.setattr(DatabaseChanges, "poll", count)
    return found


@pytest.fixture
def queue() -> ChangeQueue:
    """Where changes go."""
    return ChangeQueue(lambda: 1)


@pytest.fixture
def start(queue: ChangeQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Watch a data folder that is calm at once and, while it is, looked at once an hour; stopped in the end."""
    monkeypatch.setattr(watching, "CALM_AFTER_S", 0.2)
    monkeypatch.setattr(watching, "LOOK_S", 3_600.0)
    started = []

    def watch(data_dir: Path) -> Watch:
        """Begin, and wait until it is calm."""
        started.append(Watch([data_dir], queue))
        started[-1].start()
        wait_for(lambda: started[-1]._is_told, "calm")
        return started[-1]

    yield watch
    for each in started:
        each.stop()


def test_watch_calm_database_is_not_looked_at(tmp_path: Path, start: Start, looks: list[Path]) -> None:
    """Nothing is written, so nothing is done."""
    start(write_sqlite(tmp_path, [session()]))
    before = len(looks)

    time.sleep(1.0)

    assert len(looks) == before


def test_watch_calm_database_is_written_is_told_each_time(tmp_path: Path, start: Start, queue: ChangeQueue) -> None:
    """Long before the next look is due; also after it has been calm again."""
    watch = start(write_sqlite(tmp_path, [session()]))
    found = []

    for name in ("ses_2", "ses_3"):
        write_sqlite(tmp_path, [session(name)])
        wait_for(lambda: queue.waiting[0], "a change")
        found.append(name in queue.take()[0].touched_sessions)
        wait_for(lambda: watch._is_told, "calm")

    assert found == [True, True]


def test_watch_written_without_a_word_is_looked_at_often_from_then_on(
    tmp_path: Path, start: Start, queue: ChangeQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a link, as on a disk that another computer writes to, the system tells nothing of the folder."""
    elsewhere = write_sqlite(tmp_path / "elsewhere", [session()])
    data_dir = tmp_path / "opencode"
    data_dir.mkdir()
    (data_dir / "opencode.db").symlink_to(elsewhere / "opencode.db")
    monkeypatch.setattr(watching, "LOOK_S", 0.5)
    start(data_dir)

    with caplog.at_level("INFO"):
        write_sqlite(elsewhere, [session("ses_2")])
        wait_for(lambda: queue.waiting[0], "the first change")
        monkeypatch.setattr(watching, "LOOK_S", 3_600.0)
        wait_for(lambda: "are looked at more often" in caplog.text, "that it was noticed")
    queue.take()
    write_sqlite(elsewhere, [session("ses_3")])

    wait_for(lambda: queue.waiting[0], "the second change")


def test_watch_no_events_to_be_had_is_looked_at_often(
    tmp_path: Path, queue: ChangeQueue, monkeypatch: pytest.MonkeyPatch, looks: list[Path]
) -> None:
    """As on other systems."""
    monkeypatch.setattr(watching, "CALM_AFTER_S", 0.0)
    monkeypatch.setattr(FolderEvents, "arm", lambda events, folders: False)
    watch = Watch([write_sqlite(tmp_path, [session()])], queue)
    watch.start()
    try:
        wait_for(lambda: len(looks) > 4, "looks")
        write_sqlite(tmp_path, [session("ses_2")])
        wait_for(lambda: queue.waiting[0], "a change")
    finally:
        watch.stop()

    assert "ses_2" in queue.take()[0].touched_sessions


def test_watch_database_cannot_be_read_is_tried_again_soon(
    tmp_path: Path, queue: ChangeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when others are looked for, and again and again."""
    monkeypatch.setattr(watching, "LOOK_S", 3_600.0)
    monkeypatch.setattr(watching, "UNUSABLE_LOOK_S", 0.3)
    attempts: list[DatabaseChanges] = []

    def fail(changes: DatabaseChanges) -> Changes:
        """Fail three times."""
        attempts.append(changes)
        if len(attempts) <= 3:
            raise SourceUnusable("locked")
        return Changes(sessions={"ses_1"})

    monkeypatch.setattr(DatabaseChanges, "poll", fail)
    watch = Watch([write_sqlite(tmp_path, [session()])], queue)
    watch.start()
    try:
        wait_for(lambda: len(attempts) > 3, "a fourth attempt")
    finally:
        watch.stop()

    assert queue.take()[0].sessions == {"ses_1"}


def test_watch_without_databases_looks_around_for_others(
    tmp_path: Path, queue: ChangeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread does it for all: also whether there is a tree now, of which no event tells."""
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    looks: list[float] = []
    watch = Watch([tmp_path], queue, lambda: looks.append(time.monotonic()))
    watch.start()
    try:
        write_json_tree(tmp_path, [session()])
        wait_for(lambda: queue.waiting[0], "the tree")
        wait_for(lambda: len(looks) > 3, "looks")
    finally:
        watch.stop()

    assert queue.take()[0].is_everything
