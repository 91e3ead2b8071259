"""Which storages there are, by the numbers that the index gives them, and which of them is newer than which."""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from indexer.database import Database
from indexer.exceptions import SourceUnusable
from indexer.exclusion import narrowed
from indexer.json_values import clean, printable
from indexer.reading import Place
from indexer.rows import EpochMs
from indexer.settings import database_files
from indexer.sources import Inventory, Source
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_file import SqliteFile
from indexer.sources.sqlite_v1 import SqliteV1, Unprobed
from indexer.sources.sqlite_v2 import SqliteV2

log = logging.getLogger(__name__)

GONE = "It held sessions before and was not found now. Rows read before stay; it is looked for again and again."


@dataclass(slots=True)
class Storage:
    """A source with its number in the index.

    Attributes:
        problem: Why it cannot be read; empty if it can.
        is_complete: Everything in it could be listed; else what is not found may still be there.
        newer: The newer storages of the same data folder.
        is_used: It holds any session: an empty database is no newer storage.
        told: What was wrong with it before, as the index has it.
        held_before: Numbers of the storages in the same file: while it cannot be read, the index knows what they held.
    """

    source: Source
    source_id: int
    problem: str = ""
    is_complete: bool = True
    newer: list["Storage"] = field(default_factory=list)
    is_used: bool = False
    told: str | None = None
    held_before: tuple[int, ...] = ()

    @property
    def identity(self) -> tuple[str, str]:
        """Name it as the index does: kind and path."""
        return _identity(self.source)

    @property
    def is_beside_newer(self) -> bool:
        """Tell whether a newer storage is in use in the same data folder."""
        return any(storage.is_used for storage in self.newer)

    def place(self, held: Mapping[int, set[str]]) -> Place:
        """Describe it for whoever reads its documents.

        Args:
            held: Of the storages that cannot be read right now, by number, which documents they held.
        """
        return Place(self.source_id, tuple(newer.source_id for newer in self.newer), self.is_beside_newer, held)

    def lose(self, error: SourceUnusable) -> None:
        """Give the storage up for now: what the index has from it stays as it is."""
        self.problem = str(error)
        log.log(logging.DEBUG if self.problem == self.told else logging.WARNING, "%s", printable(self.problem))


def find_sources(data_dirs: Sequence[Path]) -> list[Source]:
    """List the storages of the data folders, newest generation first in each.

    Args:
        data_dirs: OpenCode data folders, absolute.

    Returns:
        Readers; nothing is opened yet. Empty if no folder holds any storage.
    """
    sources: list[Source] = []
    for data_dir in data_dirs:
        for path in database_files(data_dir):
            sources += _database_sources(data_dir, path)
        dangling = data_dir / "opencode.db"
        if os.path.islink(dangling) and not os.path.exists(dangling):
            sources.append(SqliteV1(data_dir, dangling))
        is_emptied = not database_files(data_dir) and os.path.isdir(data_dir / "storage" / "session")
        # what is wrong with a folder, its reader tells
        if JsonTree.exists(data_dir) or is_emptied or not os.path.isdir(data_dir):
            sources.append(JsonTree(data_dir))
    return sources


def open_storages(database: Database, sources: Sequence[Source], data_dirs: Sequence[Path] = ()) -> list[Storage]:
    """Number the sources, and add storages that held rows before: an emptied one is still there.

    Args:
        database: The index.
        sources: As `find_sources` lists them.
        data_dirs: Where they were looked for. Of a folder in which nothing is left, what was there is added, too: its
            reader tells that it is gone.

    Returns:
        Newest generation first in each data folder. What they hold is listed by `take_inventory`, without what the
        settings leave out.
    """
    now = now_ms()
    missing = {clean(str(folder)): folder for folder in data_dirs}
    for source in sources:
        missing.pop(clean(str(source.data_dir)), None)
    found = [*_emptied(database, sources), *_vanished(database, missing), *sources]
    every = narrowed(found, database.exclusion)
    storages = [Storage(source, _source_id(database, source, now)) for source in every]
    for older in storages:
        older.newer = [
            storage
            for storage in storages
            if storage.source.data_dir == older.source.data_dir and storage.source.generation > older.source.generation
        ]
    for storage in storages:
        rows = database.con.execute(
            "SELECT source_id, reason FROM sources WHERE path = $path ORDER BY source_id", {"path": storage.identity[1]}
        ).fetchall()
        storage.held_before = tuple(source_id for source_id, _ in rows)
        storage.told = dict(rows)[storage.source_id]
        # of a file that could not be looked into, nobody knows the generation
        numbers = storage.held_before if isinstance(storage.source, Unprobed) else (storage.source_id,)
        storage.is_used = _held_sessions(database, numbers)
    return storages


def take_inventory(storage: Storage, *, with_stamps: bool) -> Inventory:
    """List what a storage holds; of one that cannot be read, nothing, and it says why from then on."""
    try:
        found = storage.source.inventory(with_stamps=with_stamps)
    except SourceUnusable as error:
        storage.lose(error)
        return Inventory(is_complete=False)
    storage.is_complete = found.is_complete
    storage.is_used = bool(found.sessions)
    return found


def held_by_lost(
    database: Database, storages: Iterable[Storage], kind: str, ids: Collection[str]
) -> dict[int, set[str]]:
    """List which of some documents were in the storages that cannot be read right now.

    Args:
        database: The index.
        storages: Those to ask; others than lost ones are left out.
        kind: session or message.
        ids: Of the documents.

    Returns:
        By number of the storage.
    """
    held: dict[int, set[str]] = {}
    for storage in storages:
        if storage.problem:
            with database.cursor() as con:  # whoever asks may be reading ahead, in another thread than the writer
                rows = con.execute(
                    f"""
                    SELECT document_id FROM (
                        SELECT document_id FROM read_stamps
                        WHERE document_kind = $kind AND source_id IN (SELECT unnest($sources::INTEGER[]))
                        UNION
                        SELECT {kind}_id FROM {kind}s  -- an index from before there were stamps
                        WHERE source_id IN (SELECT unnest($sources::INTEGER[])) AND deleted_at IS NULL
                    ) held(document_id)
                    WHERE document_id IN (SELECT unnest($ids::VARCHAR[]))
                    """,
                    {"kind": kind, "sources": list(storage.held_before), "ids": list(ids)},
                ).fetchall()
            held[storage.source_id] = {document_id for (document_id,) in rows}
    return held


def record_storages(database: Database, storages: Sequence[Storage]) -> None:
    """Record what each storage holds and whether it could be read; to be called inside a transaction."""
    con = database.con
    for storage in storages:
        con.execute(
            """
            WITH held AS (
                SELECT count(*) FILTER (document_kind = 'session') AS sessions,
                       count(*) FILTER (document_kind = 'message') AS messages,
                       sum(parts) AS parts
                FROM read_stamps WHERE source_id = $source_id
            )
            UPDATE sources SET
                state = CASE WHEN $problem <> '' THEN 'unreadable' WHEN held.messages > 0 THEN 'ok' ELSE 'empty' END,
                reason = nullif($problem, ''),
                sessions = held.sessions, messages = held.messages,
                newest_at = (SELECT max(recorded_until) FROM messages WHERE messages.source_id = $source_id),
                parts = coalesce(held.parts, (  -- rows of the third generation hold their parts
                    SELECT count(*) FROM parts JOIN messages USING (message_id)
                    WHERE messages.source_id = $source_id AND messages.deleted_at IS NULL
                )),
                indexed_at = make_timestamp_ms($now)
            FROM held WHERE sources.source_id = $source_id
            """,
            {"problem": storage.problem, "source_id": storage.source_id, "now": now_ms()},
        )
    folders = sorted({clean(str(storage.source.data_dir)) for storage in storages})
    source_ids = [storage.source_id for storage in storages]
    _forget_unused(con, folders, source_ids)
    gone = con.execute(
        """
        UPDATE sources SET state = 'unreadable', reason = $reason
        WHERE data_dir IN (SELECT unnest($folders::VARCHAR[]))
          AND source_id NOT IN (SELECT unnest($ids::INTEGER[])) AND reason IS DISTINCT FROM $reason
        RETURNING kind, path
        """,
        {"reason": GONE, "folders": folders, "ids": source_ids},
    ).fetchall()
    for kind, path in gone:
        log.info("%s (%s): %s", printable(path), kind, GONE)


def _forget_unused(con: duckdb.DuckDBPyConnection, folders: Collection[str], source_ids: Collection[int]) -> None:
    """Forget storages of some folders that are not there and never were: a folder may have been missing for a while."""
    unused = con.execute(
        """
        DELETE FROM sources
        WHERE data_dir IN (SELECT unnest($folders::VARCHAR[])) AND source_id NOT IN (SELECT unnest($ids::INTEGER[]))
          AND sessions = 0 AND messages = 0
          AND source_id NOT IN (SELECT source_id FROM read_stamps)
          AND source_id NOT IN (SELECT source_id FROM projects WHERE source_id IS NOT NULL)
          AND source_id NOT IN (SELECT source_id FROM sessions WHERE source_id IS NOT NULL)
          AND source_id NOT IN (SELECT source_id FROM messages)
        RETURNING source_id
        """,
        {"folders": list(folders), "ids": list(source_ids)},
    ).fetchall()
    con.execute(
        "DELETE FROM documents WHERE source_id IN (SELECT unnest($ids::INTEGER[]))",
        {"ids": [source_id for (source_id,) in unused]},
    )


def source_states(database: Database) -> list[tuple[int, str, str | None]]:
    """List the storages by number, with what is wrong with each."""
    return database.con.execute("SELECT source_id, state, reason FROM sources ORDER BY source_id").fetchall()


def now_ms() -> EpochMs:
    """Return the time in ms since 1970."""
    return EpochMs(time.time_ns() // 1_000_000)


def _database_sources(data_dir: Path, path: Path) -> list[Source]:
    """List the generations that a database holds; one that cannot be read is listed, so that its error is told."""
    file = SqliteFile(path)
    try:
        tables = file.tables()
        is_new = "session_message" in tables
        has_old = {"message", "part"} <= tables or not is_new
        # an empty session_message exists in every file since 1.18
        proofs = sorted({"session_message", "session_v2"} & tables)
        has_new = is_new and (
            not has_old or any(file.rows(f"SELECT 1 AS found FROM {table} LIMIT 1") for table in proofs)
        )
    except SourceUnusable as error:
        return [Unprobed(data_dir, path, error)]
    finally:
        file.close()
    newest_first = (has_new and SqliteV2(data_dir, path), has_old and SqliteV1(data_dir, path))
    return [source for source in newest_first if source]


def _emptied(database: Database, sources: Sequence[Source]) -> list[Source]:
    """List storages that held rows before: who deletes the last row leaves an empty table, or an empty tree."""
    rows = database.con.execute("SELECT kind, path, data_dir FROM sources").fetchall()
    known = {(kind, path): data_dir for kind, path, data_dir in rows}
    folders = {clean(str(source.data_dir)) for source in sources}
    emptied: list[Source] = [
        SqliteV2(source.data_dir, source.path)
        for source in sources
        if type(source) is SqliteV1 and (SqliteV2.kind, _identity(source)[1]) in known
    ]
    emptied += (
        JsonTree(Path(data_dir))
        for (kind, path), data_dir in known.items()
        if kind == JsonTree.kind and data_dir in folders and os.path.isdir(os.path.join(path, "session"))
    )
    listed = {_identity(source) for source in sources}
    return [source for source in emptied if _identity(source) not in listed]


def _vanished(database: Database, folders: Mapping[str, Path]) -> list[Source]:
    """List the storages that the index knows of folders in which none is left."""
    rows = database.con.execute(
        "SELECT kind, path, data_dir FROM sources WHERE data_dir IN (SELECT unnest($folders::VARCHAR[]))",
        {"folders": list(folders)},
    ).fetchall()
    readers: dict[str, Callable[[Path, Path], Source]] = {
        JsonTree.kind: lambda folder, path: JsonTree(folder),
        SqliteV1.kind: SqliteV1,
        SqliteV2.kind: SqliteV2,
    }
    return [readers[kind](folders[folder], Path(path)) for kind, path, folder in rows]


def _identity(source: Source) -> tuple[str, str]:
    """Name a storage as the index does: kind and path."""
    return source.kind, clean(str(source.path))


def _held_sessions(database: Database, source_ids: Sequence[int]) -> bool:
    """Tell whether the index read any session from some storages."""
    row = database.con.execute(
        """
        SELECT EXISTS (
                FROM read_stamps WHERE document_kind = 'session' AND source_id IN (SELECT unnest($ids::INTEGER[]))
            ) OR EXISTS (FROM sessions WHERE deleted_at IS NULL AND source_id IN (SELECT unnest($ids::INTEGER[])))
        """,
        {"ids": list(source_ids)},
    ).fetchone()
    return row is not None and bool(row[0])


def _source_id(database: Database, source: Source, now: EpochMs) -> int:
    """Return the number that the index gives a storage, for good."""
    kind, path = _identity(source)
    key = {"kind": kind, "path": path}
    row = database.con.execute("SELECT source_id FROM sources WHERE kind = $kind AND path = $path", key).fetchone()
    if row is None:
        with database.transaction() as con:
            row = con.execute(
                """
                INSERT INTO sources BY NAME
                SELECT (SELECT coalesce(max(source_id), 0) + 1 FROM sources) AS source_id, $data_dir AS data_dir,
                       $kind AS kind, $path AS path, 'empty' AS state, 0 AS sessions, 0 AS messages, 0 AS parts,
                       make_timestamp_ms($now) AS indexed_at
                RETURNING source_id
                """,
                {**key, "data_dir": clean(str(source.data_dir)), "now": now},
            ).fetchone()
    assert row is not None, "INSERT RETURNING has one row"
    return int(row[0])
