"""The indexer at work: one full pass, or a pass and then following, which goes on by itself after a full disk."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from indexer import interrupts, kept_spend
from indexer.activity import Activity, write_activity
from indexer.benchmarks import results as benchmark_results
from indexer.database import Database
from indexer.exceptions import AnotherIndexerRuns, IndexDamaged, IndexUnavailable, IndexUnwritable
from indexer.json_values import printable
from indexer.publish import Publisher
from indexer.sync_state import FAILED, REAL_TIME, STOPPED, SyncState

# What reads and follows is loaded where it is needed: a start loads it while DuckDB opens the index.
if TYPE_CHECKING:
    from indexer.bulk_loader import BulkResult, Progress

    ShowProgress = Callable[[], AbstractContextManager[Progress]]

log = logging.getLogger(__name__)

RETRY_LEAST_S = 5.0  # after the index could not be written
RETRY_MOST_S = 60.0
_LOOK_S = 5.0  # between two looks whether an interrupt got lost, as right after a start; most end the wait

OpenIndex = Callable[[], AbstractContextManager[tuple[Database, Publisher]]]


def read_once(database: Database, publisher: Publisher, folders: Sequence[Path], progress: "Progress") -> "BulkResult":
    """Make one full pass.

    Args:
        database: The index.
        publisher: Makes it visible.
        folders: OpenCode data folders, absolute.
        progress: Called with the number of messages done and to do.

    Returns:
        What was found.

    Raises:
        AnotherIndexerRuns: A full pass runs already.
        KeyboardInterrupt: It was stopped; what was read is kept.
    """
    from indexer import bulk_loader
    from indexer.reporter import Reporter

    sync = _begin(database, publisher, folders)
    reporter = Reporter(database, publisher)
    reporter.start()
    try:
        with interrupts.told():
            sources = bulk_loader.find_sources(folders)
            result = bulk_loader.load(database, publisher, sources, reporter.counted(progress), data_dirs=folders)
            sync.release_bulk_lock()
            kept_spend.save(database.con, database.path)
            publisher.compact_if_due(is_idle=True)
    except BaseException as error:
        _end(database, sync, error, is_bulk=sync.is_bulk_phase())
        raise
    finally:
        reporter.stop()
    return result


def follow(
    database: Database,
    publisher: Publisher,
    folders: Sequence[Path],
    show_progress: "ShowProgress",
    on_ready: Callable[["BulkResult"], object],
) -> None:
    """Read everything, then follow every change; returns when it was asked to end.

    Args:
        database: The index.
        publisher: Makes it visible.
        folders: OpenCode data folders, absolute.
        show_progress: Shows the progress of the full pass.
        on_ready: Called after the full pass.

    Raises:
        AnotherIndexerRuns: A full pass runs already.
        IndexUnwritable: The disk is full, or the like; what was committed is kept.
    """
    from indexer import bulk_loader, live

    sync = _begin(database, publisher, folders)
    follower = live.Follower(database, publisher, sync, folders)
    is_bulk = True
    try:
        with interrupts.told():
            follower.start()  # it notices what changes from now on, and waits for the end of the pass
            with show_progress() as progress:
                sources, counted = bulk_loader.find_sources(folders), follower.reporter.counted(progress)
                result = bulk_loader.load(database, publisher, sources, counted, data_dirs=folders, is_trusting=True)
            on_ready(result)
            follower.compared_s = result.compared_s
            publisher.compact_if_due(
                is_idle=True
            )  # a first load leaves a third of the file unused; later it would disturb
            unread = ", but for sources that could not be read" if result.problems else ""
            sync.release_bulk_lock(REAL_TIME, f"everything is read{unread}; following changes")
            is_bulk = False
            interrupts.check()  # one that got lost in the pass
            while not follower.wait(_LOOK_S):
                interrupts.check()
            raise follower.failure or AssertionError("it ends by itself only when something fails")
    except BaseException as error:
        follower.stop()
        _end(database, sync, error, is_bulk=is_bulk)
        if not isinstance(error, KeyboardInterrupt):
            raise
    finally:
        follower.tell_end()


def keep_following(
    index: Path,
    open_index: OpenIndex,
    folders: Sequence[Path],
    show_progress: "ShowProgress",
    on_ready: Callable[["BulkResult"], object],
) -> None:
    """Follow like `follow`; after a full disk or a damaged index wait, open it anew and go on.

    Args:
        index: What readers open.
        open_index: Opens it for writing.
        folders: OpenCode data folders, absolute.
        show_progress: Shows the progress of a full pass.
        on_ready: Called after every full pass.

    Raises:
        IndexUnavailable: The index cannot be used, or could not be written from the beginning.
    """
    wait_s = 0.0
    while True:
        try:
            with open_index() as (database, publisher):
                wait_s = max(wait_s, RETRY_LEAST_S)
                follow(database, publisher, folders, show_progress, on_ready)
            return
        except (IndexUnwritable, IndexDamaged) as error:  # opening sets a damaged file aside and reads everything anew
            if not wait_s:
                raise
            log.error("%s It is tried again in %.0f s.", error, wait_s)
            if not _wait(index, str(error), wait_s):
                return
            wait_s = min(2 * wait_s, RETRY_MOST_S)


def _begin(database: Database, publisher: Publisher, folders: Sequence[Path]) -> SyncState:
    """Begin a full pass."""
    sync = SyncState(database.path, database, publisher)
    if not sync.acquire_bulk_lock(f"reading {printable(', '.join(map(str, folders)))}"):
        raise AnotherIndexerRuns(f"A full pass writes the index at {database.path} right now. Try again when it ended.")
    benchmark_results.take(database)
    return sync


def _end(database: Database, sync: SyncState, error: BaseException, *, is_bulk: bool) -> None:
    """Record why it ended, if the index can still be written."""
    is_stopped = isinstance(error, KeyboardInterrupt)
    phase = STOPPED if is_stopped else FAILED
    message = str(error) or type(error).__name__
    if is_stopped:
        message = "interrupted; the next start goes on" if is_bulk else "stopped by the user"
    try:
        if is_bulk:
            sync.release_bulk_lock(phase, message)
        else:
            database.set_phase(phase, message)
        kept_spend.save(database.con, database.path)
    except (IndexUnavailable, duckdb.Error) as failure:
        log.debug("why it ended cannot be recorded: %s", failure)


def _wait(index: Path, problem: str, wait_s: float) -> bool:
    """Wait until it is time to try again, and say why; tell whether nobody stopped it."""
    until = time.monotonic() + wait_s
    try:
        while (left_s := until - time.monotonic()) > 0:
            _tell(index, problem)
            time.sleep(min(left_s, RETRY_LEAST_S))
    except KeyboardInterrupt:
        return False
    return True


def _tell(index: Path, problem: str) -> None:
    """Tell the dashboard what is waited for."""
    from indexer.storages import now_ms

    activity = Activity(
        pid=os.getpid(),
        at_ms=now_ms(),
        phase=FAILED,
        queue=0,
        waiting_since_ms=None,
        latency_ms=None,
        documents_per_second=0.0,
        watched=(),
        next_comparison_at_ms=None,
        last_comparison_ms=None,
        problem=problem,
    )
    try:
        write_activity(index, activity)
    except OSError as error:
        log.debug("the dashboard cannot be told: %s", error)
