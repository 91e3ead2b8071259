"""What a session and everything below it cost, by agent."""

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from queries.rows import fetch_rows
from queries.session_tree import tree_below


@dataclass(frozen=True, slots=True)
class AgentCost:
    """What one agent cost in a tree of sessions.

    Attributes:
        agent: `unknown` where messages name none.
        cost_recorded_usd: None if none was recorded.
        total_tokens: Every token once.
    """

    agent: str
    cost_recorded_usd: Decimal | None
    total_tokens: int


def agent_costs(con: duckdb.DuckDBPyConnection, session_id: str) -> list[AgentCost]:
    """Break down what a session and all below it cost. Equal in sum to `session_stats.subtree_cost_recorded_usd`.

    Args:
        con: The index, open for reading.
        session_id: The top.

    Returns:
        Dearest first, then by name. Empty if nothing was spent.
    """
    sql = """
        SELECT coalesce(agent, 'unknown') AS agent,
               sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
               sum(total_tokens)::BIGINT AS total_tokens
        FROM spend
        WHERE session_id IN (SELECT unnest($sessions::VARCHAR[]))
        GROUP BY 1
        ORDER BY cost_recorded_usd DESC NULLS LAST, total_tokens DESC, 1
    """
    return fetch_rows(con, sql, {"sessions": [node.session_id for node in tree_below(con, session_id)]}, AgentCost)
