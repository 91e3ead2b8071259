"""Telling other processes what the indexer does."""

from pathlib import Path

import pytest

from indexer import reporter
from indexer.activity import read_activity
from indexer.changes import ChangeQueue, Changes
from indexer.database import Database
from indexer.publish import Publisher
from indexer.reporter import Reporter
from tests.following import wait_for


def test_note_waiting_nothing_was_told_for_long_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long batch is told while it is written, not after it, though an idle indexer looks rarely what to tell."""
    monkeypatch.setattr(reporter, "LEAST_S", 0.01)
    monkeypatch.setattr(reporter, "CALM_S", 3_600.0)
    queue = ChangeQueue(lambda: 1)
    index = tmp_path / "index.duckdb"

    def waiting() -> int:
        """Return how much waits, as other processes see it."""
        activity = read_activity(index)
        return activity.queue if activity else -1

    with Database.open(index) as database:
        running = Reporter(database, Publisher(database), queue)
        running.start()
        wait_for(lambda: waiting() == 0, "the first activity")
        queue.put(Changes(projects={"prj"}))
        running.note_waiting()
        try:
            wait_for(lambda: waiting() == 1, "the next one")
        finally:
            queue.take()
            running.stop()

    assert waiting() == 0


def test_look_nothing_to_tell_is_heard_of_without_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What whoever watches does for it: the heartbeat, once it is due, and what changed without a note."""
    clock = iter([0, 1_000, 9_500, 9_600])
    monkeypatch.setattr(reporter, "now_ms", lambda: next(clock))
    index = tmp_path / "index.duckdb"
    found = []
    with Database.open(index) as database:
        queue = ChangeQueue(lambda: 1)
        idle = Reporter(database, Publisher(database), queue)
        for looked in range(4):
            if looked == 3:
                queue.put(Changes(projects={"prj"}))
            idle.look()
            activity = read_activity(index)
            assert activity is not None
            found.append((activity.at_ms, activity.queue))

    assert found == [(0, 0), (0, 0), (9_500, 0), (9_600, 1)]
