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
_VALUES = {"cost": "cost_recorded_usd", "tokens": "total_tokens", "list": "cost_list_usd"}
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

# What the steps of a message add up to. A cost that one of them lacks is unknown.
STEP_SUMS = f"""
    CASE WHEN count(cost_recorded_usd) = count(*) THEN sum(cost_recorded_usd) END AS steps_cost_usd,
    {", ".join(f"sum({name}_tokens) AS steps_{name}_tokens" for name in _COUNTERS)}
"""
# What the requests of each message add up to, which are its steps, if it has any: read once for all lines.
_REQUESTED = f"""
    requested AS (
        SELECT message_id, {STEP_SUMS},
               CASE WHEN count(cost_list_usd) = count(*) THEN sum(cost_list_usd) END AS requests_list_usd,
               sum(reasoning_in_output_tokens * output_usd)::DECIMAL(38, 12) AS again_usd
        FROM priced_requests WHERE NOT is_fork_copy AND {_IN_SCOPE}
        GROUP BY message_id
    )
"""
_STEPS = f"""
    steps AS (
        SELECT message_id, session_id, created_at AS message_at, cost_recorded_usd AS this_cost_usd, steps_cost_usd,
               {", ".join(f"{name}_tokens AS this_{name}_tokens, steps_{name}_tokens" for name in _COUNTERS)}
        FROM counted JOIN requested USING (message_id)
        WHERE step_count > 0 AND NOT is_usage_missing
    )
"""


def _by_session(name: str, table: str) -> str:
    """Write what messages add up to beside what another table says, per session.

    Args:
        name: Of the table expression.
        table: With a column `session_id`.
    """
    return f"""
    {name} AS (
        SELECT session_id, min(suspect) AS message_id, max(message_at) AS message_at, NULL AS detail,
               sum(this_cost) AS this_cost, sum(this_tokens) AS this_tokens,
               sum(other_cost) AS other_cost, sum(other_tokens) AS other_tokens
        FROM (
            SELECT *, NULL AS other_cost, NULL AS other_tokens FROM own_sums
            UNION ALL
            SELECT session_id, NULL, NULL, NULL, NULL, cost_recorded_usd, total_tokens
            FROM {table} WHERE {narrow.IN_SESSION}
        )
        GROUP BY session_id
    )
    """


# What lines are told from, each once however many lines are.
# `by_slice` sets messages beside the small table that reports read, per row of that table. OpenCode counts what a fork
# copied once more, and what it deleted no longer; what only a storage older than the session's row holds was never in
# its database, and the second API of 1.18 leaves these columns alone. What a client charged for reasoning that its
# output already contains explains what is left between the recorded cost and the list price of a message that has both.
SOURCES = f"""
    by_slice AS (
        SELECT kind, session_id, min(suspect) AS message_id, max(message_at) AS message_at,
               coalesce(agent, 'unknown') || ' · ' || {narrow.MODEL} AS detail,
               {", ".join(f"sum(this_{name}) AS this_{name}, sum(other_{name}) AS other_{name}" for name in _VALUES)}
        FROM (
            SELECT if(is_fork_copy, 'copy', 'counted') AS kind, session_id,
                   time_bucket(INTERVAL 15 minutes, created_at) AS quarter_at, agent, provider_id, model_id,
                   {_SUSPECT_OR_ONLY} AS suspect, max(created_at) AS message_at,
                   {", ".join(f"sum({value}) AS this_{name}, NULL AS other_{name}" for name, value in _VALUES.items())}
            FROM used GROUP BY ALL
            UNION ALL
            SELECT kind, {_SLICE}, NULL, quarter_at, {", ".join(f"NULL, {value}" for value in _VALUES.values())}
            FROM index_db.main.usage_slices  -- what was read, as all that it is compared with (published.py)
            WHERE kind IN ('counted', 'copy')
              AND {narrow.in_period("quarter_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
        )
        GROUP BY kind, {_SLICE}
    ),
    own_sums AS (
        SELECT session_id, {_SUSPECT} AS suspect, max(created_at) AS message_at, sum(cost_recorded_usd) AS this_cost,
               sum(total_tokens) AS this_tokens
        FROM counted GROUP BY session_id
    ),
    {_by_session("by_session", "session_stats")},
    {_by_session("by_exchange", "exchanges")},
    {_REQUESTED},
    {_STEPS},
    by_opencode AS (
        SELECT s.session_id, {_SUSPECT} AS message_id, max(m.created_at) AS message_at,
               sum(m.cost_recorded_usd) AS this_cost_usd, any_value(s.stored_cost_usd) AS stored_cost_usd,
               {", ".join(f"coalesce(sum(m.{name}_tokens), 0) AS this_{name}_tokens" for name in _COUNTERS)},
               {", ".join(f"any_value(s.stored_{name}_tokens) AS stored_{name}_tokens" for name in _COUNTERS)}
        FROM (SELECT * FROM sessions WHERE {narrow.IN_SESSION}) s
             LEFT JOIN used m ON m.session_id = s.session_id
                             AND NOT (m.is_missing_in_newer AND m.generation < s.generation)
                             AND NOT (s.generation = 2 AND m.generation = 3)
                             AND (m.deleted_at IS NULL OR m.deleted_at >= s.deleted_at)
        GROUP BY s.session_id
    ),
    twice AS (
        SELECT session_id, message_id, created_at AS message_at, {narrow.MODEL} AS detail, cost_recorded_usd,
               cost_list_usd,
               CASE WHEN reasoning_in_output_tokens > 0
                     AND abs(cost_recorded_usd - cost_list_usd - again_usd) <= {ROUNDING_USD} THEN again_usd ELSE 0 END
                   AS twice_usd
        FROM counted LEFT JOIN requested USING (message_id)
        WHERE cost_recorded_usd <> 0 AND cost_list_usd IS NOT NULL
    )
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted of messages.

    Attributes:
        value: Its SQL.
        condition: Which messages.
        source: `counted`, or `used` with the copies of forks.
    """

    value: str
    condition: str
    source: str = "counted"


@dataclass(frozen=True, slots=True)
class LineSql:
    """A line of the ledger.

    Attributes:
        rows: Its text; `used` (messages with usage in the scope), `counted` (fork copies left out), `hits` and
            `SOURCES` precede.
        is_money: Whether its values are USD; else they are counts.
        is_check: Whether it compares two sources.
        needs_whole_sessions: Whether the other source knows sessions only: no period, agent or model narrows it.
        counts: What its text counts, where that can be told of all messages at once. None: it cannot.
    """

    rows: str
    is_money: bool
    is_check: bool = True
    needs_whole_sessions: bool = False
    counts: Counted | None = None


def _compared(value: str, source: str, *, if_none: str = "NULL") -> str:
    """Compare a value of a source that has it twice.

    Args:
        value: A name of `_VALUES`.
        source: Of `SOURCES`, perhaps with a condition.
        if_none: What stands for a value that is not there.
    """
    return f"""
        SELECT session_id, message_id, message_at, detail, coalesce(this_{value}, {if_none}) AS this_value,
               coalesce(other_{value}, {if_none}) AS other_value
        FROM {source}
    """


def _each_counter(source: str, other: str) -> str:
    """Turn rows with two sets of the five counters into a row per counter.

    Args:
        source: With `session_id`, `message_id`, `message_at`, and both sets, one of them as `this_`.
        other: Prefix of the columns of the other set; what is not stored there is left out.
    """
    names = ", ".join(f"'{name.replace('_', ' ')}'" for name in _COUNTERS)
    these = ", ".join(f"this_{name}_tokens" for name in _COUNTERS)
    others = ", ".join(f"{other}{name}_tokens" for name in _COUNTERS)
    return f"""
        SELECT * FROM (
            SELECT session_id, message_id, message_at, unnest([{names}]) AS detail, unnest([{these}]) AS this_value,
                   unnest([{others}]) AS other_value
            FROM {source}
        )
        WHERE other_value IS NOT NULL
    """


_COST_STEPS = """
    SELECT session_id, message_id, message_at, NULL AS detail, this_cost_usd AS this_value,
           steps_cost_usd AS other_value
    FROM steps
    WHERE steps_cost_usd IS NOT NULL
"""
_COST_OPENCODE = """
    SELECT session_id, message_id, message_at, NULL AS detail, this_cost_usd AS this_value,
           stored_cost_usd AS other_value
    FROM by_opencode
    WHERE stored_cost_usd <> 0 OR (stored_cost_usd = 0 AND this_cost_usd IS NOT NULL)
"""
_LIST_REQUESTS = """
    SELECT session_id, message_id, created_at AS message_at, provider_id || '/' || model_id AS detail,
           cost_list_usd AS this_value, requests_list_usd AS other_value
    FROM counted JOIN requested USING (message_id)
    WHERE NOT is_usage_missing
"""
_LIST_RECORDED = """
    SELECT session_id, message_id, message_at, detail, cost_recorded_usd AS this_value,
           cost_list_usd + coalesce(twice_usd, 0) AS other_value
    FROM twice
"""


def _counting(value: str, condition: str, source: str = "counted", *, is_money: bool = False) -> LineSql:
    """Make the line that counts something of the messages for which a condition holds."""
    rows = f"""
        SELECT session_id, message_id, created_at AS message_at, {narrow.MODEL} AS detail, {value} AS this_value,
               NULL AS other_value
        FROM {source} WHERE {condition}
    """
    return LineSql(rows, is_money, is_check=False, counts=Counted(value, condition, source))


_REASONING_TWICE = """
    SELECT session_id, message_id, message_at, detail, twice_usd AS this_value, NULL AS other_value
    FROM twice
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
    "cost_slices": LineSql(_compared("cost", "by_slice WHERE kind = 'counted'"), is_money=True),
    "cost_sessions": LineSql(_compared("cost", "by_session"), is_money=True, needs_whole_sessions=True),
    "cost_exchanges": LineSql(_compared("cost", "by_exchange"), is_money=True, needs_whole_sessions=True),
    "cost_steps": LineSql(_COST_STEPS, is_money=True),
    "cost_opencode": LineSql(_COST_OPENCODE, is_money=True, needs_whole_sessions=True),
    "tokens_slices": LineSql(_compared("tokens", "by_slice WHERE kind = 'counted'"), is_money=False),
    "tokens_sessions": LineSql(
        _compared("tokens", "by_session", if_none="0"), is_money=False, needs_whole_sessions=True
    ),
    "tokens_steps": LineSql(_each_counter("steps", "steps_"), is_money=False),
    "tokens_opencode": LineSql(_each_counter("by_opencode", "stored_"), is_money=False, needs_whole_sessions=True),
    "copies": LineSql(_compared("tokens", "by_slice WHERE kind = 'copy'"), is_money=False),
    "recorded": _counting("cost_recorded_usd", "cost_recorded_usd IS NOT NULL", is_money=True),
    "recorded_unpriced": _counting(
        "cost_recorded_usd", "cost_list_usd IS NULL AND cost_recorded_usd <> 0", is_money=True
    ),
    "list_free": _counting("cost_list_usd", "cost_recorded_usd = 0 AND cost_list_usd <> 0", is_money=True),
    "list_unrecorded": _counting("cost_list_usd", "cost_recorded_usd IS NULL AND cost_list_usd <> 0", is_money=True),
    "reasoning_twice": LineSql(_REASONING_TWICE, is_money=True, is_check=False),
    "list_recorded": LineSql(_LIST_RECORDED, is_money=True),
    "list_slices": LineSql(_compared("list", "by_slice WHERE kind = 'counted'"), is_money=True),
    "list_requests": LineSql(_LIST_REQUESTS, is_money=True),
    "copies_cost": _counting(
        "cost_recorded_usd", "is_fork_copy AND cost_recorded_usd IS NOT NULL", "used", is_money=True
    ),
    "reasoning_inside": _counting("reasoning_in_output_tokens", "reasoning_in_output_tokens > 0"),
    "reasoning_apart": _counting(
        "reasoning_tokens - reasoning_in_output_tokens", "reasoning_tokens > reasoning_in_output_tokens"
    ),
    "unrecorded": _counting("total_tokens", "cost_recorded_usd IS NULL"),
    "usage_missing": _counting("1", "is_usage_missing"),
    "mismatch": _counting("total_tokens", "is_total_mismatch"),
    "unpriced": _counting("total_tokens", "cost_list_usd IS NULL AND total_tokens <> 0"),
    "deleted": _counting("total_tokens", "deleted_at IS NOT NULL"),
    "timeless": LineSql(_TIMELESS, is_money=False, is_check=False),
    "unreadable": LineSql(_UNREADABLE, is_money=False, is_check=False),
}
