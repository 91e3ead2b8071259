"""The indexer as a child process that tells what it is doing to a pipe, one letter a step.

The product has no hooks for this: functions of it are wrapped here. A letter is written before a step or after it, so
what a process had written when it died says where it was, never more than it had done.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import duckdb

from indexer import __main__ as command_line
from indexer import batch, bulk_loader, publish, update
from indexer.database import Database

PIPE = "STRESS_PIPE"  # number of the descriptor to write to
HOLD = "STRESS_HOLD"  # letter after which it waits for a moment
LARGE = "STRESS_LARGE"  # set: every pass is done as a large one

BULK, REAL_TIME = "B", "R"  # the phase is committed
OPEN, COMMIT, ENDED = "T", "K", "E"  # a transaction is open, is about to commit, has ended
COPIED, LINKED, POINTED, SWAPPED = "C", "L", "Y", "S"  # WAL copied, base linked, new pointer made, pointer swapped
UNLOGGED, LOGGED = "U", "V"  # what is written has no WAL from now on, has one again
IN_TRANSACTION = OPEN + COMMIT
IN_PUBLICATION = COPIED + LINKED + POINTED

_HOLD_S = 0.03  # as long as a parent may take to kill it


class Announcer:
    """Writes letters to the pipe."""

    def __init__(self, pipe: int, hold: str) -> None:
        """Take over the pipe."""
        self._pipe = pipe
        self._hold = hold
        self._is_publishing = False

    def say(self, letter: str) -> None:
        """Tell a step; wait where the parent wants to kill: what follows takes too short to hit it by chance."""
        os.write(self._pipe, letter.encode())
        if letter == self._hold:
            time.sleep(_HOLD_S)

    def transaction(
        self, original: Callable[..., AbstractContextManager[duckdb.DuckDBPyConnection]]
    ) -> Callable[..., AbstractContextManager[duckdb.DuckDBPyConnection]]:
        """Wrap `Database.transaction`."""

        @contextmanager
        def wrapped(database: Database, *, is_visible: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
            """Tell when it opens, when it commits and when it is over."""
            try:
                with original(database, is_visible=is_visible) as con:
                    self.say(OPEN)
                    yield con
                    self.say(COMMIT)
            finally:
                self.say(ENDED)

        return wrapped

    def unlogged(
        self, original: Callable[[Database, int], AbstractContextManager[None]]
    ) -> Callable[[Database, int], AbstractContextManager[None]]:
        """Wrap `Database.unlogged`."""

        @contextmanager
        def wrapped(database: Database, messages: int) -> Iterator[None]:
            """Tell when it begins and when it is over."""
            with original(database, messages):
                self.say(UNLOGGED)
                yield
            self.say(LOGGED)

        return wrapped

    def set_phase(self, original: Callable[[Database, str, str], None]) -> Callable[[Database, str, str], None]:
        """Wrap `Database.set_phase`."""

        def wrapped(database: Database, phase: str, message: str) -> None:
            """Tell the phase once it is committed."""
            original(database, phase, message)
            self.say({"bulk": BULK, "real-time": REAL_TIME}.get(phase, ENDED))

        return wrapped

    def copy_wal(self, original: Callable[[Path, Path], int]) -> Callable[[Path, Path], int]:
        """Wrap the copy of the WAL."""

        def wrapped(wal: Path, target: Path) -> int:
            """Tell when it is copied."""
            size = original(wal, target)
            self._is_publishing = True
            self.say(COPIED)
            return size

        return wrapped

    def link(self, original: Callable[..., None], letter: str) -> Callable[..., None]:
        """Wrap `os.link` or `os.symlink`, which only the publisher uses."""

        def wrapped(source: str | Path, target: str | Path) -> None:
            """Tell when it is linked."""
            original(source, target)
            if self._is_publishing:
                self.say(letter)

        return wrapped

    def swap_link(self, original: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        """Wrap the swap of the pointer."""

        def wrapped(path: Path, target: Path) -> None:
            """Tell when it is swapped."""
            original(path, target)
            self._is_publishing = False
            self.say(SWAPPED)

        return wrapped


@contextmanager
def every_pass_large() -> Iterator[None]:
    """Do small passes as large ones are done: without a WAL, read by other processes, in many batches."""
    with (
        mock.patch.object(bulk_loader, "_MANY_MESSAGES", 10),
        mock.patch.object(update, "MESSAGES_FOR_PROCESSES", 10),
        mock.patch.object(update, "MESSAGES_PER_READ", 10),
        mock.patch.object(batch, "MAX_ROWS", 60),
        mock.patch.object(publish, "_MOST_UNLOGGED_COMMITS", 3),
    ):
        yield


def main(arguments: list[str]) -> None:
    """Run the command line of the indexer."""
    told = Announcer(int(os.environ[PIPE]), os.environ.get(HOLD, ""))
    with (
        every_pass_large() if os.environ.get(LARGE) else nullcontext(),
        mock.patch.object(Database, "unlogged", told.unlogged(Database.unlogged)),
        mock.patch.object(Database, "transaction", told.transaction(Database.transaction)),
        mock.patch.object(Database, "set_phase", told.set_phase(Database.set_phase)),
        mock.patch.object(publish, "_copy_wal", told.copy_wal(publish._copy_wal)),
        mock.patch.object(publish, "_swap_link", told.swap_link(publish._swap_link)),
        mock.patch.object(os, "link", told.link(os.link, LINKED)),
        mock.patch.object(os, "symlink", told.link(os.symlink, POINTED)),
    ):
        command_line.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
