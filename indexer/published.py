"""What the indexer published, open for reading.

Of the indexer, this is what readers need, and all that they load: see publish.py for what lies where, and why.
"""

import functools
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import duckdb

from indexer import processors, settings
from indexer.duckdb_file import SCHEMA, Settings, attach, check_schema
from indexer.exceptions import COMMAND, IndexBroken, IndexDamaged, IndexMissing, IndexUnavailable, IndexUnwritable
from indexer.index_files import absolute, private_folder, size_of

log = logging.getLogger(__name__)

BASE_NAME = "index.duckdb"
WAL_NAME = "index.duckdb.wal"
REVISION_FOLDER = re.compile(r"(\d+)(\.\d+)?")
_ANOTHER_FILE = "Choose another file with --db."
HELD_PREFIX = "held-"  # of folders for `hold`

# Large questions are a third quicker in two threads, if a processor has nothing else to do. Where the indexer and the
# browser need both of two, they are as slow, and what is new is seen later: there, each question has one.
_MOST_THREADS = 4
READER_SETTINGS: Settings = {
    "memory_limit": "512MB",
    "threads": max(min(processors.usable() // 2, _MOST_THREADS), 1),
}

# What is known of spend before everything is read, with the tool calls that were read so far. It is found by the name
# of the table that is not complete yet, which is still there as index_db.main.usage_slices.
_FIRST_TOTALS = """
    CREATE TEMP VIEW usage_slices AS
    SELECT *, 0 AS calls, 0 AS failed_calls, 0 AS unfinished_calls, 0 AS unfinished_answers
    FROM index_db.main.first_slices
    UNION ALL BY NAME
    SELECT session_id, kind, quarter_at, agent, provider_id, model_id, calls, failed_calls, unfinished_calls,
           unfinished_answers, 0 * COLUMNS('messages$|_tokens$|^(failed|aborted)_answers$')
    FROM index_db.main.usage_slices u SEMI JOIN index_db.main.first_slices f
      ON u.session_id = f.session_id AND u.kind = f.kind AND u.quarter_at IS NOT DISTINCT FROM f.quarter_at
     AND u.agent IS NOT DISTINCT FROM f.agent AND u.provider_id IS NOT DISTINCT FROM f.provider_id
     AND u.model_id IS NOT DISTINCT FROM f.model_id
"""


class Snapshot:
    """One revision of the index, open for reading. It never changes.

    Its files live, even when their folder is gone, as long as somebody holds the snapshot or a cursor of it.

    Attributes:
        revision: Number of the last batch in it.
        key: Names the revision, also across a rebuilt index that counts from 0 again: what caches go by.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, revision: int, key: str, *, has_first_totals: bool) -> None:
        """Wrap an open connection; use `IndexReader.snapshot`."""
        self.revision = revision
        self.key = key
        self._con = con
        self._has_first_totals = has_first_totals
        self._lock = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one thread. The caller closes it."""
        with self._lock:
            cursor = self._con.cursor()
        cursor.execute("USE index_db")  # not inherited
        if self._has_first_totals:
            cursor.execute(_FIRST_TOTALS)
        return cursor


class IndexReader:
    """Opens what is published, for many threads; one per process and index.

    A page takes one `snapshot()` at the start of a rerun and reads everything through its cursors: all numbers are of
    one revision. The next revision is opened by a thread in the background, so a rerun rarely waits for it: it gets
    the newest *opened* one, which is at most about a second behind. A revision nobody holds is closed by itself.

    All methods raise only subclasses of `IndexUnavailable`.
    """

    _FRESH_S = 1.0
    _USED_S, _LOOK_S = 3.0, 0.1  # of looking ahead: after the last use, and between two looks

    def __init__(
        self, path: Path | None = None, *, looks_ahead: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Name the index; nothing is opened yet.

        Args:
            path: The published file. None: where the settings say.
            looks_ahead: Whether to open new revisions as they come while snapshots are asked for, not only when one is:
                what ticks twice a second has them half a second sooner.
            clock: Seconds; what freshness goes by.
        """
        self._clock = clock
        self.path = absolute(path or settings.index_path())
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index-reader")
        self._current: Snapshot | None = None
        self._opening: Future[Snapshot] | None = None
        self._newest_at = 0.0  # monotonic time when `_current` was last known to be the newest
        self._next_open_at = 0.0
        self._looks_ahead = looks_ahead
        self._used_at = 0.0
        self._lookout: threading.Thread | None = None

    def revision(self) -> int:
        """Return the number of the newest published revision: reads a link, opens nothing.

        Raises:
            IndexMissing: Nothing is published.
        """
        file, _ = _locate(self.path)
        folder = REVISION_FOLDER.fullmatch(file.parent.name)
        if folder and file.name == BASE_NAME:
            return int(folder[1])
        return self.snapshot().revision  # a full copy has no number in its name

    def snapshot(self) -> Snapshot:
        """Return the newest opened revision.

        A newer one is opened in the background; it is waited for only if this one was last known to be the newest
        over a second ago.

        Raises:
            IndexUnavailable: There is none, or it cannot be used.
        """
        if self._looks_ahead:
            self._used_at = self._clock()
            with self._lock:
                if self._lookout is None or not self._lookout.is_alive():
                    self._lookout = threading.Thread(target=self._look_ahead, name="index-lookout", daemon=True)
                    self._lookout.start()
        return self._newest_opened()

    def _newest_opened(self) -> Snapshot:
        """Return the newest opened revision, and begin to open a newer one."""
        _, key = _locate(self.path)
        now = self._clock()
        with self._lock:
            current = self._current
            if current and current.key == key:
                self._newest_at = now
                return current
            if self._opening is None:
                if current and now < self._next_open_at:
                    return current
                self._opening = self._pool.submit(self._open_newest)
            if current and now - self._newest_at < self._FRESH_S:
                return current
            opening = self._opening
        return opening.result()

    def refresh(self) -> Snapshot:
        """Return the newest published revision, waiting until it is open.

        Raises:
            IndexUnavailable: There is none, or it cannot be used.
        """
        return self._pool.submit(self._open_newest).result()

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of what is published now, and of that with all that lies beside it.

        A file counts once, however many revisions share it.

        Raises:
            IndexUnavailable: Nothing is published, or it cannot be reached.
        """
        file, _ = _locate(self.path)
        found = {(status.st_dev, status.st_ino): status.st_size for status in _files(private_folder(self.path), file)}
        return size_of(file) + size_of(file.with_name(WAL_NAME)), sum(found.values())

    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor on `snapshot()`. The caller closes it.

        Raises:
            IndexUnavailable: There is none, or it cannot be used.
        """
        return self.snapshot().cursor()

    def close(self) -> None:
        """Let go of the open revision. Snapshots and cursors handed out stay usable."""
        self._used_at = float("-inf")
        if self._lookout is not None:
            self._lookout.join()
        self._pool.shutdown()
        with self._lock:
            self._current = self._opening = None

    def _look_ahead(self) -> None:
        """Open what is published while snapshots are asked for."""
        while self._clock() - self._used_at < self._USED_S:
            try:
                self._newest_opened()
            except IndexUnavailable as error:  # whoever asks is told
                log.debug("nothing to open: %s", error)
            except RuntimeError:  # the program ends: the pool takes nothing more
                return
            time.sleep(self._LOOK_S)

    def _open_newest(self) -> Snapshot:
        """Open what is published now. Runs in the one background thread."""
        started = self._clock()
        try:
            current, (_, key) = self._current, _locate(self.path)
            snapshot = current if current and current.key == key else _open(self.path)
            with self._lock:
                self._current = snapshot
                self._newest_at = started
                # Opening may replay a WAL: leave three quarters of the time to the queries.
                ended = self._clock()
                self._next_open_at = ended + max(0.05, 3 * (ended - started))
            return snapshot
        finally:
            with self._lock:
                self._opening = None


def hold(path: Path, folder: Path) -> Path:
    """Keep what is published now, as a file that can be opened again and again, however many revisions follow.

    Args:
        path: What readers open.
        folder: Where to put it, a folder that only its owner may enter. Nothing of it may be written to.

    Returns:
        The file; its WAL, if there is one, lies beside it.

    Raises:
        IndexUnavailable: Nothing is published, or it cannot be reached.
    """
    while True:
        file, key = _locate(path)
        target = folder / BASE_NAME
        for leftover in (target, folder / WAL_NAME):
            leftover.unlink(missing_ok=True)
        try:
            _link_or_copy(file, target)
            with suppress(FileNotFoundError):
                _link_or_copy(file.with_name(WAL_NAME), folder / WAL_NAME)
            if _key(file, path) == key:
                return target
        except FileNotFoundError:
            continue  # removed just now: there is a newer one
        except OSError as error:
            raise IndexBroken(f"The index at {path} cannot be kept in {folder}: {error}") from error


def _link_or_copy(file: Path, target: Path) -> None:
    """Give a published file another name, where links are refused a copy."""
    try:
        os.link(file, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, target)


def _files(folder: Path, *others: Path) -> Iterator[os.stat_result]:
    """Look at every file below a folder, and at others. What is removed meanwhile is left out."""
    inside = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    for file in (*inside, *others):
        try:
            yield file.stat()
        except FileNotFoundError:
            continue


def _locate(path: Path) -> tuple[Path, str]:
    """Follow the published link.

    Returns:
        The real file, and a key that differs for every publication, also when names come back after a rebuild.

    Raises:
        IndexMissing: Nothing is there.
        IndexBroken: It cannot be reached.
    """
    for _ in range(10):
        link = read_link(path)
        try:
            file = Path(os.path.realpath(path, strict=True))
            return file, _key(file, path)
        except FileNotFoundError:
            if link == read_link(path):
                break
            continue  # swapped, and the old revision removed, in between
        except OSError as error:
            advice = "Only its owner may read it." if isinstance(error, PermissionError) else _ANOTHER_FILE
            raise IndexBroken(f"The index at {path} cannot be reached: {error}. {advice}") from error
    raise IndexMissing(f"No index at {path} yet. Build it with `{COMMAND} bulk`.")


def _key(file: Path, path: Path) -> str:
    """Return what differs for every publication.

    Args:
        file: The real file.
        path: Where readers look. The folder of a revision is not written again; a full copy is replaced as a file.
    """
    status = (file if file == path else file.parent).stat()
    return f"{file} {status.st_ino} {status.st_mtime_ns}"


def read_link(path: Path) -> str | None:
    """Return what a link says; None if it is none."""
    try:
        return os.readlink(path)
    except OSError:  # missing, or a regular file
        return None


def open_apart(path: Path) -> Snapshot:
    """Open what is published now, shared with nobody: for a query that is not one of ours, in a process of its own.

    It never writes to the disk: what does not fit into its memory fails.

    Raises:
        IndexUnavailable: There is none, or it cannot be used.
    """
    return _open(absolute(path), spills=False)


def contract() -> str:
    """Return what readers find in the index: the SQL that makes its tables and views, with its comments."""
    return SCHEMA.read_text(encoding="utf-8")


def _open(path: Path, *, spills: bool = True) -> Snapshot:
    """Open what is published. Whatever fails, the revision may just have been removed: follow the link again."""
    while True:
        file, key = _locate(path)
        try:
            return _open_file(file, path, key, spills)
        except IndexUnavailable:
            if _locate(path)[1] == key:
                raise


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for this process that only its owner may enter: DuckDB's temporary files are for everyone."""
    return tempfile.TemporaryDirectory(prefix="opencode-analytics-")


def _open_file(file: Path, path: Path, key: str, spills: bool) -> Snapshot:
    """Open one published file for reading.

    Args:
        file: The real file.
        path: Where readers look.
        key: What names the publication.
        spills: Whether large queries may use the disk.

    Raises:
        IndexUnavailable: It is none of ours, of another version, or damaged.
    """
    folder = private_folder(path)
    spill = (folder if folder.is_dir() else Path(_temporary_folder().name)) / f"spill-{uuid.uuid4().hex}"
    try:
        con = attach(file, path, "READ_ONLY", READER_SETTINGS | {"temp_directory": str(spill) if spills else ""})
    except (IndexDamaged, IndexUnwritable) as error:  # what the writer does about its own file
        remedy = (
            "Start the indexer: it publishes it anew."
            if folder.is_dir()
            else "No indexer made it: move it away, or choose another file with --db."
        )
        raise IndexBroken(f"The index at {path} cannot be opened ({error.__cause__}). {remedy}") from error
    try:
        check_schema(con, path)
        # Not possible before ATTACH. From here on no query reaches another file, or raises its own limits.
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        row = con.execute("SELECT revision, EXISTS (FROM first_slices) FROM sync_state").fetchone()
        if _key(file, path) != key:
            # Removed while it was being opened: perhaps before its WAL was found, which nobody would notice.
            raise IndexBroken(f"The index at {path} was just replaced. Try again.")
    except FileNotFoundError as error:
        raise IndexBroken(
            f"The index at {path} was removed just now. Start the indexer: it publishes it anew."
        ) from error
    except duckdb.Error as error:
        raise IndexBroken(
            f"The index at {path} cannot be read ({error}). Start the indexer: it publishes it anew."
        ) from error
    if row is None:
        raise IndexBroken(f"The index at {path} has lost its state row. Start the indexer: it publishes it anew.")
    return Snapshot(con, int(row[0]), key, has_first_totals=bool(row[1]))
