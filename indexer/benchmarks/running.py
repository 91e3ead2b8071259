"""Runs the benchmark: every case on an index, three ways."""

import logging
import os
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from indexer.benchmarks import story
from indexer.benchmarks.cases import CASES, Case, Subjects, subjects
from indexer.benchmarks.generated import generate
from indexer.benchmarks.measuring import Ask, plan_of, record, time_question, time_slowest
from indexer.benchmarks.results import CURRENT, NO_INDEX, STORY, Result, Run
from indexer.duckdb_file import SCHEMA_VERSION, attach
from indexer.exceptions import IndexUnavailable
from indexer.index_files import private_folder
from indexer.published import HELD_PREFIX, READER_SETTINGS, hold

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class NothingToMeasure(IndexUnavailable):
    """The index holds no session with events."""


def measure_generated(parts: int, runs: int, progress: Progress | None = None) -> Run:
    """Measure every case on made-up data, in a temporary folder.

    Args:
        parts: About how many parts it has.
        runs: As for `measure`.
        progress: As for `measure`.
    """
    with tempfile.TemporaryDirectory(prefix="opencode-analytics-benchmark-") as folder:
        index = Path(folder) / "index.duckdb"
        log.info("making up %d parts", parts)
        generate(index, parts)
        return measure(index, runs, progress, data="generated")


def measure(index: Path, runs: int, progress: Progress | None = None, *, data: str = "own") -> Run:
    """Measure every case on an index as it is published now.

    Args:
        index: What readers open. It may be written meanwhile.
        runs: Warm runs of a query at most.
        progress: Called with the number of queries measured and to measure.
        data: What to call its data: own or generated.

    Returns:
        What was measured.

    Raises:
        IndexUnavailable: There is none, it cannot be used, or there is nothing in it to ask about.
    """
    started_at = _now()
    with _held(index) as file:
        connect = _Connecting(file, index)
        with connect.lasting() as con:
            found = subjects(con)
            counts = con.execute(
                "SELECT (SELECT count(*) FROM parts), (SELECT count(*) FROM messages), (SELECT count(*) FROM sessions)"
            ).fetchone()
        if found is None or counts is None:
            raise NothingToMeasure(f"The index at {index} holds no session with events: there is nothing to measure.")
        plain = file.with_name("story.duckdb")
        log.info("making the story's schema of %d parts", counts[0])
        story.build(file, plain, index)
        variants = {
            CURRENT: connect,
            NO_INDEX: _Connecting(file, index, is_index_used=False),
            STORY: _Connecting(plain, index),
        }
        results: list[Result] = []
        for number, case in enumerate(CASES, 1):
            results += [_measure(case, found, variant, each, runs) for variant, each in variants.items()]
            if progress:
                progress(number, len(CASES))
        return Run(
            run_id=f"{started_at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
            started_at=started_at,
            ended_at=_now(),
            data=data,
            parts=counts[0],
            messages=counts[1],
            sessions=counts[2],
            database_bytes=file.stat().st_size,
            machine=f"{_processor()}, {os.cpu_count()} cores",
            versions=f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, schema {SCHEMA_VERSION}",
            runs=runs,
            results=tuple(results),
        )


class _Connecting:
    """Opens one file as the dashboard's readers do."""

    def __init__(self, file: Path, index: Path, *, is_index_used: bool = True) -> None:
        """Name the file.

        Args:
            file: The DuckDB file.
            index: What the user calls the index; named in errors.
            is_index_used: Whether scans may go by an index.
        """
        self._file = file
        self._index = index
        self._is_index_used = is_index_used

    def __call__(self) -> duckdb.DuckDBPyConnection:
        """Return a connection that has read nothing yet."""
        spill = {"temp_directory": str(self._file.with_name("spill"))}
        con = attach(self._file, self._index, "READ_ONLY", READER_SETTINGS | spill)
        if not self._is_index_used:
            con.execute("SET index_scan_max_count = 0")
            con.execute("SET index_scan_percentage = 0")
        return con

    @contextmanager
    def lasting(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open it for several questions."""
        con = self()
        try:
            yield con
        finally:
            con.close()


def _measure(case: Case, found: Subjects, variant: str, connect: _Connecting, runs: int) -> Result:
    """Measure one case in one way."""
    ask: Ask = case.ask_story(found) if variant == STORY else case.ask(found)
    timing = time_question(connect, ask, runs)
    with connect.lasting() as con:
        statements = record(con, ask)
        plan = plan_of(con, statements)
        slowest_ms = time_slowest(con, statements, runs)
    log.debug("%s, %s: %.1f ms", case.name, variant, timing.median_ms)
    return Result(
        query=case.name,
        variant=variant,
        page=case.page,
        runs=timing.runs,
        statements=len(statements),
        rows=plan.rows,
        cold_ms=timing.cold_ms,
        median_ms=timing.median_ms,
        p95_ms=timing.p95_ms,
        slowest_ms=slowest_ms,
        is_index_used=plan.is_index_used,
        sql=";\n\n".join(each.sql.strip() for each in statements),
        plan=plan.text,
    )


@contextmanager
def _held(index: Path) -> Iterator[Path]:
    """Keep what is published in a folder of its own, beside the index: it holds what was said in sessions."""
    beside = private_folder(index)
    folder = Path(tempfile.mkdtemp(prefix=HELD_PREFIX, dir=beside if beside.is_dir() else None))
    try:
        yield hold(index, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _processor() -> str:
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        log.debug("no /proc/cpuinfo: this is not Linux")
    return platform.processor() or platform.machine() or "unknown processor"


def _now() -> datetime:
    """Return the present, naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
