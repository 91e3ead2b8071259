"""Names what changes in a JSON tree while it changes: `storage/{project,session,message,part}`, nothing else beside it.

On Linux every folder gets one inotify watch, read by watchdog's `InotifyFD`. Its observer is passed by there: of a
tree of 38,000 folders it lists every file to begin with, never tells that the kernel lost events or that the limit of
watches was reached, and would follow a link that leads back into the tree without end. Other systems get the observer.

Watching begins anew, with everything to be compared afterwards, whenever something was lost or one of the four folders
came, went or is another one than before.
"""

import contextlib
import errno
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from indexer.changes import Changes
from indexer.json_values import clean

if sys.platform == "linux":
    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyEvent,
        InotifyFD,
        Mask,
        WatchDescriptor,
    )

    from indexer.folder_events import WRITES

log = logging.getLogger(__name__)

KINDS = ("project", "session", "message", "part")
SUFFIX = ".json"
AGAIN_S = 10.0  # after changes that were not taken
RETRY_S = 300.0  # how often to try again when there are no events: somebody may have raised the limit

# Nothing that reading causes (opened, closed): listing a big tree would overflow the queue with what it causes itself,
# which is answered by listing it again, for ever.
EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]

Note = Callable[[str, tuple[str, ...], bool], None]
"""Takes a kind, the names below its folder, and whether that path is gone now."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """How a tree is watched.

    Attributes:
        is_by_events: Changes are reported as they happen. If not, none is, except that everything may have changed.
        reason: Why not by events, and what helps, for a person.
    """

    is_by_events: bool
    reason: str | None = None


class _Tree(Protocol):
    """The watches on one tree, from when it was last watched anew."""

    @property
    def is_lost(self) -> bool:
        """Tell whether events may be missing."""

    def stop(self) -> None:
        """End the watches and the threads."""


class TreeWatcher:
    """Reports what changes in one JSON tree, from a thread of its own, until it is stopped.

    Whether the four folders are still the same ones is looked at by `look`, which is for another thread to call now and
    then.
    """

    def __init__(self, storage: Path, report: Callable[[Changes], None]) -> None:
        """Watch nothing yet.

        Args:
            storage: OpenCode's `storage/`; it need not exist.
            report: Takes what changed. Meanwhile events are gathered, none waits in the kernel. What it raises is
                logged, and everything is reported instead.
        """
        self._storage = storage
        self._report = report
        self._wake = threading.Condition()
        self._pending = Changes()
        self._is_stopping = self._is_outdated = False
        self._thread = threading.Thread(target=self._run, name="tree-watcher", daemon=True)
        self._tree: _Tree | None = None
        self._roots: dict[str, tuple[int, int]] = {}
        self._state = WatchState(False, "it has not begun")
        self._retry_at = 0.0

    @property
    def state(self) -> WatchState:
        """How the tree is watched at present."""
        return self._state

    def start(self) -> None:
        """Set the watches, then return; what changes from then on is reported. Never raises: see `state`."""
        self._watch_anew()
        self._thread.start()

    def stop(self) -> None:
        """End watching; returns when the threads have ended."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Have the folders watched anew if they are others, or events were lost. From any thread; does not wait."""
        if self._needs_anew():
            with self._wake:
                self._is_outdated = True
                self._wake.notify()

    def _run(self) -> None:
        """Report until stopped."""
        while not self._is_stopping:
            try:
                self._step()
            except Exception:
                log.exception("changes of %s were not taken; everything will be compared", self._storage)
                with self._wake:
                    self._pending.is_everything = True
                    self._wake.wait_for(lambda: self._is_stopping, AGAIN_S)
        if self._tree is not None:
            self._tree.stop()

    def _step(self) -> None:
        """Wait for changes, or until the folders have to be watched anew, and report."""
        with self._wake:
            self._wake.wait_for(lambda: self._is_stopping or self._pending or self._is_outdated)
            changes, self._pending = self._pending, Changes()
            is_outdated, self._is_outdated = self._is_outdated, False
        if is_outdated and self._needs_anew():  # it may have been told twice
            changes.is_everything |= self._begin_anew()
        if changes and not self._is_stopping:
            self._report(changes)

    def _needs_anew(self) -> bool:
        """Tell whether the folders are others than those that are watched, events were lost, or it is time to retry."""
        if _roots(self._storage) != self._roots:
            return True
        tree = self._tree
        return time.monotonic() >= self._retry_at if tree is None else tree.is_lost

    def _begin_anew(self) -> bool:
        """Watch anew, and tell whether events may be missing."""
        roots, had_events = self._roots, self._tree is not None
        self._watch_anew()
        return self._roots != roots or had_events or self._tree is not None

    def _watch_anew(self) -> None:
        """Watch the folders that are there, or note why that cannot be done."""
        started = time.monotonic()
        if self._tree is not None:
            self._tree.stop()
            self._tree = None
        self._roots = _roots(self._storage)
        state = WatchState(True)
        try:
            self._tree = _watch(self._storage, self._roots, self._note)
            log.info("watching %s in %s, ready after %.2f s", list(self._roots), self._storage, _since(started))
        except OSError as error:
            state = WatchState(False, _reason(error))
        except Exception as error:
            log.exception("%s cannot be watched", self._storage)
            state = WatchState(False, f"file events cannot be had ({error})")
        if state != self._state and not state.is_by_events:
            log.warning("%s is not followed by events: %s", self._storage, state.reason)
        self._state = state
        self._retry_at = time.monotonic() + RETRY_S

    def _note(self, kind: str, names: tuple[str, ...], is_gone: bool) -> None:
        """Keep what changed for the next report."""
        if changes := _changes(self._storage, kind, names, is_gone):
            with self._wake:
                self._pending.add(changes)
                self._wake.notify()


def _since(started: float) -> float:
    """Seconds since a moment of the monotonic clock."""
    return time.monotonic() - started


def _roots(storage: Path) -> dict[str, tuple[int, int]]:
    """Tell the folders that are there apart from others of the same name."""
    found = {}
    for kind in KINDS:
        try:
            status = os.stat(storage / kind)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found[kind] = (-1, error.errno or 0)  # it is there; trying to watch it will tell what is wrong
        else:
            if stat.S_ISDIR(status.st_mode):
                found[kind] = (status.st_dev, status.st_ino)
    return found


def _changes(storage: Path, kind: str, names: tuple[str, ...], is_gone: bool) -> Changes:
    """Name the documents behind a path that changed."""
    found = Changes()
    folder = names[0]
    if kind == "project" or len(names) == 2:
        _add_document(found, kind, folder, names[-1])
    elif len(names) > 2 or _is_ignored(folder):
        pass
    elif kind == "part":
        found.messages[folder] = None
    elif is_gone:  # with files whose names nobody knows
        found.is_everything = True
    else:  # there may be files from before it was watched
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(storage / kind / folder):
                _add_document(found, kind, folder, name)
    return found


def _add_document(found: Changes, kind: str, folder: str, name: str) -> None:
    """Add the document of a file."""
    if not name.endswith(SUFFIX) or _is_ignored(name) or _is_ignored(folder):
        return
    document_id = name.removesuffix(SUFFIX)
    match kind:
        case "project":
            found.projects.add(document_id)
        case "session":
            found.sessions.add(document_id)
        case "message":
            found.messages[document_id] = folder
        case _:
            found.messages[folder] = None


def _is_ignored(name: str) -> bool:
    """Tell names that are left to the comparison: hidden ones (editors' work) and those that are not UTF-8."""
    return name.startswith(".") or clean(name) != name


def _reason(error: OSError) -> str:
    """Say why there are no events, and what helps."""
    match error.errno:
        case errno.ENOSPC:
            return _limit_reason("max_user_watches", "one for each folder; other programs share them", 524_288)
        case errno.EMFILE:
            return _limit_reason("max_user_instances", "or that of open files, `ulimit -n`", 512)
        case _:
            return f"file events cannot be had ({error})"


def _limit_reason(name: str, remark: str, enough: int) -> str:
    """Name a limit of inotify and the command that raises it."""
    try:
        limit = int(Path("/proc/sys/fs/inotify", name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        limit = 0
    value = f" = {limit}" if limit else ""
    return (
        f"the system's limit fs.inotify.{name}{value} is reached ({remark}). "
        f"`sudo sysctl fs.inotify.{name}={max(enough, 2 * limit)}` raises it until the next start of the system; "
        f"watching is tried again every {RETRY_S / 60:.0f} minutes."
    )


def _watch(storage: Path, kinds: Collection[str], note: Note) -> _Tree:
    """Watch the folders of some kinds in the way of this system."""
    return _InotifyTree(storage, kinds, note) if sys.platform == "linux" else _ObservedTree(storage, kinds, note)


@dataclass(slots=True, eq=False)
class _Folder:
    """A watched folder, as watchdog calls it back.

    Attributes:
        name: None for the folder of the kind itself.
    """

    tree: "_InotifyTree"
    kind: str
    name: str | None
    wd: "WatchDescriptor | None" = None

    def on_event(self, event: "InotifyEvent") -> None:
        """Take an event of something inside."""
        self.tree.take(self, event)

    def on_watch_deleted(self, wd: "WatchDescriptor") -> None:
        """Take that the folder is gone. Of the others, an event of the folder above tells."""
        if self.name is None:
            self.tree.lose()

    def on_queue_overflow(self) -> None:
        """Take that the kernel dropped events; watchdog calls this for every folder."""
        self.tree.lose()


class _InotifyTree:
    """One inotify watch for each folder that holds documents, and for those above them."""

    def __init__(self, storage: Path, kinds: Collection[str], note: Note) -> None:
        """Set the watches.

        Raises:
            OSError: A limit is reached, or a folder cannot be listed. No watch is kept then: what one program takes
                up to the limit, others of the same user (editors) lack.
        """
        self._storage = storage
        self._note = note
        self._folders: dict[tuple[str, str], _Folder] = {}
        self._has_lost = self._is_stopped = False
        self._lock = threading.Lock()  # events wait until all watches are set
        self._fd = InotifyFD()
        self._fd.start()
        try:
            with self._lock:
                for kind in kinds:
                    self._add_kind(kind)
        except OSError:
            self.stop()
            raise

    @property
    def is_lost(self) -> bool:
        """Tell whether the kernel dropped events, one was not taken, or the thread ended."""
        return self._has_lost or not self._fd.is_alive()

    def lose(self) -> None:
        """Note that events are missing."""
        self._has_lost = True

    def stop(self) -> None:
        """End the watches and the thread."""
        with self._lock:
            self._is_stopped = True
        self._fd.stop()
        self._fd.join()

    def take(self, folder: _Folder, event: "InotifyEvent") -> None:
        """Take one event, in watchdog's thread, which an exception would end."""
        name = os.fsdecode(event.name)
        try:
            with self._lock:
                if self._is_stopped or not name:
                    return
                if folder.name is not None:
                    self._note(folder.kind, (folder.name, name), False)
                elif folder.kind == "project":
                    self._note(folder.kind, (name,), False)
                elif event.is_create or event.is_moved_to:
                    self._take_new(folder.kind, name)
                elif event.is_delete or event.is_moved_from:
                    self._take_gone(folder.kind, name)
        except OSError as error:  # the limit of watches, most likely: watching anew will tell
            if not self._has_lost:  # of thousands of new folders one is enough
                log.warning("%s in %s is not watched: %s", name, self._storage / folder.kind, error)
            self.lose()
        except Exception:
            log.exception("an event in %s was not taken", self._storage / folder.kind)
            self.lose()

    def _take_new(self, kind: str, name: str) -> None:
        """Watch a new folder, then name what it holds already."""
        if (kind, name) in self._folders or self._add(kind, name):
            self._note(kind, (name,), False)

    def _take_gone(self, kind: str, name: str) -> None:
        """Forget a folder that was deleted or moved; one that was moved would go on under its old name."""
        folder = self._folders.pop((kind, name), None)
        if folder is not None and folder.wd is not None:
            self._fd.remove_callbacks([(folder.wd, CallbackId(id(folder)))])
            self._note(kind, (name,), True)

    def _add_kind(self, kind: str) -> None:
        """Watch the folder of a kind and the folders in it. Which files are in these is of no interest."""
        if self._add(kind, None) and kind != "project":
            with os.scandir(self._storage / kind) as entries:
                for entry in entries:
                    self._add(kind, entry.name)

    def _add(self, kind: str, name: str | None) -> bool:
        """Watch one folder, also where a link leads to; False if it is none, or gone meanwhile."""
        folder = _Folder(self, kind, name)
        path = os.path.join(self._storage, kind, name or "")
        try:
            folder.wd = self._fd.add_callback(os.fsencode(path), Mask(WRITES), folder, CallbackId(id(folder)))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        if name is not None:
            self._folders[kind, name] = folder
        return True


class _ObservedTree:
    """The observer that watchdog has for this system."""

    def __init__(self, storage: Path, kinds: Collection[str], note: Note) -> None:
        """Set the watches.

        Raises:
            OSError: The system has no events to offer, or refuses them.
        """
        if Observer is PollingObserver:  # would compare all files every second
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._observer = Observer()
        self._handlers = [_Handler(kind, os.path.realpath(storage / kind), note) for kind in kinds]
        for handler in self._handlers:
            self._observer.schedule(handler, handler.path, recursive=True, event_filter=EVENTS)
        self._observer.start()

    @property
    def is_lost(self) -> bool:
        """Tell whether a handler failed or a thread ended, as one does when its folder is deleted."""
        threads = [self._observer, *self._observer.emitters]
        return any(handler.is_lost for handler in self._handlers) or not all(thread.is_alive() for thread in threads)

    def stop(self) -> None:
        """End the watches and the threads."""
        self._observer.stop()
        self._observer.join()


class _Handler(FileSystemEventHandler):
    """Takes the events of one kind of documents from watchdog's observer."""

    def __init__(self, kind: str, path: str, note: Note) -> None:
        """Take note of a folder and of whom to tell."""
        self.is_lost = False
        self.kind = kind
        self.path = path
        self._note = note

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take one event; a rename is a deletion and a write. An exception would end the observer."""
        try:
            self._take(event.src_path, isinstance(event, FileMovedEvent | DirMovedEvent | DirDeletedEvent))
            if event.dest_path:
                self._take(event.dest_path, False)
        except Exception:
            log.exception("an event in %s was not taken", self.path)
            self.is_lost = True

    def _take(self, path: bytes | str, is_gone: bool) -> None:
        """Tell of a path inside the folder."""
        relative = os.path.relpath(os.fsdecode(path), self.path)
        if not relative.startswith(os.curdir):
            self._note(self.kind, tuple(relative.split(os.sep)), is_gone)
