"""Exact totals for scripts: what `python -m indexer totals` prints."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypedDict

import duckdb


class TokenTotals(TypedDict):
    """Counters as recorded, but for `total`, which holds every token once."""

    input: int
    output: int
    reasoning: int
    cache_read: int
    cache_write: int
    total: int


class Spend(TypedDict):
    """Tokens and recorded cost; the cost is a plain decimal in USD."""

    tokens: TokenTotals
    cost_recorded_usd: str


class SessionTotals(Spend):
    """Own numbers of a session; `inherited` are the copies that a fork made."""

    root_tokens: int
    unrecorded_messages: int
    inherited: Spend


class DeletedTotals(Spend):
    """What OpenCode deleted: a share of the totals, shown once more."""

    sessions: int
    messages: int


class Totals(Spend):
    """Everything. Row counts hold fork copies, orphans and deleted rows; tokens and cost leave fork copies out."""

    revision: int
    sessions: int
    messages: int
    parts: int
    exchanges: int
    exchange_traces: int
    fork_copies: int
    unrecorded_messages: int
    deleted: DeletedTotals
    per_session: dict[str, SessionTotals]
    per_model: dict[str, Spend]


_SPEND = """
    coalesce(sum(input_tokens), 0)::BIGINT, coalesce(sum(output_tokens), 0)::BIGINT,
    coalesce(sum(reasoning_tokens), 0)::BIGINT, coalesce(sum(cache_read_tokens), 0)::BIGINT,
    coalesce(sum(cache_write_tokens), 0)::BIGINT, coalesce(sum(total_tokens), 0)::BIGINT,
    coalesce(sum(cost_recorded_usd), 0)::DECIMAL(38, 12)
"""

Values = Sequence[int | Decimal | None]


def read_totals(con: duckdb.DuckDBPyConnection) -> Totals:
    """Read the totals of an index.

    Args:
        con: The index, open for reading.

    Returns:
        Grand totals, and the same per session and per model; sessions without messages have zeros.
    """
    revision, sessions, messages, parts, exchanges, traces, copies, deleted_sessions, deleted_messages, unrecorded = (
        _one(
            con,
            """
        SELECT (SELECT revision FROM sync_state), (SELECT count(*) FROM sessions), (SELECT count(*) FROM messages),
               (SELECT count(*) FROM parts), (SELECT count(*) FROM exchanges), (SELECT count(*) FROM exchange_traces),
               (SELECT count(*) FROM fork_copies),
               (SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL),
               (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL),
               (SELECT count(*) FROM spend WHERE cost_recorded_usd IS NULL)
        """,
        )
    )
    return Totals(
        revision=revision,
        sessions=sessions,
        messages=messages,
        parts=parts,
        exchanges=exchanges,
        exchange_traces=traces,
        fork_copies=copies,
        **_spend(_one(con, f"SELECT {_SPEND} FROM spend")),
        unrecorded_messages=unrecorded,
        deleted=DeletedTotals(
            sessions=deleted_sessions,
            messages=deleted_messages,
            **_spend(_one(con, f"SELECT {_SPEND} FROM spend WHERE deleted_at IS NOT NULL")),
        ),
        per_session=_per_session(con),
        per_model=_per_model(con),
    )


def is_partial(con: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether the first pass has not ended, so that all totals are too low."""
    return bool(_one(con, "SELECT last_full_pass_at IS NULL OR EXISTS (FROM first_slices) FROM sync_state")[0])


def _per_model(con: duckdb.DuckDBPyConnection) -> dict[str, Spend]:
    """Read the numbers of every model that answered, `unknown/unknown` for answers that name none."""
    rows = con.execute(f"SELECT model, {_SPEND} FROM spend GROUP BY model ORDER BY model").fetchall()
    return {model: _spend(values) for model, *values in rows}


def _per_session(con: duckdb.DuckDBPyConnection) -> dict[str, SessionTotals]:
    """Read the own and the inherited numbers of every session."""
    rows = con.execute(
        """
        SELECT session_id, root_tokens, unrecorded_messages,
               input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens, total_tokens,
               coalesce(cost_recorded_usd, 0),
               inherited_input_tokens, inherited_output_tokens, inherited_reasoning_tokens,
               inherited_cache_read_tokens, inherited_cache_write_tokens, inherited_total_tokens,
               coalesce(inherited_cost_recorded_usd, 0)
        FROM session_stats ORDER BY session_id
        """
    ).fetchall()
    return {
        session_id: SessionTotals(
            root_tokens=root_tokens,
            **_spend(values[:7]),
            unrecorded_messages=unrecorded,
            inherited=_spend(values[7:]),
        )
        for session_id, root_tokens, unrecorded, *values in rows
    }


def _spend(values: Values) -> Spend:
    """Name six counters and a cost."""
    *counters, cost = values
    names = ("input", "output", "reasoning", "cache_read", "cache_write", "total")
    tokens = TokenTotals(**dict(zip(names, counters, strict=True)))  # type: ignore[typeddict-item]
    return Spend(tokens=tokens, cost_recorded_usd=plain_decimal(cost))


def plain_decimal(amount: object) -> str:
    """Write an amount without exponent and without trailing zeros."""
    text = f"{Decimal(str(amount)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """Run a query that has exactly one row."""
    row = con.execute(sql).fetchone()
    assert row is not None, "an aggregate without GROUP BY has one row"
    return row
