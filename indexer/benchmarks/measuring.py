"""How long a question to the index takes: cold, and many times warm."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import cast

import duckdb

from indexer.benchmarks.plans import Plan, explain

LEAST_RUNS = 5
BUDGET_S = 1.5  # for the warm runs of one query: slow ones get fewer

Ask = Callable[[duckdb.DuckDBPyConnection], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a question takes.

    Attributes:
        runs: Warm runs.
        cold_ms: The first time on a connection that has read nothing yet. The system's file cache is as it was.
        median_ms: Of the warm runs.
        p95_ms: 19 of 20 warm runs were this fast or faster.
    """

    runs: int
    cold_ms: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that a question ran, with its parameters."""

    sql: str
    values: object


class Recorder:
    """Stands for a connection, and notes the statements that are run on it.

    Attributes:
        statements: In order.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        """Wrap a connection."""
        self.statements: list[Statement] = []
        self._con = con

    def execute(self, sql: str, values: object = None) -> duckdb.DuckDBPyConnection:
        """Run a statement."""
        self.statements.append(Statement(sql, values))
        return self._con.execute(sql, values)

    def sql(self, query: str, *, params: object = None) -> duckdb.DuckDBPyRelation:
        """Run a statement that gives a relation."""
        self.statements.append(Statement(query, params))
        return self._con.sql(query, params=params)

    def register(self, name: str, rows: object) -> None:
        """Let later statements know rows by a name. The connection keeps it, also for those that are run again."""
        self._con.register(name, rows)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Give another thread a connection. It does a part of what this one does, which is noted."""
        return self._con.cursor()


def record(con: duckdb.DuckDBPyConnection, ask: Ask) -> list[Statement]:
    """List the statements of a question, by asking it.

    Raises:
        AttributeError: It uses the connection in a way that is not noted.
    """
    recorder = Recorder(con)
    ask(cast(duckdb.DuckDBPyConnection, recorder))
    return recorder.statements


def time_question(connect: Callable[[], duckdb.DuckDBPyConnection], ask: Ask, runs: int) -> Timing:
    """Ask a question again and again.

    Args:
        connect: Opens a connection that has read nothing yet.
        ask: The question, to its last row.
        runs: Warm runs at most; fewer if they take longer than `BUDGET_S`, but at least `LEAST_RUNS`.
    """
    con = connect()
    try:
        cold_ms = _ms(con, ask)
        timings: list[float] = []
        until = time.perf_counter() + BUDGET_S
        while len(timings) < min(runs, LEAST_RUNS) or (len(timings) < runs and time.perf_counter() < until):
            timings.append(_ms(con, ask))
    finally:
        con.close()
    timings.sort()
    return Timing(len(timings), cold_ms, median(timings), timings[-(-len(timings) * 95 // 100) - 1])


def time_slowest(con: duckdb.DuckDBPyConnection, statements: list[Statement], runs: int = LEAST_RUNS) -> float:
    """Time the statements of a question one by one, a few times; return the median of the slowest, in milliseconds."""

    def time_one(statement: Statement) -> float:
        """Time one statement, to its last row."""
        return median(
            _ms(con, lambda con: con.execute(statement.sql, statement.values).fetchall()) for _ in range(LEAST_RUNS)
        )

    return max(map(time_one, statements), default=0.0)


def plan_of(con: duckdb.DuckDBPyConnection, statements: list[Statement]) -> Plan:
    """Explain all statements of a question as one plan."""
    plans = [explain(con, each.sql, each.values) for each in statements]
    return Plan(
        text="\n\n".join(plan.text for plan in plans),
        rows=sum(plan.rows for plan in plans),
        is_index_used=any(plan.is_index_used for plan in plans),
    )


def _ms(con: duckdb.DuckDBPyConnection, ask: Ask) -> float:
    """Time one run."""
    start = time.perf_counter_ns()
    ask(con)
    return (time.perf_counter_ns() - start) / 1e6
