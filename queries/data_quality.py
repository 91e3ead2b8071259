"""How far the recorded data can be trusted, by the client that wrote it."""

from dataclasses import dataclass

import duckdb

from queries import narrow
from queries.ledger_lines import ROUNDING_USD, STEP_SUMS, USED
from queries.period import Scope
from queries.rows import fetch_rows


@dataclass(frozen=True, slots=True)
class VersionQuality:
    """The messages of the sessions that one version of the client created. Fork copies are left out.

    Attributes:
        client_version: None: not recorded.
        sessions: With a counting message.
        messages: Counting messages.
        comparable: Those whose sums something else confirms or denies: that have steps, or a total that contradicts.
        agreeing: Of these: tokens and cost are what the steps add up to, and the recorded total fits them.
        with_usage: Those whose usage is recorded.
        priced: Those whose list price is known, or that used no tokens.
        readable: Those of which every document, parts included, could be read in full.
        good: Those for which all four hold; what cannot be compared is not held against them.
    """

    client_version: str | None
    sessions: int
    messages: int
    comparable: int
    agreeing: int
    with_usage: int
    priced: int
    readable: int
    good: int

    @property
    def score(self) -> float:
        """Return the share of messages about which nothing is in doubt, 0 to 1."""
        return self.good / self.messages

    @property
    def agreeing_share(self) -> float | None:
        """Return the share of comparable messages whose sums agree. None without any: nothing confirms them."""
        return self.agreeing / self.comparable if self.comparable else None

    @property
    def usage_share(self) -> float:
        """Return the share of messages whose usage is recorded."""
        return self.with_usage / self.messages

    @property
    def priced_share(self) -> float:
        """Return the share of messages whose list price is known."""
        return self.priced / self.messages

    @property
    def readable_share(self) -> float:
        """Return the share of messages that could be read in full."""
        return self.readable / self.messages


def version_quality(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[VersionQuality]:
    """Rate the data of each version of the client.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        One row per version with a counting message, newest version first, those that name none last.
    """
    return fetch_rows(con, narrow.narrowed(_QUALITY, scope), narrow.values(scope), VersionQuality)


_COUNTERS = ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens")
_IS_SUM = " AND ".join(f"coalesce(m.{name} = steps.steps_{name}, TRUE)" for name in _COUNTERS)
_QUALITY = f"""
    WITH {narrow.HITS}, {USED},
    steps AS (  -- those of the view `requests`, which would read all messages once more
        SELECT message_id, {STEP_SUMS}
        FROM parts JOIN (
            SELECT message_id, deleted_at AS undone_at FROM counted WHERE step_count > 0 AND NOT is_usage_missing
        ) USING (message_id)
        WHERE part_type = 'step-finish' AND (deleted_at IS NULL OR deleted_at >= undone_at)
        GROUP BY message_id
    ),
    judged AS (
        SELECT m.session_id,
               CASE
                   WHEN is_total_mismatch THEN FALSE
                   WHEN steps.message_id IS NOT NULL
                       THEN {_IS_SUM}
                            AND coalesce(abs(m.cost_recorded_usd - steps.steps_cost_usd) <= {ROUNDING_USD}, TRUE)
               END                                               AS agrees,  -- NULL: nothing to compare it with
               NOT is_usage_missing                              AS has_usage,
               cost_list_usd IS NOT NULL OR total_tokens = 0     AS is_priced,
               doubted.owner_id IS NULL                          AS is_readable
        FROM counted m LEFT JOIN steps USING (message_id)
             LEFT JOIN (SELECT DISTINCT owner_id FROM documents) doubted ON doubted.owner_id = m.message_id
    )
    SELECT client_version,
           count(DISTINCT session_id)                                            AS sessions,
           count(*)                                                              AS messages,
           count(agrees)                                                         AS comparable,
           count(*) FILTER (agrees)                                              AS agreeing,
           count(*) FILTER (has_usage)                                           AS with_usage,
           count(*) FILTER (is_priced)                                           AS priced,
           count(*) FILTER (is_readable)                                         AS readable,
           count(*) FILTER (agrees IS NOT FALSE AND has_usage AND is_priced AND is_readable) AS good
    FROM judged JOIN (SELECT session_id, client_version FROM sessions) USING (session_id)
    GROUP BY client_version
    ORDER BY try_cast(regexp_extract_all(client_version, '\\d+') AS BIGINT[]) DESC NULLS LAST,
             client_version DESC NULLS LAST
"""
