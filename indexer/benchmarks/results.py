"""What a benchmark measured, and its way into the index.

Only one process may write the index. If an indexer runs, the results are left as a file in the private folder,
`FILE.d/benchmark-<run>.json`, and the indexer takes them up: within a second while it follows changes, else at its
next start.
"""

import logging
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

import duckdb
import orjson

from indexer import sql
from indexer.database import Database
from indexer.exceptions import AnotherIndexerRuns
from indexer.index_files import private_folder
from indexer.publish import Publisher

log = logging.getLogger(__name__)

CURRENT, NO_INDEX, STORY = "current", "no_index", "story"
VARIANTS = (CURRENT, NO_INDEX, STORY)
_PREFIX = "benchmark-"


class Kept(Enum):
    """Where results went."""

    WRITTEN = "written into the index"
    LEFT = "left for the running indexer, which writes them into the index"


@dataclass(frozen=True, slots=True)
class Result:
    """One query, measured in one way: a row of `benchmark_results`, but for the run.

    Attributes:
        query: Its name in `cases.CASES`.
        variant: One of `VARIANTS`.
        page: Where it is run.
        runs: Warm runs.
        statements: That the call runs.
        rows: Of all their results.
        cold_ms: The first time on a connection that has read nothing yet.
        median_ms: Of the warm runs.
        p95_ms: 19 of 20 warm runs were this fast or faster.
        slowest_ms: Its slowest statement, median.
        is_index_used: Whether any scan went by an index.
        sql: Its statements.
        plan: See `plans.Plan`.
    """

    query: str
    variant: str
    page: str
    runs: int
    statements: int
    rows: int
    cold_ms: float
    median_ms: float
    p95_ms: float
    slowest_ms: float
    is_index_used: bool
    sql: str
    plan: str


@dataclass(frozen=True, slots=True)
class Run:
    """A whole benchmark: a row of `benchmark_runs`, and its results. Times are naive UTC.

    Attributes:
        data: own or generated.
        database_bytes: Of the index's file.
        machine: Processor and number of cores.
        versions: Of Python, DuckDB and the schema.
        runs: Warm runs of a query at most: slow ones have fewer.
    """

    run_id: str
    started_at: datetime
    ended_at: datetime
    data: str
    parts: int
    messages: int
    sessions: int
    database_bytes: int
    machine: str
    versions: str
    runs: int
    results: tuple[Result, ...]


def keep(index: Path, run: Run) -> Kept:
    """Bring results into the index, or leave them for the indexer that runs.

    Args:
        index: What readers open.
        run: What was measured.

    Returns:
        Which of the two.

    Raises:
        IndexUnavailable: There is no index, or it cannot be written.
        OSError: An indexer runs, but nothing can be left for it.
    """
    try:
        database = Database.open_existing(index)
    except AnotherIndexerRuns:
        _leave(index, run)
        return Kept.LEFT
    with database:
        publisher = Publisher(database)
        _write(database, run)
        publisher.close()
    return Kept.WRITTEN


def are_left(database: Database) -> bool:
    """Tell whether there are results to take. From any thread.

    Args:
        database: The index.
    """
    return bool(_left(database))


def take(database: Database) -> int:
    """Write results that were left for the indexer. Never inside a transaction.

    Args:
        database: The index.

    Returns:
        How many runs there were. What cannot be read is put aside, as `FILE.d/unreadable-benchmark-<run>.json`.
    """
    left = _left(database)
    for file in left:
        try:
            run = _parsed(file.read_bytes())
            _write(database, run)
        except (OSError, ValueError, TypeError, KeyError, duckdb.DataError, duckdb.IntegrityError) as error:
            log.warning("the benchmark results %s cannot be read: %s", file.name, error)
            os.replace(file, file.with_name(f"unreadable-{file.name}"))
            continue
        file.unlink()
        log.info("benchmark of %s: %d results taken up", run.started_at, len(run.results))
    return len(left)


def _left(database: Database) -> list[Path]:
    """List the files that were left for the indexer."""
    return sorted(database.folder.glob(f"{_PREFIX}*.json"))


def _leave(index: Path, run: Run) -> None:
    """Put results beside the index, whole or not at all."""
    file = private_folder(index) / f"{_PREFIX}{run.run_id}.json"
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(asdict(run)))
    os.replace(fresh, file)


def _parsed(data: bytes) -> Run:
    """Read the text of such a file.

    Raises:
        ValueError, TypeError, KeyError: It is another version's, cut off, or nothing that was measured.
    """
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise TypeError("no object")
    results = tuple(Result(**each) for each in found.pop("results"))
    if not all(result.median_ms > 0 for result in results):
        raise ValueError("a query takes time")  # others are told as so many times as fast
    found |= {name: datetime.fromisoformat(found[name]) for name in ("started_at", "ended_at")}
    return Run(**found, results=results)


def _write(database: Database, run: Run) -> None:
    """Write results in one transaction. Those of a run that is in the index already are left out."""
    import pyarrow as pa  # not needed by every start, which only looks whether there are any

    whole = asdict(run)
    results = [{"run_id": run.run_id, **result} for result in whole.pop("results")]
    with database.transaction() as con:
        if con.execute("SELECT 1 FROM benchmark_runs WHERE run_id = ?", [run.run_id]).fetchone():
            return
        sql.insert(con, "benchmark_runs", pa.Table.from_pylist([whole]))
        if results:
            sql.insert(con, "benchmark_results", pa.Table.from_pylist(results))
