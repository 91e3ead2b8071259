"""Token extraction against its limit of 50 ms a call, and the deriving of exchanges against 1,000 rows a second.

Both run in this process, on the tree of a small storage; see `loading` for the whole pass.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from indexer import derive
from indexer.bulk_loader import find_sources, load
from indexer.database import Database
from indexer.parsers import extract_root_tokens
from indexer.publish import Publisher
from tests.bench.figures import Figure, Target
from tests.bench.storages import JSON, Bed

EXTRACTION_LIMIT_US = 50_000.0
DERIVED_ROWS_GOAL = 1_000
BATCHES = 5
CALLS = 200


@dataclass(frozen=True, slots=True)
class Extraction:
    """Speed of `extract_root_tokens()` over many documents.

    Attributes:
        extract_us: Median over the documents, microseconds a call.
        parse_us: The same for `orjson.loads` of the same documents.
        slowest_us: The slowest document's time a call.
    """

    documents: int
    extract_us: float
    parse_us: float
    slowest_us: float


@dataclass(frozen=True, slots=True)
class Derivation:
    """Speed of deriving exchanges, traces and totals from rows that are in the index.

    Attributes:
        rows: Exchanges and traces of the data set.
        bulk_s: All sessions in one transaction.
        live_s: One session after another, each in a transaction of its own.
        change_s: One changed message of each session, of which the rest is remembered, as in real time.
    """

    sessions: int
    rows: int
    bulk_s: float
    live_s: float
    change_s: float


def compute(bed: Bed) -> Iterator[Figure]:
    """Measure extraction and deriving on the small tree; on others there is nothing more to learn."""
    if bed.names != ("S", JSON):
        return
    found, derived = measure_extraction(usage_documents(bed.data), CALLS), measure_derivation(bed.data)
    values, limit = (*bed.names, found.extract_us, "µs", found.documents), Target(EXTRACTION_LIMIT_US)
    parsing = "orjson.loads of the same"
    yield Figure(
        "compute", "extract_root_tokens(), median", *values, floor=found.parse_us, floor_name=parsing, target=limit
    )
    values = (*bed.names, found.slowest_us, "µs", found.documents)
    yield Figure("compute", "extract_root_tokens(), slowest document", *values, target=limit)
    goal = Target(1_000 / DERIVED_ROWS_GOAL)
    for name, seconds in (("in one transaction", derived.bulk_s), ("session by session", derived.live_s)):
        value = 1_000 * seconds / derived.rows
        yield Figure("compute", f"exchange or trace, {name}", *bed.names, value, "ms", derived.rows, target=goal)
    value = 1_000 * derived.change_s / derived.sessions
    name = "all that is derived from one changed message"
    yield Figure("compute", name, *bed.names, value, "ms", derived.sessions)


def measure_extraction(bodies: Sequence[bytes], calls: int) -> Extraction:
    """Time the token extraction of each document.

    Args:
        bodies: JSON documents.
        calls: Calls per timing; a document's time is the best of five timings, so that interruptions do not count.
    """
    documents = [orjson.loads(body) for body in bodies]
    extract = [_call_us(extract_root_tokens, document, calls) for document in documents]
    parse = [_call_us(orjson.loads, body, calls) for body in bodies]
    return Extraction(len(bodies), median(extract), median(parse), max(extract))


def measure_derivation(data_dir: Path) -> Derivation:
    """Time the deriving of everything that an index of a data folder holds.

    Args:
        data_dir: An OpenCode data folder.
    """
    with (
        tempfile.TemporaryDirectory(prefix="opencode-analytics-bench-") as folder,
        Database.open(Path(folder) / "index.duckdb") as database,
    ):
        publisher = Publisher(database)
        load(database, publisher, find_sources([data_dir]))
        rows = database.con.execute("SELECT session_id FROM sessions ORDER BY session_id").fetchall()
        session_ids = [str(session_id) for (session_id,) in rows]

        def derive_all() -> None:
            """Derive everything anew at once, as the first load does."""
            with database.transaction() as con:
                derive.refresh(con, session_ids)

        def derive_each() -> None:
            """Derive one session after another anew."""
            for session_id in session_ids:
                with database.transaction() as con:
                    derive.refresh(con, [session_id])

        def change_each() -> None:
            """Derive what one changed message of every session changes, as a live change does."""
            for session_id, message_id in newest.items():
                with database.transaction() as con:
                    derive.refresh(con, [session_id], message_ids=[message_id], hot=database.hot)

        newest = dict(
            database.con.execute("SELECT session_id, max(message_id) FROM messages GROUP BY session_id").fetchall()
        )
        bulk_s, live_s = _seconds(derive_all), _seconds(derive_each)
        change_each()  # reads the sessions
        change_s = _seconds(change_each)
        counted = database.con.execute(
            "SELECT (SELECT count(*) FROM exchanges) + (SELECT count(*) FROM exchange_traces)"
        ).fetchone()
        publisher.close()
    return Derivation(len(session_ids), counted[0] if counted else 0, bulk_s, live_s, change_s)


def usage_documents(data_dir: Path) -> list[bytes]:
    """Read the documents that tokens are extracted from: messages and step-finish parts.

    Args:
        data_dir: An OpenCode data folder with a JSON tree.
    """
    storage = data_dir / "storage"
    messages = [path.read_bytes() for path in sorted(storage.glob("message/*/*.json"))]
    parts = [path.read_bytes() for path in sorted(storage.glob("part/*/*.json"))]
    return messages + [body for body in parts if orjson.loads(body).get("type") == "step-finish"]


def _call_us(function: Callable[[Any], object], argument: object, calls: int) -> float:
    """Time one call, microseconds."""
    timings = []
    for _ in range(BATCHES):
        start = time.perf_counter_ns()
        for _ in range(calls):
            function(argument)
        timings.append(time.perf_counter_ns() - start)
    return min(timings) / calls / 1_000


def _seconds(work: Callable[[], object]) -> float:
    """Time one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
