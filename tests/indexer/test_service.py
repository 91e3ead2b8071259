"""The indexer goes on by itself once the index can be written again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer import service
from indexer.activity import read_activity
from indexer.bulk_loader import Progress
from indexer.database import Database
from indexer.exceptions import AnotherIndexerRuns, IndexUnwritable
from indexer.publish import Publisher
from indexer.published import IndexReader
from indexer.sync_state import SyncState
from tests.builders import project, session, user, write_json_tree

DOCS = [project(), session(), *(user(f"msg_{number}") for number in range(3))]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Where the index is."""
    return tmp_path / "index.duckdb"


@contextmanager
def silent() -> Iterator[Progress]:
    """Show no progress."""
    yield lambda done, total: None


@contextmanager
def opened(index: Path) -> Iterator[tuple[Database, Publisher]]:
    """Open the index."""
    with Database.open(index) as database:
        publisher = Publisher(database)
        try:
            yield database, publisher
        finally:
            publisher.close()


def phase(index: Path) -> str:
    """Return the phase that was published last."""
    return SyncState(index).phase()


def test_keep_following_index_not_writable_tries_again(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells the dashboard what it waits for."""
    told: list[str | None] = []
    attempts: list[int] = []

    def follow(*args: object) -> None:
        """Fail twice, then end as with Ctrl-C."""
        said = read_activity(index)
        told.append(said.problem if said else None)
        attempts.append(len(attempts))
        if len(attempts) < 3:
            raise IndexUnwritable("The disk is full.")

    monkeypatch.setattr(service, "follow", follow)
    monkeypatch.setattr(service, "RETRY_LEAST_S", 0.01)

    service.keep_following(index, lambda: opened(index), [], silent, lambda result: None)

    assert (len(attempts), told) == (3, [None, "The disk is full.", "The disk is full."])


def test_keep_following_stopped_while_it_waits_ends(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, again."""

    def follow(*args: object) -> None:
        """Fail."""
        raise IndexUnwritable("The disk is full.")

    def interrupt(seconds: float) -> None:
        """Do what Ctrl-C does."""
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "follow", follow)
    monkeypatch.setattr("time.sleep", interrupt)

    service.keep_following(index, lambda: opened(index), [], silent, lambda result: None)

    said = read_activity(index)
    assert said is not None
    assert (said.phase, said.problem) == ("failed", "The disk is full.")


def test_keep_following_never_writable_says_so_at_once(index: Path) -> None:
    """What cannot be opened to begin with is for a person to mend."""

    @contextmanager
    def refused() -> Iterator[tuple[Database, Publisher]]:
        """Refuse."""
        raise IndexUnwritable("The disk is full.")
        yield

    with pytest.raises(IndexUnwritable, match="disk is full"):
        service.keep_following(index, refused, [], silent, lambda result: None)


def test_read_once_while_another_pass_runs_is_refused(index: Path, tmp_path: Path) -> None:
    """Two passes would write the same rows."""
    with opened(index) as (database, publisher):
        other = SyncState(index, database, publisher)
        other.acquire_bulk_lock()

        with pytest.raises(AnotherIndexerRuns, match="full pass"):
            service.read_once(database, publisher, [tmp_path], lambda done, total: None)

        other.release_bulk_lock()


@pytest.mark.parametrize(("error", "expected"), [(KeyboardInterrupt(), "stopped"), (ValueError("odd"), "failed")])
def test_read_once_cut_short_records_why(index: Path, tmp_path: Path, error: BaseException, expected: str) -> None:
    """The lock is free again, and what was read is kept."""
    data_dir = write_json_tree(tmp_path / "opencode", DOCS)

    def fail(done: int, total: int) -> None:
        """Fail in the middle."""
        raise error

    with opened(index) as (database, publisher), pytest.raises(type(error)):
        service.read_once(database, publisher, [data_dir], fail)

    assert phase(index) == expected
    with opened(index) as (database, publisher):
        result = service.read_once(database, publisher, [data_dir], lambda done, total: None)
        assert (result.messages, result.written) == (3, 0)


def test_follow_failure_while_following_is_recorded_and_raised(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower is a thread: what ends it must end the indexer."""
    data_dir = write_json_tree(tmp_path / "opencode", DOCS)

    def fail(*args: object, **named: object) -> None:
        """Fail."""
        raise ValueError("odd")

    monkeypatch.setattr("indexer.live.open_storages", fail)

    with opened(index) as (database, publisher), pytest.raises(ValueError, match="odd"):
        service.follow(database, publisher, [data_dir], silent, lambda result: None)

    assert phase(index) == "failed"
    reader = IndexReader(index)
    con = reader.connection()
    assert con.execute("SELECT message FROM sync_events ORDER BY occurred_at DESC LIMIT 1").fetchall() == [("odd",)]
    con.close()
    reader.close()
