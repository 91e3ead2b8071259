"""Why a number is what it is: every total again, from each stored source that knows it, down to the very rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeVar

import duckdb

from queries import narrow
from queries.ledger_lines import LINES, ROUNDING_USD, SOURCES, USED, Counted, LineSql
from queries.period import Scope
from queries.rows import fetch_rows

# agrees, differs: two sources were compared. unknown: neither says how much it is, of any row. filtered: the other one
# cannot be narrowed like this. absent: it holds nothing here. counted: of one source, there is nothing to compare.
Verdict = Literal["agrees", "differs", "unknown", "filtered", "absent", "counted"]


@dataclass(frozen=True, slots=True)
class _Sums:
    """What a line adds up to."""

    key: str
    rows: int
    differing: int
    unknown: int
    this_value: Decimal | None
    other_value: Decimal | None


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One line of the ledger.

    Attributes:
        key: Of `LINES`.
        is_money: Whether the values are USD; else they are counts.
        verdict: What came of the comparison.
        rows: Things that were compared or counted.
        differing: Those of them on which the two sources disagree.
        unknown: Those of them of which neither source says how much it is: that is no agreement.
        this_value: Sum of what the pages count. None: nothing is recorded, or nothing could be compared.
        other_value: Sum of the other source. None: alike, or there is no other one.
    """

    key: str
    is_money: bool
    verdict: Verdict
    rows: int
    differing: int
    unknown: int
    this_value: Decimal | None
    other_value: Decimal | None

    @property
    def difference(self) -> Decimal | None:
        """Return how much more the pages count than the other source. None where one of the two is not known."""
        if self.verdict not in ("agrees", "differs") or self.this_value is None or self.other_value is None:
            return None
        return self.this_value - self.other_value


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row that a line is made of.

    Attributes:
        session_id: None: of no session, such as a document that could not be read.
        session_title: None: it has none, or was deleted.
        message_id: None: of no single message.
        part_id: The step of the message whose numbers stand nowhere else, else its only step. None: no single one.
        trace_id: The event to open in the timeline. None: the session itself.
        message_at: Time of the message, naive UTC; of several the latest. None: unknown.
        detail: What else tells the row apart: a counter, a model, a document. None: nothing does.
        this_value: What the pages count. None: not recorded.
        other_value: What the other source says. None: not recorded there, or there is no other one.
        is_differing: Whether the two disagree.
    """

    session_id: str | None
    session_title: str | None
    message_id: str | None
    part_id: str | None
    trace_id: str | None
    message_at: datetime | None
    detail: str | None
    this_value: Decimal | None
    other_value: Decimal | None
    is_differing: bool

    @property
    def difference(self) -> Decimal | None:
        """Return how much more the pages count. None where one of the two is not recorded."""
        if self.this_value is None or self.other_value is None:
            return None
        return self.this_value - self.other_value

    @property
    def is_unknown(self) -> bool:
        """Tell whether neither source says how much it is."""
        return self.this_value is None and self.other_value is None


_Valued = TypeVar("_Valued", LedgerLine, LedgerRow)


def ledger(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[LedgerLine]:
    """Add up every line of the ledger.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        One per key of `LINES`, in their order.
    """
    sql = _LEDGER_IN_PARTS if scope.is_by_message else _LEDGER
    found = {sums.key: sums for sums in fetch_rows(con, narrow.narrowed(sql, scope), narrow.values(scope), _Sums)}
    return [_line(key, found.get(key)) for key in LINES]


def ledger_rows(
    con: duckdb.DuckDBPyConnection, key: str, scope: Scope, limit: int | None = None, offset: int = 0
) -> list[LedgerRow]:
    """List what a line is made of.

    Args:
        con: The index, open for reading.
        key: Of `LINES`.
        scope: What to look at.
        limit: Rows at most. None: all.
        offset: Rows to leave out first.

    Returns:
        What differs first, by how much; then the largest, newest first. Empty where the other source cannot be
        narrowed like this.
    """
    if _is_filtered(key, scope):
        return []
    values = {**narrow.values(scope), "limit": limit, "offset": offset}
    found = fetch_rows(con, narrow.narrowed(_ROWS[key], scope), values, LedgerRow)
    if LINES[key].is_money:
        return found
    return list(map(_in_whole_numbers, found))


def _line(key: str, sums: _Sums | None) -> LedgerLine:
    """Judge a line by its sums. None: the other source knows whole sessions only."""
    line = LINES[key]
    if sums is None:
        return LedgerLine(key, line.is_money, "filtered", 0, 0, 0, None, None)
    counts = (sums.rows, sums.differing, sums.unknown)
    found = LedgerLine(key, line.is_money, _verdict(sums, line), *counts, sums.this_value, sums.other_value)
    return found if line.is_money else _in_whole_numbers(found)


def _verdict(sums: _Sums, line: LineSql) -> Verdict:
    """Say what came of the comparison of a line."""
    if not line.is_check:
        return "counted"
    if not sums.rows:
        return "absent"
    if sums.differing:
        return "differs"
    return "unknown" if sums.unknown == sums.rows else "agrees"


def _in_whole_numbers(found: _Valued) -> _Valued:
    """Take the decimals off counts, which they have for the sake of the money in their column: a file shows them."""
    this_value, other_value = (
        None if value is None else value.to_integral_value() for value in (found.this_value, found.other_value)
    )
    return replace(found, this_value=this_value, other_value=other_value)


def _is_filtered(key: str, scope: Scope) -> bool:
    """Tell whether the other source of a line knows whole sessions only, and the filters may pick parts of one."""
    return LINES[key].needs_whole_sessions and scope.is_by_message


def _is_differing(line: LineSql) -> str:
    """Write whether the two sources of a line disagree about one of its rows."""
    if not line.is_check:
        return "FALSE"
    rounding = ROUNDING_USD if line.is_money else "0"
    return (
        f"(this_value IS NULL) <> (other_value IS NULL) OR coalesce(abs(this_value - other_value) > {rounding}, FALSE)"
    )


def _compared(key: str) -> str:
    """Write the rows of a line, each with whether its two sources disagree."""
    line = LINES[key]
    return f"""
        SELECT session_id::VARCHAR AS session_id, message_id::VARCHAR AS message_id,
               message_at::TIMESTAMP AS message_at, detail::VARCHAR AS detail,
               this_value::DECIMAL(38, 12) AS this_value, other_value::DECIMAL(38, 12) AS other_value,
               {_is_differing(line)} AS is_differing
        FROM ({line.rows})
    """


def _all(keys: Sequence[str]) -> str:
    """Write the sums of some lines: as one query, it reads the messages once."""
    sums = (
        f"""
        SELECT '{key}' AS key, count(*) AS rows, count(*) FILTER ({_is_differing(LINES[key])}) AS differing,
               count(*) FILTER (this_value IS NULL AND other_value IS NULL) AS unknown,
               sum(this_value)::DECIMAL(38, 12) AS this_value, sum(other_value)::DECIMAL(38, 12) AS other_value
        FROM ({LINES[key].rows})
        """
        for key in keys
        if not LINES[key].counts
    )
    counts = {key: counted for key in keys if (counted := LINES[key].counts)}
    return f"WITH {narrow.HITS}, {USED}, {SOURCES} {_counts(counts)} UNION ALL {' UNION ALL '.join(sums)}"


def _counts(lines: Mapping[str, Counted]) -> str:
    """Write the sums of the lines that only count messages: all in one pass."""
    found = {
        key: f"{line.condition}{'' if line.source == 'used' else ' AND NOT is_fork_copy'}"
        for key, line in lines.items()
    }
    rows = ", ".join(f"count(*) FILTER ({condition})" for condition in found.values())
    sums = ", ".join(
        f"(sum(({line.value})::DECIMAL(38, 12)) FILTER ({found[key]}))::DECIMAL(38, 12)" for key, line in lines.items()
    )
    return f"""
        SELECT unnest([{", ".join(f"'{key}'" for key in lines)}]) AS key, unnest(rows) AS rows, 0 AS differing,
               0 AS unknown, unnest(sums) AS this_value, NULL::DECIMAL(38, 12) AS other_value
        FROM (SELECT [{rows}] AS rows, [{sums}] AS sums FROM used)
    """


_SAME_NUMBERS = " AND ".join(
    f"p.{column} IS NOT DISTINCT FROM e.{column}"
    for column in (
        *("message_id", "input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens"),
        *("cache_write_tokens", "cost_recorded_usd"),
    )
)
_ORDER = """
    is_differing DESC, abs(coalesce(this_value, 0) - coalesce(other_value, 0)) DESC, this_value DESC NULLS LAST,
    message_at DESC NULLS LAST, session_id, message_id, detail
"""


def _rows(key: str) -> str:
    """Write the rows of a line.

    What a step used is stored twice, in its part and in its event: of a message with a wrong sum, the step is named
    whose numbers are in one of them only. Those of an undone message of a JSON tree have no events: none is named.
    """
    return f"""
        WITH {narrow.HITS}, {USED}, {SOURCES}, compared AS ({_compared(key)}),
        page AS MATERIALIZED (SELECT * FROM compared ORDER BY {_ORDER} LIMIT $limit::BIGINT OFFSET $offset::BIGINT),
        ids AS MATERIALIZED (SELECT DISTINCT message_id FROM page WHERE message_id IS NOT NULL),
        own_steps AS (
            SELECT p.* FROM parts p SEMI JOIN ids USING (message_id) WHERE part_type = 'step-finish' AND NOT is_orphan
        ),
        events AS (SELECT * FROM exchange_traces SEMI JOIN ids USING (message_id)),
        odd_steps AS (
            SELECT message_id, min(part_id) AS odd_id
            FROM own_steps p ANTI JOIN events e ON {_SAME_NUMBERS} GROUP BY message_id
        ),
        odd_events AS (
            SELECT message_id, min(trace_id) AS odd_trace_id
            FROM events e ANTI JOIN own_steps p ON {_SAME_NUMBERS} WHERE kind = 'step' GROUP BY message_id
        ),
        only_steps AS (
            SELECT message_id, min(part_id) AS only_id FROM own_steps GROUP BY message_id HAVING count(*) = 1
        ),
        first_events AS (
            SELECT message_id, arg_min(trace_id, (kind <> 'step', position)) AS first_trace_id
            FROM events GROUP BY message_id
        )
        SELECT session_id, nullif(trim(title), '') AS session_title, message_id, coalesce(odd_id, only_id) AS part_id,
               CASE WHEN odd_id IS NULL THEN first_trace_id ELSE coalesce(odd_trace_id, first_trace_id) END AS trace_id,
               message_at, detail, this_value, other_value, is_differing
        FROM page LEFT JOIN (SELECT session_id, title FROM sessions) USING (session_id)
             LEFT JOIN odd_steps USING (message_id) LEFT JOIN odd_events USING (message_id)
             LEFT JOIN only_steps USING (message_id) LEFT JOIN first_events USING (message_id)
        ORDER BY {_ORDER}
    """


_LEDGER = _all(list(LINES))
_LEDGER_IN_PARTS = _all([key for key, line in LINES.items() if not line.needs_whole_sessions])
_ROWS = {key: _rows(key) for key in LINES}
