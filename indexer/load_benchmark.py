"""Measures token extraction, the bulk load and the deriving of exchanges: `python -m indexer.load_benchmark`.

Speeds depend on the machine, so each is shown as a ratio to something bare measured in the same run: parsing the same
document, reading and parsing the same files.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from indexer import derive, sample
from indexer.bulk_loader import find_sources, load
from indexer.database import Database
from indexer.parsers import extract_root_tokens
from indexer.publish import Publisher

EXTRACTION_LIMIT_US = 50_000.0
DERIVED_ROWS_GOAL = 1_000
BATCHES = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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

    @property
    def ratio(self) -> float:
        """Tell what extraction adds to parsing: 0.1 is a tenth."""
        return self.extract_us / self.parse_us


@dataclass(frozen=True, slots=True)
class BulkLoad:
    """Speed of a first full pass, the index written and published.

    Attributes:
        files: JSON files of the data set.
        load_s: The pass, best of the rounds.
        floor_s: Reading and parsing the same files and nothing else, best of the rounds.
    """

    files: int
    load_s: float
    floor_s: float

    @property
    def ratio(self) -> float:
        """Tell how often the files could have been read and parsed in the time of the pass."""
        return self.load_s / self.floor_s


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


def measure_bulk_load(data_dir: Path, rounds: int) -> BulkLoad:
    """Time a full pass over a data folder into a new index, and its floor; both from the system's file cache.

    Args:
        data_dir: An OpenCode data folder with a JSON tree.
        rounds: How often to repeat both.
    """
    files = sorted((data_dir / "storage").glob("*/**/*.json"))
    floor_s = min(_seconds(lambda: [orjson.loads(path.read_bytes()) for path in files]) for _ in range(rounds))
    load_s = min(_load_seconds(data_dir) for _ in range(rounds))
    return BulkLoad(len(files), load_s, floor_s)


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


@app.command()
def main(
    data: Annotated[
        Path | None, typer.Option(help="OpenCode data folder with a JSON tree. Default: the bundled sample.")
    ] = None,
    calls: Annotated[int, typer.Option(min=1, help="Calls per timing of one document.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the bulk load.")] = 3,
) -> None:
    """Measure token extraction against its limit of 50 ms a call, and the bulk load against bare reading.

    Exit codes: 0 within the limit, 1 not.
    """
    with tempfile.TemporaryDirectory(prefix="opencode-analytics-bench-") as scratch:
        data_dir = data or sample.unpack(Path(scratch))
        extraction = measure_extraction(usage_documents(data_dir), calls)
        bulk = measure_bulk_load(data_dir, rounds)
        derivation = measure_derivation(data_dir)
    Console().print(_table(extraction, bulk, derivation))
    raise typer.Exit(0 if extraction.slowest_us < EXTRACTION_LIMIT_US else 1)


def _table(extraction: Extraction, bulk: BulkLoad, derivation: Derivation) -> Table:
    """Lay out the figures: what, how fast, and against what."""
    table = Table(title=f"Python {sys.version.split()[0]}, {extraction.documents} usage documents, {bulk.files} files")
    for name in ("what", "measured", "against", "ratio"):
        table.add_column(name, justify="left" if name in ("what", "against") else "right")
    table.add_row(
        "extract_root_tokens(), median",
        f"{extraction.extract_us:.2f} µs",
        f"orjson.loads of the same document, {extraction.parse_us:.2f} µs",
        f"{extraction.ratio:.2f}",
    )
    table.add_row(
        "extract_root_tokens(), slowest document",
        f"{extraction.slowest_us:.2f} µs",
        f"limit {EXTRACTION_LIMIT_US / 1_000:.0f} ms",
        f"{extraction.slowest_us / EXTRACTION_LIMIT_US:.6f}",
    )
    table.add_row(
        "bulk load into a new index",
        f"{bulk.load_s:.2f} s",
        f"reading and parsing the same files, {bulk.floor_s:.2f} s",
        f"{bulk.ratio:.1f}",
    )
    for name, seconds in (("in one transaction", derivation.bulk_s), ("session by session", derivation.live_s)):
        rows_per_s = derivation.rows / seconds
        table.add_row(
            f"exchanges and traces, {name}",
            f"{rows_per_s:,.0f} rows/s",
            f"goal {DERIVED_ROWS_GOAL:,} rows/s ({derivation.rows:,} rows, {derivation.sessions} sessions)",
            f"{rows_per_s / DERIVED_ROWS_GOAL:.1f}",
        )
    table.add_row(
        "all that is derived from one changed message",
        f"{1_000 * derivation.change_s / derivation.sessions:.0f} ms",
        f"{derivation.rows / derivation.sessions:.0f} exchanges and traces in a session, mean",
        "",
    )
    return table


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


def _load_seconds(data_dir: Path) -> float:
    """Time one full pass into a new index."""
    with tempfile.TemporaryDirectory(prefix="opencode-analytics-bench-") as folder:
        with Database.open(Path(folder) / "index.duckdb") as database:
            publisher = Publisher(database)
            seconds = _seconds(lambda: load(database, publisher, find_sources([data_dir])))
            publisher.close()
        return seconds


if __name__ == "__main__":
    app()
