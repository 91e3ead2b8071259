"""What was spent, shown before everything is read: a first pass over years of sessions takes minutes.

Messages and the ends of steps alone tell every token and cost; texts and tool calls, which are most of a storage, are
left for the pass itself. The numbers are told by the same functions as those of the pass, and equal them; but for the
list price of a message one of whose steps has the id of another message's, which the pass leaves out.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

import duckdb

from indexer import derive, prices, sql
from indexer.arrow_tables import select_list, tuple_table
from indexer.database import Database
from indexer.exchanges import Message
from indexer.reading import MESSAGE_COLUMNS, PART_COLUMNS, Ids, ReadingProcesses, Usage, chunks_of, process_count
from indexer.report_rows import UsageSlice, slices_of
from indexer.storages import Storage

log = logging.getLogger(__name__)

_MESSAGES_PER_READ = 400
_ROWS_PER_FETCH = 10_000
_SLICES_PER_WRITE = 10_000
_OF_PARTS = ["calls", "failed_calls", "unfinished_calls", "unfinished_answers"]  # not known yet


def is_worthwhile(database: Database, storages: Sequence[Storage]) -> bool:
    """Tell whether nothing was read yet, and all storages can be read by other processes."""
    if any(storage.problem for storage in storages) or not process_count(storage.source for storage in storages):
        return False
    return database.con.execute("SELECT NOT EXISTS (FROM messages)").fetchone() == (True,)


@contextmanager
def reading(storages: Sequence[Storage], messages: Ids) -> Iterator[Iterator[Usage | None]]:
    """Read what messages used, in processes of their own, as long as this lasts.

    Args:
        storages: All of them.
        messages: Everything that they hold, by session.

    Yields:
        What was found. None: it could not be read.
    """
    sources = [storage.source for storage in storages]
    places = [storage.place({}) for storage in storages]
    chunks = chunks_of(messages, messages.get, lambda session_id: 0, _MESSAGES_PER_READ)
    # one more than a pass has: nothing is written meanwhile
    with ReadingProcesses(sources, places, process_count(sources) + 1) as processes:
        found = processes.usages(chunks)  # begins to read

        def usages() -> Iterator[Usage | None]:
            """Hand over what is found, and end the processes after the last: what follows wants their memory."""
            yield from (usage for _, usage in found)
            processes.end()

        yield usages()


def add(database: Database, found: Iterable[Usage | None], on_read: Callable[[], None]) -> bool:
    """Put what was spent into the index, for readers until the pass ends. All sessions with a document are there.

    Args:
        database: The index, outside of a transaction.
        found: What all messages used.
        on_read: Called for each of them.

    Returns:
        Whether it worked. What cannot be read, or wants more memory than there is, is left to the pass.

    Raises:
        IndexUnwritable: The disk is full, or the like.
    """
    with database.lock, database.explained("written"), database.cursor() as con:
        try:
            is_read = _read(con, found, on_read)
        except duckdb.OutOfMemoryException as error:
            log.warning("what was spent is not told before the pass ends: %s", error)
            return False
        if not is_read:
            return False
        models = con.execute("SELECT DISTINCT provider_id, model_id FROM messages").fetchall()
        with database.transaction(is_visible=False):
            named = {model for model in models if None not in model}
            prices.ensure_known(database.con, database.hot, database.price_sources, named)
        keys = con.execute("SELECT DISTINCT fork_key FROM messages WHERE fork_key IS NOT NULL").fetchall()
        derive.flag_fork_copies(con, (), {key for (key,) in keys})
        prices.reprice(con, "TRUE")
        unknown = con.execute(
            "SELECT DISTINCT session_id FROM messages ANTI JOIN sessions USING (session_id) ORDER BY session_id"
        ).fetchall()
        with database.transaction() as writer:
            _name_sessions(database, [session_id for (session_id,) in unknown])
            for slices in _slices(con):
                sql.insert(writer, "first_slices", tuple_table(UsageSlice, slices).drop_columns(_OF_PARTS))
    return True


def remove(database: Database) -> None:
    """Take it out again, inside a transaction: everything is read, or was not read to the end the last time."""
    if database.con.execute("SELECT EXISTS (FROM first_slices)").fetchone() == (True,):
        database.con.execute("DELETE FROM first_slices")
        _forget_sessions(database)


def _read(con: duckdb.DuckDBPyConnection, found: Iterable[Usage | None], on_read: Callable[[], None]) -> bool:
    """Put what messages used into tables that stand in for those of the index, for one connection alone."""
    for table, columns in (("messages", MESSAGE_COLUMNS), ("parts", PART_COLUMNS)):
        names = ", ".join([*columns, "deleted_at"])
        con.execute(f"CREATE TEMP TABLE {table} AS SELECT {names} FROM index_db.main.{table} LIMIT 0")
    for usage in found:
        if usage is None:
            return False
        sql.insert(con, "messages", usage.messages)
        sql.insert(con, "parts", usage.parts)
        on_read()
    return True


def _name_sessions(database: Database, session_ids: Collection[str]) -> None:
    """Give sessions that only messages name a row: what was spent in them belongs to an unknown project."""
    if session_ids:
        database.con.execute(
            """
            INSERT INTO sessions BY NAME
            SELECT unnest($ids::VARCHAR[]) AS session_id, TRUE AS is_placeholder, FALSE AS is_missing_in_newer,
                   0 AS generation, 0 AS content_hash
            """,
            {"ids": list(session_ids)},
        )
        database.hot.trees.clear()  # others may be below them
        derive.refresh(database.con, session_ids, hot=database.hot)


def _forget_sessions(database: Database) -> None:
    """Remove sessions that messages named which were not read after all."""
    found = database.con.execute(
        "SELECT session_id FROM sessions ANTI JOIN messages USING (session_id) WHERE is_placeholder"
    ).fetchall()
    if not found:
        return
    database.hot.forget()
    for table in ("session_traces", "session_stats", "sessions"):
        database.con.execute(f"DELETE FROM {table} WHERE session_id IN {sql.texts(key for (key,) in found)}")


def _slices(con: duckdb.DuckDBPyConnection) -> Iterator[list[UsageSlice]]:
    """Add up what was spent, session by session, thousands of slices at once."""
    found = con.execute(f"SELECT {select_list(Message)} FROM messages ORDER BY session_id")
    slices: list[UsageSlice] = []
    for _, members in groupby(_rows(found), key=attrgetter("session_id")):
        slices += slices_of(members, {}).values()
        if len(slices) >= _SLICES_PER_WRITE:
            yield slices
            slices = []
    yield slices


def _rows(found: duckdb.DuckDBPyConnection) -> Iterator[Message]:
    """Fetch messages, some at a time."""
    while rows := found.fetchmany(_ROWS_PER_FETCH):
        yield from map(Message._make, rows)
