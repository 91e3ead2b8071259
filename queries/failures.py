"""What fails, how often and why, and what it costs: answers that ended in an error, and tool calls that failed.

All of it comes from the small tables, so each failure belongs to the time, agent and model of its message, and what
forks copied counts once. Only patterns, fields and examples read what was reported.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import narrow, report_lines
from queries.costs import RankedKey
from queries.period import Scope
from queries.rows import fetch_row, fetch_rows

GROUPINGS = ("category", "provider", "model", "agent", "tool")
RANKED = ("category", "tool")  # groupings that are ranked by failures; the others keep their places by cost
ANSWERS = "(answers)"  # what is no tool call, where the groups are tools
PER = 1_000  # what rates are counted on
_PATH = re.compile(r'\$(?:\.[A-Za-z_]\w*|\."[^"*?\[\]]+"|\[\d{1,6}\])*')

_KEYS = {
    "category": "category",
    "provider": "coalesce(provider_id, 'unknown')",
    "model": narrow.MODEL,
    "agent": "coalesce(agent, 'unknown')",
    "tool": "CASE WHEN is_call THEN name END",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the Errors page narrows beside the filter bar.

    Attributes:
        categories: Causes to look at. Empty: all.
        with_aborted: Whether answers that the user cut short count as errors.
    """

    categories: tuple[str, ...] = ()
    with_aborted: bool = False


@dataclass(frozen=True, slots=True)
class FailureTotals:
    """What failed, and out of how much.

    Attributes:
        failed_answers: Answers that ended in an error.
        failed_calls: Tool calls that failed.
        aborted_answers: Answers that the user cut short, whether they are counted above or not.
        unfinished_answers: Answers whose request never came to an end, without an error: in no other number.
        answers: Answers that ended, well or not. Those that the user cut short are among them only if they count.
        calls: Tool calls that ended.
        sessions: Sessions with a failure.
        top_category: The most frequent cause. None without any failure.
        top_errors: Failures of that cause.
        first_at: Time of the first failure, naive UTC. None if there is none with a time.
        last_at: Time of the last one.
    """

    failed_answers: int
    failed_calls: int
    aborted_answers: int
    unfinished_answers: int
    answers: int
    calls: int
    sessions: int
    top_category: str | None
    top_errors: int
    first_at: datetime | None
    last_at: datetime | None

    @property
    def errors(self) -> int:
        """Count everything that failed."""
        return self.failed_answers + self.failed_calls

    @property
    def per_1000(self) -> float | None:
        """Return failures per 1,000 answers and finished calls. None if there was neither."""
        return rate(self.errors, self.answers + self.calls)


@dataclass(frozen=True, slots=True)
class FailurePoint:
    """Failures of one group in one step of time.

    Attributes:
        step_at: Start of the hour, day, week or month in the viewer's zone, naive.
        key: Cause, provider, `provider/model`, agent or tool; `ANSWERS` where the groups are tools.
    """

    step_at: datetime
    key: str
    errors: int

    @property
    def amount(self) -> float:
        """Return what is drawn."""
        return self.errors


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures of one group, and out of how much.

    Attributes:
        key: Cause, provider, `provider/model`, agent or tool. None: answers, where the groups are tools.
        failed_answers: Answers that ended in an error.
        answers: Answers that ended, well or not: those of the group; all in the scope, where the groups are causes.
        failed_calls: Tool calls that failed.
        calls: Tool calls that ended, of the same.
        sessions: Sessions with a failure of the group.
        share: Part of all failures in the scope, 0 to 1. None if nothing failed.
        last_at: Time of the newest failure, naive UTC. None if there is none with a time.
    """

    key: str | None
    errors: int
    share: float | None
    failed_answers: int
    answers: int
    failed_calls: int
    calls: int
    sessions: int
    last_at: datetime | None

    @property
    def failed_answers_per_1000(self) -> float | None:
        """Return failed answers per 1,000 answers. None if there were none."""
        return rate(self.failed_answers, self.answers)

    @property
    def failed_calls_per_1000(self) -> float | None:
        """Return failed calls per 1,000 calls. None if there were none."""
        return rate(self.failed_calls, self.calls)


@dataclass(frozen=True, slots=True)
class FailurePattern:
    """Failures that reported the same but for numbers, ids and paths.

    Attributes:
        name: The tool, or the error's name.
        pattern: One line of what was reported, its variable pieces replaced: `<n>`, `<id>`, `<path>`, `<url>`; at most
            300 characters. None if nothing was.
        retryable: Failures of which the provider said that trying again may help.
        not_retryable: Failures of which it said that it does not.
        status_codes: HTTP status of the provider, or exit code of the program: those that occur, at most five.
        first_at: Naive UTC. None if unknown.
        last_at: Alike.
    """

    category: str
    name: str
    is_call: bool
    pattern: str | None
    errors: int
    sessions: int
    retryable: int
    not_retryable: int
    status_codes: str | None
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class FailureField:
    """A field that occurs in what was reported.

    Attributes:
        path: Where it is: `$.data.statusCode`.
        errors: Failures among the newest ones that have it.
    """

    path: str
    errors: int


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures with one value of a field.

    Attributes:
        value: As text; objects and lists are JSON. None: the field is not there, or null.
        share: Part of all failures in the scope, 0 to 1.
        first_at: Naive UTC. None if unknown.
        last_at: Alike.
    """

    value: str | None
    errors: int
    share: float
    sessions: int
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class FailureExample:
    """One failure, with all that was reported.

    Attributes:
        failure_id: Id of its event.
        failed_at: Naive UTC. None if unknown.
        name: The tool, or the error's name.
        line: One line of what was reported. None if nothing was.
        error_data: The whole report, JSON text. None if there is none.
        session_title: None if the session has none.
    """

    failure_id: str
    session_id: str
    session_title: str | None
    failed_at: datetime | None
    is_call: bool
    category: str
    name: str
    agent: str | None
    model: str | None
    line: str | None
    error_data: str | None


@dataclass(frozen=True, slots=True)
class EndedSpend:
    """What exchanges used that one cause ended. Each exchange is charged once, as a whole, to the error that ended it.

    Attributes:
        category: The cause.
        is_aborted: The user cut them short.
        sessions: Sessions with such an exchange.
        total_tokens: Every token once.
        cost_recorded_usd: Exact. None if none was recorded.
        duration_ms: From prompt to end, added up. None if no exchange has both times.
    """

    category: str
    is_aborted: bool
    exchanges: int
    sessions: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """Failures of one cause that did not end their exchange, nor came with the error that did: the work went on.

    Attributes:
        exchanges: Exchanges with such a failure.
    """

    category: str
    failed_answers: int
    failed_calls: int
    exchanges: int
    sessions: int


def rate(failed: int, tried: int) -> float | None:
    """Return how many of 1,000 failed. None if nothing was tried."""
    return PER * failed / tried if tried else None


def is_path(text: str) -> bool:
    """Tell whether a text names one place in JSON, as `$.data.statusCode` and `$.data."odd name"[0]` do."""
    return _PATH.fullmatch(text) is not None


def spent(rows: Sequence[EndedSpend], with_aborted: bool) -> Decimal | None:
    """Add up what was recorded for exchanges that an error ended, exact. None if nothing was.

    Args:
        rows: Of `ended_spend`.
        with_aborted: Whether those that the user cut short belong to it.
    """
    costs = [row.cost_recorded_usd for row in rows if with_aborted or not row.is_aborted]
    recorded = [cost for cost in costs if cost is not None]
    return sum(recorded, Decimal(0)) if recorded else None


def failure_totals(con: duckdb.DuckDBPyConnection, scope: Scope, choice: Choice) -> FailureTotals:
    """Add up what failed.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        choice: Which failures count; answers and calls are those of the scope, whatever it says.

    Returns:
        Zeros and None if nothing matches.
    """
    return fetch_row(con, narrow.narrowed(_TOTALS, scope), _values(scope, choice), FailureTotals)


def failure_series(
    con: duckdb.DuckDBPyConnection, by: str, step: str, scope: Scope, choice: Choice
) -> list[FailurePoint]:
    """Follow the failures over time.

    Args:
        con: The index, open for reading.
        by: One of `GROUPINGS`.
        step: hour, day, week or month.
        scope: What to look at.
        choice: Which failures count.

    Returns:
        By time, then key; failures of unknown time have no point.
    """
    return fetch_rows(con, narrow.narrowed(_SERIES[by], scope), {**_values(scope, choice), "step": step}, FailurePoint)


def failure_ranks(con: duckdb.DuckDBPyConnection, by: str) -> list[RankedKey]:
    """Rank causes or tools by failures over all data, whatever the filters: their colours must not move.

    Args:
        con: The index, open for reading.
        by: One of `RANKED`.

    Returns:
        Every one that failed, rank 1 first.
    """
    return fetch_rows(con, _RANKS[by], {}, RankedKey)


def failure_rows(con: duckdb.DuckDBPyConnection, by: str, scope: Scope, choice: Choice) -> list[FailureRow]:
    """Break the failures down.

    Args:
        con: The index, open for reading.
        by: One of `GROUPINGS`.
        scope: What to look at.
        choice: Which failures count.

    Returns:
        One row per group, those without a failure too where something was tried (a cause then has no row): most
        failures first, then by key. The rows add up to `failure_totals`.
    """
    return fetch_rows(con, narrow.narrowed(_ROWS[by], scope), _values(scope, choice), FailureRow)


def failure_patterns(
    con: duckdb.DuckDBPyConnection, scope: Scope, choice: Choice, limit: int | None = None
) -> list[FailurePattern]:
    """Group the failures by cause, name, and what was reported but for numbers, ids and paths.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        choice: Which failures count.
        limit: Rows at most. None: all.

    Returns:
        Most frequent first, then newest first, then by name and pattern.
    """
    return fetch_rows(
        con, narrow.narrowed(_PATTERNS, scope), {**_values(scope, choice), "limit": limit}, FailurePattern
    )


def failure_fields(con: duckdb.DuckDBPyConnection, scope: Scope, choice: Choice) -> list[FailureField]:
    """List the fields that occur in what the newest failures reported; those inside lists are left out.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        choice: Which failures count.

    Returns:
        The most frequent first, then by path.
    """
    rows = fetch_rows(con, narrow.narrowed(_FIELDS, scope), _values(scope, choice), FailureField)
    return [row for row in rows if is_path(row.path)]


def failure_groups(
    con: duckdb.DuckDBPyConnection, path: str, scope: Scope, choice: Choice, limit: int | None = None
) -> list[FailureGroup]:
    """Group the failures by the value of a field of what was reported.

    Args:
        con: The index, open for reading.
        path: Where the field is: `is_path` must accept it.
        scope: What to look at.
        choice: Which failures count.
        limit: Rows at most. None: all.

    Returns:
        Most frequent first, then by value, those without the field last of their count.

    Raises:
        ValueError: The path is none.
    """
    if not is_path(path):
        raise ValueError(f"not a path: {path}")
    return fetch_rows(
        con, narrow.narrowed(_GROUPS, scope), {**_values(scope, choice), "path": path, "limit": limit}, FailureGroup
    )


def failure_examples(
    con: duckdb.DuckDBPyConnection,
    scope: Scope,
    choice: Choice,
    of: FailurePattern | None = None,
    limit: int | None = None,
) -> list[FailureExample]:
    """List failures with all that was reported.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        choice: Which failures count.
        of: Only those of a pattern. None: of any.
        limit: Rows at most. None: all.

    Returns:
        Newest first, unknown times last, then by id. What OpenCode deleted is left out: its report is gone.
    """
    values = {**_values(scope, choice), "limit": limit}
    if of is None:
        return fetch_rows(con, narrow.narrowed(_EXAMPLES, scope), values, FailureExample)
    pattern = {"category": of.category, "name": of.name, "is_call": of.is_call, "pattern": of.pattern}
    return fetch_rows(con, narrow.narrowed(_PATTERN_EXAMPLES, scope), {**values, **pattern}, FailureExample)


def ended_spend(con: duckdb.DuckDBPyConnection, scope: Scope, choice: Choice) -> list[EndedSpend]:
    """Say what exchanges used that ended in an error.

    Args:
        con: The index, open for reading.
        scope: Which errors to look at: the whole exchange is charged to the one that ended it, what came before the
            period and what other agents did in it, too.
        choice: Which causes count. Exchanges that the user cut short are always there, as a group of their own.

    Returns:
        Dearest first, then most tokens, then by cause. Over all data the rows add up to the spend of all failed and
        aborted exchanges.
    """
    return fetch_rows(con, narrow.narrowed(_ENDED, scope), _values(scope, choice), EndedSpend)


def recovered(con: duckdb.DuckDBPyConnection, scope: Scope, choice: Choice) -> list[Recovered]:
    """Count the failures after which their exchange went on.

    Args:
        con: The index, open for reading.
        scope: What to look at.
        choice: Which failures count.

    Returns:
        Most frequent first, then by cause.
    """
    return fetch_rows(con, narrow.narrowed(_RECOVERED, scope), _values(scope, choice), Recovered)


def _values(scope: Scope, choice: Choice) -> dict[str, object]:
    """Return the named values that the texts below use."""
    return {
        **narrow.values(scope),
        "categories": list(choice.categories),
        "with_aborted": choice.with_aborted,
        "per_field": _NEWEST,
    }


# Copies are told apart by their exchange: it is charged where it was copied from.
_IN_SCOPE = f"{narrow.in_period('message_at')} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}"
_NEWEST = 500  # failures whose fields are listed

_CHOSEN = """
    (len($categories::VARCHAR[]) = 0 OR list_contains($categories::VARCHAR[], category))
"""

_FAILED = f"""
    failed AS (
        SELECT * FROM failures
        WHERE {narrow.IN_SCOPE} AND {_CHOSEN} AND ($with_aborted OR NOT is_aborted)
    )
"""

_TRIED = """
    coalesce(sum(messages - unfinished_answers - if($with_aborted, 0, aborted_answers)), 0)::BIGINT AS answers
"""

_TOTALS = f"""
    WITH {narrow.HITS}, {narrow.SLICED}, {_FAILED},
    tried AS (
        SELECT {_TRIED},
               coalesce(sum(calls), 0)::BIGINT           AS calls,
               coalesce(sum(aborted_answers), 0)::BIGINT AS aborted_answers,
               coalesce(sum(unfinished_answers), 0)::BIGINT AS unfinished_answers
        FROM sliced
    ),
    causes AS (SELECT category AS top_category, count(*) AS top_errors FROM failed GROUP BY category),
    top AS (SELECT * FROM causes ORDER BY top_errors DESC, top_category LIMIT 1),
    sums AS (
        SELECT count(*) FILTER (NOT is_call) AS failed_answers,
               count(*) FILTER (is_call)     AS failed_calls,
               count(DISTINCT session_id)    AS sessions,
               min(message_at)               AS first_at,
               max(message_at)               AS last_at
        FROM failed
    )
    SELECT sums.*, tried.*, top_category, coalesce(top_errors, 0) AS top_errors
    FROM sums, tried LEFT JOIN top ON true
"""

# Local time of each quarter of an hour: every offset in use is a multiple of it.
_SERIES = {
    by: f"""
        WITH {narrow.HITS}, {_FAILED},
        quarters AS (
            SELECT time_bucket(INTERVAL 15 minutes, message_at) AS quarter, coalesce({_KEYS[by]}, '{ANSWERS}') AS key,
                   count(*) AS errors
            FROM failed WHERE message_at IS NOT NULL GROUP BY ALL
        )
        SELECT {narrow.step_at("(quarter AT TIME ZONE 'UTC' AT TIME ZONE $tz)")} AS step_at,
               key, sum(errors)::BIGINT AS errors
        FROM quarters GROUP BY ALL ORDER BY ALL
    """
    for by in GROUPINGS
}

_RANKS = {
    by: f"""
        SELECT coalesce({_KEYS[by]}, '{ANSWERS}') AS key, row_number() OVER (ORDER BY count(*) DESC, key) AS rank
        FROM failures WHERE is_counted
        GROUP BY 1 ORDER BY rank
    """
    for by in RANKED
}

_TRIED_BY = {
    "category": f"""
        SELECT DISTINCT key, answers, calls
        FROM (SELECT category AS key FROM failed),
             (SELECT {_TRIED}, coalesce(sum(calls), 0)::BIGINT AS calls
              FROM sliced)
    """,
    **{
        by: f"""
            SELECT {_KEYS[by]} AS key, {_TRIED}, sum(calls)::BIGINT AS calls
            FROM sliced GROUP BY key
        """
        for by in ("provider", "model", "agent")
    },
    "tool": f"""
        SELECT tool_name AS key, 0 AS answers, count(*) FILTER (NOT is_unfinished) AS calls
        FROM tool_calls WHERE {narrow.IN_SCOPE} GROUP BY key
        UNION ALL
        SELECT NULL, {_TRIED}, 0 FROM sliced
    """,
}


def _rows_sql(by: str) -> str:
    """Write the query of one grouping."""
    return f"""
        WITH {narrow.HITS}, {narrow.SLICED}, {_FAILED},
        counted AS (
            SELECT {_KEYS[by]} AS key, count(*) AS errors,
                   count(*) FILTER (NOT is_call) AS failed_answers, count(*) FILTER (is_call) AS failed_calls,
                   count(DISTINCT session_id) AS sessions, max(message_at) AS last_at
            FROM failed GROUP BY key
        ),
        tried AS ({_TRIED_BY[by]})
        SELECT coalesce(counted.key, tried.key)      AS key,
               coalesce(errors, 0)                   AS errors,
               coalesce(errors, 0) / sum(errors) OVER () AS share,
               coalesce(failed_answers, 0)           AS failed_answers,
               coalesce(answers, 0)                  AS answers,
               coalesce(failed_calls, 0)             AS failed_calls,
               coalesce(calls, 0)                    AS calls,
               coalesce(sessions, 0)                 AS sessions,
               last_at
        FROM counted FULL JOIN tried ON counted.key IS NOT DISTINCT FROM tried.key
        WHERE errors > 0 OR answers > 0 OR calls > 0
        ORDER BY errors DESC, key NULLS LAST
    """


_ROWS = {by: _rows_sql(by) for by in GROUPINGS}

# What was reported. Few rows have failed, and reading those first keeps DuckDB from looking for each id in all rows.
_REPORTS = """
    reports AS MATERIALIZED (
        SELECT part_id AS failure_id, error_data FROM parts WHERE is_failed
        UNION ALL
        SELECT message_id || ':error', error_data FROM messages WHERE error_data IS NOT NULL
    )
"""
_REPORTED = f"{_REPORTS}, reported AS MATERIALIZED (SELECT * FROM failed LEFT JOIN reports USING (failure_id))"

# Reports repeat, so each is read once.
_LINES = f"""
    texts AS (
        SELECT is_call, name, error_data, {report_lines.HAS_EXIT} AS has_exit, {report_lines.REPORT} AS report,
               error_data->>'$.data.isRetryable' AS retryable,
               CASE WHEN is_call THEN error_data->>'$.exit'  -- its `status` says that it failed
                    ELSE coalesce(error_data->>'$.data.statusCode', error_data->>'$.status') END AS code
        FROM (SELECT DISTINCT is_call, name, error_data FROM reported)
    ),
    lined AS MATERIALIZED (
        SELECT *, {report_lines.WHOLE_LINE} AS whole_line, left(whole_line, {report_lines.SHOWN_CHARACTERS}) AS line
        FROM texts
    )
"""
_REPORTED_LINES = """
    reported JOIN lined
        ON reported.is_call = lined.is_call AND reported.name = lined.name
        AND reported.error_data IS NOT DISTINCT FROM lined.error_data
"""


# Letters of any language, as people name their files. Routes of web frameworks are folders such as `[id]` and `(shop)`.
_IN_FOLDER = r"[\p{L}\p{M}\p{N}_.@~+$%#=-]"
_FOLDER = rf"[/\\](\[{{1,2}}[\w.-]+\]{{1,2}}{_IN_FOLDER}*|\([\w.-]+\){_IN_FOLDER}*|{_IN_FOLDER}+)"
# Seven hexadecimal digits or more of which one is a decimal digit: a word such as `defaced` is none.
_HEX = "|".join([*(rf"[a-f]{{{n}}}\d[0-9a-f]{{{6 - n},}}" for n in range(6)), r"[a-f]{6,}\d[0-9a-f]*"])


def _folded(line: str) -> str:
    """Write the SQL that replaces what differs from one failure to the next: addresses, paths, ids and numbers."""
    for pattern, word in (
        (r"https?://[^\s\"'')>]+", "<url>"),
        (rf"([A-Za-z]:)?[~.\w@-]*({_FOLDER})+[/\\]?", "<path>"),
        (r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<id>"),
        (r"\b\d{7,}([.,:]\d+)*\b", "<n>"),  # else it would be an id, where others of its place are numbers
        (rf"\b(([a-z]{{2,8}}[_-]){{1,2}}([a-z]*\d[0-9A-Za-z]{{7,}}|[0-9A-Za-z]{{20,}})|{_HEX})\b", "<id>"),
        (r"\d+([.,:]\d+)*", "<n>"),
    ):
        line = f"regexp_replace({line}, '{pattern}', '{word}', 'g')"
    return line


# Lines repeat, so each is folded once.
_FOLDED = f"""
    folds AS MATERIALIZED (
        SELECT whole_line, left({_folded("whole_line")}, {report_lines.SHOWN_CHARACTERS}) AS pattern
        FROM (SELECT DISTINCT whole_line FROM lined)
    ),
    folded AS (
        SELECT reported.*, line, pattern, retryable, code
        FROM {_REPORTED_LINES} LEFT JOIN folds USING (whole_line)
    )
"""

_PATTERNS = f"""
    WITH {narrow.HITS}, {_FAILED}, {_REPORTED}, {_LINES}, {_FOLDED},
    grouped AS (
        SELECT category, name, is_call, pattern,
               count(*)                                 AS errors,
               count(DISTINCT session_id)               AS sessions,
               count(*) FILTER (retryable = 'true')     AS retryable,
               count(*) FILTER (retryable = 'false')    AS not_retryable,
               list(DISTINCT code)                      AS codes,
               min(message_at)                          AS first_at,
               max(message_at)                          AS last_at
        FROM folded GROUP BY category, name, is_call, pattern
    )
    SELECT * EXCLUDE (codes), nullif(array_to_string(list_sort(codes)[:5], ', '), '') AS status_codes
    FROM grouped
    ORDER BY errors DESC, last_at DESC NULLS LAST, category, name, is_call, pattern
    LIMIT $limit::BIGINT
"""

_FIELDS = f"""
    WITH {narrow.HITS}, {_FAILED}, {_REPORTED},
    newest AS MATERIALIZED (
        SELECT failure_id, error_data FROM reported WHERE error_data IS NOT NULL
        ORDER BY failed_at DESC NULLS LAST, failure_id LIMIT $per_field
    )
    SELECT fullkey AS path, count(*) AS errors
    FROM newest, json_tree(newest.error_data) AS fields
    WHERE fields.type NOT IN ('OBJECT', 'ARRAY') AND NOT contains(fullkey, '[')
    GROUP BY fullkey ORDER BY errors DESC, fullkey
"""

_GROUPS = f"""
    WITH {narrow.HITS}, {_FAILED}, {_REPORTED}
    SELECT error_data->>$path                 AS value,
           count(*)                           AS errors,
           count(*) / sum(count(*)) OVER ()   AS share,
           count(DISTINCT session_id)         AS sessions,
           min(message_at)                    AS first_at,
           max(message_at)                    AS last_at
    FROM reported GROUP BY value
    ORDER BY errors DESC, value NULLS LAST
    LIMIT $limit::BIGINT
"""

_EXAMPLE_ROWS = f"""
    SELECT failure_id, session_id, nullif(trim(title), '') AS session_title, failed_at, is_call, category, name, agent,
           {narrow.MODEL} AS model,
           line, error_data::VARCHAR AS error_data
    FROM newest LEFT JOIN sessions USING (session_id)
    ORDER BY failed_at DESC NULLS LAST, failure_id
"""

# Reports are looked up by id, which for a few is faster than reading all of them.
_EXAMPLES = f"""
    WITH {narrow.HITS}, {_FAILED},
    last_failed AS MATERIALIZED (
        SELECT * FROM failed WHERE NOT is_deleted
        ORDER BY failed_at DESC NULLS LAST, failure_id LIMIT $limit::BIGINT
    ),
    reports AS (
        SELECT failure_id, error_data
        FROM last_failed JOIN (SELECT part_id AS failure_id, error_data FROM parts) USING (failure_id)
        WHERE is_call
        UNION ALL
        SELECT failure_id, error_data
        FROM last_failed JOIN (SELECT message_id, error_data FROM messages) USING (message_id)
        WHERE NOT is_call
    ),
    reported AS MATERIALIZED (SELECT * FROM last_failed LEFT JOIN reports USING (failure_id)),
    {_LINES},
    newest AS (SELECT reported.*, line FROM {_REPORTED_LINES})
    {_EXAMPLE_ROWS}
"""

_PATTERN_EXAMPLES = f"""
    WITH {narrow.HITS}, {_FAILED}, {_REPORTS},
    reported AS MATERIALIZED (
        SELECT * FROM failed LEFT JOIN reports USING (failure_id)
        WHERE NOT is_deleted AND category = $category AND name = $name AND is_call = $is_call
    ),
    {_LINES}, {_FOLDED},
    newest AS (
        SELECT * FROM folded WHERE pattern IS NOT DISTINCT FROM $pattern::VARCHAR
        ORDER BY failed_at DESC NULLS LAST, failure_id LIMIT $limit::BIGINT
    )
    {_EXAMPLE_ROWS}
"""

# What a fork copied is charged where it was copied from: such an exchange used nothing itself.
_ENDED = f"""
    WITH {narrow.HITS},
    ended AS MATERIALIZED (
        SELECT exchange_id, category, is_aborted
        FROM failures
        WHERE is_ending AND {_IN_SCOPE} AND {_CHOSEN}
    )
    SELECT category, is_aborted,
           count(*)                                                                AS exchanges,
           count(DISTINCT session_id)                                              AS sessions,
           sum(total_tokens)::BIGINT                                               AS total_tokens,
           sum(cost_recorded_usd)::DECIMAL(38, 12)                                 AS cost_recorded_usd,
           (sum(greatest(0, date_diff('millisecond', started_at, ended_at)))
               FILTER (started_at IS NOT NULL AND ended_at IS NOT NULL))::BIGINT           AS duration_ms
    FROM ended JOIN exchanges USING (exchange_id)
    WHERE NOT is_fork_copy
    GROUP BY category, is_aborted
    ORDER BY cost_recorded_usd DESC NULLS LAST, total_tokens DESC, category, is_aborted
"""

# A call that failed in the answer that ended the exchange was not recovered from, either: nothing came after it.
_RECOVERED = f"""
    WITH {narrow.HITS}, {_FAILED}
    SELECT category,
           count(*) FILTER (NOT is_call) AS failed_answers,
           count(*) FILTER (is_call)     AS failed_calls,
           count(DISTINCT exchange_id)   AS exchanges,
           count(DISTINCT session_id)    AS sessions
    FROM failed WHERE message_id NOT IN (SELECT message_id FROM failures WHERE is_ending)
    GROUP BY category
    ORDER BY count(*) DESC, category
"""
