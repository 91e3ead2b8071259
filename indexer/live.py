"""Follows OpenCode in real time: waits for the full pass, then writes every change within a fraction of a second.

One thread writes. Others only notice what changes (`watching.py`), list folders for the comparison of everything, or
tell what goes on (`reporter.py`); none of them touches the database.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from indexer import kept_spend, price_changes, update
from indexer.activity import is_retry_requested, take_retry_request
from indexer.benchmarks import results as benchmark_results
from indexer.bulk_loader import record_comparison, record_listing, record_reconciled
from indexer.changes import ChangeQueue, Changes
from indexer.database import Database
from indexer.exceptions import BulkInterrupted, SettingsInvalid
from indexer.publish import Publisher
from indexer.reporter import Reporter
from indexer.storages import Storage, find_sources, now_ms, open_storages, record_storages, source_states
from indexer.survey import Survey, failed_documents, held_unwritten, read_indexed, survey
from indexer.sync_state import SyncState
from indexer.watching import Watch

log = logging.getLogger(__name__)

IDLE_S = 10.0  # between two looks at what else is due, while anything may be; a change ends it at once
REST_S = 600.0  # the same while nothing is left to do
BEHIND_S = 0.1  # the same while something has yet to be published
GATHER_S = 0.03  # after the first change in a while: others of the same moment are written with it
PAUSE_S = 0.3  # from one batch to the next, at least: each transaction costs every reader 3 ms when it opens
POSTPONED_S = 0.25
COUNTS_S = 10.0  # how often the numbers of a storage are recorded while they change
COMPARE_LEAST_S = 60.0
COMPARE_SHARE = 500  # a comparison takes at most one part in so many of the time
FIRST_COMPARED_S = 2.4  # what the one of the start counts for at most: its files may have been on a slow disk
SCAN_LEAST_S = 2.0  # without events, comparisons are all there is
SCAN_SHARE = 20
PATIENCE_S = 600.0  # how long a comparison waits at most for a moment without changes
LOST_S = 5.0  # until a storage that could not be read is tried again


class Follower:
    """Follows the storages of some data folders until it is stopped.

    Attributes:
        failure: What ended it, if it was not stopped.
        compared_s: How long the full pass took to compare everything; to be set before it ends.
    """

    def __init__(self, database: Database, publisher: Publisher, sync: SyncState, data_dirs: Sequence[Path]) -> None:
        """Prepare; nothing is watched yet.

        Args:
            database: The index. From the end of the full pass on only this follower writes it, until it is stopped.
            publisher: Makes it visible.
            sync: Tells when the full pass is over.
            data_dirs: OpenCode data folders, absolute.
        """
        self.failure: BaseException | None = None
        self.compared_s = 0.0
        self.queue = ChangeQueue(now_ms)
        self._database = database
        self._publisher = publisher
        self._sync = sync
        self._data_dirs = data_dirs
        self._watch = Watch(data_dirs, self.queue, self._look_around)
        self.reporter = Reporter(database, publisher, self.queue, self._watch)
        self._storages: list[Storage] = []
        self._postponed = Changes()
        self._postponed_until = 0.0
        self._comparison: _Comparison | None = None
        self._ended_at = 0.0
        self._compare_at = float("inf")  # while one runs, when the next one has to follow it
        self._counts_at = float("inf")
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to watch, before the full pass lists anything: what changes from here on is looked at after it."""
        self._watch.start()
        self.reporter.start()
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ended, or some seconds; tell whether it did."""
        return self._finished.wait(timeout_s)

    def stop(self) -> None:
        """End everything; what was noticed and not written is found by the next start."""
        self._stopping.set()
        self.queue.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._watch.stop()
        if self._comparison is not None:
            self._comparison.join()
        for storage in self._storages:
            storage.source.close()

    def tell_end(self) -> None:
        """Tell the last phase, once it is recorded."""
        self.reporter.stop()

    def _run(self) -> None:
        """Follow until stopped, or something fails."""
        try:
            self._sync.wait_for_bulk_completion(self._stopping)
            self._follow()
        except BulkInterrupted as error:
            log.debug("%s", error)  # whoever ran the pass tells why
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits for it)
            self.failure = error
        finally:
            self._finished.set()

    def _follow(self) -> None:
        """Write what changes."""
        import pyarrow  # noqa: F401 (the first change must not wait for what a start can do without)

        self._storages = open_storages(self._database, find_sources(self._data_dirs), self._data_dirs)
        self._plan_comparison(min(self.compared_s, FIRST_COMPARED_S))
        while not self._stopping.is_set():
            is_busy = self._step()
            self._publisher.publish_if_due()
            self._publisher.compact_if_due(is_idle=not is_busy)

    def _step(self) -> bool:
        """Do what is due; tell whether anything was."""
        self._take_comparison()
        if take_retry_request(self._database.path):
            self.queue.put(failed_documents(self._database))
        benchmark_results.take(self._database)
        if time.monotonic() >= self._postponed_until and self._postponed:
            postponed, self._postponed = self._postponed, Changes()
            self.queue.put(postponed)
        if time.monotonic() >= self._counts_at:
            self._record_counts()
        if self._is_comparison_due():
            self._begin_comparison()
        was_empty = not self.queue.waiting[0]
        if not self.queue.wait(self._wait_s()):
            return False
        if was_empty and time.monotonic() > self._ended_at + PAUSE_S:
            time.sleep(GATHER_S)
        self.reporter.note_waiting()
        started = time.monotonic()
        changes, since_ms = self.queue.take()
        if changes.is_everything:
            self._compare_at = 0.0
        self._watch.pause()
        try:
            self._look_at(changes, since_ms)
        finally:
            self._watch.resume()
        self._ended_at = time.monotonic()
        self._stopping.wait(started + PAUSE_S - self._ended_at)
        return True

    def _wait_s(self) -> float:
        """Return how long to wait for a change: until something else is due."""
        if self._publisher.is_behind:
            return BEHIND_S
        due_at = self._counts_at
        if self._postponed:
            due_at = min(due_at, self._postponed_until)
        if self._comparison is None:
            due_at = min(due_at, self._compare_at)
        return min(max(due_at - time.monotonic(), 0.0), REST_S if self._publisher.is_at_rest else IDLE_S)

    def _look_around(self) -> None:
        """Look at what nobody tells, in the thread that watches: this one need not wake up for it."""
        self.reporter.look()
        try:
            is_asked = is_retry_requested(self._database.path) or benchmark_results.are_left(self._database)
        except OSError:  # whoever takes them up says what is wrong
            is_asked = True
        if is_asked:
            self.queue.wake()

    def _look_at(self, changes: Changes, since_ms: int | None) -> None:
        """Look at what changed, and show it."""
        started = time.monotonic()
        named = len(changes)
        if not named:
            return
        done = update.apply(self._database, self._storages, changes, may_postpone=True, on_batch=self._note_progress)
        if done.postponed:
            self._postponed.add(done.postponed)
            self._postponed_until = time.monotonic() + POSTPONED_S
        if done.is_everything_due or (changes.touched_sessions and self._has_new_sources()):
            self._compare_at = 0.0
        if any(storage.problem for storage in self._storages):
            self._compare_at = min(self._compare_at, time.monotonic() + LOST_S)
        if not done.is_visible:
            return
        self._counts_at = min(self._counts_at, time.monotonic() + COUNTS_S)
        if done.deleted:
            kept_spend.save(self._database.con, self._database.path)
        self._publisher.publish_if_due()
        self.reporter.note_batch(done.written, since_ms)
        log.info(
            "%d documents looked at, %d messages written, %d rows deleted in OpenCode, in %.0f ms",
            named,
            done.written,
            done.deleted,
            1000 * (time.monotonic() - started),
        )

    def _has_new_sources(self) -> bool:
        """Tell whether a generation came into use: the first row of its table changes nothing else of the file."""
        known = {(storage.source.kind, storage.source.path) for storage in self._storages}
        return any((source.kind, source.path) not in known for source in find_sources(self._data_dirs))

    def _note_progress(self, messages: int) -> None:
        """Show what a long row of changes has brought so far."""
        self._publisher.publish_if_due()

    def _record_counts(self) -> None:
        """Record what the storages hold now."""
        self._counts_at = float("inf")
        with self._database.transaction() as con:
            record_storages(self._database, self._storages)
            con.execute("UPDATE sync_state SET documents_total = NULL")

    # --- comparing everything

    def _plan_comparison(self, took_s: float) -> None:
        """Decide when everything is compared again: rarely where that takes long, soon where nothing else tells."""
        is_by_events = self._watch.is_by_events
        least_s, share = (COMPARE_LEAST_S, COMPARE_SHARE) if is_by_events else (SCAN_LEAST_S, SCAN_SHARE)
        wait_s = max(least_s, share * took_s)
        if any(storage.problem for storage in self._storages):
            wait_s = min(wait_s, max(LOST_S, SCAN_SHARE * took_s))
        self._compare_at = min(self._compare_at, time.monotonic() + wait_s)
        self.reporter.note_comparison(took_s, wait_s)

    def _is_comparison_due(self) -> bool:
        """Tell whether it is time: a regular one waits for a moment without changes, but not for ever."""
        late_s = time.monotonic() - self._compare_at
        is_urgent = self._compare_at == 0.0 or late_s > PATIENCE_S
        return late_s >= 0 and (is_urgent or not self.queue.waiting[0])

    def _begin_comparison(self) -> None:
        """List everything in a thread of its own, so that changes are written meanwhile; or find it unwritten."""
        if self._comparison is not None:
            return
        started = time.monotonic()
        self._compare_at = float("inf")
        storages = open_storages(self._database, find_sources(self._data_dirs), self._data_dirs)
        is_any_lost = any(storage.problem for storage in self._storages)  # since the last one; it is read again here
        if is_any_lost or held_unwritten(self._database, storages) is None:
            self._comparison = _Comparison(self._database, storages, self.queue.wake)
            self._comparison.start()
            return
        self._look_at_prices()
        with self._database.transaction(is_visible=False):
            record_reconciled(self._database)
        self._plan_comparison(time.monotonic() - started)

    def _look_at_prices(self) -> None:
        """Price everything anew if prices changed. With wrong settings those of before stay."""
        try:
            price_changes.bring_up_to_date(self._database)
        except SettingsInvalid as error:
            log.warning("list prices stay as they are: %s", error)

    def _take_comparison(self) -> None:
        """Look at what a comparison found, once it ended."""
        comparison = self._comparison
        if comparison is None or not comparison.has_ended:
            return
        started = time.monotonic()
        self._comparison = None
        self._look_at_prices()
        if comparison.failure is not None:
            raise comparison.failure
        for storage in self._storages:
            storage.source.close()
        self._storages = comparison.storages
        found = comparison.found
        record_listing(self._database, self._storages, found.problems)
        changes = found.changes
        if len(changes):
            self._look_at(changes, now_ms())
        if self._postponed:  # a start after a kill must not take everything for read
            found.file_stamps = dict.fromkeys(found.file_stamps)
        before = source_states(self._database)
        with self._database.transaction(is_visible=False):
            record_comparison(self._database, self._storages, found)
        if source_states(self._database) != before:
            with self._database.transaction():
                log.info("other storages can be read than before")  # a revision that says so
        self._plan_comparison(comparison.took_s + time.monotonic() - started)


class _Comparison(threading.Thread):
    """Compares everything with what the index held when it began.

    Attributes:
        storages: What was listed; whoever takes the result closes them.
        found: The result.
        failure: What went wrong instead.
        took_s: How long it took.
        has_ended: Whether there is a result.
    """

    def __init__(self, database: Database, storages: list[Storage], tell: Callable[[], None]) -> None:
        """Read what the index holds.

        Args:
            database: The index.
            storages: What to list.
            tell: Called at the end.
        """
        super().__init__(name="comparison", daemon=True)
        self.found = Survey()
        self.failure: BaseException | None = None
        self.took_s = 0.0
        self.has_ended = False
        self._tell = tell
        self._began = time.monotonic()
        self.storages = storages
        self._indexed = read_indexed(database)

    def run(self) -> None:
        """List and compare."""
        try:
            self.found = survey(self._indexed, self.storages, is_trusting=True, with_failed=False)
        except BaseException as error:  # noqa: BLE001 (raised again by whoever takes the result)
            self.failure = error
        self.took_s = time.monotonic() - self._began
        self.has_ended = True
        self._tell()
