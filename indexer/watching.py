"""Notices what changes in the storages of some data folders and puts it into a queue: names only, no content."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from indexer.activity import Watched
from indexer.changes import ChangeQueue, Changes
from indexer.exceptions import SourceUnusable
from indexer.folder_events import FolderEvents
from indexer.json_values import clean, printable
from indexer.settings import database_files
from indexer.sources.sqlite_changes import DatabaseChanges
from indexer.watcher import TreeWatcher

log = logging.getLogger(__name__)

POLL_S = 0.1
CALM_POLL_S = 0.25  # the same once nothing has changed for a while: ten looks a second took half a percent of a core
CALM_AFTER_S = 5.0
HELD_S = 1.0  # how long databases are not looked at, at most, while changes are written
LOOK_S = 10.0  # for what no event tells
UNUSABLE_LOOK_S = 2.0  # while a database cannot be read


class Watch:
    """Watches folders and databases, also those that are not there yet, from threads of its own until it is stopped."""

    def __init__(
        self, data_dirs: Sequence[Path], queue: ChangeQueue, look_too: Callable[[], None] = lambda: None
    ) -> None:
        """Watch nothing yet.

        Args:
            data_dirs: OpenCode data folders, absolute.
            queue: Takes what changed.
            look_too: Called every ten seconds, in the thread that looks around; quick, and raises nothing.
        """
        self._data_dirs = data_dirs
        self._queue = queue
        self._look_too = look_too
        self._trees = [TreeWatcher(data_dir / "storage", queue.put) for data_dir in data_dirs]
        self._databases: dict[Path, DatabaseChanges] = {}
        self._unusable: dict[Path, str] = {}
        self._look_at = 0.0
        self._changed_at = time.monotonic()
        self._stopping = threading.Event()
        self._is_due = threading.Event()
        self._events = FolderEvents(self._is_due.set)
        self._is_armed = False
        self._is_told = False  # it was armed before the last look
        self._is_free = threading.Event()
        self._is_free.set()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin; what changes after this returned is noticed."""
        for tree in self._trees:
            tree.start()
        self._find_databases(is_first=True)
        self._thread.start()

    def stop(self) -> None:
        """End all threads."""
        self._stopping.set()
        self.resume()
        for tree in self._trees:
            tree.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._events.stop()
        for database in self._databases.values():
            database.close()

    def pause(self) -> None:
        """Leave the processor to whoever writes what was noticed: looks at databases would only delay it."""
        self._is_free.clear()

    def resume(self) -> None:
        """Look at the databases now: much may have changed meanwhile."""
        self._is_free.set()
        self._is_due.set()

    @property
    def is_by_events(self) -> bool:
        """Tell whether every tree that is there reports what happens; else it has to be looked through often."""
        return all(tree.state.is_by_events for tree, _ in self._present_trees())

    @property
    def watched(self) -> tuple[Watched, ...]:
        """List what is followed, and how."""
        trees = [
            Watched(
                clean(str(path)),
                "events" if tree.state.is_by_events else "scanning",
                printable_reason(tree.state.reason),
            )
            for tree, path in self._present_trees()
        ]
        databases = [Watched(clean(str(path)), "polling", self._unusable.get(path)) for path in sorted(self._databases)]
        return (*databases, *trees)

    def _present_trees(self) -> list[tuple[TreeWatcher, Path]]:
        """List the trees that are there: newer clients have the folder, too, but no sessions in it."""
        pairs = ((tree, data_dir / "storage") for tree, data_dir in zip(self._trees, self._data_dirs, strict=True))
        return [
            (tree, path) for tree, path in pairs if os.path.isdir(path / "session") or os.path.isdir(path / "message")
        ]

    def _run(self) -> None:
        """Look at the databases again and again."""
        while not self._stopping.is_set():
            self._is_due.wait(self._wait_s())
            self._is_free.wait(HELD_S)
            self._is_due.clear()
            if time.monotonic() >= self._look_at:
                self._look()
            self._poll()

    def _wait_s(self) -> float:
        """Return how long to wait until the next look at the databases, or for some."""
        until_look_s = max(self._look_at - time.monotonic(), 0.0)
        if not self._databases:
            return until_look_s
        folders = {path.parent for path in self._databases}
        was_armed, self._is_told = self._is_armed, self._events.is_armed(folders)
        if was_armed and not self._is_told:
            self._changed_at = time.monotonic()  # it is being written
        self._is_armed = self._is_told
        if self._unusable or time.monotonic() - self._changed_at <= CALM_AFTER_S:
            return POLL_S
        if self._is_told:
            return until_look_s
        self._is_armed = self._events.arm(folders)
        return 0.0 if self._is_armed else CALM_POLL_S  # nothing tells what was written before

    def _look(self) -> None:
        """Look at everything that no event tells."""
        self._find_databases(is_first=False)
        for tree in self._trees:
            tree.look()
        self._look_too()

    def _find_databases(self, *, is_first: bool) -> None:
        """Take up databases that came, let go of those that went; either changes what counts of the others."""
        self._look_at = time.monotonic() + (UNUSABLE_LOOK_S if self._unusable else LOOK_S)
        found = {path for data_dir in self._data_dirs for path in _database_files(data_dir)}
        for path in self._databases.keys() - found:
            self._databases.pop(path).close()
            self._unusable.pop(path, None)
            self._queue.put(Changes(is_everything=True))
        for path in found - self._databases.keys():
            self._databases[path] = DatabaseChanges(path)
            self._ask(path)  # notes where it stands: what comes after that is noticed
            if not is_first:
                self._queue.put(Changes(is_everything=True))

    def _poll(self) -> None:
        """Ask every database what changed; one that cannot be read is asked again with the next look."""
        for path in self._databases:
            if path not in self._unusable or time.monotonic() >= self._look_at - POLL_S:
                self._ask(path)

    def _ask(self, path: Path) -> None:
        """Ask one database what changed."""
        try:
            if changes := self._databases[path].poll():
                self._changed_at = time.monotonic()
                self._queue.put(changes)
                if self._is_told and not self._events.has_told({path.parent}):
                    self._events.give_up(f"{printable(str(path))} was written without")
        except SourceUnusable as error:
            if path not in self._unusable:
                log.warning("%s", printable(str(error)))
                self._queue.put(Changes(is_everything=True))  # so that the index says so, too
            self._unusable[path] = str(error)
            self._look_at = min(self._look_at, time.monotonic() + UNUSABLE_LOOK_S)
        else:
            self._unusable.pop(path, None)


def printable_reason(reason: str | None) -> str | None:
    """Make a reason fit for any output."""
    return None if reason is None else printable(reason)


def _database_files(data_dir: Path) -> list[Path]:
    """List the databases of a folder; none while it cannot be listed."""
    try:
        return database_files(data_dir)
    except OSError as error:
        log.debug("%s cannot be listed: %s", data_dir, error)
        return []
