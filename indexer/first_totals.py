"""What was spent, shown before everything is read: a first pass over years of sessions takes minutes.

Messages and the ends of steps alone tell every token and cost; texts and tool calls, which are most of a storage, are
left for the pass itself. The numbers are told by the same functions as those of the pass, and equal them.
"""

from collections.abc import Iterable, Iterator, Sequence
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

_MESSAGES_PER_READ = 500
_ROWS_PER_FETCH = 10_000
_SLICES_PER_WRITE = 10_000
_CALLS = ["calls", "failed_calls", "unfinished_calls"]  # not known yet


def is_worthwhile(database: Database, storages: Sequence[Storage]) -> bool:
    """Tell whether nothing was read yet, and all storages can be read by other processes."""
    if any(storage.problem for storage in storages) or not process_count(storage.source for storage in storages):
        return False
    return database.con.execute("SELECT NOT EXISTS (FROM messages)").fetchone() == (True,)


@contextmanager
def reading(storages: Sequence[Storage], messages: Ids) -> Iterator[Iterator[Usage | None]]:
    """Read what messages used, on all processors, as long as this lasts.

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
        yield (usage for _, usage in processes.usages(chunks))


def add(database: Database, found: Iterable[Usage | None]) -> bool:
    """Put what was spent into the index, for readers until the pass ends. The sessions are there already.

    Args:
        database: The index, outside of a transaction.
        found: What all messages used.

    Returns:
        Whether it worked: what cannot be read is left to the pass, which says why.

    Raises:
        IndexUnwritable: The disk is full, or the like.
    """
    with database.lock, database.explained("written"), database.cursor() as con:
        # they stand in for the tables of the index, for this connection alone
        for table, columns in (("messages", MESSAGE_COLUMNS), ("parts", PART_COLUMNS)):
            names = ", ".join([*columns, "deleted_at"])
            con.execute(f"CREATE TEMP TABLE {table} AS SELECT {names} FROM index_db.main.{table} LIMIT 0")
        for usage in found:
            if usage is None:
                return False
            sql.insert(con, "messages", usage.messages)
            sql.insert(con, "parts", usage.parts)
        models = con.execute("SELECT DISTINCT provider_id, model_id FROM messages").fetchall()
        with database.transaction(is_visible=False):
            prices.ensure_known(database, {model for model in models if None not in model})
        keys = con.execute("SELECT DISTINCT fork_key FROM messages WHERE fork_key IS NOT NULL").fetchall()
        derive.flag_fork_copies(con, (), {key for (key,) in keys})
        prices.reprice(con, "TRUE")
        with database.transaction() as writer:
            for slices in _slices(con):
                incoming = tuple_table(UsageSlice, slices).drop_columns(_CALLS)  # noqa: F841 (found by its name)
                writer.execute("INSERT INTO first_slices BY NAME FROM incoming")
    return True


def remove(con: duckdb.DuckDBPyConnection) -> None:
    """Take it out again, inside a transaction: everything is read, or was not read to the end the last time."""
    con.execute("DELETE FROM first_slices")


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
