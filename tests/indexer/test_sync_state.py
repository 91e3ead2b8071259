"""The hand-over between a full pass and following, with real processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from indexer.database import Database
from indexer.exceptions import BulkInterrupted
from indexer.publish import Publisher
from indexer.sync_state import FAILED, REAL_TIME, SyncState

PATIENCE_S = 30.0  # only a failing test waits that long


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Where the index is."""
    return tmp_path / "index.duckdb"


@pytest.fixture
def sync(index: Path) -> Iterator[SyncState]:
    """The state of this process's indexer."""
    with Database.open(index) as database:
        publisher = Publisher(database)
        yield SyncState(index, database, publisher)
        publisher.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def hold(index: Path, pipe: Connection) -> None:
    """Begin a full pass in a process of its own; end it as the pipe says: a phase, or nothing at all."""
    with Database.open(index) as database:
        publisher = Publisher(database)
        state = SyncState(index, database, publisher)
        pipe.send(state.acquire_bulk_lock())
        state.release_bulk_lock(pipe.recv(), "test")
        publisher.close()
        pipe.recv()


@pytest.fixture
def other(index: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """Another process that has begun a full pass, and the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(index, theirs))
    process.start()
    theirs.close()
    assert ours.recv() is True
    yield process, ours
    process.kill()
    process.join()


def is_waiting(future: Future[None]) -> bool:
    """Tell whether somebody still waits, after long enough to notice that there is nothing to wait for."""
    with pytest.raises(TimeoutError):
        future.result(0.3)
    return not future.done()


def test_acquire_bulk_lock_free_begins_the_bulk_phase(sync: SyncState, index: Path) -> None:
    """The phase is visible to readers at once."""
    is_begun = sync.acquire_bulk_lock()

    assert (is_begun, sync.is_bulk_phase(), SyncState(index).is_bulk_phase()) == (True, True, True)
    assert SyncState(index).phase() == "bulk"
    sync.release_bulk_lock()


def test_acquire_bulk_lock_held_is_refused(sync: SyncState, index: Path) -> None:
    """Neither the holder of another state nor one without the database gets it, and the phase is the first one's."""
    sync.acquire_bulk_lock()

    assert SyncState(index, sync._database).acquire_bulk_lock() is False
    assert sync.is_bulk_phase()
    sync.release_bulk_lock()


def test_acquire_bulk_lock_phase_cannot_be_recorded_gives_it_back(index: Path, sync: SyncState) -> None:
    """A lock without its phase would say nothing to those who wait."""
    with pytest.raises(RuntimeError, match="open for writing"):
        SyncState(index).acquire_bulk_lock()

    assert sync.acquire_bulk_lock() is True
    sync.release_bulk_lock()


def test_acquire_bulk_lock_looked_at_all_the_time_is_granted(
    sync: SyncState, index: Path, pool: ThreadPoolExecutor
) -> None:
    """Who asks whether it is free holds it for an instant: that must not refuse the next pass."""
    stop = threading.Event()

    def look() -> None:
        """Ask again and again."""
        while not stop.is_set():
            SyncState(index).is_bulk_phase()

    lookers = [pool.submit(look) for _ in range(3)]

    granted = []
    for _ in range(20):
        granted.append(sync.acquire_bulk_lock())
        sync.release_bulk_lock()
    stop.set()

    assert granted == [True] * 20
    assert [looker.result(PATIENCE_S) for looker in lookers] == [None] * 3


def test_release_bulk_lock_again_and_again_can_be_acquired(sync: SyncState) -> None:
    """Every pass is followed by another one."""
    for phase in (REAL_TIME, FAILED):
        assert sync.acquire_bulk_lock()
        sync.release_bulk_lock(phase, "test")

    assert (sync.is_bulk_phase(), sync.phase()) == (False, FAILED)


def test_wait_for_bulk_completion_nothing_runs_returns(sync: SyncState, index: Path) -> None:
    """Also where nothing was ever published."""
    sync.wait_for_bulk_completion()
    SyncState(index.with_name("none.duckdb")).wait_for_bulk_completion()

    assert SyncState(index.with_name("none.duckdb")).phase() == "stopped"


def test_wait_for_bulk_completion_other_thread_returns_after_the_release(
    sync: SyncState, pool: ThreadPoolExecutor
) -> None:
    """The follower is a thread of the process that holds the lock."""
    sync.acquire_bulk_lock()
    waiting = pool.submit(sync.wait_for_bulk_completion)

    was_waiting = is_waiting(waiting)
    sync.release_bulk_lock(REAL_TIME, "test")

    assert (was_waiting, waiting.result(PATIENCE_S)) == (True, None)


def test_wait_for_bulk_completion_given_up_raises(sync: SyncState, pool: ThreadPoolExecutor) -> None:
    """Ctrl-C during the pass must not wait for the pass to end: it ends after the follower."""
    given_up = threading.Event()
    sync.acquire_bulk_lock()
    waiting = pool.submit(sync.wait_for_bulk_completion, given_up)

    given_up.set()

    assert isinstance(waiting.exception(PATIENCE_S), BulkInterrupted)
    sync.release_bulk_lock()


def test_wait_for_bulk_completion_failed_pass_raises(sync: SyncState, pool: ThreadPoolExecutor) -> None:
    """Live changes on top of half a pass would look like all there is."""
    sync.acquire_bulk_lock()
    waiting = pool.submit(sync.wait_for_bulk_completion)

    sync.release_bulk_lock(FAILED, "test")

    error = waiting.exception(PATIENCE_S)
    assert isinstance(error, BulkInterrupted)
    assert "did not end (failed)" in str(error)


def test_wait_for_bulk_completion_other_process_returns_after_the_release(
    index: Path, other: tuple[BaseProcess, Connection], pool: ThreadPoolExecutor
) -> None:
    """Only one of the processes has the database open."""
    state = SyncState(index)
    waiting = pool.submit(state.wait_for_bulk_completion)

    before = (is_waiting(waiting), state.is_bulk_phase())
    other[1].send(REAL_TIME)

    assert (before, waiting.result(PATIENCE_S)) == ((True, True), None)
    assert (state.is_bulk_phase(), state.phase()) == (False, REAL_TIME)
    other[1].send("end")


def test_wait_for_bulk_completion_holder_killed_raises(
    index: Path, other: tuple[BaseProcess, Connection], pool: ThreadPoolExecutor
) -> None:
    """The operating system gives the lock back, and nobody else says that it is over."""
    state = SyncState(index)
    waiting = pool.submit(state.wait_for_bulk_completion)
    assert is_waiting(waiting)

    process = other[0]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    error = waiting.exception(PATIENCE_S)

    assert isinstance(error, BulkInterrupted)
    assert "did not end (bulk)" in str(error)


def test_is_bulk_phase_left_by_a_killed_indexer_is_over(index: Path, other: tuple[BaseProcess, Connection]) -> None:
    """The phase in the index is still bulk; nobody holds the lock, so the next start goes on."""
    other[0].kill()
    other[0].join()

    state = SyncState(index)
    left = (state.phase(), state.is_bulk_phase())
    with Database.open(index) as database:
        publisher = Publisher(database)
        state = SyncState(index, database, publisher)
        is_begun = state.acquire_bulk_lock()
        state.release_bulk_lock(REAL_TIME, "test")
        publisher.close()

    assert (left, is_begun) == (("bulk", False), True)
    assert SyncState(index).phase() == REAL_TIME
