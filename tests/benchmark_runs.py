"""Made-up benchmarks: runs as `python -m indexer benchmark` leaves them."""

from datetime import datetime, timedelta

from indexer.benchmarks.results import Result, Run

FASTER, SLOWER, SEARCH = "cost_totals: all time", "session_detail: biggest session", "session_list: text search"
STARTED_AT = datetime(2026, 11, 3, 14, 32, 7)
RUN_ID = "20261103T143207-0a1b2c3d"


def result(query: str, variant: str, median_ms: float, *, is_index_used: bool = False, page: str = "Costs") -> Result:
    """Make a result whose other times follow from the median."""
    return Result(
        query=query,
        variant=variant,
        page=page,
        runs=30,
        statements=2,
        rows=7,
        cold_ms=3 * median_ms,
        median_ms=median_ms,
        p95_ms=2 * median_ms,
        slowest_ms=median_ms / 2,
        is_index_used=is_index_used,
        sql=f"SELECT '{variant}' -- <b>{query}</b>",
        plan=f"{'▶ INDEX SCAN' if is_index_used else 'SEQUENTIAL SCAN'} parts · 7 rows · {median_ms} ms",
    )


def run(run_id: str = RUN_ID, *, days_later: int = 0, factor: float = 1.0, data: str = "own") -> Run:
    """Make a benchmark of three queries.

    Args:
        run_id: Its id.
        days_later: When, after `STARTED_AT`.
        factor: All times are so many times as long.
        data: own or generated.
    """
    medians = {
        FASTER: {"current": 4.0, "no_index": 4.4, "story": 200.0},
        SLOWER: {"current": 12.0, "no_index": 6.0, "story": 48.0},
        SEARCH: {"current": 900.0, "no_index": 900.0, "story": 1800.0},
    }
    results = tuple(
        result(
            query,
            variant,
            factor * median_ms,
            is_index_used=(query, variant) == (SLOWER, "current"),
            page={FASTER: "Costs", SLOWER: "Timeline"}.get(query, "Sessions"),
        )
        for query, variants in medians.items()
        for variant, median_ms in variants.items()
    )
    started_at = STARTED_AT + timedelta(days=days_later)
    return Run(
        run_id=run_id,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=95),
        data=data,
        parts=1_000_000,
        messages=100_000,
        sessions=4_000,
        database_bytes=500_000_000,
        machine="Some Processor, 2 cores",
        versions="Python 3.11.7, DuckDB 2.0.1, schema 5",
        runs=30,
        results=results,
    )
