"""How the dashboard reads an index that the indexer writes: published revisions.

DuckDB lets one process write a file, or several read it. So the indexer keeps its working file to itself, and after
a commit publishes a folder `FILE.d/<revision>/`:

    index.duckdb       the base: a copy of the working file made at a checkpoint, a hard link to `FILE.d/base.duckdb`
    index.duckdb.wal   a copy of the working file's WAL: what was committed since

and swaps the link `FILE` to it. DuckDB follows the link and finds the WAL beside the real file, so `duckdb -readonly
FILE` works at any time. A published file never changes; who has it open keeps it, even after its folder is gone.
"""

import functools
import itertools
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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from indexer import compaction, failures, settings
from indexer.activity import Activity, read_activity, request_retry
from indexer.database import (
    SCHEMA,
    Database,
    Settings,
    absolute,
    attach,
    check_schema,
    copy_file,
    file_stamp,
    private_folder,
)
from indexer.exceptions import IndexBroken, IndexDamaged, IndexMissing, IndexUnavailable, IndexUnwritable

log = logging.getLogger(__name__)

_BASE_NAME = "index.duckdb"
_NEWEST_BASE_NAME = "base.duckdb"  # in the private folder
_WAL_NAME = "index.duckdb.wal"
_REVISION_FOLDER = re.compile(r"(\d+)(\.\d+)?")

_MIN_INTERVAL_S = 0.1
_BULK_INTERVAL_S = 3.0
_COPY_INTERVAL_S = 5.0  # without links every publication copies the whole file
_BULK_SHARE = 0.10  # of the time, on publishing
_BASE_SHARE = 0.15  # of the time, on bases
_MAX_WAL_BYTES = 1 << 20  # a reader's open replays it: 30 ms and another 45 for each MB
_MAX_WAL_TRANSACTIONS = 2_000
_LONGEST_WAL_BYTES = 16 << 20  # what is shipped at most, while a new base would take more than its share
# Between two publications of bulk. What is not checkpointed is spilt to disk beyond the memory limit, and each
# checkpoint rewrites the row group that is still filling.
_HUGE_WAL_BYTES = 256 << 20
_MOST_UNLOGGED_COMMITS = 8  # of up to 32 MB of text
_KEPT_REVISIONS = 3
_KEPT_S = 10.0
_KEPT_WITH_TEXTS_S = 1.0  # while deleted texts wait: as long as a reader takes to open one
_KEPT_WAL_BYTES = 256 << 20
_GONE_PREFIX = "gone-"  # of revisions being removed
HELD_PREFIX = "held-"  # of folders for `hold`
_OTHERS_PREFIXES = ("spill-", HELD_PREFIX)  # of folders of readers: removed once they must have ended

# Readers ask small questions, each in a moment, and many at once: two threads for each kept the indexer from the
# processor (four readers without pause, two cores: a new row was visible after 0.63 s with two threads, 0.52 with one).
READER_SETTINGS: Settings = {"memory_limit": "512MB", "threads": 1}

_TEXTS_KEPT = timedelta(minutes=8)  # deleted ones, in the file: 10 minutes are promised, and it takes some
_COMPACTION_SHARE = 0.05  # of the time
_QUIET_S = 10.0  # since the last revision, while sessions are followed
_COMPACTION_RETRY_S = 60.0
_UNUSED_SHARE = 0.30
_MIN_COMPACTED_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class _Published:
    """One published revision.

    Attributes:
        folder: Where it lies.
        base: Number of the base it links.
        wal_bytes: Size of its WAL copy.
        at: Monotonic time of its publication.
    """

    folder: Path
    base: int
    wal_bytes: int
    at: float


class Publisher:
    """Publishes what a database committed. Create it once per `Database`, close it first.

    All methods are for the thread that writes. What the world outside does (a full disk, say) comes as
    `IndexUnwritable`: what is published stays and can be opened, and the next call tries again.

    Attributes:
        problem: Why deleted texts could not be wiped out at the last attempt, for a person. None: nothing is wrong.
    """

    def __init__(
        self, database: Database, *, use_links: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take over the published revisions of an earlier run and remove what a kill left half done.

        Args:
            database: The open working file.
            use_links: Whether the file system has symbolic and hard links. None: try.
            clock: Seconds; what all rates go by.
        """
        self.problem: str | None = None
        self._database = database
        self._clock = clock
        with database.explained("published"):
            self._use_links = _has_links(database.folder) if use_links is None else use_links
            self._published = _clean(database.path, clock())  # newest first
            compaction.remove_leftovers(database.folder)
        self._revision: int | None = None  # a crash may have torn what is published: publish anew at every start
        self._base = 0
        self._base_stamp = ""
        self._work_stamp = ""
        self._base_commits = 0
        self._ended_at = self._base_ended_at = float("-inf")
        self._cost_s = self._base_cost_s = 0.0
        self._deleted_at: datetime | None = None  # `texts_deleted_at` of the last publication
        self._waiting_since: datetime | None = None  # `texts_deleted_at` in the working file
        self._read_at_commit: int | None = None  # `_waiting_since` was
        self._is_wiped = False  # whether older revisions may stay; never those of an earlier run
        self._compaction_ended_at = self._compaction_retry_at = float("-inf")
        self._compaction_cost_s = 0.0
        self._looked_at_base = 0
        if not self._use_links:
            log.warning("%s cannot hold links: publishing full copies, every %.0f s", database.folder, _COPY_INTERVAL_S)

    def publish(self, *, new_base: bool = False) -> bool:
        """Make the last committed revision visible now. Never inside a transaction.

        Args:
            new_base: Copy the working file anew. Needed after a schema change.

        Returns:
            Whether there was anything to publish.

        Raises:
            IndexUnwritable: The disk is full, or the like. What was published stays.
        """
        with self._database.lock:
            if self._database.in_transaction:
                raise RuntimeError("publish() inside a transaction: it would copy half of it")
            if self._revision == self._database.revision and not new_base:
                return False
            self._database.check_in_place()
            started = self._clock()
            with self._database.explained("published"):
                deleted_at = self._texts_deleted_at()
                if self._use_links:
                    self._publish_revision(new_base)
                else:
                    self._publish_copy()
            self._revision = self._database.revision
            self._is_wiped &= deleted_at == self._deleted_at or deleted_at is None
            self._deleted_at = deleted_at
            self._prune()
            if self._use_links and self._is_base_old():
                # for the revisions to come: who waits for this one need not wait for a base, too
                with self._database.explained("published"):
                    self._make_base()
            self._ended_at = self._clock()
            self._cost_s = self._ended_at - started
            log.debug("published revision %d in %.1f ms", self._revision, 1000 * self._cost_s)
            return True

    @property
    def is_behind(self) -> bool:
        """Whether something committed is not visible yet."""
        return self._revision != self._database.revision

    def publish_if_due(self, interval_s: float | None = None) -> bool:
        """Publish if it is time. Call it after every transaction, and about every 100 ms while nothing is written.

        Args:
            interval_s: Least time since the last publication, at least 0.1 s. None: 3 s in the phase `bulk`, else
                0.1 s. In `bulk`, publishing takes at most a tenth of the time.

        Returns:
            Whether it published.
        """
        with self._database.lock:
            if self._database.unlogged_commits > _MOST_UNLOGGED_COMMITS or _size(self._work_wal) > _HUGE_WAL_BYTES:
                self._database.checkpoint()
            if self._deleted_at and len(self._published) > 1:
                self._prune()
            if self._revision == self._database.revision or self._clock() < self._due_at(interval_s):
                return False
            return self.publish()

    def compact(self) -> None:
        """Wipe deleted texts out of the working file and of what is published, and give unused space back.

        Readers that have an older revision open keep it. Never inside a transaction.

        Raises:
            IndexUnavailable: It did not work; see `Database`. Nothing is lost, and it can be tried again.
        """
        with self._database.lock:
            started = self._clock()
            try:
                compaction.compact(self._database)
                self._read_at_commit = None
                self._revision = None
                self._is_wiped = False  # also if this publication fails, or the process ends: the next one does it
                self.publish(new_base=True)
            finally:
                self._compaction_ended_at = self._clock()
                self._compaction_cost_s = self._compaction_ended_at - started

    def compact_if_due(self, *, is_idle: bool, now: datetime | None = None) -> bool:
        """Compact if it is time. Call it between transactions, as often as `publish_if_due`.

        Texts that were deleted are wiped out as soon as nothing else is to do and, in the phase `real-time`, nothing
        was published for 10 s; within a twentieth of the time; and 8 minutes after the deletion in any case. Space is
        given back on the same conditions, when more than 30 % of a file worth it is unused.

        Args:
            is_idle: Whether nothing waits to be written.
            now: The time, naive UTC. None: now.

        Returns:
            Whether it compacted.

        Raises:
            IndexUnavailable: It failed, and the database is not usable any more. Otherwise a failure is logged, kept in
                `problem` and tried again a minute later.
        """
        with self._database.lock:
            try:
                if not self._is_compaction_due(is_idle, now or datetime.now(UTC).replace(tzinfo=None)):
                    return False
                self.compact()
            except IndexUnwritable as error:
                if not self._database.is_usable:
                    raise
                log.warning("%s", error)
                self.problem = str(error)
                self._compaction_retry_at = self._clock() + _COMPACTION_RETRY_S
                return False
            self.problem = None
            return True

    def close(self) -> None:
        """Publish what is not yet visible, and wipe out texts that wait for it: nobody does it after this.

        Does nothing if the database is not usable any more: what is committed is published at the next start.

        Raises:
            IndexUnavailable: It cannot be published.
        """
        with self._database.lock:
            if not self._database.is_usable:
                return
            self.publish()
            with self._database.explained("read"):
                deleted_at = self._texts_deleted_at()
            if deleted_at is not None:
                try:
                    self.compact()
                except IndexUnwritable as error:
                    log.warning("%s", error)
            with suppress(OSError):  # the next start removes it
                self._base_file.unlink(missing_ok=True)  # what is published has a link of its own

    @property
    def _work_wal(self) -> Path:
        """Where the working file's WAL is, if there is one."""
        return self._database.work_path.with_name(self._database.work_path.name + ".wal")

    @property
    def _base_file(self) -> Path:
        """Where the newest base is; it may be of no revision yet."""
        return self._database.folder / _NEWEST_BASE_NAME

    def _is_compaction_due(self, is_idle: bool, now: datetime) -> bool:
        """Say whether texts have waited long enough, or much of the file is unused."""
        if self._clock() < self._compaction_retry_at:
            return False
        with self._database.explained("read"):
            deleted_at = self._texts_deleted_at()
            # A clock that was set back must not put it off.
            if deleted_at and abs(now - deleted_at) >= _TEXTS_KEPT:
                return True
            rest = self._compaction_cost_s * (1 / _COMPACTION_SHARE - 1)
            # Nothing is written meanwhile: not in the middle of a session that is being followed.
            quiet = _QUIET_S if self._database.phase == "real-time" else 0.0
            if not is_idle or self._clock() < max(self._compaction_ended_at + rest, self._ended_at + quiet):
                return False
            if deleted_at:
                return True
            if self._looked_at_base == self._base:  # only a checkpoint frees blocks
                return False
            self._looked_at_base = self._base
            share, size = compaction.free_share(self._database)
            return share > _UNUSED_SHARE and size > _MIN_COMPACTED_BYTES

    def _texts_deleted_at(self) -> datetime | None:
        """Return since when deleted texts wait. Asked ten times a second, so it is read once per commit."""
        if self._read_at_commit != self._database.commits:
            self._waiting_since = compaction.texts_deleted_at(self._database)
            self._read_at_commit = self._database.commits
        return self._waiting_since

    def _due_at(self, interval_s: float | None) -> float:
        """Return the monotonic time of the next publication."""
        is_bulk = self._database.phase == "bulk"
        if interval_s is None:
            interval_s = _BULK_INTERVAL_S if is_bulk else _MIN_INTERVAL_S
        due = self._ended_at + max(interval_s, _MIN_INTERVAL_S)
        if is_bulk:
            return max(due, self._ended_at + self._cost_s * (1 / _BULK_SHARE - 1))
        if not self._use_links:
            return max(due, self._ended_at + _COPY_INTERVAL_S, self._base_due_at())
        return max(due, self._base_due_at()) if self._needs_base() else due

    def _base_due_at(self) -> float:
        """Return the monotonic time from when another base keeps within its share of the time."""
        return self._base_ended_at + self._base_cost_s * (1 / _BASE_SHARE - 1)

    def _is_base_stale(self) -> bool:
        """Say whether the base no longer goes with the working WAL.

        A transaction of a whole row group or more in one table writes into the main file. And nobody should have
        written to a published file, but root can, and its revisions share it.
        """
        if not self._published or not self._base:
            return True
        if self._work_stamp != file_stamp(self._database.work_path):
            return True
        try:
            return self._base_stamp != file_stamp(self._base_file)
        except FileNotFoundError:
            return True

    def _is_base_old(self) -> bool:
        """Say whether replaying the WAL takes so long that a new base is worth its copy now."""
        wal_bytes, transactions = _size(self._work_wal), self._database.commits - self._base_commits
        is_long = wal_bytes > _MAX_WAL_BYTES or transactions > _MAX_WAL_TRANSACTIONS
        return is_long and self._clock() >= self._base_due_at()

    def _needs_base(self) -> bool:
        """Say whether the next publication must have a new base, whatever it costs."""
        is_long = self._database.unlogged_commits > 0 or _size(self._work_wal) > _LONGEST_WAL_BYTES
        return is_long or self._is_base_stale()

    def _publish_revision(self, new_base: bool) -> None:
        """Publish a folder with base and WAL."""
        # in bulk the WAL will be too long for another revision anyway
        if new_base or self._needs_base() or (self._database.phase == "bulk" and self._is_base_old()):
            self._make_base()
        folder = _new_folder(self._database.folder, self._database.revision)
        try:
            wal_bytes = _copy_wal(self._work_wal, folder / _WAL_NAME)
            os.link(self._base_file, folder / _BASE_NAME)
            _swap_link(self._database.path, folder / _BASE_NAME)
        except BaseException:
            if _read_link(self._database.path) != _link_to(self._database.path, folder / _BASE_NAME):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._published.insert(0, _Published(folder, self._base, wal_bytes, self._clock()))

    def _make_base(self) -> None:
        """Checkpoint and copy the working file."""
        started = self._clock()
        # never more than two bases: that of what is published, and the new one
        self._remove_except([entry for entry in self._published if entry.base == self._published[0].base])
        self._base_file.unlink(missing_ok=True)
        self._database.checkpoint()
        try:
            self._copy_main(self._base_file)
        except OSError:  # half a copy would only fill the disk
            self._base_file.unlink(missing_ok=True)
            raise
        self._base += 1
        self._base_stamp = file_stamp(self._base_file)
        self._base_commits = self._database.commits
        self._base_ended_at = self._clock()
        self._base_cost_s = self._base_ended_at - started

    def _copy_main(self, target: Path) -> None:
        """Copy the checkpointed working file through the one descriptor that may be used."""
        stamp = file_stamp(self._database.work_path)
        copy_file(self._database.main_fd, target)
        self._work_stamp = stamp  # only now: without its copy, the base before is stale

    def _publish_copy(self) -> None:
        """Publish the whole file under its own name, where links are refused."""
        started = self._clock()
        path, folder = self._database.path, self._database.folder
        fresh = folder / "copy.new"
        fresh.unlink(missing_ok=True)
        self._database.checkpoint()
        self._copy_main(fresh)
        # Tells the next start that the file at FILE is no one's backup.
        (folder / "copied").write_text(file_stamp(fresh), encoding="ascii")
        os.replace(fresh, path)
        self._remove_except([])  # of earlier runs, with links
        self._base_ended_at = self._clock()
        self._base_cost_s = self._base_ended_at - started

    def _prune(self) -> None:
        """Remove the revisions that no reader is about to open, and those that hold a text that was deleted since."""
        now, wal_bytes, kept = self._clock(), 0, []
        bases = sorted({entry.base for entry in self._published})[-2:]
        kept_s, revisions = (_KEPT_S, _KEPT_REVISIONS) if self._deleted_at is None else (_KEPT_WITH_TEXTS_S, 1)
        for position, entry in enumerate(self._published):
            wal_bytes += entry.wal_bytes
            is_young = now - entry.at < kept_s and wal_bytes <= _KEPT_WAL_BYTES
            if entry.base in bases and (position < revisions or is_young):
                kept.append(entry)
        self._remove_except(kept if self._is_wiped else kept[:1])
        self._is_wiped = True

    def _remove_except(self, kept: list[_Published]) -> None:
        """Remove all published revisions but these."""
        for entry in self._published:
            if entry not in kept:
                _remove_revision(entry.folder)
        self._published = kept


class Snapshot:
    """One revision of the index, open for reading. It never changes.

    Its files live, even when their folder is gone, as long as somebody holds the snapshot or a cursor of it.

    Attributes:
        revision: Number of the last batch in it.
        key: Names the revision, also across a rebuilt index that counts from 0 again: what caches go by.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, revision: int, key: str) -> None:
        """Wrap an open connection; use `IndexReader.snapshot`."""
        self.revision = revision
        self.key = key
        self._con = con
        self._lock = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one thread. The caller closes it."""
        with self._lock:
            cursor = self._con.cursor()
        cursor.execute("USE index_db")  # not inherited
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
        folder = _REVISION_FOLDER.fullmatch(file.parent.name)
        if folder and file.name == _BASE_NAME:
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
        return _size(file) + _size(file.with_name(_WAL_NAME)), sum(found.values())

    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor on `snapshot()`. The caller closes it.

        Raises:
            IndexUnavailable: There is none, or it cannot be used.
        """
        return self.snapshot().cursor()

    def activity(self) -> Activity | None:
        """Return what the indexer does right now; None if none ever ran here."""
        return read_activity(self.path)

    def request_retry(self) -> None:
        """Ask the running indexer to read the documents again that could not be read."""
        request_retry(self.path)

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
        target = folder / _BASE_NAME
        for leftover in (target, folder / _WAL_NAME):
            leftover.unlink(missing_ok=True)
        try:
            _link_or_copy(file, target)
            with suppress(FileNotFoundError):
                _link_or_copy(file.with_name(_WAL_NAME), folder / _WAL_NAME)
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


def _has_links(folder: Path) -> bool:
    """Try whether a folder takes symbolic and hard links (Windows and some file systems refuse them)."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="links-") as trial:
        file = Path(trial, "file")
        file.touch()
        try:
            os.symlink("file", Path(trial, "symbolic"))
            os.link(file, Path(trial, "hard"))
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and failures.is_temporary(error):
                raise
            return False
    return True


def _clean(path: Path, now: float) -> list[_Published]:
    """Remove what earlier runs left in the private folder, all but the revision that readers open now.

    Returns:
        That revision, if there is one.
    """
    folder = private_folder(path)
    current = folder / Path(os.readlink(path)).parent.name if path.is_symlink() else None
    day_ago = time.time() - 86_400
    for entry in folder.iterdir():
        is_old_revision = _REVISION_FOLDER.fullmatch(entry.name) and entry != current
        is_abandoned = entry.name.startswith(_OTHERS_PREFIXES) and entry.stat().st_mtime < day_ago
        if is_old_revision or is_abandoned or entry.name.startswith(("links-", _GONE_PREFIX)):
            shutil.rmtree(entry, ignore_errors=True)
    for name in ("link.new", "copy.new", _NEWEST_BASE_NAME):
        (folder / name).unlink(missing_ok=True)
    if current and (current / _BASE_NAME).is_file():
        return [_Published(current, 0, _size(current / _WAL_NAME), now)]
    return []


def _new_folder(folder: Path, revision: int) -> Path:
    """Make the folder of a revision. A name never comes back: after a restart the same revision gets a suffix."""
    for attempt in itertools.count():
        made = folder / (f"{revision}.{attempt}" if attempt else str(revision))
        try:
            made.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return made
    raise AssertionError("unreachable")


def _remove_revision(folder: Path) -> None:
    """Remove a revision. Renamed first, so that a reader that is opening it can tell: it might miss the WAL."""
    gone = folder.with_name(f"{_GONE_PREFIX}{folder.name}")
    with suppress(OSError):
        os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)  # what stays is removed at the next start


def _link_to(path: Path, target: Path) -> str:
    """Return what the link at `path` says to name a file: relative, so that both can be moved together."""
    return str(target.relative_to(path.parent))


def _swap_link(path: Path, target: Path) -> None:
    """Let the link at `path` name another file, atomically."""
    fresh = private_folder(path) / "link.new"
    fresh.unlink(missing_ok=True)
    os.symlink(_link_to(path, target), fresh)
    os.replace(fresh, path)


def _copy_wal(wal: Path, target: Path) -> int:
    """Copy the working WAL, opened afresh: a checkpoint replaces it by a new file, or leaves none.

    Returns:
        Its size; 0 if there is none to ship.
    """
    try:
        source = os.open(wal, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return 0
    try:
        return copy_file(source, target)
    finally:
        os.close(source)


def _size(file: Path) -> int:
    """Return the size of a file; 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


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
        link = _read_link(path)
        try:
            file = Path(os.path.realpath(path, strict=True))
            return file, _key(file, path)
        except FileNotFoundError:
            if link == _read_link(path):
                break
            continue  # swapped, and the old revision removed, in between
        except OSError as error:
            raise IndexBroken(f"The index at {path} cannot be reached: {error}. Only its owner may read it.") from error
    raise IndexMissing(f"No index at {path} yet. Build it with `python -m indexer bulk`.")


def _key(file: Path, path: Path) -> str:
    """Return what differs for every publication.

    Args:
        file: The real file.
        path: Where readers look. The folder of a revision is not written again; a full copy is replaced as a file.
    """
    status = (file if file == path else file.parent).stat()
    return f"{file} {status.st_ino} {status.st_mtime_ns}"


def _read_link(path: Path) -> str | None:
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
        raise IndexBroken(
            f"The index at {path} cannot be opened ({error.__cause__}). Start the indexer: it publishes it anew."
        ) from error
    try:
        check_schema(con, path)
        # Not possible before ATTACH. From here on no query reaches another file, or raises its own limits.
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        row = con.execute("SELECT revision FROM sync_state").fetchone()
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
    return Snapshot(con, int(row[0]), key)
