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
    monkeypatch.setattr(reporter, "until_next", lambda period_s: 3_600.0)
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
