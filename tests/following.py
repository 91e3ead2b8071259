"""An indexer that follows data folders inside a test, as `python -m indexer run` does, and is stopped at its end."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer import live, service, watching
from indexer.bulk_loader import BulkResult, Progress
from indexer.database import Database
from indexer.exclusion import Exclusion
from indexer.live import Follower
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.agreement import differences, fresh_index

PATIENCE_S = 30.0  # how long a condition is waited for; only a failing test takes so long


def wait_for(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until a condition holds, and fail if it never does."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"{what} did not come true within {PATIENCE_S:.0f} s"
        time.sleep(0.03)


def move_back(path: Path, seconds: float = 3_600) -> None:
    """Give a file a modification time in the past."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))


class Following:
    """One indexer that runs in a thread of its own.

    Attributes:
        index: What readers open.
        data_dirs: What is followed.
        result: Of the full pass, once it ended.
        failure: What ended it, if it was not stopped.
    """

    def __init__(
        self, index: Path, data_dirs: Sequence[Path], progress: Progress | None = None, excluded: Sequence[str] = ()
    ) -> None:
        """Prepare.

        Args:
            index: What readers open.
            data_dirs: What to follow.
            progress: Called by the full pass between two of its transactions.
            excluded: What the settings leave out.
        """
        self.index = index
        self.data_dirs = data_dirs
        self.result: BulkResult | None = None
        self.failure: BaseException | None = None
        self._progress = progress or (lambda done, total: None)
        self._excluded = excluded
        self._is_wanted = True
        self._followers: list[Follower] = []
        self._reader = IndexReader(index)
        self._thread = threading.Thread(target=self._run, name="indexer")

    @property
    def follower(self) -> Follower:
        """The follower at work."""
        return self._followers[-1]

    @property
    def is_over(self) -> bool:
        """Tell whether it follows no more, or the full pass failed."""
        return not self._thread.is_alive() or any(Follower.wait(follower, 0) for follower in self._followers)

    def begin(self) -> None:
        """Begin the full pass, and return while it runs."""
        self._thread.start()

    def start(self) -> None:
        """Begin, and return when the full pass is over and shown."""
        self.begin()
        wait_for(lambda: self.is_over or (self.result is not None and self.phase() == "real-time"), "the hand-over")
        assert self.failure is None, self.failure

    def join(self) -> None:
        """Wait until it ended by itself."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it does not end"

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self._is_wanted = False
        if self._thread.ident is not None:
            self.join()
        self._reader.close()
        assert self.failure is None, self.failure

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the published index."""
        con = self._reader.refresh().cursor()
        try:
            return con.execute(sql, values).fetchall()
        finally:
            con.close()

    def phase(self) -> str:
        """Return the phase that readers see."""
        return str(self.rows("SELECT phase FROM sync_state")[0][0])

    def revision(self) -> int:
        """Return the revision that readers see."""
        return int(self.rows("SELECT revision FROM sync_state")[0][0])

    def sees(self, sql: str, **values: Any) -> None:
        """Wait until a query of the published index has a row."""
        wait_for(lambda: self.rows(sql, **values), sql)

    def agrees(self) -> None:
        """Wait until the index is the same as a fresh one of what there is now."""
        count = sum(1 for _ in self.index.parent.glob("fresh-*.duckdb"))  # an indexer before this one compared, too
        fresh = fresh_index(self.index.with_name(f"fresh-{count + 1}.duckdb"), self.data_dirs)
        until = time.monotonic() + PATIENCE_S
        while (found := differences(self.index, fresh)) and time.monotonic() < until:
            time.sleep(0.05)
        assert found == {}, "\n".join(f"{table}: {rows}" for table, rows in found.items())

    def _run(self) -> None:
        """Follow until stopped."""
        try:
            with Database.open(self.index) as database:
                database.exclusion = Exclusion(self._excluded)
                publisher = Publisher(database)
                try:
                    service.follow(database, publisher, self.data_dirs, self._show_progress, self._note_result)
                finally:
                    publisher.close()
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self.failure = error

    @contextmanager
    def _show_progress(self) -> Iterator[Progress]:
        """Pass progress on."""
        yield self._progress

    def _note_result(self, result: BulkResult) -> None:
        """Take what the full pass found."""
        self.result = result

    def take_over(self, *args: Any) -> Follower:
        """Make the follower, so that it ends with the test."""
        following = self

        class Stoppable(Follower):
            """A follower that ends as with Ctrl-C."""

            def wait(self, timeout_s: float) -> bool:
                """Wait, and raise what Ctrl-C raises."""
                while not super().wait(0.02):
                    if not following._is_wanted:
                        raise KeyboardInterrupt
                return True

        self._followers.append(Stoppable(*args))
        return self.follower


@contextmanager
def following(
    index: Path, *data_dirs: Path, progress: Progress | None = None, excluded: Sequence[str] = ()
) -> Iterator[Following]:
    """Follow data folders; nothing has begun yet when it is handed out.

    What an indexer does every few seconds is done several times a second. The comparison of everything keeps its
    interval of a minute, so that it heals nothing within a test unless it is asked for.
    """
    made = Following(index, data_dirs, progress, excluded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "Follower", made.take_over)
        patch.setattr(live, "IDLE_S", 0.1)
        patch.setattr(live, "COUNTS_S", 0.1)
        patch.setattr(watching, "LOOK_S", 0.3)
        try:
            yield made
        finally:
            made.stop()
