"""One full pass over every storage: compare everything, look at what is new or different, newest sessions first."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from indexer import first_totals, price_changes, update
from indexer.batch import replace_table_rows
from indexer.changes import Changes
from indexer.database import Database
from indexer.documents import Document
from indexer.publish import Publisher
from indexer.purge import purge_indexed
from indexer.rows import DocumentRow
from indexer.sources import Source
from indexer.storages import Storage, find_sources, now_ms, open_storages, record_storages
from indexer.survey import Survey, held_unwritten, noted_stamps, read_indexed, survey

__all__ = ["BulkResult", "find_sources", "load"]

Progress = Callable[[int, int], None]

_MANY_MESSAGES = 2_000  # worth opening the working file anew, twice
_RETRIES = 8  # of files that were being rewritten
_RETRY_S = 0.3


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a pass found.

    Attributes:
        problems: Why sources could not be read, one text each.
        sessions: In all sources that could be read; so with messages.
        written: Messages that were new or changed.
        unreadable: Documents without a row, of those that were read.
        compared_s: How long it took to compare everything. 0: nothing had been written.
    """

    sources: int
    problems: tuple[str, ...]
    sessions: int
    messages: int
    written: int
    unreadable: int
    compared_s: float


def load(
    database: Database,
    publisher: Publisher,
    sources: Sequence[Source],
    progress: Progress | None = None,
    *,
    data_dirs: Sequence[Path] = (),
    is_trusting: bool = False,
) -> BulkResult:
    """Bring the index up to date with its sources: a first scan, or a comparison of everything later.

    Unchanged messages cost no write, and mostly no read. A pass that is cut short is taken up by the next one.

    Args:
        database: The index.
        publisher: Makes it visible, every few seconds.
        sources: What to read. One that cannot be read is recorded and left out; its rows stay.
        progress: Called with the number of messages done and to do.
        data_dirs: Where the sources were looked for: of one that is empty now, what was there is recorded as gone.
        is_trusting: Take rows of a database with the same update times for unchanged, see `survey`; and databases that
            look as they did for unwritten, see `held_unwritten`.

    Returns:
        What was found.
    """
    if database.phase != "bulk":
        database.set_phase("bulk", f"reading {len(sources)} source{'' if len(sources) == 1 else 's'}")
    purge_indexed(database)
    price_changes.bring_up_to_date(database)
    storages = open_storages(database, sources, data_dirs)
    try:
        if is_trusting and (held := held_unwritten(database, storages)):
            return _spared(database, len(storages), *held)
        return _pass(database, publisher, storages, progress or (lambda done, total: None), is_trusting)
    finally:
        for storage in storages:
            storage.source.close()
        publisher.publish()


def _spared(database: Database, storages: int, sessions: int, messages: int) -> BulkResult:
    """Record that everything is as it was compared before."""
    with database.transaction() as con:
        con.execute(
            """
            UPDATE sync_state SET documents_total = 0, documents_done = 0,
                last_full_pass_at = make_timestamp_ms($now), last_reconciled_at = make_timestamp_ms($now)
            """,
            {"now": now_ms()},
        )
        first_totals.remove(database)
    return BulkResult(storages, (), sessions, messages, written=0, unreadable=0, compared_s=0.0)


def _pass(
    database: Database, publisher: Publisher, storages: Sequence[Storage], progress: Progress, is_trusting: bool
) -> BulkResult:
    """Compare everything and look at what differs."""
    started = time.monotonic()
    found = survey(read_indexed(database), storages, is_trusting=is_trusting, with_failed=True)
    compared_s = time.monotonic() - started
    total, done = len(found.changes.messages), 0
    with database.transaction() as con:
        con.execute("UPDATE sync_state SET documents_total = $total, documents_done = 0", {"total": total})
        first_totals.remove(database)  # of a pass that was cut short
    record_listing(database, storages, found.problems)

    def report(messages: int) -> None:
        """Tell how far the pass is, and show it now and then."""
        nonlocal done
        done += messages
        progress(min(done, total), total)
        publisher.publish_if_due()

    if total >= _MANY_MESSAGES and first_totals.is_worthwhile(database, storages):
        _show_totals(database, publisher, storages, found.changes, lambda: progress(0, total))
    with database.unlogged(found.messages) if total >= _MANY_MESSAGES else nullcontext():
        applied = update.apply(database, storages, found.changes, may_postpone=True, on_batch=report)
        found.changes.messages.clear()  # the checkpoint at the end of this wants the memory
    written, unreadable = applied.written, applied.unreadable
    for attempt in range(_RETRIES):
        if not applied.postponed:
            break
        time.sleep(_RETRY_S)
        is_last = attempt == _RETRIES - 1
        applied = update.apply(database, storages, applied.postponed, may_postpone=not is_last)
        written, unreadable = written + applied.written, unreadable + applied.unreadable
    with database.transaction() as con:
        con.execute("UPDATE sync_state SET last_full_pass_at = make_timestamp_ms($now)", {"now": now_ms()})
        record_comparison(database, storages, found)
        first_totals.remove(database)
    return BulkResult(
        sources=sum(not storage.problem for storage in storages),
        problems=tuple(storage.problem for storage in storages if storage.problem),
        sessions=found.sessions,
        messages=found.messages,
        written=written,
        unreadable=unreadable,
        compared_s=compared_s,
    )


def _show_totals(
    database: Database,
    publisher: Publisher,
    storages: Sequence[Storage],
    changes: Changes,
    on_read: Callable[[], None] = lambda: None,
) -> None:
    """Show all sessions, and then what was spent in them, before messages are read one by one.

    Args:
        database: The index.
        publisher: Makes it visible.
        storages: All of them.
        changes: Everything that they hold.
        on_read: Called now and then while this lasts.
    """
    named = Changes(projects={*changes.projects}, sessions={*changes.sessions})
    with first_totals.reading(storages, changes.messages) as usages:
        update.apply(database, storages, named, may_postpone=True)
        publisher.publish()
        is_known = first_totals.add(database, usages, on_read)
    if is_known:
        publisher.publish()


def record_comparison(database: Database, storages: Sequence[Storage], found: Survey) -> None:
    """Record that everything was compared and looked at; to be called inside a transaction."""
    record_storages(database, storages)
    record_reconciled(database)
    stamps = noted_stamps(database, found.file_stamps)
    for storage in storages:
        stamp = None if storage.problem or not storage.is_complete else stamps[storage.source_id]
        database.con.execute(
            "UPDATE sources SET file_stamp = $stamp WHERE source_id = $source_id",
            {"stamp": stamp, "source_id": storage.source_id},
        )


def record_reconciled(database: Database) -> None:
    """Record that the index holds what the storages hold; to be called inside a transaction."""
    database.con.execute("UPDATE sync_state SET last_reconciled_at = make_timestamp_ms($now)", {"now": now_ms()})


def record_listing(database: Database, storages: Sequence[Storage], problems: dict[int, list[Document]]) -> None:
    """Put what cannot be listed into the ledger, in place of what could not before.

    Args:
        database: The index.
        storages: All of them.
        problems: By number of the storage; storages that could not be read are left out.
    """
    known = database.con.execute(
        "SELECT source_id, key, reason FROM documents WHERE owner_id = '' ORDER BY ALL"
    ).fetchall()
    now = now_ms()
    rows = [
        row
        for storage in storages
        if storage.source_id in problems
        for row in update.listing_rows(storage, problems[storage.source_id], now)
    ]
    before = {(source_id, key, reason) for source_id, key, reason in known if source_id in problems}
    if before == {(row.source_id, row.key, row.reason) for row in rows}:
        return
    with database.transaction() as con:
        con.execute(
            "DELETE FROM documents WHERE owner_id = '' AND source_id IN (SELECT unnest($ids::INTEGER[]))",
            {"ids": list(problems)},
        )
        replace_table_rows(database, DocumentRow, rows)
