"""What is spent over time, for budgets: everything that is spent, so filters do not narrow it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries.costs import LIST
from queries.rows import fetch_rows


@dataclass(frozen=True, slots=True)
class SpendQuarter:
    """What was spent in a quarter of an hour.

    Attributes:
        quarter_at: Its beginning, naive UTC.
        cost_recorded_usd: As OpenCode recorded it. None if none was recorded.
        cost_list_usd: At list prices. None if no model in it has a known price.
        uncounted_recorded: Messages that used tokens and have no recorded cost.
        uncounted_list: Messages that used tokens and have no known list price.
    """

    quarter_at: datetime
    cost_recorded_usd: Decimal | None
    cost_list_usd: Decimal | None
    uncounted_recorded: int
    uncounted_list: int

    def cost_usd(self, basis: str) -> Decimal:
        """Return the known cost on one of `costs.BASES`; what is not known is counted by `uncounted`."""
        return self._cost_usd(basis) or Decimal(0)

    def is_known(self, basis: str) -> bool:
        """Tell whether any cost is known on one of `costs.BASES`, 0 included."""
        return self._cost_usd(basis) is not None

    def uncounted(self, basis: str) -> int:
        """Return the messages whose cost is not known on one of `costs.BASES`."""
        return self.uncounted_list if basis == LIST else self.uncounted_recorded

    def _cost_usd(self, basis: str) -> Decimal | None:
        """Return the known cost on one of `costs.BASES`. None if none is known."""
        return self.cost_list_usd if basis == LIST else self.cost_recorded_usd


def spend_quarters(con: duckdb.DuckDBPyConnection, since: datetime) -> list[SpendQuarter]:
    """Follow the spend by quarters of an hour.

    Args:
        con: The index, open for reading.
        since: First moment, naive UTC.

    Returns:
        In order of time; quarters in which no token was used and nothing was paid are left out.
    """
    sql = """
        SELECT quarter_at,
               sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
               sum(cost_list_usd)::DECIMAL(38, 12)     AS cost_list_usd,
               sum(unrecorded_messages)::BIGINT        AS uncounted_recorded,
               sum(unpriced_messages)::BIGINT          AS uncounted_list
        FROM usage_slices
        WHERE kind = 'counted' AND quarter_at >= $since AND (total_tokens <> 0 OR cost_recorded_usd <> 0)
        GROUP BY quarter_at
        ORDER BY quarter_at
    """
    return fetch_rows(con, sql, {"since": since}, SpendQuarter)
