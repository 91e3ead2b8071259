"""Tells other processes what the indexer does right now (see `activity.py`)."""

import logging
import os
import threading
import time
from collections import deque

from indexer.activity import HEARTBEAT_MS, Activity, write_activity
from indexer.bulk_loader import Progress
from indexer.changes import ChangeQueue
from indexer.database import Database
from indexer.publish import Publisher
from indexer.storages import now_ms
from indexer.watching import Watch

log = logging.getLogger(__name__)

LEAST_S = 1.0  # between two activities
CALM_S = 10.0  # the same while there is nothing to tell, and nobody else looks
RATE_WINDOW_S = 60.0


class Reporter:
    """Tells other processes what the indexer does, from a thread of its own: also during a long transaction.

    While there is nothing to tell, the thread sleeps: whoever watches calls `look` now and then.
    """

    def __init__(
        self, database: Database, publisher: Publisher, queue: ChangeQueue | None = None, watch: Watch | None = None
    ) -> None:
        """Prepare; nothing is told yet.

        Args:
            database: The index.
            publisher: Knows what it could not do.
            queue: What waits. None: nothing ever does, as a full pass follows nothing.
            watch: What is followed; `look` is called by it. None: nobody calls that.
        """
        self._database = database
        self._publisher = publisher
        self._queue = queue
        self._watch = watch
        self._written: deque[tuple[float, int]] = deque()
        self._latency_ms: int | None = None
        self._next_comparison_at_ms: int | None = None
        self._last_comparison_ms: int | None = None
        self._started = time.monotonic()
        self._told: Activity | None = None
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Tell the last state and end."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        self.look()

    def counted(self, progress: Progress) -> Progress:
        """Count the messages of a full pass, too.

        Args:
            progress: Is told as before.

        Returns:
            What to tell instead.
        """
        before = 0

        def count(done: int, total: int) -> None:
            """Count and pass on."""
            nonlocal before
            self.note_written(done - before)
            before = done
            progress(done, total)

        return count

    def note_written(self, documents: int) -> None:
        """Count documents that were written."""
        with self._lock:
            self._written.append((time.monotonic(), documents))
        self._news.set()

    def note_waiting(self) -> None:
        """Note that something waits to be looked at, which may take long."""
        self._news.set()

    def note_batch(self, documents: int, since_ms: int | None) -> None:
        """Count documents that were written, and how long the first of them waited until it was published."""
        self.note_written(documents)
        self._latency_ms = None if since_ms is None else max(now_ms() - since_ms, 0)

    def note_comparison(self, took_s: float, wait_s: float) -> None:
        """Note when everything is compared again."""
        self._last_comparison_ms = round(1000 * took_s) or self._last_comparison_ms
        self._next_comparison_at_ms = now_ms() + round(1000 * wait_s)
        self._news.set()

    def look(self) -> bool:
        """Tell that it still runs, if that is due, and what changed without a note. From any thread.

        Returns:
            Whether it said anything new.
        """
        with self._telling:
            return self._tell()

    def _run(self) -> None:
        """Tell what changed, at most once a second, and that it still runs unless others look."""
        calm_s = CALM_S if self._watch is None else None
        while not self._stopping.is_set():
            self._news.clear()
            if not self.look() and not self._news.wait(calm_s):
                continue
            self._stopping.wait(LEAST_S)

    def _tell(self) -> bool:
        """Write the activity, if it says anything new or the last one grows old; tell whether it said anything new."""
        activity = self._activity()
        told = self._told
        # looks are as far apart: one that is a moment early must not leave it to the next
        is_recent = told is not None and activity.at_ms - told.at_ms < HEARTBEAT_MS - 1_000 * LEAST_S
        is_new = told is None or _without_time(activity) != _without_time(told)
        if is_recent and not is_new:
            return False
        try:
            write_activity(self._database.path, activity)
        except OSError as error:
            log.warning("cannot tell the dashboard what the indexer does: %s", error)
        self._told = activity
        return is_new

    def _activity(self) -> Activity:
        """Describe this moment."""
        waiting, since_ms = self._queue.waiting if self._queue is not None else (0, None)
        now = time.monotonic()
        with self._lock:
            while self._written and self._written[0][0] < now - RATE_WINDOW_S:
                self._written.popleft()
            written = sum(documents for _, documents in self._written)
        return Activity(
            pid=os.getpid(),
            at_ms=now_ms(),
            phase=self._database.phase,
            queue=waiting,
            waiting_since_ms=since_ms,
            latency_ms=self._latency_ms,
            documents_per_second=round(written / max(1.0, min(RATE_WINDOW_S, now - self._started)), 1),
            watched=self._watch.watched if self._watch is not None else (),
            next_comparison_at_ms=self._next_comparison_at_ms,
            last_comparison_ms=self._last_comparison_ms,
            problem=self._publisher.problem,
            excluded_projects=len(self._database.exclusion.projects),
            excluded_sessions=len(self._database.exclusion.sessions),
        )


def _without_time(activity: Activity) -> tuple[object, ...]:
    """Return what is worth telling at once."""
    return (
        activity.phase,
        activity.queue,
        activity.waiting_since_ms,
        activity.latency_ms,
        activity.documents_per_second,
        activity.watched,
        activity.next_comparison_at_ms,
        activity.problem,
        activity.excluded_projects,
        activity.excluded_sessions,
    )
