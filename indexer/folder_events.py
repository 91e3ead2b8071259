"""Tells that something in a folder is written: for who looks again and again, and need not while nothing happens.

It tells once and is silent until it is asked again, so that a folder in which much is written costs nothing. Linux
only; and what is written through a link, or by another computer, no system tells.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform == "linux":
    from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyFD, Mask

    # Nothing that reading causes, and nothing of a file: what is written in a folder.
    WRITES = (
        InotifyConstants.IN_MODIFY
        | InotifyConstants.IN_CREATE
        | InotifyConstants.IN_DELETE
        | InotifyConstants.IN_MOVE
        | InotifyConstants.IN_ONLYDIR
    )

    if TYPE_CHECKING:
        from watchdog.observers.inotify_c import InotifyEvent, WatchDescriptor

log = logging.getLogger(__name__)

GRACE_S = 0.05  # until an event is here that the system has told already


class FolderEvents:
    """Tells of the next write in some folders, from a thread of its own."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """Tell nothing yet.

        Args:
            tell: Called when something in an armed folder is created, written, renamed or deleted.
        """
        self._tell = tell
        self._armed: dict[Path, _Shot] = {}
        self._news = threading.Condition()
        self._is_given_up = sys.platform != "linux"
        self._fd: InotifyFD | None = None

    def arm(self, folders: Collection[Path]) -> bool:
        """Ask to be told of the next write in any of some folders.

        What is written before it returns may not be told, unless it was armed already.

        Args:
            folders: What is in folders inside them does not count.

        Returns:
            Whether it will be told.
        """
        if self._is_given_up:
            return False
        try:
            for folder in folders:
                if folder not in self._armed:
                    self._add(folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.give_up(str(error))
            return False
        return True

    def is_armed(self, folders: Collection[Path]) -> bool:
        """Tell whether nothing was written in any of some folders since they were armed."""
        return self._armed.keys() >= {*folders}

    def has_told(self, folders: Collection[Path]) -> bool:
        """Tell whether something was written since they were armed, as far as the system says; wait a moment for it."""
        with self._news:
            return self._news.wait_for(lambda: not self.is_armed(folders), GRACE_S)

    def give_up(self, reason: str) -> None:
        """Tell nothing any more."""
        log.info("writes to databases are not told by the system (%s): they are looked at more often", reason)
        self._is_given_up = True
        self.stop()

    def stop(self) -> None:
        """End the watches and the thread."""
        if self._fd is not None:
            self._fd.stop()
            self._fd.join()
            self._fd = None

    def take(self, shot: "_Shot") -> None:
        """Take that something was written in a folder."""
        with self._news:
            if self._armed.get(shot.folder) is not shot:
                return  # it was told before
            del self._armed[shot.folder]
            self._news.notify_all()
        self._tell()

    def _add(self, folder: Path) -> None:
        """Watch a folder for one event.

        Raises:
            OSError: That cannot be done.
        """
        if self._fd is None:
            self._fd = InotifyFD()
            self._fd.start()
        shot = _Shot(self, folder)
        mask = Mask(WRITES | InotifyConstants.IN_ONESHOT)
        self._armed[folder] = shot  # before: the event may be faster than this thread
        try:
            self._fd.add_callback(os.fsencode(folder), mask, shot, CallbackId(id(shot)))
        except OSError:
            del self._armed[folder]
            raise


class _Shot:
    """A folder that is watched for one event, as watchdog calls it back."""

    def __init__(self, events: FolderEvents, folder: Path) -> None:
        """Note whom to tell of what."""
        self._events = events
        self.folder = folder

    def on_event(self, event: "InotifyEvent") -> None:
        """Take the event."""
        self._events.take(self)

    def on_watch_deleted(self, wd: "WatchDescriptor") -> None:
        """Take that the watch is gone: after its event, or with the folder."""
        self._events.take(self)

    def on_queue_overflow(self) -> None:
        """Take that events were lost."""
        self._events.take(self)
