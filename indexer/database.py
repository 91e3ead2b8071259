"""The writer's side of the index: one private working file, one process, one transaction per batch.

`FILE` is what readers open (publish.py makes it). Everything else lies beside it in `FILE.d`, a folder of the
owner alone: `work.duckdb` is the working file, which only the indexer ever opens.
"""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock, Timeout

from indexer import derive, failures, kept_spend, late_columns, migrations, price_sources, prices, sql
from indexer.duckdb_file import (
    SCHEMA,
    SCHEMA_VERSION,
    SETTINGS,
    Settings,
    attach,
    check_schema,
    contents,
    copy_index,
    damaged,
    not_openable,
    quoted,
    quoted_name,
    rebuild_advice,
    tables_of,
)
from indexer.exceptions import (
    COMMAND,
    AnotherIndexerRuns,
    IndexBroken,
    IndexDamaged,
    IndexForeign,
    IndexMissing,
    IndexUnavailable,
    IndexUnwritable,
)
from indexer.exclusion import Exclusion
from indexer.hot_sessions import MOST_ROWS, MOST_ROWS_IN_BULK, HotSessions
from indexer.index_files import absolute, inode_stamp, is_own_copy, private_folder, size_of

if TYPE_CHECKING:  # loaded where something is written: a start with nothing to write is quicker without
    import pyarrow

log = logging.getLogger(__name__)

_DAMAGED_NAME = "damaged"  # in the private folder: why the next start sets the working file aside
_WHOLE_NAME = "whole"  # in the private folder: what the working file looked like when it was last known to be whole
_KEPT_BROKEN = 2  # damaged working files
_SESSIONS_PER_TRANSACTION = 200  # while the tables of a newer schema are filled

# Clients of DuckDB 1.5 can read it, at the size and speed of the newest version.
#
# A checkpoint writes the last row group of a table anew, and that of texts may hold hundreds of MB: 1.6 s with
# DuckDB's 122,880 rows, 0.2 s with these. With 4,096 four readers without pause, while rows arrive, made a quarter of
# the reads. The size is not kept in the file: every opener that writes has to give it.
STORAGE_OPTIONS = "STORAGE_VERSION 'v1.5.0', ROW_GROUP_SIZE 16384"
_UNLOGGED = ", RECOVERY_MODE no_wal_writes"
# As fast as twice as much, which other processes that read need. Beside that, what changed in the indexes of keys stays
# in memory until a checkpoint: 60 MB where the index has 260,000 messages.
_UNLOGGED_MB = 80
_UNLOGGED_MESSAGES_PER_MB = 4_000
# To choose and to make it took 150 of the 220 ms of CPU of a checkpoint.
_SLOW = "dict_fsst"
_FEW_ROWS = 256  # up to which an index finds the rows of a live change sooner than a scan


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What a change of the schema version did.

    Attributes:
        before: Schema version before.
        after: Schema version after.
        steps: Migrations applied, or undone if `after` is the smaller one; in the order it was done.
        backup: Copy of the index from before. None if nothing was done, or the user's own copy was kept already.
    """

    before: int
    after: int
    steps: tuple[migrations.Migration, ...]
    backup: Path | None


class Database:
    """The working file, open for writing. Use it as a context manager.

    Threads: one thread at a time holds `lock`. Transactions, publishing and compaction take it, so that a publisher
    never copies a file in the middle of a commit. `con` is for the thread that holds `lock`, or for the only thread
    that writes. Any other thread reads through `with database.cursor() as con:`, at any time and briefly: it sees what
    is committed and does not wait for transactions, but checkpoints wait for it. It must not write, nor call anything
    that takes `lock`. A cursor of its own from `con.cursor()` would make checkpoints fail, and would be closed under it
    by a compaction.

    Failures: what the world outside does to the files (a full disk, say) comes as `IndexUnwritable`. The transaction
    left nothing, what is published stays. Go on with the same object if `is_usable`; else close it and open it anew.

    Attributes:
        path: What readers open.
        folder: `FILE.d`, the private folder beside it.
        con: The connection; its current database is the index. Compaction replaces it: do not keep it, nor temporary
            tables in it, from one transaction to the next.
        revision: Number of the last committed batch.
        commits: Transactions committed since the file was opened, those without a revision of their own included.
        phase: As last set by `set_phase`.
        main_fd: Descriptor of the working file, for copies. Compaction replaces it, too.
        lock: Held during a transaction and while publishing.
        hot: What the last live changes left in memory; forgotten when a transaction fails.
        price_sources: What is known of list prices.
        exclusion: What the settings leave out; nothing, until whoever opened the index sets it.
        in_transaction: Whether a transaction is open right now.
        is_wal_kept: Whether closing leaves the WAL beside the working file, rather than write it into that.
        is_usable: Whether the connection still works. False after a failed checkpoint, or when the file was moved
            away: close it, and open the index anew.
        unlogged_commits: Transactions that a kill would undo: those since the last checkpoint, without a WAL.
    """

    def __init__(self, path: Path, is_sample: bool | None) -> None:
        """Open or create the working file; use `Database.open`.

        Args:
            path: What readers open.
            is_sample: As for `_open`.
        """
        self.path = path
        self.folder = private_folder(path)
        self.lock = threading.RLock()
        self.in_transaction = False
        self.is_usable = True
        self.unlogged_commits = 0
        self._unlogged_mb = 0  # of memory, while nothing is written to a WAL
        self._is_whole = False
        self.is_wal_kept = False
        self.commits = 0
        self.hot = HotSessions()
        self.price_sources = price_sources.PriceSources()
        self._price_stamp: object = None
        self.exclusion = Exclusion()
        self._exchanging = threading.RLock()  # taken after `lock`, never before
        self._cleanup = ExitStack()
        if not self.work_path.exists():
            _make_file(path, is_sample=bool(is_sample))
        self._open_file()
        try:
            if not tables_of(self.con):  # versions before this one made it in place, and may have been killed
                _create(self.con, bool(is_sample))
            check_schema(self.con, path, is_older_usable=True)
            migrations.check_history(self.con, migrations.known(), path)
            if is_sample is not None:
                _check_kind(self.con, path, is_sample)
            self._check_length()
            self.revision, self.phase = self._state()
        except BaseException as error:
            self._close_file()
            if isinstance(error, duckdb.Error):
                raise not_openable(path, error) from error
            raise

    @classmethod
    def open(cls, path: Path, *, is_sample: bool = False) -> "Database":
        """Create or open the index at a path, for this process alone. An older schema is brought up to date.

        A damaged working file is kept as `FILE.broken-<date>`, and a new one is made. What OpenCode deleted, and a new
        or restored index does not have, is added from the backup of its spend.

        Args:
            path: What readers open. A regular DuckDB file of ours there is kept as `FILE.bak-<date>` and taken over.
            is_sample: Whether it holds the bundled sample data; the two kinds never mix.

        Returns:
            The database.

        Raises:
            AnotherIndexerRuns: Another process has it open.
            IndexUnwritable: The disk is full, or the like.
            IndexUnavailable: Something else lies there, its schema is newer or changed, or it cannot be opened.
        """
        return cls._open(absolute(path), is_sample, is_mended=True)

    @classmethod
    def open_existing(cls, path: Path) -> "Database":
        """Open the index at a path as it is: sample or not, and with the schema version it has.

        Raises:
            IndexMissing: There is none.
            AnotherIndexerRuns: Another process has it open.
            IndexDamaged: Its working file is damaged.
            IndexUnavailable: Something else lies there, its schema is newer or changed, or it cannot be opened.
        """
        path = absolute(path)
        if not _is_there(path):
            raise IndexMissing(f"No index at {path} yet. Build it with `{COMMAND} bulk`.")
        return cls._open(path, None, is_mended=False)

    @classmethod
    def _open(cls, path: Path, is_sample: bool | None, *, is_mended: bool) -> "Database":
        """Create or open an index.

        Args:
            path: What readers open, absolute.
            is_sample: Whether it must hold the sample. None stands for whatever it holds.
            is_mended: Whether to bring it up to date, and to begin anew if it is damaged.
        """
        folder = private_folder(path)
        try:
            _refuse_foreign(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise _folder_unusable(folder, error) from error
        with ExitStack() as cleanup:
            _lock(path, cleanup)
            shutil.rmtree(folder / "spill", ignore_errors=True)  # what a killed indexer had no memory for
            is_restored = path.is_file() and not path.is_symlink() and not is_own_copy(path)
            if is_restored:
                _take_over(path)
            try:
                _refuse_damaged(path)
                database = cls(path, is_sample)
            except IndexDamaged as damage:
                if not is_mended:
                    raise
                _set_aside(path, damage)
                database = cls(path, is_sample)
            cleanup.callback(database._close_file)
            if is_mended:
                database.migrate(is_backed_up=is_restored)
                with database.explained("written"):
                    kept_spend.restore(database.con, path)
            database._cleanup = cleanup.pop_all()
            return database

    @property
    def schema_version(self) -> int:
        """Number of the last migration it went through."""
        return migrations.version_of(self.con)

    @property
    def work_path(self) -> Path:
        """Where the working file lies."""
        return _work_path(self.path)

    @contextmanager
    def transaction(self, *, is_visible: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """Write one batch: all of it with the next revision number, or nothing.

        Args:
            is_visible: Whether readers should see it soon. False, for bookkeeping that no page shows: the revision
                number stays, so nothing is published for it; the next revision has it too.

        Yields:
            The connection, inside a transaction.

        Raises:
            IndexUnwritable: The disk is full, or the like; nothing was written.
            IndexDamaged: What is in the file cannot be read. The next `Database.open` begins anew.
        """
        with self.lock:
            self.check_in_place()
            self.in_transaction = True
            try:
                self.con.execute("BEGIN")
                yield self.con
                if is_visible:
                    self.con.execute(
                        "UPDATE sync_state SET revision = $revision, updated_at = $now",
                        {"revision": self.revision + 1, "now": _now()},
                    )
                self.con.execute("COMMIT")
                self.commits += 1
                self.unlogged_commits += self._unlogged_mb > 0
                self.revision += is_visible
            except BaseException as error:
                self._roll_back()
                if isinstance(error, duckdb.Error):
                    self._raise_explained(error, "written")
                raise
            finally:
                self.in_transaction = False

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Read what is committed, from any thread; one at a time. See the class.

        Yields:
            A connection of its own, for short queries.
        """
        with self._exchanging, closing(self.con.cursor()) as cursor:
            cursor.execute("USE index_db")  # not inherited
            yield cursor

    def checkpoint(self) -> None:
        """Write the WAL into the main file. Never inside a transaction.

        While changes are followed it is quick: texts of the last row group are stored twice as large then, until the
        file is compacted.

        Raises:
            IndexUnwritable: The disk is full, or the like. Nothing is lost, and the connection is not usable any more.
        """
        # A query of another thread that begins just now would make it fail.
        with self.lock, self._exchanging, self.explained("written"):
            self.con.execute("CHECKPOINT index_db")
            self.unlogged_commits = 0

    def exchange(self, fresh: Path) -> None:
        """Put another file with the same content in the place of the working file, and go on with that.

        Killed at any moment, one of the two is the working file. Neither has a WAL at that time, so none can meet the
        wrong file.

        Args:
            fresh: A complete DuckDB file without a WAL, in the private folder, on the disk already.

        Raises:
            IndexUnwritable: It did not work. Unless the database is still usable, close it and open it anew.
        """
        with self._reopened():
            os.replace(fresh, self.work_path)
            sync_folder(self.folder)

    @contextmanager
    def unlogged(self, messages: int) -> Iterator[None]:
        """Write without a WAL for as long as this lasts: what was committed is safe after the next checkpoint.

        To write texts into the WAL, and from there into the file, took a quarter of a first index. A kill leaves the
        index as the last checkpoint did, which is what readers have.

        Args:
            messages: How many the index will have in the end; the more, the more memory is needed.

        Raises:
            IndexUnwritable: The disk is full, or the like. Unless the database is still usable, open it anew.
        """
        with self._reopened():
            self._unlogged_mb = _UNLOGGED_MB + messages // _UNLOGGED_MESSAGES_PER_MB
        try:
            yield
        finally:
            if self.is_usable:
                with self._reopened():
                    self._unlogged_mb = 0

    @contextmanager
    def _reopened(self) -> Iterator[None]:
        """Close the working file, complete and without a WAL, and open it as it is wanted from now on."""
        with self.lock, self._exchanging, self.explained("replaced"):
            self.checkpoint()
            if _wal(self.work_path).exists():
                raise OSError(errno.EBUSY, "its WAL does not go away", str(self.work_path))
            self._close_file(is_kept=True)
            try:
                yield
            finally:
                self.is_usable = False
                self._open_file()
                self._suit_phase()
                self.is_usable = True

    def check_in_place(self) -> None:
        """Refuse to write where the open file is not the one at its path any more: a person moved or removed it.

        Raises:
            IndexUnwritable: So it is.
        """
        if not self._is_in_place():
            self.is_usable = False
            raise IndexUnwritable(
                f"The working file {self.work_path} was moved, removed or replaced while it was open. "
                "The index is opened anew, or a new one is made and the sources are read again."
            )

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turn what goes wrong with the files into subclasses of `IndexUnavailable`. Never inside a transaction.

        Args:
            doing: What cannot be done: written, published.

        Raises:
            IndexUnwritable: For what the world outside did.
            IndexDamaged: For what cannot be read any more.
        """
        try:
            yield
        except (duckdb.Error, OSError) as error:
            if isinstance(error, duckdb.Error):
                self._look()
            self._raise_explained(error, doing)
            raise

    def replace_rows(self, table: str, keys: Sequence[str], incoming: "pyarrow.Table") -> None:
        """Write rows over those with the same key; to be called inside a transaction.

        DELETE + INSERT: ON CONFLICT and MERGE make later checkpoints ten times slower.

        Args:
            table: Name of a table.
            keys: Columns that identify a row. A key occurs once in `incoming`.
            incoming: Columns by name, in any order; those left out become NULL. JSON is passed as text.
        """
        if not incoming.num_rows:
            return
        columns = ", ".join(quoted_name(key) for key in keys)
        stale = f"(SELECT {columns} FROM incoming)"
        is_text = str(incoming.schema.field(keys[0]).type) == "string"
        if len(keys) == 1 and is_text and incoming.num_rows <= _FEW_ROWS:  # an index finds constants alone
            stale = sql.texts(incoming.column(keys[0]).to_pylist())
        self.con.execute(f"DELETE FROM {quoted_name(table)} WHERE ({columns}) IN {stale}")
        self.add_rows(table, incoming)

    def add_rows(self, table: str, rows: "pyarrow.Table") -> None:
        """Write rows whose keys are not there; to be called inside a transaction.

        Args:
            table: Name of a table.
            rows: As in `replace_rows`.
        """
        if not rows.num_rows:
            return
        sql.insert(self.con, table, rows)

    def set_phase(self, phase: str, message: str) -> None:
        """Record what the indexer does from now on.

        Args:
            phase: bulk, real-time, stopped or failed.
            message: One line for the history.
        """
        now = _now()
        self.hot.forget()
        self.hot.most_rows = MOST_ROWS_IN_BULK if phase == "bulk" else MOST_ROWS
        with self.transaction() as con:
            con.execute(
                "UPDATE sync_state SET phase_since = CASE WHEN phase = $phase THEN phase_since ELSE $now END, "
                "phase = $phase",
                {"phase": phase, "now": now},
            )
            con.execute(
                "INSERT INTO sync_events VALUES ($now, $phase, $message)",
                {"now": now, "phase": phase, "message": message},
            )
        self.phase = phase
        self._suit_phase()
        log.info("phase %s: %s", phase, message)

    def migrate(self, to: int = SCHEMA_VERSION, *, is_backed_up: bool = False) -> MigrationResult:
        """Bring the schema to a version, up or down, one transaction a step, and say so in log and history.

        Killed at any moment, each step is done or not; the next call goes on. Publish with a new base afterwards.

        Args:
            to: Schema version to reach, from 1 to `SCHEMA_VERSION`.
            is_backed_up: A copy exists already, so none is made.

        Returns:
            What was done; nothing if it is at that version.

        Raises:
            IndexBroken: A copy or a step failed. The index stands where the last step before left it.
        """
        before, known = self.schema_version, migrations.known()
        steps = known[before:to] if to > before else known[to:before][::-1]
        backup = None if is_backed_up or not steps else self._back_up()
        for step in steps:
            self._step(step, is_up=to > before)
        if steps:
            log.info("%s: schema version %d is now %d", self.path, before, to)
        if to == SCHEMA_VERSION:
            self.fill()
        return MigrationResult(before, to, tuple(steps), backup)

    def load_price_sources(self) -> None:
        """Read what is known of list prices, if it changed since the last time.

        Raises:
            SettingsInvalid: The settings file cannot be used.
        """
        row = self.con.execute("SELECT is_sample FROM sync_state").fetchone()
        is_sample = row is not None and bool(row[0])
        stamp = price_sources.stamp(is_sample=is_sample)
        if stamp != self._price_stamp:
            self.price_sources = price_sources.load(is_sample=is_sample)
            self._price_stamp = stamp

    def fill(self) -> None:
        """Derive what sessions lack of the newest schema, a few at a time; a kill in between is made up for."""
        with self.explained("read"):
            waiting = derive.underived(self.con)
        if not waiting:
            return
        self.load_price_sources()
        with self.transaction() as con:
            prices.look_up(con, self.price_sources)
        for start in range(0, len(waiting), _SESSIONS_PER_TRANSACTION):
            chunk = waiting[start : start + _SESSIONS_PER_TRANSACTION]
            with self.transaction() as con:
                late_columns.fill(con, chunk)
                derive.refresh(con, chunk)
        log.info("%s: filled the newest tables for %d sessions", self.path, len(waiting))

    def close(self) -> None:
        """Close the working file and let another indexer in. What was committed stays. May be called twice."""
        with self.lock, self._exchanging:
            self._cleanup.close()

    def __enter__(self) -> "Database":
        """Return the database itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        self.close()

    def _step(self, step: migrations.Migration, *, is_up: bool) -> None:
        """Go through one migration in a transaction of its own."""
        what = "applied" if is_up else "undone"
        try:
            with self.transaction() as con:
                if is_up:
                    migrations.apply(con, step, _now())
                else:
                    migrations.revert(con, step)
                con.execute(
                    "INSERT INTO sync_events BY NAME SELECT $now AS occurred_at, phase, $message AS message "
                    "FROM sync_state",
                    {"now": _now(), "message": f"migration {step.label} {what}"},
                )
        except duckdb.Error as error:
            raise IndexBroken(
                f"The migration {step.label} of the index at {self.path} failed and changed nothing: {error}"
            ) from error
        log.info("migration %s %s", step.label, what)

    def _back_up(self) -> Path:
        """Copy the index to `FILE.bak-<date>`, whole or not at all."""
        backup, half_done = _backup_name(self.path), self.folder / "backup.new"
        half_done.unlink(missing_ok=True)
        try:
            self.con.execute("CHECKPOINT index_db")
            size = copy_file(self.main_fd, half_done)
            os.replace(half_done, backup)
        except (OSError, duckdb.IOException) as error:
            half_done.unlink(missing_ok=True)
            raise IndexBroken(
                f"The index at {self.path} cannot be copied before its schema changes: {error}. "
                f"It needs {os.fstat(self.main_fd).st_size / 1e6:,.0f} MB beside it; nothing was changed."
            ) from error
        log.info("kept a copy of the index as %s (%.0f MB); delete it when all is well", backup, size / 1e6)
        return backup

    def _state(self) -> tuple[int, str]:
        """Read the committed revision and phase."""
        row = self.con.execute("SELECT revision, phase FROM sync_state").fetchone()
        if row is None:
            raise IndexBroken(f"The index at {self.path} has lost its state row. {rebuild_advice(self.path)}")
        return int(row[0]), str(row[1])

    def _suit_phase(self) -> None:
        """Set what depends on the phase: many small changes, or few large ones.

        A small change takes as long on two threads, and a quarter more of the processor.
        """
        is_live = self.phase == "real-time"
        self.con.execute(f"SET index_scan_max_count = {_FEW_ROWS if is_live else 0}")
        self.con.execute(f"SET threads = {1 if is_live else SETTINGS['threads']}")
        self.con.execute(f"SET disabled_compression_methods = '{_SLOW if is_live else 'none'}'")

    def _roll_back(self) -> None:
        """Undo the open transaction and read again where the database stands."""
        self.hot.forget()
        try:
            self.con.execute("ROLLBACK")
        except duckdb.Error as error:  # a failed COMMIT has rolled back already; the first error is the one to raise
            log.debug("nothing to roll back: %s", error)
        self._look()

    def _look(self) -> None:
        """Read again where the database stands: an interrupt may arrive after a COMMIT took effect."""
        try:
            self.revision, self.phase = self._state()
        except duckdb.Error as error:
            self.is_usable = False
            log.warning("the index at %s has to be opened anew: %s", self.path, error)

    def _raise_explained(self, error: duckdb.Error | OSError, doing: str) -> None:
        """Raise what an error means for the index, if it is not a bug."""
        if failures.is_damage(error):
            self.is_usable = False
            self._mark_damaged(error)
            raise damaged(self.path, error) from error
        if failures.is_outside(error) or not self.is_usable:
            raise IndexUnwritable(
                f"The index at {self.path} cannot be {doing}: {failures.describe(error, self.folder)}"
            ) from error

    def _mark_damaged(self, error: duckdb.Error | OSError) -> None:
        """Tell the next start what an open that reads only some of the file might not find."""
        try:
            (self.folder / _DAMAGED_NAME).write_text(str(error), encoding="utf-8")
        except OSError as failure:
            log.warning("the damage cannot be noted for the next start: %s", failure)

    def _open_file(self) -> None:
        """Open the working file.

        Raises:
            IndexUnavailable: It cannot be opened.
        """
        option, settings = STORAGE_OPTIONS, _writer_settings(self.folder)
        if self._unlogged_mb:
            option, settings = option + _UNLOGGED, settings | {"memory_limit": f"{self._unlogged_mb}MB"}
        self.con = attach(self.work_path, self.path, option, settings)
        # Closing any descriptor of the working file drops DuckDB's POSIX lock on it. So this one outlives the
        # connection, and all copies are read through it.
        try:
            self.main_fd = os.open(self.work_path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            self.con.close()
            raise _folder_unusable(self.folder, error) from error

    def _close_file(self, *, is_kept: bool = False) -> None:
        """Close the working file.

        Args:
            is_kept: Leave it and its WAL as they are, whatever `is_wal_kept` says.
        """
        is_sound = self.is_usable and self._is_in_place()
        try:
            if is_kept or self.is_wal_kept or not is_sound:
                # It would write to a damaged file, or remove a WAL that belongs to another one by now.
                self.con.execute("PRAGMA disable_checkpoint_on_shutdown")
        except duckdb.Error as error:
            log.debug("the connection is closed, or takes no statement any more: %s", error)
        self.con.close()
        os.close(self.main_fd)
        if is_sound and self._is_whole:
            self._note_whole()

    def _check_length(self) -> None:
        """Read the working file to its end if it is shorter than it says, unless it was left so.

        Opening alone does not tell whether anything is missing. A checkpoint cuts unused blocks off the end, and still
        counts them: to read everything at each start then took 0.7 s of an index of 535 MB.

        Raises:
            duckdb.Error: Something is missing.
        """
        row = self.con.execute(
            "SELECT total_blocks * block_size FROM pragma_database_size() WHERE database_name = 'index_db'"
        ).fetchone()
        if row and size_of(self.work_path) < row[0] and not self._was_whole():
            contents(self.con, "index_db")
            self._note_whole()
        self._is_whole = True

    def _was_whole(self) -> bool:
        """Tell whether the working file looks as it did when it was last known to be whole."""
        try:
            return (self.folder / _WHOLE_NAME).read_text(encoding="ascii") == inode_stamp(self.work_path)
        except (OSError, UnicodeDecodeError):
            return False

    def _note_whole(self) -> None:
        """Note what the working file looks like: it was read to its end, or written by nobody else since."""
        try:
            (self.folder / _WHOLE_NAME).write_text(inode_stamp(self.work_path), encoding="ascii")
        except OSError as error:  # then the next start reads it
            log.debug("it cannot be noted that the working file is whole: %s", error)

    def _is_in_place(self) -> bool:
        """Say whether the open file is the one at its path."""
        try:
            return os.path.samestat(os.fstat(self.main_fd), os.stat(self.work_path))
        except FileNotFoundError:
            return False


def _folder_unusable(folder: Path, error: OSError) -> IndexUnavailable:
    """Say that the private folder cannot be used: for now, or as it is."""
    if failures.is_temporary(error):
        return IndexUnwritable(f"The folder {folder} cannot be used: {failures.describe(error, folder.parent)}")
    return IndexBroken(f"The folder {folder} cannot be used: {error}. Choose another file with --db.")


def copy_file(source: int, target: Path) -> int:
    """Copy a whole file from a descriptor to a new read-only file.

    Args:
        source: A descriptor. Of an open DuckDB file it must be the one that is kept for its connection's life.
        target: Must not exist yet.

    Returns:
        The number of bytes.
    """
    size = os.fstat(source).st_size
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o400)
    try:
        os.lseek(source, 0, os.SEEK_SET)
        copied = 0
        while copied < size:
            done = _copy_some(source, out, size - copied)
            if not done:
                raise OSError(f"a file became {size - copied} bytes shorter while it was copied")
            copied += done
    finally:
        os.close(out)
    return size


def _copy_some(source: int, out: int, count: int) -> int:
    """Copy up to `count` bytes from where both descriptors stand.

    Returns:
        The number of bytes; 0 at the end of the source.
    """
    if hasattr(os, "copy_file_range"):
        return os.copy_file_range(source, out, count)
    return os.write(out, os.read(source, min(count, 1 << 20)))


def _now() -> datetime:
    """Return the time as the index stores it: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def _work_path(path: Path) -> Path:
    """Return where the working file of an index lies."""
    return private_folder(path) / "work.duckdb"


def sync_folder(folder: Path) -> None:
    """Wait until a new name in a folder is on the disk. Where folders cannot be opened, the system sees to that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _writer_settings(folder: Path) -> Settings:
    """Return the indexer's DuckDB settings. The whole process then takes about 600 MB for 150,000 parts."""
    return {
        "memory_limit": "256MB",
        "preserve_insertion_order": False,
        # What is derived reads whole sessions: fetching their rows one by one from compressed columns took 11 ms where
        # a scan of the row groups that hold them takes 3. See `_FEW_ROWS`.
        "index_scan_max_count": 0,
        "index_scan_percentage": 0.0,
        "temp_directory": str(folder / "spill"),
        # Only the publisher checkpoints: a checkpoint makes the published base useless.
        "checkpoint_threshold": "100GB",
    }


def _lock(path: Path, cleanup: ExitStack) -> None:
    """Become the one indexer of an index, until `cleanup` or the end of the process.

    The lock is the operating system's, so it dies with its holder; the number beside it only names the holder.
    """
    folder = private_folder(path)
    lock = FileLock(folder / "indexer.lock", thread_local=False)
    holder = folder / "indexer.pid"
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        pid = holder.read_text(encoding="ascii").strip() if holder.is_file() else "unknown"
        raise AnotherIndexerRuns(
            f"Another indexer (process {pid}) already writes the index at {path}. "
            "Stop it first, or choose another file with --db."
        ) from error
    except OSError as error:
        raise _folder_unusable(folder, error) from error
    cleanup.callback(lock.release)
    try:
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:  # it only serves messages
        log.warning("cannot note which process writes the index: %s", error)


def _refuse_damaged(path: Path) -> None:
    """Refuse a working file that was found damaged while it was open, or of which only the WAL is left.

    Raises:
        IndexDamaged: So it is.
    """
    mark = private_folder(path) / _DAMAGED_NAME
    if mark.is_file():
        raise damaged(path, mark.read_text(encoding="utf-8", errors="replace") or f"{mark} says so")
    if _wal(_work_path(path)).exists() and not _work_path(path).exists():
        raise damaged(path, "the working file is gone, and only its WAL is left")


def _set_aside(path: Path, damage: IndexDamaged) -> None:
    """Keep a damaged working file as `FILE.broken-<date>`, and say so. Only the newest of such files are kept."""
    work, broken = _work_path(path), path.with_name(f"{path.name}.broken-{_now():%Y-%m-%dT%H%M%S.%f}")
    _move(_wal(work), _wal(broken))  # first: a kill here leaves no WAL that could meet a new file
    _move(work, broken)
    (private_folder(path) / _DAMAGED_NAME).unlink(missing_ok=True)
    kept = sorted({file.name.removesuffix(".wal") for file in path.parent.glob(f"{path.name}.broken-*")})
    for name in kept[:-_KEPT_BROKEN]:
        for file in (path.with_name(name), _wal(path.with_name(name))):
            file.unlink(missing_ok=True)
    log.error(
        "the index at %s is damaged (%s): kept as %s, delete it when all is well. "
        "A new one is made, and the sources are read again.",
        path,
        damage.reason,
        broken,
    )


def _make_file(path: Path, *, is_sample: bool) -> None:
    """Make an empty working file, all or nothing: one that cannot be opened did hold something, then."""
    fresh = private_folder(path) / "new.duckdb"
    try:
        for leftover in (fresh, _wal(fresh)):
            leftover.unlink(missing_ok=True)
        con = attach(fresh, path, STORAGE_OPTIONS, _writer_settings(fresh.parent))
        try:
            _create(con, is_sample)
            con.execute("CHECKPOINT index_db")  # closing would keep its errors to itself
        finally:
            con.close()
        os.replace(fresh, _work_path(path))
    except duckdb.Error as error:
        raise not_openable(path, error) from error
    except OSError as error:
        raise _folder_unusable(fresh.parent, error) from error


def _create(con: duckdb.DuckDBPyConnection, is_sample: bool) -> None:
    """Lay down the schema in an empty file, all or nothing."""
    now = _now()
    con.execute("BEGIN")
    con.execute(SCHEMA.read_text(encoding="utf-8"))
    migrations.record(con, migrations.known(), now)
    con.execute(
        "INSERT INTO sync_state BY NAME SELECT 0 AS revision, 'stopped' AS phase, $now AS phase_since, "
        "0 AS documents_done, $now AS updated_at, $is_sample AS is_sample",
        {"now": now, "is_sample": is_sample},
    )
    con.execute("COMMIT")


def _check_kind(con: duckdb.DuckDBPyConnection, path: Path, is_sample: bool) -> None:
    """Refuse to mix the bundled sample with a user's data."""
    if con.execute("SELECT is_sample FROM sync_state").fetchone() == (not is_sample,):
        kinds = ("the bundled sample data", "your own data")
        there, wanted = kinds if not is_sample else reversed(kinds)
        raise IndexForeign(f"The index at {path} holds {there}, not {wanted}. Choose another file with --db.")


def _is_there(path: Path) -> bool:
    """Tell whether there is any index, perhaps one that nobody but its owner may look at: opening it says so."""
    try:
        return path.is_file() or _work_path(path).is_file()
    except PermissionError:
        return True


def _refuse_foreign(path: Path) -> None:
    """Refuse a path where something lies that this program did not make. Changes nothing."""
    if path.is_symlink():
        target = path.parent / os.readlink(path)
        if target.parent.parent != private_folder(path):
            raise IndexForeign(f"{path} is a link to {target}. Give the file itself with --db, or another one.")
    elif path.is_file():
        if not is_own_copy(path):
            _check_regular(path)
    elif path.exists():
        raise IndexForeign(f"{path} is not a file. Choose another one with --db.")


def _check_regular(path: Path) -> None:
    """Refuse a regular file that is not an index, or a newer one."""
    try:
        con = attach(path, path, "READ_ONLY", {})
    except IndexUnavailable as error:
        raise IndexForeign(
            f"{path} cannot be opened as an index ({error.__cause__}). Move it away, or choose another file with --db."
        ) from error
    try:
        check_schema(con, path, is_older_usable=True)
    finally:
        con.close()


def _take_over(path: Path) -> None:
    """Make a regular index file the working file, and keep it as `FILE.bak-<date>`.

    A kill at any moment leaves the file where it is, or its copy in place: the next start does it again.
    """
    work, fresh = _work_path(path), private_folder(path) / "taken-over.duckdb"
    backup = _backup_name(path)
    for leftover in (fresh, _wal(fresh)):
        leftover.unlink(missing_ok=True)
    con = attach(path, path, "READ_ONLY", _writer_settings(private_folder(path)))
    try:
        con.execute(f"ATTACH {quoted(fresh)} AS fresh ({STORAGE_OPTIONS})")
        copy_index(con, "fresh")
        con.execute("DETACH fresh")  # one complete file, without a WAL
    finally:
        con.close()
    _move(_wal(work), backup.with_name(backup.name + "-work.wal"))
    _move(work, backup.with_name(backup.name + "-work"))
    os.replace(fresh, work)
    _move(_wal(path), _wal(backup))
    _move(path, backup)
    log.warning("%s was a regular file: kept as %s and taken over from there", path, backup)


def _backup_name(path: Path) -> Path:
    """Return where a copy of the index is kept."""
    return path.with_name(f"{path.name}.bak-{_now():%Y-%m-%dT%H%M%S.%f}")


def _wal(file: Path) -> Path:
    """Return where DuckDB keeps the WAL of a file."""
    return file.with_name(file.name + ".wal")


def _move(file: Path, target: Path) -> None:
    """Move a file, if there is one, to where others may look: it is for its owner alone from then on."""
    if file.exists():
        with suppress(PermissionError):  # another user's file, who decides about it
            file.chmod(0o600)
        os.replace(file, target)
