"""What `python -m indexer benchmark` measured: how fast the queries of the pages are, and what makes them so."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from queries.rows import fetch_rows

GOAL_MS = 10.0
# What a query is compared with.
NO_INDEX, STORY = "no_index", "story"
VARIANTS = ("current", NO_INDEX, STORY)
TEXT_SEARCH = "text search"  # ends the name of queries that read all texts: the goal leaves them out


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """One benchmark. Times are naive UTC.

    Attributes:
        data: own or generated.
        database_bytes: Of the index's file.
        machine: Processor and number of cores.
        versions: Of Python, DuckDB and the schema.
        runs: Warm runs of a query at most: slow ones have fewer.
        queries: How many were measured.
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
    queries: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One query as it is, beside what it is compared with. Times of one call, in milliseconds, warm but for the cold.

    Attributes:
        page: Where it is run.
        runs: Warm runs.
        statements: That the call runs.
        rows: Of all their results.
        cold_ms: The first time on a connection that has read nothing yet.
        p95_ms: 19 of 20 runs were this fast or faster.
        slowest_ms: Its slowest statement, median.
        is_index_used: Whether any scan went by an index.
        before_median_ms: Of what it is compared with; so are the next three.
    """

    query: str
    page: str
    runs: int
    statements: int
    rows: int
    cold_ms: float
    median_ms: float
    p95_ms: float
    slowest_ms: float
    is_index_used: bool
    before_runs: int
    before_median_ms: float
    before_p95_ms: float
    before_is_index_used: bool

    @property
    def speedup(self) -> float:
        """Tell how many times as fast it is: below 1 it is slower than what it is compared with."""
        return self.before_median_ms / self.median_ms

    @property
    def is_text_search(self) -> bool:
        """Tell whether it reads all texts, which the goal leaves out."""
        return self.query.endswith(TEXT_SEARCH)


@dataclass(frozen=True, slots=True)
class MeasuredPlan:
    """How one query ran in one way.

    Attributes:
        variant: One of `VARIANTS`.
        sql: Its statements.
        plan: EXPLAIN ANALYZE, an operator a line; scans by an index are marked.
    """

    variant: str
    is_index_used: bool
    runs: int
    cold_ms: float
    median_ms: float
    p95_ms: float
    rows: int
    sql: str
    plan: str


@dataclass(frozen=True, slots=True)
class PastResult:
    """One query in one benchmark.

    Attributes:
        started_at: Of the benchmark, naive UTC.
        no_index_ms: Median with index scans off.
        story_ms: Median on the story's schema.
    """

    run_id: str
    started_at: datetime
    data: str
    parts: int
    median_ms: float
    p95_ms: float
    no_index_ms: float | None
    story_ms: float | None
    machine: str
    versions: str


def benchmark_runs(con: duckdb.DuckDBPyConnection) -> list[BenchmarkRun]:
    """List the benchmarks, newest first. Empty if there was none."""
    sql = """
        SELECT benchmark_runs.*, queries
        FROM benchmark_runs
             JOIN (SELECT run_id, count(DISTINCT query) AS queries FROM benchmark_results GROUP BY 1) USING (run_id)
        ORDER BY started_at DESC, run_id
    """
    return fetch_rows(con, sql, {}, BenchmarkRun)


def comparisons(con: duckdb.DuckDBPyConnection, run_id: str, before: str) -> list[Comparison]:
    """Compare every query of a benchmark with itself in another way.

    Args:
        con: The index, open for reading.
        run_id: The benchmark.
        before: NO_INDEX or STORY.

    Returns:
        Slowest first, then by name. Empty if there is no such benchmark.
    """
    sql = """
        SELECT now.query, now.page, now.runs, now.statements, now.rows, now.cold_ms, now.median_ms, now.p95_ms,
               now.slowest_ms, now.is_index_used, other.runs AS before_runs, other.median_ms AS before_median_ms,
               other.p95_ms AS before_p95_ms, other.is_index_used AS before_is_index_used
        FROM benchmark_results now JOIN benchmark_results other USING (run_id, query)
        WHERE run_id = $run_id AND now.variant = 'current' AND other.variant = $before
        ORDER BY now.median_ms DESC, now.query
    """
    return fetch_rows(con, sql, {"run_id": run_id, "before": before}, Comparison)


def measured_plans(con: duckdb.DuckDBPyConnection, run_id: str, query: str) -> list[MeasuredPlan]:
    """Read how a query ran, in the order of `VARIANTS`. Empty if it was not measured."""
    sql = """
        SELECT variant, is_index_used, runs, cold_ms, median_ms, p95_ms, rows, sql, plan
        FROM benchmark_results
        WHERE run_id = $run_id AND query = $query
        ORDER BY list_position($variants::VARCHAR[], variant)
    """
    return fetch_rows(con, sql, {"run_id": run_id, "query": query, "variants": list(VARIANTS)}, MeasuredPlan)


def past_results(con: duckdb.DuckDBPyConnection, query: str) -> list[PastResult]:
    """Follow a query through all benchmarks, newest first.

    Args:
        con: The index, open for reading.
        query: Its name.

    Returns:
        One row per benchmark that measured it.
    """
    sql = """
        SELECT run_id, any_value(started_at) AS started_at, any_value(data) AS data, any_value(parts) AS parts,
               any_value(median_ms) FILTER (variant = 'current')  AS median_ms,
               any_value(p95_ms) FILTER (variant = 'current')     AS p95_ms,
               any_value(median_ms) FILTER (variant = 'no_index') AS no_index_ms,
               any_value(median_ms) FILTER (variant = 'story')    AS story_ms,
               any_value(machine) AS machine, any_value(versions) AS versions
        FROM benchmark_results JOIN benchmark_runs USING (run_id)
        WHERE query = $query
        GROUP BY run_id
        HAVING median_ms IS NOT NULL
        ORDER BY started_at DESC, run_id
    """
    return fetch_rows(con, sql, {"query": query}, PastResult)
