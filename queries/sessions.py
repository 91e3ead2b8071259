"""Which session do I want: the list, its pages, and one session in full."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import errors, narrow
from queries.period import Scope
from queries.rows import fetch_rows

# What a row is sorted by, worked out from its sessions, and in which direction; equal ones by session id.
_ORDERS = {
    "newest": ("max(started_at) FILTER (is_root)", "DESC NULLS LAST"),
    "oldest": ("max(started_at) FILTER (is_root)", "ASC NULLS LAST"),
    "last active": ("coalesce(max(last_message_at), max(created_at) FILTER (is_root))", "DESC NULLS LAST"),
    "cost": ("sum(matching_cost_usd)", "DESC NULLS LAST"),
    "tokens": ("coalesce(sum(matching_tokens), 0)", "DESC NULLS LAST"),
    "active time": ("max(active_ms) FILTER (is_root)", "DESC NULLS LAST"),
    "errors": ("sum(errors)", "DESC NULLS LAST"),
    "title": ("max(lower(title)) FILTER (is_root)", "ASC NULLS LAST"),
}
SORTS = tuple(_ORDERS)
SORT_MEANINGS = {
    "newest": "last started first",
    "oldest": "first started first",
    "last active": "last message first",
    "cost": "dearest first",
    "tokens": "most tokens first",
    "active time": "longest first",
    "errors": "most errors first",
    "title": "A to Z",
}


@dataclass(frozen=True, slots=True)
class SessionsTotal:
    """All rows of a session list added up.

    Attributes:
        sessions: Rows of the list.
        children: Matching sessions that are part of another one's row, whether that one matches itself or not.
        cost_recorded_usd: Of the messages that match. None if none was recorded.
        total_tokens: Of the messages that match.
    """

    sessions: int
    children: int
    cost_recorded_usd: Decimal | None
    total_tokens: int


_NOTHING = SessionsTotal(sessions=0, children=0, cost_recorded_usd=None, total_tokens=0)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session, with its child sessions when they are folded into it.

    Attributes:
        title: None if it was deleted or never stored.
        agent: Of the newest message.
        model: `provider/model` of the newest message that names one.
        project_name: Given by the user, else the last part of its folder.
        started_at: In the viewer's zone, naive. None if unknown.
        started_utc: The same moment, naive UTC.
        active_ms: Time from each prompt to the end of its answer; own, without child sessions.
        exchanges: Prompts of the session itself.
        tool_calls: With those of folded child sessions; so are errors, tokens and costs.
        errors: Answers that ended in an error, unless the user cut them short, plus tool calls that failed.
        cost_recorded_usd: Of the messages that match the scope. None if none was recorded.
        total_tokens: Of the messages that match the scope.
        session_cost_usd: Of all its messages, fork copies left out.
        session_tokens: Of all its messages, fork copies left out.
        inherited_tokens: Of the messages it copied when it was forked; in no other number.
        children: Child sessions at any depth when folded, else direct ones; those that do not match, too.
        hit: Where the text was found, on one line. None without a text.
        hit_place: title, prompt or answer.
    """

    session_id: str
    title: str | None
    agent: str | None
    model: str | None
    project_id: str | None
    project_name: str | None
    started_at: datetime | None
    started_utc: datetime | None
    last_active_utc: datetime | None
    active_ms: int
    exchanges: int
    tool_calls: int
    errors: int
    cost_recorded_usd: Decimal | None
    total_tokens: int
    session_cost_usd: Decimal | None
    session_tokens: int
    inherited_tokens: int
    children: int
    fork_copies: int
    is_child: bool
    is_deleted: bool
    is_archived: bool
    is_missing_in_newer: bool
    is_placeholder: bool
    hit: str | None
    hit_place: str | None


@dataclass(frozen=True, slots=True)
class _CountedRow(SessionRow):
    """A row, and all rows of its list added up: see `SessionsTotal`."""

    all_rows: int
    all_children: int
    all_cost_usd: Decimal | None
    all_tokens: int


@dataclass(frozen=True, slots=True)
class SessionList:
    """Some rows of a session list.

    Attributes:
        total: Of all its rows.
        rows: Those that were asked for.
    """

    total: SessionsTotal
    rows: list[SessionRow]


@dataclass(frozen=True, slots=True)
class SessionDetail:
    """One session in full. Own numbers leave fork copies out; `inherited_` are those; `subtree_` adds child sessions.

    Attributes:
        created_at: In the viewer's zone, naive; so are the other times.
    """

    session_id: str
    project_id: str | None
    parent_id: str | None
    title: str | None
    directory: str | None
    client_version: str | None
    project_name: str | None
    created_at: datetime | None
    last_message_at: datetime | None
    archived_at: datetime | None
    deleted_at: datetime | None
    is_missing_in_newer: bool
    is_placeholder: bool
    active_ms: int
    user_messages: int
    assistant_messages: int
    tool_calls: int
    failed_tool_calls: int
    message_errors: int
    unrecorded_messages: int
    missing_usage_messages: int
    fork_copies: int
    child_sessions: int
    subtree_sessions: int
    cost_recorded_usd: Decimal | None
    inherited_cost_recorded_usd: Decimal | None
    subtree_cost_recorded_usd: Decimal | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    inherited_input_tokens: int
    inherited_output_tokens: int
    inherited_reasoning_tokens: int
    inherited_cache_read_tokens: int
    inherited_cache_write_tokens: int
    inherited_total_tokens: int
    subtree_input_tokens: int
    subtree_output_tokens: int
    subtree_reasoning_tokens: int
    subtree_cache_read_tokens: int
    subtree_cache_write_tokens: int
    subtree_total_tokens: int


@dataclass(frozen=True, slots=True)
class SessionModel:
    """Spend of one agent on one model inside a session, child sessions left out."""

    agent: str
    model: str
    messages: int
    cost_recorded_usd: Decimal | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int


def session_list(
    con: duckdb.DuckDBPyConnection, scope: Scope, fold: bool, sort: str, limit: int | None = None, offset: int = 0
) -> SessionList:
    """List sessions, and add all of them up. Cost and tokens equal those of `costs.cost_totals`.

    It is one statement: most of what it takes is planning, which is the same for rows and total.

    Args:
        con: The index, open for reading.
        scope: What to look at. A session matches if any of its messages does, one without messages by its own time.
        fold: Whether a child session is part of its root's row. Children of a session that is not stored, or that
            descend from themselves, stand for themselves.
        sort: One of `SORTS`; equal rows by session id.
        limit: Rows at most. None: all.
        offset: Rows to leave out first. None is left out of a list that has no more than these.

    Returns:
        One row per session that matches, or per root of one. Empty if nothing does.
    """
    if scope.hits is not None and not scope.hits.num_rows:
        return SessionList(_NOTHING, [])
    values = {**narrow.values(scope), "fold": fold, "limit": limit, "offset": offset}
    queries = _FINDS if scope.text else _LISTS
    rows = fetch_rows(con, narrow.narrowed(queries[sort], scope), values, _CountedRow)
    if not rows:
        return session_list(con, scope, fold, sort, limit) if offset else SessionList(_NOTHING, [])
    first = rows[0]
    total = SessionsTotal(first.all_rows, first.all_children, first.all_cost_usd, first.all_tokens)
    return SessionList(total, list(rows))


def session_rows(
    con: duckdb.DuckDBPyConnection, scope: Scope, fold: bool, sort: str, limit: int | None = None
) -> list[SessionRow]:
    """List sessions without their total; see `session_list`."""
    return session_list(con, scope, fold, sort, limit).rows


def session_detail(con: duckdb.DuckDBPyConnection, session_id: str, tz: str) -> SessionDetail | None:
    """Read one session in full. None if the index has no such session."""
    rows = fetch_rows(con, _DETAIL, {"session_id": session_id, "tz": tz}, SessionDetail)
    return rows[0] if rows else None


def session_models(con: duckdb.DuckDBPyConnection, session_id: str) -> list[SessionModel]:
    """Break the own spend of a session down by agent and model, dearest first. Empty if it spent nothing."""
    sql = """
        SELECT coalesce(agent, 'unknown') AS agent, model, count(*) AS messages,
               sum(cost_recorded_usd)::DECIMAL(38, 12) AS cost_recorded_usd,
               sum(input_tokens)::BIGINT AS input_tokens,
               sum(output_tokens)::BIGINT AS output_tokens,
               sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
               sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
               sum(cache_write_tokens)::BIGINT AS cache_write_tokens,
               sum(total_tokens)::BIGINT AS total_tokens
        FROM spend
        WHERE session_id = $session_id
        GROUP BY 1, 2
        ORDER BY cost_recorded_usd DESC NULLS LAST, total_tokens DESC, 1, 2
    """
    return fetch_rows(con, sql, {"session_id": session_id}, SessionModel)


# A message that carries no usage may lead to a session, but belongs to nobody who is not named.
_BY_NAME = narrow.by_name(
    "if(kind = 'other', agent, coalesce(agent, 'unknown'))",
    f"if(kind = 'other', provider_id || '/' || model_id, {narrow.MODEL})",
)

# All sessions, each with the root whose row it belongs to, and what of it matches. The tree of a session whose parent
# is missing begins with it; in a tree whose root is below itself each session is its own root, so that none is lost or
# counted under two. A session without messages matches by its own time.
_MEMBERS = f"""
    {narrow.HITS},
    spent AS (
        SELECT session_id, sum(cost_recorded_usd) FILTER (kind = 'counted') AS matching_cost_usd,
               coalesce(sum(total_tokens) FILTER (kind = 'counted'), 0)     AS matching_tokens
        FROM usage_slices
        WHERE {narrow.in_period("quarter_at")} AND {_BY_NAME} AND {narrow.IN_SESSION}
        GROUP BY session_id
    ),
    circles AS (
        SELECT root_session_id
        FROM sessions root JOIN session_traces tree
             ON tree.root_session_id = root.session_id AND tree.session_id = root.parent_id
    ),
    failed AS ({errors.of_sessions()}),
    members AS (
        SELECT session_id, title, created_at, coalesce(created_at, first_message_at) AS started_at,
               coalesce(
                   if(NOT $fold OR circles.root_session_id IS NOT NULL, session_id, NULL), tree.root_session_id
               ) AS root_id,
               root_id = session_id AS is_root,
               spent.session_id IS NOT NULL OR (
                   exchange_count = 0 AND len($agents::VARCHAR[]) = 0 AND len($models::VARCHAR[]) = 0
                   AND {narrow.in_period("created_at")} AND {narrow.IN_SESSION}
               ) AS is_matching,
               matching_cost_usd, matching_tokens,
               cost_recorded_usd, total_tokens, inherited_total_tokens, fork_copies, tool_calls,
               coalesce(errors, 0) AS errors, last_message_at, active_ms
        FROM session_traces tree
             JOIN sessions USING (session_id) JOIN session_stats USING (session_id)
             LEFT JOIN spent USING (session_id) LEFT JOIN failed USING (session_id)
             LEFT JOIN circles ON circles.root_session_id = tree.root_session_id
    )
"""

# While the first pass runs, `session_stats` has what was read so far, and this what was spent; else it is empty.
_KNOWN_FIRST = """
    known_first AS (
        SELECT session_id, sum(cost_recorded_usd) FILTER (kind = 'counted') AS first_cost_usd,
               coalesce(sum(total_tokens) FILTER (kind = 'counted'), 0)     AS first_tokens,
               coalesce(sum(total_tokens) FILTER (kind = 'copy'), 0)        AS first_inherited_tokens,
               coalesce(sum(messages) FILTER (kind = 'copy'), 0)            AS first_copies
        FROM first_slices GROUP BY session_id
    )
"""

# Where the text is, in the sessions of a row that match: of a page's rows only, the title before prompts and answers.
_FIRST_HIT = """
    arg_min(title, session_id) FILTER (is_matching AND contains(lower(title), lower($text))) AS hit_title,
    arg_min(place, first_said) FILTER (is_matching)                                          AS place,
"""
_FOUND = r"""
    found AS (
        SELECT root_id, 'title' AS hit_place, hit_title AS found_in FROM page WHERE hit_title IS NOT NULL
        UNION ALL
        SELECT root_id, if(message_id IN (SELECT user_message_id FROM exchanges), 'prompt', 'answer'), text
        FROM page JOIN part_bodies ON part_bodies.rowid = place WHERE hit_title IS NULL
    ),
    snippets AS (
        SELECT root_id, hit_place,
               greatest(strpos(lower(found_in), lower($text)) - 25, 1) AS first_char,
               trim(regexp_replace(substring(found_in, first_char, 200), '\s+', ' ', 'g')) AS words,
               CASE WHEN first_char > 1 THEN '…' ELSE '' END || words
                   || CASE WHEN length(found_in) >= first_char + 200 THEN '…' ELSE '' END AS hit
        FROM found
    )
"""


def _rows_sql(sort: str, *, is_search: bool) -> str:
    """Write the query of one order, with or without the places where a text was found."""
    sort_key, direction = _ORDERS[sort]
    return f"""
        WITH {_MEMBERS}, {_KNOWN_FIRST},
        page AS MATERIALIZED (
            SELECT root_id, count(*) - 1                                   AS folded,
                   count(*) OVER ()                                        AS all_rows,
                   sum(count(*) FILTER (is_matching AND NOT is_root)) OVER ()::BIGINT AS all_children,
                   sum(sum(matching_cost_usd)) OVER ()::DECIMAL(38, 12)    AS all_cost_usd,
                   coalesce(sum(sum(matching_tokens)) OVER (), 0)::BIGINT  AS all_tokens,
                   sum(matching_cost_usd)::DECIMAL(38, 12)                 AS cost_recorded_usd,
                   coalesce(sum(matching_tokens), 0)::BIGINT               AS total_tokens,
                   sum(if(first_tokens IS NULL, cost_recorded_usd, first_cost_usd))::DECIMAL(38, 12)
                                                                           AS session_cost_usd,
                   sum(coalesce(first_tokens, total_tokens))::BIGINT       AS session_tokens,
                   sum(coalesce(first_inherited_tokens, inherited_total_tokens))::BIGINT AS inherited_tokens,
                   sum(coalesce(first_copies, fork_copies))::BIGINT        AS fork_copies,
                   sum(tool_calls)::BIGINT                                 AS tool_calls,
                   sum(errors)::BIGINT                                     AS errors,
                   max(last_message_at)                                    AS last_active_utc,
                   {_FIRST_HIT if is_search else ""}
                   {sort_key}                                              AS sort_key
            FROM members
                 LEFT JOIN known_first USING (session_id)
                 {"LEFT JOIN said USING (session_id)" if is_search else ""}
            GROUP BY root_id
            HAVING bool_or(is_matching)
            ORDER BY sort_key {direction}, root_id
            LIMIT $limit::BIGINT OFFSET $offset::BIGINT
        )
        {f", {_FOUND}" if is_search else ""}
        SELECT session_id, title, last_agent AS agent, last_provider_id || '/' || last_model_id AS model, project_id,
               coalesce(nullif(project.name, ''), nullif(parse_filename(project.worktree), '')) AS project_name,
               coalesce(session.created_at, first_message_at)        AS started_utc,
               timezone($tz, timezone('UTC', started_utc))           AS started_at,
               coalesce(page.last_active_utc, session.created_at)    AS last_active_utc,
               active_ms, exchange_count                             AS exchanges,
               page.tool_calls, page.errors, page.cost_recorded_usd, page.total_tokens,
               session_cost_usd, session_tokens, page.inherited_tokens,
               if($fold, folded, stats.child_sessions)               AS children,
               page.fork_copies,
               parent_id IS NOT NULL                                 AS is_child,
               session.deleted_at IS NOT NULL                        AS is_deleted,
               session.archived_at IS NOT NULL                       AS is_archived,
               session.is_missing_in_newer, session.is_placeholder,
               {"hit, hit_place" if is_search else "NULL AS hit, NULL AS hit_place"},
               all_rows, all_children, all_cost_usd, all_tokens
        FROM page
             JOIN sessions session ON session.session_id = root_id
             JOIN session_stats stats USING (session_id)
             LEFT JOIN projects project USING (project_id)
             {"LEFT JOIN snippets USING (root_id)" if is_search else ""}
        ORDER BY sort_key {direction}, session_id
    """


_LISTS = {sort: _rows_sql(sort, is_search=False) for sort in SORTS}
_FINDS = {sort: _rows_sql(sort, is_search=True) for sort in SORTS}

_COUNTERS = ("input", "output", "reasoning", "cache_read", "cache_write", "total")
_STATS = (
    *("active_ms", "user_messages", "assistant_messages", "tool_calls", "failed_tool_calls", "message_errors"),
    *("unrecorded_messages", "missing_usage_messages", "fork_copies", "child_sessions", "subtree_sessions"),
    *(f"{share}{counter}_tokens" for share in ("", "inherited_", "subtree_") for counter in _COUNTERS),
)

_DETAIL = f"""
    SELECT session.session_id, session.project_id, session.parent_id, session.title, session.directory,
           session.client_version,
           coalesce(nullif(project.name, ''), nullif(parse_filename(project.worktree), '')) AS project_name,
           coalesce(session.created_at, first_message_at) AT TIME ZONE 'UTC' AT TIME ZONE $tz AS created_at,
           last_message_at     AT TIME ZONE 'UTC' AT TIME ZONE $tz AS last_message_at,
           session.archived_at AT TIME ZONE 'UTC' AT TIME ZONE $tz AS archived_at,
           session.deleted_at  AT TIME ZONE 'UTC' AT TIME ZONE $tz AS deleted_at,
           session.is_missing_in_newer, session.is_placeholder,
           {", ".join(f"coalesce({column}, 0) AS {column}" for column in _STATS)},
           cost_recorded_usd, inherited_cost_recorded_usd, subtree_cost_recorded_usd
    FROM sessions session
         LEFT JOIN session_stats USING (session_id)
         LEFT JOIN projects project ON project.project_id = session.project_id
    WHERE session.session_id = $session_id
"""
