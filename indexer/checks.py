"""What is wrong with an index, and the command that mends it: what `python -m indexer check` and `status` tell.

Works on everything a person may have: no index, half of one, a damaged one, and while an indexer runs, which is never
kept waiting. Nothing is changed.
"""

import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from indexer import kept_spend, settings
from indexer.activity import Activity, is_running, read_activity
from indexer.comparison import SAMPLE, Comparison, compare
from indexer.duckdb_file import attach, check_schema, contents
from indexer.exceptions import IndexForeign, IndexMissing, IndexNewer, IndexOlder, IndexUnavailable
from indexer.exclusion import Exclusion, narrowed
from indexer.index_files import private_folder, size_of
from indexer.invariants import DELETED_TEXTS, DERIVED, REFERENCES, broken, number
from indexer.kept_spend import Unusable, kept_spend_path
from indexer.next_base import NEXT_BASE_NAME
from indexer.published import IndexReader
from indexer.storages import GONE, find_sources

OK, NOTE, PROBLEM = "ok", "note", "problem"

_SPARE_BYTES = 64 << 20  # for the working file's log, and what DuckDB spills
_SETTLE_S = 5.0  # what a running indexer is given to catch up
_POLL_S = 0.1
_WIPED_WITHIN = timedelta(minutes=15)
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        state: ok, note (worth knowing, nothing has to be done) or problem.
        text: What was found, for a person.
        remedy: The command that mends it. None: nothing to mend, or no command does.
    """

    name: str
    state: str
    text: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What to check.

    Attributes:
        index: What readers open, absolute.
        data_dirs: OpenCode's data folders, absolute. None: those that the index was made from, else the default.
    """

    index: Path
    data_dirs: tuple[Path, ...] | None = None

    def command(self, name: str) -> str:
        """Write a command of the indexer for this place, with what differs from the defaults."""
        words = ["python", "-m", "indexer", name]
        if name in ("bulk", "run") and self.data_dirs and list(self.data_dirs) != settings.data_dirs():
            words += [word for folder in self.data_dirs for word in ("--data", str(folder))]
        if self.index != settings.index_path():
            words += ["--db", str(self.index)]
        return shlex.join(words)

    def rebuild(self) -> str:
        """Write the commands that make a new index; the next start keeps the working file aside where it is marked."""
        return f"{shlex.join(['touch', str(private_folder(self.index) / 'damaged')])} && {self.command('bulk')}"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes the index.

    Attributes:
        is_there: A process holds it now.
        pid: Its number; None if nobody is there, or unknown.
        activity: What it, or the one before, said last.
        is_silent: It said something once, and gives no sign of life any more.
    """

    is_there: bool
    pid: int | None
    activity: Activity | None
    is_silent: bool


def lines(found: Iterable[Check]) -> Iterator[str]:
    """Write checks for a person, each with the command that mends it.

    Args:
        found: What was found.
    """
    for check in found:
        yield f"{check.state:<8} {check.name:<14} {check.text}"
        if check.remedy:
            yield f"{'':<23} {'to mend it' if check.state == PROBLEM else 'to go on'}: {check.remedy}"


def find_writer(index: Path) -> Writer:
    """Find out whether an indexer runs, by the lock that ends with its process.

    Args:
        index: What readers open.
    """
    activity = read_activity(index)
    folder = private_folder(index)
    if not _is_locked(folder):
        return Writer(False, None, activity, False)
    try:
        pid = int((folder / "indexer.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        pid = None
    is_alive = is_running(activity, time.time_ns() // 1_000_000)
    return Writer(True, pid, activity, activity is not None and activity.pid == pid and not is_alive)


def quick(place: Place) -> list[Check]:
    """Find out what is wrong without reading OpenCode's storage or all of the index.

    Args:
        place: What to check.
    """
    writer = find_writer(place.index)
    with closing(IndexReader(place.index)) as reader:
        index, con = _open(place, reader)
        found = [index]
        if con is None:
            found.append(_check_work(place, writer, index))
        else:
            with closing(con):
                place = _with_folders(place, con)
                found += _guarded(
                    place,
                    lambda: [*_check_indexer(place, con, writer), *_check_recorded_sources(place, con, writer)],
                    lambda: [_check_ledger(con), _check_kept_spend(place, con, writer)],
                )
    return [*found, *([] if con else [_check_kept_spend(place, None, writer)]), *_check_disk(place)]


def thorough(place: Place, *, sample: int | None = SAMPLE) -> list[Check]:
    """Find out whether all in the index is right, and all that should be in it is.

    Args:
        place: What to check.
        sample: Number of messages whose content is compared with OpenCode's; None: all.
    """
    writer = find_writer(place.index)
    with closing(IndexReader(place.index)) as reader:
        index, con = _open(place, reader)
        found = [index, _check_work(place, writer, index)]
        if con is None:
            found += [_check_kept_spend(place, None, writer), _check_folders(place)]
        else:
            with closing(con):
                place = _with_folders(place, con)
                found += _guarded(
                    place,
                    lambda: [_check_rows(con)],
                    lambda: _check_derived(place, con, writer),
                    lambda: _check_indexer(place, con, writer),
                    lambda: _check_deleted_texts(place, con, writer),
                    lambda: [_check_ledger(con), _check_kept_spend(place, con, writer)],
                    lambda: _check_sources(place, reader, sample),
                )
    return [*found, *_check_disk(place)]


def _is_locked(folder: Path) -> bool:
    """Tell whether a process holds the lock of an index."""
    file = folder / "indexer.lock"
    try:
        if not file.exists():
            return False
        with FileLock(file, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # another user's: the checks of the index and its working file say so


def _open(place: Place, reader: IndexReader) -> tuple[Check, duckdb.DuckDBPyConnection | None]:
    """Open the published index; what is wrong with it decides what mends it."""
    try:
        con = reader.connection()
    except IndexMissing as error:
        lost = place.index.is_symlink() or private_folder(place.index).exists()
        text = f"What {place.index} leads to is gone." if lost else str(error)
        return Check("index", PROBLEM, text, place.command("bulk")), None
    except IndexOlder as error:
        return Check("index", PROBLEM, str(error), place.command("migrate")), None
    except (IndexNewer, IndexForeign) as error:
        return Check("index", PROBLEM, str(error)), None
    except IndexUnavailable as error:
        return Check("index", PROBLEM, str(error), _mend_published(place)), None
    return Check("index", OK, f"{place.index} can be read"), con


def _mend_published(place: Place) -> str | None:
    """Say what mends a damaged published file: every start publishes a sound working file anew.

    Returns:
        The command. None if none does: what is there is no indexer's, or another user's.
    """
    try:
        if not private_folder(place.index).is_dir():
            return None
        with closing(_open_work(place)) as con:
            _read_all(con)
    except (IndexUnavailable, duckdb.Error, Timeout, FileNotFoundError):
        return place.rebuild()
    except OSError:
        return None
    return place.command("bulk")


def _open_work(place: Place) -> duckdb.DuckDBPyConnection:
    """Open the working file for reading, which nobody may have open."""
    work = private_folder(place.index) / "work.duckdb"
    if not work.is_file():
        raise FileNotFoundError(work)
    with FileLock(work.with_name("indexer.lock"), blocking=False):
        con = attach(work, place.index, "READ_ONLY", {})
    try:
        check_schema(con, place.index, is_older_usable=True)
    except BaseException:
        con.close()
        raise
    return con


def _check_work(place: Place, writer: Writer, index: Check) -> Check:
    """Check the working file; the process that has it open knows best.

    Args:
        place: Where it is.
        writer: Who has it open.
        index: What was found of the published one.
    """
    if writer.is_there:
        return Check("working file", OK, f"in use by process {writer.pid}")
    try:
        _open_work(place).close()
    except FileNotFoundError:
        if index.state == PROBLEM and not index.remedy:  # whatever lies there is none
            return Check("working file", NOTE, "none yet")
        if place.index.is_file() and not place.index.is_symlink():
            text = f"{place.index} is a whole index in one file: the next start takes it over"
            return Check("working file", NOTE, text)
        is_any = place.index.exists()
        text = "It is missing, and is made anew from OpenCode's data and the kept spend." if is_any else "none yet"
        return Check("working file", PROBLEM if is_any else NOTE, text, place.command("bulk") if is_any else None)
    except Timeout:
        return Check("working file", OK, "in use by an indexer that has just started")
    except (IndexForeign, IndexNewer) as error:
        return Check("working file", PROBLEM, str(error))
    except IndexUnavailable as error:
        return Check("working file", PROBLEM, str(error), place.command("bulk"))
    except OSError as error:
        return Check("working file", PROBLEM, f"It cannot be reached: {error}. Only its owner may use it.")
    return Check("working file", OK, "can be read")


def _with_folders(place: Place, con: duckdb.DuckDBPyConnection) -> Place:
    """Take the folders that the index was made from, where none are given."""
    if place.data_dirs is not None:
        return place
    rows = con.execute("SELECT data_dir FROM sources GROUP BY data_dir ORDER BY min(source_id)").fetchall()
    return replace(place, data_dirs=tuple(Path(folder) for (folder,) in rows) or tuple(settings.data_dirs()))


def _guarded(place: Place, *checks: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Run checks that read the index; the first that cannot shows that it is damaged."""
    try:
        for check in checks:
            yield from check()
    except duckdb.Error as error:
        yield damage(place, error)


def damage(place: Place, error: duckdb.Error) -> Check:
    """Tell that the index opens and cannot be read.

    Args:
        place: Where it is.
        error: What reading it raised.
    """
    return Check("rows", PROBLEM, f"The index is damaged: {error}", _mend_published(place))


def _check_rows(con: duckdb.DuckDBPyConnection) -> Check:
    """Read every row of every table: DuckDB compares the checksum of every block it reads."""
    return Check("rows", OK, f"all {_read_all(con):,} rows can be read")


def _read_all(con: duckdb.DuckDBPyConnection) -> int:
    """Read every value; return the number of rows."""
    return sum(count for _, count, _ in contents(con, "index_db"))


def _check_derived(place: Place, con: duckdb.DuckDBPyConnection, writer: Writer) -> Iterator[Check]:
    """Check what follows from rows, and that rows belong together."""
    wrong = broken(con, DERIVED)
    stop = f" Stop the indexer (process {writer.pid}) first." if writer.is_there else ""
    if wrong:
        text = f"Numbers do not follow from their rows: {'; '.join(wrong)}.{stop}"
        yield Check("totals", PROBLEM, text, place.command("backfill"))
    else:
        yield Check("totals", OK, "sessions, exchanges and traces add up to the messages they come from")
    wrong = broken(con, REFERENCES)
    if wrong:
        text = f"Rows belong to nothing: {'; '.join(wrong)}.{stop}"
        yield Check("references", PROBLEM, text, place.rebuild())
    else:
        yield Check("references", OK, "every row belongs to one that is there")


def _check_indexer(place: Place, con: duckdb.DuckDBPyConnection, writer: Writer) -> Iterator[Check]:
    """Check what the indexer does, or in which state the last one left the index."""
    row = con.execute("SELECT phase, phase_since, updated_at, last_full_pass_at IS NOT NULL FROM sync_state").fetchone()
    assert row is not None, "sync_state has one row"
    phase, since, updated_at, is_complete = row
    if writer.is_there:
        yield _check_running(writer, phase)
    elif phase == "bulk":
        text = (
            f"The pass that began {local(since)} was cut short: totals may be partial. Nothing that was read is lost."
        )
        yield Check("indexer", PROBLEM, text, place.command("bulk"))
    elif phase == "failed":
        last = con.execute("SELECT message FROM sync_events ORDER BY occurred_at DESC LIMIT 1").fetchone()
        text = f"The last indexer failed {local(since)}: {last[0] if last else 'no reason is known'}"
        yield Check("indexer", PROBLEM, text, place.command("run"))
    elif not is_complete:
        yield Check("indexer", PROBLEM, "No pass over OpenCode's data was completed yet.", place.command("bulk"))
    elif phase != "stopped":
        text = f"None runs. The last one was killed, or the power failed, after {local(updated_at)}; nothing is lost."
        yield Check("indexer", NOTE, text, place.command("run"))
    else:
        yield Check("indexer", NOTE, f"none runs; stopped {local(since)}", place.command("run"))
    if updated_at > _now() + timedelta(minutes=1):
        yield Check("clock", NOTE, f"The last change is of {local(updated_at)}: the clock was set back since.")


def _check_running(writer: Writer, phase: str) -> Check:
    """Check a process that holds the index."""
    activity = writer.activity
    if writer.is_silent and activity is not None:
        said = local(from_ms(activity.at_ms))
        text = f"Process {writer.pid} holds the index and gives no sign of life since {said}."
        return Check("indexer", PROBLEM, text, f"kill {writer.pid}")
    if activity is not None and activity.problem and activity.pid == writer.pid:
        return Check("indexer", PROBLEM, f"Process {writer.pid} has a problem and tries again: {activity.problem}")
    return Check("indexer", OK, f"process {writer.pid} runs, phase {phase}")


def _check_recorded_sources(place: Place, con: duckdb.DuckDBPyConnection, writer: Writer) -> list[Check]:
    """Check what the last pass said of each storage."""
    rows = con.execute(
        "SELECT path, coalesce(reason, 'It could not be read.') FROM sources WHERE state = 'unreadable' ORDER BY 1"
    ).fetchall()
    remedy = None if writer.is_there else place.command("bulk")
    return [
        # who removed the JSON tree after OpenCode migrated it need not do anything
        Check("source", NOTE if reason == GONE else PROBLEM, reason if path in reason else f"{path}: {reason}", remedy)
        for path, reason in rows
    ]


def _check_deleted_texts(place: Place, con: duckdb.DuckDBPyConnection, writer: Writer) -> Iterator[Check]:
    """Check that what OpenCode deleted is deleted here, too."""
    left = number(con, DELETED_TEXTS)
    row = con.execute("SELECT texts_deleted_at FROM sync_state").fetchone()
    since = row[0] if row else None
    if left:
        yield Check("deleted texts", PROBLEM, f"{left:,} texts that OpenCode deleted are still here.", place.rebuild())
    elif since is not None and (not writer.is_there or _now() - since > _WIPED_WITHIN):
        text = f"Texts deleted since {local(since)} are no longer shown, but not yet wiped out of the file."
        yield Check("deleted texts", PROBLEM, text, None if writer.is_there else place.command("bulk"))
    else:
        yield Check("deleted texts", OK, "none is left" if since is None else "being wiped out of the file")


def _check_ledger(con: duckdb.DuckDBPyConnection) -> Check:
    """Count what could not be read."""
    rows = con.execute("SELECT state, count(*) FROM documents GROUP BY state").fetchall()
    counts = {str(state): int(count) for state, count in rows}
    if not counts:
        return Check("documents", OK, "all could be read")
    text = f"{counts.get('unreadable', 0):,} could not be read, {counts.get('partial', 0):,} only in part"
    return Check("documents", NOTE, f"{text}: the Indexer page lists them with reasons")


def _check_kept_spend(place: Place, con: duckdb.DuckDBPyConnection | None, writer: Writer) -> Check:
    """Check the backup of what OpenCode deleted."""
    name, file = "kept spend", kept_spend_path(place.index)
    remedy = None if writer.is_there else place.command("bulk")
    try:
        kept = kept_spend.verify(file)
    except Unusable as error:
        text = f"{error} It is the backup of what OpenCode deleted."
        return Check(name, PROBLEM, f"{text} {_only_here(con)}".strip(), remedy)
    if con is None:
        if kept is None:
            return Check(name, NOTE, f"{file} is not there: a new index lacks what OpenCode deleted before now")
        return Check(name, OK, f"{file} keeps {_messages(kept.rows['messages'])}")
    deleted = number(con, "SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL")
    if kept is None and not deleted:
        return Check(name, OK, "OpenCode deleted nothing yet")
    if kept is not None and kept_spend.is_current(con, kept):
        return Check(name, OK, f"{file} keeps {_messages(deleted)}")
    if writer.is_there and kept is not None:
        return Check(name, OK, f"{file} is being brought up to date")
    return Check(name, PROBLEM, f"{file} is {'old' if kept else 'missing'}. {_only_here(con)}", remedy)


def _only_here(con: duckdb.DuckDBPyConnection | None) -> str:
    """Say what depends on the index alone while its backup is no use."""
    if con is None:
        return "Without it a new index lacks what OpenCode deleted before now."
    deleted = number(con, "SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL")
    return f"Until it is written again, {_messages(deleted)} are in this index alone."


def _messages(count: int) -> str:
    """Count deleted messages in words."""
    return f"the numbers of {count:,} deleted message{'' if count == 1 else 's'}"


def _check_disk(place: Place) -> list[Check]:
    """Check that there is room for one more copy of the working file, which publishing needs."""
    folder = private_folder(place.index)
    work = folder / "work.duckdb"
    try:
        # a base that is prepared has its room already
        size, free = work.stat().st_size, shutil.disk_usage(folder).free + size_of(folder / NEXT_BASE_NAME)
    except OSError:
        return []
    needed = size + _SPARE_BYTES
    if free >= needed:
        return [Check("disk", OK, f"{free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB needed")]
    text = f"Only {free / 1e6:,.0f} MB are free beside {place.index}; publishing needs up to {needed / 1e6:,.0f} MB."
    return [Check("disk", PROBLEM, text, shlex.join(["df", "-h", str(folder)]))]


def _check_folders(place: Place) -> Check:
    """Check whether there is anything to build an index from."""
    folders = place.data_dirs or tuple(settings.data_dirs())
    if any(settings.has_source(folder) for folder in folders):
        return Check("sources", OK, f"OpenCode's data is in {', '.join(map(str, folders))}")
    return Check("sources", PROBLEM, settings.no_source(folders))


def _check_sources(place: Place, reader: IndexReader, sample: int | None) -> list[Check]:
    """Compare the index with OpenCode's data, as a running indexer brings it up to date."""
    folders = _check_folders(place)
    if folders.state == PROBLEM:
        return [folders]
    found = _compare(place, reader, sample)
    differences = found.differences
    deadline = time.monotonic() + _SETTLE_S
    while differences and find_writer(place.index).is_there and time.monotonic() < deadline:
        _await_revision(reader, deadline)
        again = _compare(place, reader, differences.changed | differences.outdated)
        differences &= again.differences
    checks = [Check("source", PROBLEM, reason, _bulk_unless_running(place)) for reason in found.unusable]
    checks += [
        Check("source", NOTE, f"{path} held sessions before and is not there now. Its rows stay.")
        for path in found.absent
    ]
    return [*checks, _judge(place, replace(found, differences=differences))]


def _compare(place: Place, reader: IndexReader, sample: int | set[str] | None) -> Comparison:
    """Compare the newest revision with OpenCode's data as it is now."""
    with closing(reader.refresh().cursor()) as con:
        state = con.execute("SELECT is_sample FROM sync_state").fetchone()
        excluded = () if state and state[0] else settings.excluded_projects()
        return compare(con, narrowed(find_sources(place.data_dirs or ()), Exclusion(excluded)), sample=sample)


def _await_revision(reader: IndexReader, deadline: float) -> None:
    """Wait until something new is published, or it is too late."""
    before = reader.revision()
    while time.monotonic() < deadline and reader.revision() == before:
        time.sleep(_POLL_S)


def _judge(place: Place, found: Comparison) -> Check:
    """Say what differs from OpenCode's data, and whether that is wrong."""
    name, differences = "content", found.differences
    seen = f"{found.sessions:,} sessions and {found.messages:,} messages in OpenCode's data"
    if not differences:
        return _judge_equal(name, seen, found)
    kinds = (
        (differences.missing, "are not in the index"),
        (differences.gone, "are deleted in OpenCode, and not yet here"),
        (differences.changed, "changed since"),
        (differences.outdated, "were read by an older version of this program"),
    )
    text = "; ".join(f"{len(ids):,} {what} ({_some(ids)})" for ids, what in kinds if ids)
    writer = find_writer(place.index)
    if not writer.is_there:
        return Check(name, PROBLEM, f"{seen}; {text}.", place.command("bulk"))
    planned = writer.activity.next_comparison_at_ms if writer.activity else None
    when = f" Everything is compared at {local(from_ms(planned))}." if planned else ""
    return Check(name, NOTE, f"behind by {len(differences):,} documents, which the indexer is to apply: {text}.{when}")


def _judge_equal(name: str, seen: str, found: Comparison) -> Check:
    """Say that nothing differs, and what of it nobody could look at: that may differ."""
    if found.unusable:
        compared = f"{found.read:,} read again, all equal" if found.read else "no content could be compared"
        return Check(name, NOTE, f"{seen} that can be read, all in the index; {compared}. The rest is not compared.")
    if found.messages and not found.read:
        return Check(name, NOTE, f"{seen}, all in the index; none of them could be read again to compare its content.")
    return Check(name, OK, f"{seen}, all in the index; {found.read:,} read again, all equal")


def _bulk_unless_running(place: Place) -> str | None:
    """Name the command that reads everything, unless an indexer does so anyway."""
    return None if find_writer(place.index).is_there else place.command("bulk")


def _some(ids: set[str]) -> str:
    """Name a few of many."""
    named = ", ".join(sorted(ids)[:_EXAMPLES])
    return named if len(ids) <= _EXAMPLES else f"{named}, …"


def _now() -> datetime:
    """Return the time as the index stores it: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def from_ms(moment: int) -> datetime:
    """Turn ms since 1970 into naive UTC."""
    return datetime.fromtimestamp(moment / 1000, UTC).replace(tzinfo=None)


def local(moment: datetime) -> str:
    """Write a naive UTC time in local time."""
    return moment.replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
