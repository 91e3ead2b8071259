"""A benchmark on paper: one line a query."""

from rich.table import Table

from indexer.benchmarks.results import CURRENT, NO_INDEX, STORY, Result, Run

GOAL_MS = 10.0


def table(run: Run) -> Table:
    """Lay out a run: every query as it is, with index scans off, and on the story's schema."""
    title = (
        f"{run.parts:,} parts, {run.messages:,} messages, {run.sessions:,} sessions ({run.data}), "
        f"{run.database_bytes / 1e6:,.0f} MB\n{run.machine}; {run.versions}"
    )
    found = Table(title=title)
    for name in ("page", "query"):
        found.add_column(name, no_wrap=True)
    for name in (
        "rows",
        "cold ms",
        "median ms",
        "p95 ms",
        "slowest statement ms",
        "index",
        "index scans off ms",
        "x",
        "story's schema ms",
        "x",
    ):
        found.add_column(name, justify="right")
    variants = {(result.query, result.variant): result for result in run.results}
    for result in run.results:
        if result.variant == CURRENT:
            found.add_row(*_cells(result, variants[result.query, NO_INDEX], variants[result.query, STORY]))
    current = [result for result in run.results if result.variant == CURRENT]
    found.caption = (
        f"{sum(result.median_ms >= GOAL_MS for result in current)} of {len(current)} calls take {GOAL_MS:.0f} ms or "
        f"more; {sum(result.slowest_ms >= GOAL_MS for result in current)} have a statement that does"
    )
    return found


def _cells(current: Result, no_index: Result, story: Result) -> list[str]:
    """Write one line. A ratio below 1 is a query that is slower than what it is compared with."""
    return [
        current.page,
        current.query,
        f"{current.rows:,}",
        *(f"{ms:.1f}" for ms in (current.cold_ms, current.median_ms, current.p95_ms, current.slowest_ms)),
        "yes" if current.is_index_used else "no",
        *(
            text
            for other in (no_index, story)
            for text in (f"{other.median_ms:.1f}", f"{other.median_ms / current.median_ms:.1f}")
        ),
    ]
