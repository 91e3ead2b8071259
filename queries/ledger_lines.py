"""The SQL of each line of a ledger: what the pages count of something, beside what another stored source says of it.

Every text gives one row per thing that is compared or counted: `session_id`, `message_id` (None: of no single message),
`message_at`, `detail`, `this_value` and `other_value` (None: not recorded there). The sums of a line and its rows are
told from the same text, so they cannot disagree.
"""

from dataclasses import dataclass

from queries import narrow

# OpenCode adds costs up as binary fractions; so much of a sum may be their rounding.
ROUNDING_USD = "1e-9"

_IN_SCOPE = f"{narrow.in_period('created_at')} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}"
_SLICE = "session_id, quarter_at, agent, provider_id, model_id"
_COUNTERS = ("input", "output", "reasoning", "cache_read", "cache_write")
# Of the messages of a group the one that its own steps contradict: where a wrong sum comes from.
_SUSPECT = """
    min(message_id) FILTER (
        step_count > 0 AND NOT is_usage_missing AND cost_recorded_usd IS DISTINCT FROM cost_steps_usd
    )
"""
_SUSPECT_OR_ONLY = f"coalesce({_SUSPECT}, CASE WHEN count(*) = 1 THEN min(message_id) END)"

USED = f"""
    used AS (SELECT * FROM messages WHERE has_usage AND {_IN_SCOPE}),
    counted AS (SELECT * FROM used WHERE NOT is_fork_copy)
"""


@dataclass(frozen=True, slots=True)
class LineSql:
    """A line of the ledger.

    Attributes:
        rows: Its text; `used` (messages with usage in the scope), `counted` (fork copies left out) and `hits` precede.
        is_money: Whether its values are USD; else they are counts.
        is_check: Whether it compares two sources.
        needs_whole_sessions: Whether the other source knows sessions only: no period, agent or model narrows it.
    """

    rows: str
    is_money: bool
    is_check: bool = True
    needs_whole_sessions: bool = False


def _by_slice(value: str, kind: str = "counted", source: str = "counted") -> str:
    """Compare what messages add up to with the small table that reports read, per row of that table."""
    return f"""
        SELECT session_id, min(suspect) AS message_id, max(message_at) AS message_at,
               coalesce(agent, 'unknown') || ' · ' || {narrow.MODEL} AS detail,
               sum(this_value) AS this_value, sum(other_value) AS other_value
        FROM (
            SELECT session_id, time_bucket(INTERVAL 15 minutes, created_at) AS quarter_at, agent, provider_id, model_id,
                   {_SUSPECT_OR_ONLY} AS suspect, max(created_at) AS message_at, sum({value}) AS this_value,
                   NULL AS other_value
            FROM {source} GROUP BY ALL
            UNION ALL
            SELECT {_SLICE}, NULL, quarter_at, NULL, {value}
            FROM usage_slices
            WHERE kind = '{kind}' AND {narrow.in_period("quarter_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
        )
        GROUP BY {_SLICE}
    """


def _by_session(value: str, table: str, *, if_none: str) -> str:
    """Compare what messages add up to with another table, per session.

    Args:
        value: Column of both.
        table: With a column `session_id`.
        if_none: What a session without messages has.
    """
    return f"""
        SELECT session_id, min(suspect) AS message_id, max(message_at) AS message_at, NULL AS detail,
               coalesce(sum(this_value), {if_none}) AS this_value, coalesce(sum(other_value), {if_none}) AS other_value
        FROM (
            SELECT session_id, {_SUSPECT} AS suspect, max(created_at) AS message_at, sum({value}) AS this_value,
                   NULL AS other_value
            FROM counted GROUP BY session_id
            UNION ALL
            SELECT session_id, NULL, NULL, NULL, {value} FROM {table} WHERE {narrow.IN_SESSION}
        )
        GROUP BY session_id
    """


# Steps of a rewritten message that it no longer has are not of it (as in the view `requests`).
_STEPS = """
    FROM counted m JOIN parts p USING (message_id)
    WHERE m.step_count > 0 AND NOT m.is_usage_missing AND p.part_type = 'step-finish' AND NOT p.is_orphan
      AND (p.deleted_at IS NULL OR p.deleted_at >= m.deleted_at)
"""
_COST_STEPS = f"""
    SELECT any_value(m.session_id) AS session_id, message_id, any_value(m.created_at) AS message_at, NULL AS detail,
           any_value(m.cost_recorded_usd) AS this_value, sum(p.cost_recorded_usd) AS other_value
    {_STEPS}
    GROUP BY message_id
    HAVING count(p.cost_recorded_usd) = count(*)
"""


def _each_counter(rows: str, this: str, other: str) -> str:
    """Turn rows with two sets of the five counters into a row per counter.

    Args:
        rows: Text of a query with `session_id`, `message_id`, `message_at`, and both sets.
        this: Prefix of the columns of one set.
        other: Prefix of those of the other; what is not stored there is left out.
    """
    names = ", ".join(f"'{name.replace('_', ' ')}'" for name in _COUNTERS)
    these = ", ".join(f"{this}{name}_tokens" for name in _COUNTERS)
    others = ", ".join(f"{other}{name}_tokens" for name in _COUNTERS)
    return f"""
        SELECT * FROM (
            SELECT session_id, message_id, message_at, unnest([{names}]) AS detail, unnest([{these}]) AS this_value,
                   unnest([{others}]) AS other_value
            FROM ({rows})
        )
        WHERE other_value IS NOT NULL
    """


_TOKENS_STEPS = f"""
    SELECT any_value(m.session_id) AS session_id, message_id, any_value(m.created_at) AS message_at,
           {", ".join(f"any_value(m.{name}_tokens) AS this_{name}_tokens" for name in _COUNTERS)},
           {", ".join(f"sum(p.{name}_tokens) AS other_{name}_tokens" for name in _COUNTERS)}
    {_STEPS}
    GROUP BY message_id
"""

# OpenCode counts what a fork copied once more, and what it deleted no longer. What only an older storage holds was
# never in its database; the second API of 1.18 leaves these columns alone.
_OPENCODE = f"""
    SELECT s.session_id, {_SUSPECT} AS message_id, max(m.created_at) AS message_at,
           coalesce(sum(m.cost_recorded_usd), 0) AS this_cost_usd, any_value(s.stored_cost_usd) AS stored_cost_usd,
           {", ".join(f"coalesce(sum(m.{name}_tokens), 0) AS this_{name}_tokens" for name in _COUNTERS)},
           {", ".join(f"any_value(s.stored_{name}_tokens) AS stored_{name}_tokens" for name in _COUNTERS)}
    FROM (SELECT * FROM sessions WHERE {narrow.IN_SESSION}) s
         LEFT JOIN used m ON m.session_id = s.session_id AND NOT m.is_missing_in_newer
                         AND NOT (s.generation = 2 AND m.generation = 3)
                         AND (m.deleted_at IS NULL OR m.deleted_at >= s.deleted_at)
    GROUP BY s.session_id
"""
_COST_OPENCODE = f"""
    SELECT session_id, message_id, message_at, NULL AS detail, this_cost_usd AS this_value,
           stored_cost_usd AS other_value
    FROM ({_OPENCODE})
    WHERE stored_cost_usd IS NOT NULL
"""

_LIST_REQUESTS = """
    SELECT m.session_id, message_id, m.created_at AS message_at, p.model AS detail, m.cost_list_usd AS this_value,
           p.cost_list_usd AS other_value
    FROM counted m JOIN (
        SELECT message_id, any_value(provider_id || '/' || model_id) AS model,
               CASE WHEN count(cost_list_usd) = count(*) THEN sum(cost_list_usd) END AS cost_list_usd
        FROM priced_requests SEMI JOIN counted USING (message_id)
        GROUP BY message_id
    ) p USING (message_id)
    WHERE NOT m.is_usage_missing
"""

# What is left between the recorded cost and the list price of messages that have both, once it is known what a client
# charged for reasoning that its output already contains.
_TWICE = f"""
    SELECT session_id, message_id, created_at AS message_at, {narrow.MODEL} AS detail, cost_recorded_usd, cost_list_usd,
           CASE WHEN abs(cost_recorded_usd - cost_list_usd - again_usd) <= {ROUNDING_USD} THEN again_usd ELSE 0 END
               AS twice_usd
    FROM counted LEFT JOIN (
        SELECT message_id, sum(reasoning_in_output_tokens * output_usd)::DECIMAL(38, 12) AS again_usd
        FROM priced_requests
             SEMI JOIN (SELECT message_id FROM counted WHERE reasoning_in_output_tokens > 0) USING (message_id)
        GROUP BY message_id
    ) USING (message_id)
    WHERE cost_recorded_usd <> 0 AND cost_list_usd IS NOT NULL
"""
_LIST_RECORDED = f"""
    SELECT session_id, message_id, message_at, detail, cost_recorded_usd AS this_value,
           cost_list_usd + coalesce(twice_usd, 0) AS other_value
    FROM ({_TWICE})
"""


def _counts(value: str, condition: str = "TRUE", source: str = "counted") -> str:
    """Count something of the messages for which a condition holds."""
    return f"""
        SELECT session_id, message_id, created_at AS message_at, {narrow.MODEL} AS detail, {value} AS this_value,
               NULL AS other_value
        FROM {source} WHERE {condition}
    """


_REASONING_TWICE = f"""
    SELECT session_id, message_id, message_at, detail, twice_usd AS this_value, NULL AS other_value
    FROM ({_TWICE})
    WHERE twice_usd <> 0
"""
_TIMELESS = f"""
    SELECT session_id, message_id, created_at AS message_at, {narrow.MODEL} AS detail, 1 AS this_value,
           NULL AS other_value
    FROM messages
    WHERE has_usage AND NOT is_fork_copy AND created_at IS NULL AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
      AND ($start::TIMESTAMP IS NOT NULL OR $end::TIMESTAMP IS NOT NULL)
"""
# Neither filters nor sessions are known of what could not be read.
_UNREADABLE = """
    SELECT NULL AS session_id, NULL AS message_id, last_seen_at AS message_at, key || ': ' || reason AS detail,
           1 AS this_value, NULL AS other_value
    FROM documents
"""

# In the order in which they are shown.
LINES: dict[str, LineSql] = {
    "cost_slices": LineSql(_by_slice("cost_recorded_usd"), is_money=True),
    "cost_sessions": LineSql(
        _by_session("cost_recorded_usd", "session_stats", if_none="NULL"), is_money=True, needs_whole_sessions=True
    ),
    "cost_exchanges": LineSql(
        _by_session("cost_recorded_usd", "exchanges", if_none="NULL"), is_money=True, needs_whole_sessions=True
    ),
    "cost_steps": LineSql(_COST_STEPS, is_money=True),
    "cost_opencode": LineSql(_COST_OPENCODE, is_money=True, needs_whole_sessions=True),
    "tokens_slices": LineSql(_by_slice("total_tokens"), is_money=False),
    "tokens_sessions": LineSql(
        _by_session("total_tokens", "session_stats", if_none="0"), is_money=False, needs_whole_sessions=True
    ),
    "tokens_steps": LineSql(_each_counter(_TOKENS_STEPS, "this_", "other_"), is_money=False),
    "tokens_opencode": LineSql(_each_counter(_OPENCODE, "this_", "stored_"), is_money=False, needs_whole_sessions=True),
    "copies": LineSql(_by_slice("total_tokens", "copy", "(SELECT * FROM used WHERE is_fork_copy)"), is_money=False),
    "recorded": LineSql(_counts("cost_recorded_usd", "cost_recorded_usd IS NOT NULL"), is_money=True, is_check=False),
    "recorded_unpriced": LineSql(
        _counts("cost_recorded_usd", "cost_list_usd IS NULL AND cost_recorded_usd <> 0"), is_money=True, is_check=False
    ),
    "list_free": LineSql(
        _counts("cost_list_usd", "cost_recorded_usd = 0 AND cost_list_usd <> 0"), is_money=True, is_check=False
    ),
    "list_unrecorded": LineSql(
        _counts("cost_list_usd", "cost_recorded_usd IS NULL AND cost_list_usd <> 0"), is_money=True, is_check=False
    ),
    "reasoning_twice": LineSql(_REASONING_TWICE, is_money=True, is_check=False),
    "list_recorded": LineSql(_LIST_RECORDED, is_money=True),
    "list_slices": LineSql(_by_slice("cost_list_usd"), is_money=True),
    "list_requests": LineSql(_LIST_REQUESTS, is_money=True),
    "copies_cost": LineSql(
        _counts("cost_recorded_usd", "is_fork_copy AND cost_recorded_usd IS NOT NULL", "used"),
        is_money=True,
        is_check=False,
    ),
    "reasoning_inside": LineSql(
        _counts("reasoning_in_output_tokens", "reasoning_in_output_tokens > 0"), is_money=False, is_check=False
    ),
    "reasoning_apart": LineSql(
        _counts("reasoning_tokens - reasoning_in_output_tokens", "reasoning_tokens > reasoning_in_output_tokens"),
        is_money=False,
        is_check=False,
    ),
    "unrecorded": LineSql(_counts("total_tokens", "cost_recorded_usd IS NULL"), is_money=False, is_check=False),
    "usage_missing": LineSql(_counts("1", "is_usage_missing"), is_money=False, is_check=False),
    "mismatch": LineSql(_counts("total_tokens", "is_total_mismatch"), is_money=False, is_check=False),
    "unpriced": LineSql(
        _counts("total_tokens", "cost_list_usd IS NULL AND total_tokens <> 0"), is_money=False, is_check=False
    ),
    "deleted": LineSql(_counts("total_tokens", "deleted_at IS NOT NULL"), is_money=False, is_check=False),
    "timeless": LineSql(_TIMELESS, is_money=False, is_check=False),
    "unreadable": LineSql(_UNREADABLE, is_money=False, is_check=False),
}
