"""What the same requests would have cost on other models, at list prices: an estimate, as the tokens would differ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_rows


@dataclass(frozen=True, slots=True)
class ListPrice:
    """What a model costs for some requests, USD a token: as a row of the table `prices`, with the model's name.

    Attributes:
        model: `provider/model`.
    """

    model: str
    from_at: datetime | None
    until_at: datetime | None
    from_minute: int | None
    until_minute: int | None
    over_tokens: int | None
    upto_tokens: int | None
    input_usd: Decimal
    output_usd: Decimal
    reasoning_usd: Decimal
    cache_read_usd: Decimal
    cache_write_usd: Decimal
    request_usd: Decimal


@dataclass(frozen=True, slots=True)
class Alternative:
    """All requests of a scope on one model.

    Attributes:
        model: `provider/model`.
        cost_list_usd: What they would have cost at its prices of their days. None if none of them has a price.
        requests: Of the scope, that used tokens.
        unpriced_requests: Requests at times for which no price of the model is known; not in `cost_list_usd`.
    """

    model: str
    cost_list_usd: Decimal | None
    requests: int
    unpriced_requests: int

    @property
    def is_complete(self) -> bool:
        """Tell whether every request has a price, so that the cost is that of all."""
        return self.unpriced_requests == 0


def alternatives(
    con: duckdb.DuckDBPyConnection, models: Sequence[str], prices: Sequence[ListPrice], scope: Scope
) -> list[Alternative]:
    """Price the requests of a scope on other models: the same tokens, cached ones as cached.

    Args:
        con: The index, open for reading.
        models: Names, `provider/model`; they need not be used in the index.
        prices: All that are known of them.
        scope: What to look at.

    Returns:
        One row per model, cheapest first, then by name; unknown costs last.
    """
    values = {**narrow.values(scope), "others": list(models), "prices": [asdict(price) for price in prices]}
    return fetch_rows(con, narrow.narrowed(_ALTERNATIVES, scope), values, Alternative)


_STRUCT = """
    STRUCT(model VARCHAR, from_at TIMESTAMP, until_at TIMESTAMP, from_minute INTEGER, until_minute INTEGER,
           over_tokens BIGINT, upto_tokens BIGINT, input_usd DECIMAL(18, 15), output_usd DECIMAL(18, 15),
           reasoning_usd DECIMAL(18, 15), cache_read_usd DECIMAL(18, 15), cache_write_usd DECIMAL(18, 15),
           request_usd DECIMAL(18, 15))[]
"""

# The condition and the sum are those of the view `priced_requests`, for other models than the request's own.
_ALTERNATIVES = f"""
    WITH {narrow.HITS},
    asked AS (
        SELECT * FROM requests
        WHERE NOT is_fork_copy AND {narrow.in_period("created_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
          AND (input_tokens <> 0 OR output_tokens <> 0 OR reasoning_tokens <> 0 OR cache_read_tokens <> 0
               OR cache_write_tokens <> 0)  -- what used nothing costs nothing on any model
    ),
    wanted AS (SELECT unnest($prices::{_STRUCT}, recursive := true)),
    priced AS (
        SELECT p.model,
               (r.input_tokens * p.input_usd + r.cache_read_tokens * p.cache_read_usd
                + r.cache_write_tokens * p.cache_write_usd
                + (r.output_tokens - r.reasoning_in_output_tokens) * p.output_usd
                + r.reasoning_tokens * p.reasoning_usd + p.request_usd)::DECIMAL(38, 12) AS cost_list_usd
        FROM asked r JOIN wanted p
          ON (p.from_at IS NULL OR r.created_at >= p.from_at) AND (p.until_at IS NULL OR r.created_at < p.until_at)
         AND (p.from_minute IS NULL OR hour(r.created_at) * 60 + minute(r.created_at) >= p.from_minute)
         AND (p.until_minute IS NULL OR hour(r.created_at) * 60 + minute(r.created_at) < p.until_minute)
         AND (p.over_tokens IS NULL OR r.input_tokens + r.cache_read_tokens + r.cache_write_tokens > p.over_tokens)
         AND (p.upto_tokens IS NULL OR r.input_tokens + r.cache_read_tokens + r.cache_write_tokens <= p.upto_tokens)
    ),
    summed AS (
        SELECT model, sum(cost_list_usd)::DECIMAL(38, 12) AS cost_list_usd, count(*) AS met FROM priced GROUP BY model
    )
    SELECT model, cost_list_usd, requests, requests - coalesce(met, 0) AS unpriced_requests
    FROM (SELECT DISTINCT unnest($others::VARCHAR[]) AS model) CROSS JOIN (SELECT count(*) AS requests FROM asked)
    LEFT JOIN summed USING (model)
    ORDER BY cost_list_usd NULLS LAST, model
"""
