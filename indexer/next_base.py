"""The next base of published revisions, copied while nobody waits for it.

To copy 3 GB takes 5 s where others need the processors, and what was committed meanwhile would be seen only after that.
So the base that is published is copied before it is too old, in a thread of its own. When a new one is due, the copy is
compared with the working file and gets what differs: 1 s, and the result is the same whatever the copy held.
"""

import logging
import os
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

log = logging.getLogger(__name__)

NEXT_BASE_NAME = "next.duckdb"  # in the private folder

_PIECE = 256 << 10  # bytes read at once: what a processor's cache holds is compared soonest


class NextBase:
    """A copy of the published base, if there is one. All methods are for the thread that publishes.

    Attributes:
        copied_s: How long the last copy took.
    """

    def __init__(self, file: Path, clock: Callable[[], float]) -> None:
        """Begin with none.

        Args:
            file: Where the copy lies, in the private folder.
            clock: Seconds.
        """
        self.copied_s = 0.0
        self._file = file
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_whole = False

    @property
    def is_begun(self) -> bool:
        """Whether a copy is there, is being made, or could not be made."""
        return self._thread is not None

    @property
    def is_being_made(self) -> bool:
        """Whether it is being copied right now."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, base: Path) -> None:
        """Begin to copy a base.

        Args:
            base: A complete file that is never written again.

        Raises:
            OSError: What is left of an earlier copy cannot be removed.
        """
        self.discard()
        thread = threading.Thread(target=self._copy, args=(base,), name="next base", daemon=True)
        thread.start()
        self._thread = thread

    def become(self, source: int, target: Path) -> bool:
        """Make the copy the same as a file, and give it another name.

        One that is still being made is let go of: to copy the file itself takes no longer.

        Args:
            source: A descriptor of the file, which nobody writes meanwhile.
            target: The name, in the same file system; there is no such file.

        Returns:
            Whether there was a whole copy; else there is none now.

        Raises:
            OSError: It did not work; the copy is gone.
        """
        try:
            if self.is_being_made or not self._is_whole:
                return False
            with FileIO(self._file, "r+") as copy:
                _make_same(FileIO(source, closefd=False), copy)
            self._file.chmod(0o400)
            os.replace(self._file, target)
            return True
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove it, also one that is being made."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
        self._thread = None
        self._is_whole = False
        self._stopping.clear()
        self._file.unlink(missing_ok=True)

    def _copy(self, base: Path) -> None:
        """Copy a file. What goes wrong is told when a base is made without it.

        Without pauses: copied in half of the time, that of L came so late that p95 was 1.33 instead of 1.04 s.
        """
        started = self._clock()
        try:
            with FileIO(base) as source, FileIO(_new_file(self._file), "w") as copy:
                while not self._stopping.is_set() and (piece := source.read(_PIECE)):
                    _write(copy, piece)
        except OSError as error:
            log.debug("the next base cannot be prepared: %s", error)
            self._file.unlink(missing_ok=True)
        else:
            self.copied_s = self._clock() - started
            self._is_whole = not self._stopping.is_set()


def _new_file(file: Path) -> int:
    """Create a file for its owner alone; return a descriptor."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def _make_same(source: FileIO, copy: FileIO) -> None:
    """Give a copy the content of a file, and write only what differs."""
    size = _size_of(source)
    copy.truncate(size)
    source.seek(0)
    wanted, found = bytearray(_PIECE), bytearray(_PIECE)
    for start in range(0, size, _PIECE):
        count = min(_PIECE, size - start)
        del wanted[count:], found[count:]  # of the last piece, which is shorter
        if (source.readinto(wanted), copy.readinto(found)) != (count, count):
            raise OSError("a file became shorter while it was copied")
        if wanted != found:
            copy.seek(start)
            _write(copy, wanted)


def _size_of(file: FileIO) -> int:
    """Return the size of an open file."""
    return os.fstat(file.fileno()).st_size


def _write(copy: FileIO, content: bytes | bytearray) -> None:
    """Write all of some bytes."""
    rest = memoryview(content)
    while rest:
        rest = rest[copy.write(rest) :]
