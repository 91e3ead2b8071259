"""Who may write: one full pass at a time, and nothing live while it runs.

The lock is the operating system's, so it dies with its process; what it was held for is in the table `sync_state`.
"""

import threading
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.database import Database
from indexer.exceptions import BulkInterrupted, IndexUnavailable
from indexer.index_files import private_folder
from indexer.publish import Publisher
from indexer.published import IndexReader

BULK, REAL_TIME, STOPPED, FAILED = "bulk", "real-time", "stopped", "failed"

_POLL_S = 0.1
_ACQUIRE_S = 1.0  # who looks whether the lock is free holds it for an instant


class SyncState:
    """The hand-over from a full pass to following changes.

    Inside the indexer it is made with the open database. Another process, which cannot open that, names the index only
    and sees the phase that was published last.
    """

    def __init__(self, index: Path, database: Database | None = None, publisher: Publisher | None = None) -> None:
        """Name an index; nothing is locked yet.

        Args:
            index: What readers open.
            database: The same index, open for writing.
            publisher: Makes phases visible at once.
        """
        self._index = index
        self._database = database
        self._publisher = publisher
        self._path = private_folder(index) / "bulk.lock"
        self._lock = FileLock(self._path, thread_local=False)

    def acquire_bulk_lock(self, message: str = "full pass") -> bool:
        """Begin a full pass, unless another one runs.

        Args:
            message: For the history.

        Returns:
            Whether the pass may begin.
        """
        try:
            self._lock.acquire(timeout=_ACQUIRE_S)
        except Timeout:
            return False
        try:
            self._set_phase(BULK, message)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release_bulk_lock(self, phase: str = STOPPED, message: str = "full pass complete") -> None:
        """End the full pass: from now on live changes may be written.

        Args:
            phase: What follows: real-time, stopped or failed.
            message: For the history.
        """
        try:
            self._set_phase(phase, message)
        finally:
            self._lock.release()

    def wait_for_bulk_completion(self, given_up: threading.Event | None = None) -> None:
        """Return once no full pass runs.

        Args:
            given_up: Ends the waiting, when it is set.

        Raises:
            BulkInterrupted: The pass failed, its process died (noticed within about a tenth of a second), or the
                waiting was given up.
        """
        given_up = given_up or threading.Event()
        while not self._is_free():
            if given_up.wait(_POLL_S):
                raise BulkInterrupted(f"The full pass into {self._index} is not waited for any more.")
        phase = self.phase()
        if phase in (BULK, FAILED):
            raise BulkInterrupted(
                f"The full pass over OpenCode's data into {self._index} did not end ({phase}). Nothing that was read "
                "is lost: start the indexer again, it goes on."
            )

    def is_bulk_phase(self) -> bool:
        """Tell whether a full pass runs right now. One that was killed does not."""
        return not self._is_free() and self.phase() == BULK

    def phase(self) -> str:
        """Return what the indexer does, or did last."""
        if self._database is not None:
            return self._database.phase
        reader = IndexReader(self._index)
        try:
            con = reader.connection()
            row = con.execute("SELECT phase FROM sync_state").fetchone()
            con.close()
            return str(row[0]) if row else STOPPED
        except IndexUnavailable:  # nothing was published yet
            return STOPPED
        finally:
            reader.close()

    def _is_free(self) -> bool:
        """Try whether nobody holds the lock."""
        probe = FileLock(self._path)
        try:
            probe.acquire(blocking=False)
        except Timeout:
            return False
        probe.release()
        return True

    def _set_phase(self, phase: str, message: str) -> None:
        """Record a phase and show it."""
        if self._database is None:
            raise RuntimeError("only the process that has the index open for writing has phases")
        self._database.set_phase(phase, message)
        if self._publisher is not None:
            self._publisher.publish()
