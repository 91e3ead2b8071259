"""How the dashboard reads an index that the indexer writes: published revisions.

DuckDB lets one process write a file, or several read it. So the indexer keeps its working file to itself, and after
a commit publishes a folder `FILE.d/<revision>/`:

    index.duckdb       the base: a copy of the working file made at a checkpoint, a hard link to `FILE.d/base.duckdb`
    index.duckdb.wal   a copy of the working file's WAL: what was committed since

and swaps the link `FILE` to it. DuckDB follows the link and finds the WAL beside the real file, so `duckdb -readonly
FILE` works at any time. A published file never changes; who has it open keeps it, even after its folder is gone.
"""

import itertools
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indexer import compaction, failures
from indexer.database import Database, copy_file
from indexer.exceptions import IndexUnwritable
from indexer.index_files import file_stamp, inode_stamp, private_folder, size_of
from indexer.next_base import NEXT_BASE_NAME, NextBase
from indexer.published import BASE_NAME, HELD_PREFIX, REVISION_FOLDER, WAL_NAME, read_link

log = logging.getLogger(__name__)

_NEWEST_BASE_NAME = "base.duckdb"  # in the private folder
_ORIGIN_NAME = "base.origin"  # in the private folder: what the newest base was copied from
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_MIN_INTERVAL_S = 0.1
_BULK_INTERVAL_S = 3.0
_COPY_INTERVAL_S = 5.0  # without links every publication copies the whole file
_BULK_SHARE = 0.10  # of the time, on publishing
_BASE_SHARE = 0.15  # of the time, on bases
# A reader's open replays the WAL: 45 ms for each MB of a few transactions, 1 s for one of 350, as there are live.
# Small bases follow sooner than large ones, so that as much is copied for as much WAL.
_MAX_WAL_BYTES = 1 << 20
_MAX_WAL_BYTES_OF_SMALL = 128 << 10
_BASE_BYTES_PER_WAL_BYTE = 512
_MAX_WAL_TRANSACTIONS = 2_000
_LONG_BASE_S = 0.5  # from which on bases are prepared
_LARGE_BASE_BYTES = 256 << 20  # the same, where nobody knows how long one takes
_ROOM_BESIDE_NEXT_BASE = 256 << 20  # on the disk: it can be done without, what others write cannot
_PREPARED_SHARE = 0.5  # of the length of a WAL at which another base is due: it grows meanwhile
_LONGEST_WAL_BYTES = 16 << 20  # what is shipped at most, while a new base would take more than its share
# Between two publications of bulk. What is not checkpointed is spilt to disk beyond the memory limit, and each
# checkpoint rewrites the row group that is still filling.
_HUGE_WAL_BYTES = 256 << 20
_MOST_UNLOGGED_COMMITS = 10  # of up to 24 MB of text
_KEPT_REVISIONS = 3
_KEPT_S = 10.0
_KEPT_WITH_TEXTS_S = 1.0  # while deleted texts wait: as long as a reader takes to open one
_KEPT_WAL_BYTES = 256 << 20
_GONE_PREFIX = "gone-"  # of revisions being removed
_OTHERS_PREFIXES = ("spill-", HELD_PREFIX)  # of folders of readers: removed once they must have ended


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
        self._next_base = NextBase(database.folder / NEXT_BASE_NAME, clock)
        with database.explained("published"):
            self._next_base.discard()  # of an earlier run: where the disk is full, nothing else can be done before
            self._use_links = _has_links(database.folder) if use_links is None else use_links
            self._remover = _Remover()
            self._published = _clean(database.path, clock(), self._remover)  # newest first
            compaction.remove_leftovers(database.folder)
        self._revision: int | None = None  # publish anew at every start
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
        self._is_base_taken_over = False
        with database.explained("published"):
            self._take_over_base()
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
            if self._use_links:
                with self._database.explained("published"):
                    self._see_to_base()
            self._ended_at = self._clock()
            self._cost_s = self._ended_at - started
            log.debug("published revision %d in %.1f ms", self._revision, 1000 * self._cost_s)
            return True

    @property
    def is_behind(self) -> bool:
        """Whether something committed is not visible yet."""
        return self._revision != self._database.revision

    @property
    def is_at_rest(self) -> bool:
        """Whether time alone brings nothing more to do: until the next commit nobody need call anything."""
        has_looked = self._read_at_commit == self._database.commits and self._looked_at_base == self._base
        is_done = not (self.is_behind or self._has_old_texts or self._is_base_taken_over or self._next_base.is_begun)
        return is_done and has_looked and self._waiting_since is None

    def publish_if_due(self, interval_s: float | None = None) -> bool:
        """Publish if it is time. Call it after every transaction, and about every 100 ms while nothing is written.

        Args:
            interval_s: Least time since the last publication, at least 0.1 s. None: 3 s in the phase `bulk`, else
                0.1 s. In `bulk`, publishing takes at most a tenth of the time.

        Returns:
            Whether it published.
        """
        with self._database.lock:
            if self._database.unlogged_commits > _MOST_UNLOGGED_COMMITS or size_of(self._work_wal) > _HUGE_WAL_BYTES:
                self._database.checkpoint()
            if self._has_old_texts:
                self._prune()
            is_quiet = self._clock() >= self._ended_at + _QUIET_S
            if self._next_base.is_begun and is_quiet:  # it takes up the room of another index
                with self._database.explained("published"):
                    self._next_base.discard()
            if self._is_base_taken_over and is_quiet:
                return self.publish(new_base=True)
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
            with self._database.explained("compacted"):
                self._next_base.discard()  # it has the texts, and takes the room
            try:
                compaction.compact(self._database)
                self._read_at_commit = None
                self._revision = None
                self._is_wiped = False  # also if this publication fails, or the process ends: the next one does it
                self.publish(new_base=True)
                self._remover.wait()
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
            with suppress(OSError):  # the next start removes it
                self._next_base.discard()  # first of all: it may be what fills the disk
            if not self._database.is_usable:
                return
            self.publish(new_base=self._is_base_taken_over)
            with self._database.explained("read"):
                deleted_at = self._texts_deleted_at()
            if deleted_at is not None:
                try:
                    self.compact()
                except IndexUnwritable as error:
                    log.warning("%s", error)
            # with the base that is published it is all there is: the next start can go on with both
            self._database.is_wal_kept = self._use_links and not self._is_base_stale()
            with suppress(OSError):  # the next start removes it
                self._next_base.discard()  # this publication may have begun another one
                self._base_file.unlink(missing_ok=True)  # what is published has a link of its own
            self._remover.wait()

    @property
    def _has_old_texts(self) -> bool:
        """Whether older revisions may hold texts that were deleted since."""
        return self._deleted_at is not None and len(self._published) > 1

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

    def _is_base_old(self, share: float = 1.0) -> bool:
        """Say whether replaying the WAL takes so long that a new base is worth its copy now.

        Args:
            share: Of a WAL that is too long.
        """
        wal_bytes, transactions = size_of(self._work_wal), self._database.commits - self._base_commits
        is_long = wal_bytes > share * self._max_wal_bytes() or transactions > share * _MAX_WAL_TRANSACTIONS
        return is_long and self._clock() >= self._base_due_at()

    def _max_wal_bytes(self) -> int:
        """Return from which length of the WAL on a new base is worth its copy."""
        worth = size_of(self._base_file) // _BASE_BYTES_PER_WAL_BYTE
        return min(max(worth, _MAX_WAL_BYTES_OF_SMALL), _MAX_WAL_BYTES)

    def _see_to_base(self) -> None:
        """Make or prepare the base of revisions to come: who waits for this one need not wait for that, too."""
        is_prepared = self._database.phase == "real-time" and self._is_base_slow()
        if is_prepared and not self._next_base.is_begun and self._is_base_old(_PREPARED_SHARE):
            self._remove_other_bases()
            room = shutil.disk_usage(self._database.folder).free - size_of(self._base_file)
            if self._remover.is_done and room > _ROOM_BESIDE_NEXT_BASE:
                self._next_base.begin(self._base_file)
        if self._is_base_old() and not self._next_base.is_being_made:
            self._make_base()

    def _is_base_slow(self) -> bool:
        """Say whether a base is worth preparing: by how long it took, or by its size where an earlier run made it."""
        if self._is_base_taken_over:
            return size_of(self._base_file) > _LARGE_BASE_BYTES
        return self._base_cost_s > _LONG_BASE_S

    def _needs_base(self) -> bool:
        """Say whether the next publication must have a new base, whatever it costs."""
        is_long = self._database.unlogged_commits > 0 or size_of(self._work_wal) > _LONGEST_WAL_BYTES
        return is_long or self._is_base_stale()

    def _publish_revision(self, new_base: bool) -> None:
        """Publish a folder with base and WAL."""
        # in bulk the WAL will be too long for another revision anyway
        if new_base or self._needs_base() or (self._database.phase == "bulk" and self._is_base_old()):
            self._make_base()
        folder = _new_folder(self._database.folder, self._database.revision)
        try:
            wal_bytes = _copy_wal(self._work_wal, folder / WAL_NAME)
            os.link(self._base_file, folder / BASE_NAME)
            _swap_link(self._database.path, folder / BASE_NAME)
        except BaseException:
            if read_link(self._database.path) != _link_to(self._database.path, folder / BASE_NAME):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._published.insert(0, _Published(folder, self._base, wal_bytes, self._clock()))

    def _make_base(self) -> None:
        """Checkpoint and copy the working file."""
        started = self._clock()
        self._remove_other_bases()
        self._base_file.unlink(missing_ok=True)
        self._remover.wait()
        self._database.checkpoint()
        try:
            prepared_s = self._copy_main(self._base_file)
        except OSError:  # half a copy would only fill the disk
            self._base_file.unlink(missing_ok=True)
            raise
        self._base += 1
        self._base_stamp = file_stamp(self._base_file)
        self._base_commits = self._database.commits
        self._base_ended_at = self._clock()
        self._base_cost_s = self._base_ended_at - started + prepared_s
        self._is_base_taken_over = False
        self._note_origin()
        log.debug("made a base in %.2f s; to prepare it took %.2f s", self._base_cost_s - prepared_s, prepared_s)

    def _remove_other_bases(self) -> None:
        """See to it that there are never more than two bases: that of what is published, and the new one."""
        self._remove_except([entry for entry in self._published if entry.base == self._published[0].base])

    def _take_over_base(self) -> None:
        """Go on with the published base of an earlier run, if the working file still is what it was copied from.

        It spares a start the copy of the whole file: 0.3 of 1.2 s for 490 MB. A crash of the system may have torn it,
        so it must have been made since the system started; and a new one follows as soon as there is time, in case it
        was damaged in another way.
        """
        if not (self._use_links and self._published):
            return
        published = self._published[0]
        origin = self._origin(published.folder / BASE_NAME)
        try:
            if origin is None or (self._database.folder / _ORIGIN_NAME).read_text(encoding="ascii") != origin:
                return
        except (OSError, ValueError):
            return
        os.link(published.folder / BASE_NAME, self._base_file)
        self._base = 1
        self._published = [replace(published, base=self._base)]
        self._base_stamp, self._work_stamp = file_stamp(self._base_file), file_stamp(self._database.work_path)
        self._base_commits = self._database.commits
        self._is_base_taken_over = True

    def _note_origin(self) -> None:
        """Note for the next start what the newest base was copied from. Without the note it makes a new one."""
        origin = self._origin(self._base_file)
        try:
            if origin is not None:
                (self._database.folder / _ORIGIN_NAME).write_text(origin, encoding="ascii")
        except OSError as error:
            log.debug("the next start has to make a new base: %s", error)

    def _origin(self, base: Path) -> str | None:
        """Describe a base, the working file and the run of the system; None where nothing tells that."""
        try:
            boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            return None
        files = [inode_stamp(file) for file in (base, self._database.work_path)]
        return "\n".join((boot_id, *files))

    def _copy_main(self, target: Path) -> float:
        """Copy the checkpointed working file through the one descriptor that may be used.

        Returns:
            Seconds that went into preparing it, before.
        """
        stamp = file_stamp(self._database.work_path)
        is_prepared = self._next_base.become(self._database.main_fd, target)
        if not is_prepared:
            copy_file(self._database.main_fd, target)
        self._work_stamp = stamp  # only now: without its copy, the base before is stale
        return self._next_base.copied_s if is_prepared else 0.0

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
                self._remover.remove(entry.folder)
        self._published = kept


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


class _Remover:
    """Removes published revisions, and the last of a base in a thread of its own: 3 GB took 2 s."""

    def __init__(self) -> None:
        """Nothing is being removed."""
        self._threads: list[threading.Thread] = []

    def remove(self, folder: Path) -> None:
        """Remove a revision. Renamed first, so that a reader that is opening it can tell: it might miss the WAL.

        What stays, because the process is killed, say, is removed at the next start.
        """
        gone = folder.with_name(f"{_GONE_PREFIX}{time.monotonic_ns()}")  # never longer, however often it is renamed
        try:
            os.replace(folder, gone)
            is_last = (gone / BASE_NAME).stat().st_nlink == 1
        except OSError:
            is_last = False
        if not is_last:
            shutil.rmtree(gone, ignore_errors=True)
            return
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=shutil.rmtree, args=(gone, True), name="remover"))
        self._threads[-1].start()

    @property
    def is_done(self) -> bool:
        """Whether all is gone."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Wait until all is gone."""
        for thread in self._threads:
            thread.join()


def _clean(path: Path, now: float, remover: _Remover) -> list[_Published]:
    """Remove what earlier runs left in the private folder, all but the revision that readers open now.

    Args:
        path: What readers open.
        now: Seconds on the publisher's clock.
        remover: Removes the revisions.

    Returns:
        That revision, if there is one.
    """
    folder = private_folder(path)
    current = folder / Path(os.readlink(path)).parent.name if path.is_symlink() else None
    day_ago = time.time() - 86_400
    for entry in list(folder.iterdir()):
        is_old_revision = REVISION_FOLDER.fullmatch(entry.name) and entry != current
        is_abandoned = entry.name.startswith(_OTHERS_PREFIXES) and entry.stat().st_mtime < day_ago
        if is_old_revision or entry.name.startswith(_GONE_PREFIX):
            remover.remove(entry)
        elif is_abandoned or entry.name.startswith("links-"):
            shutil.rmtree(entry, ignore_errors=True)
    for name in ("link.new", "copy.new", _NEWEST_BASE_NAME):
        (folder / name).unlink(missing_ok=True)
    if current and (current / BASE_NAME).is_file():
        return [_Published(current, 0, size_of(current / WAL_NAME), now)]
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
