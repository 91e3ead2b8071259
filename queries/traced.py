"""The SQL of events: what `exchange_traces` records, with what its parts and messages add, said once for all queries.

Each text is a list of common table expressions for a WITH. Parameters: `$sessions`; and `$exchanges` with their
`$messages`, which narrow to some exchanges of those sessions, where the text says so.

Every table is narrowed by itself, by a constant list: a scan then skips other sessions before it reads their texts. A
join would read them first (60 sessions of a million parts: 37 against 164 ms).
"""

from collections.abc import Sequence

import duckdb

LABEL_CHARACTERS = 120
_LOOKED_AT = 400  # characters of a text that its one line is made of

# Marks that only change the direction of text: they could make a line look like another one.
_DIRECTIONS = r"[\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]"

# The argument that says best what a call was about, where OpenCode gave it no title. Cut arguments are no JSON.
_ARGUMENT = r'"(?:command|filePath|path|pattern|url|query|description|name|id)"\s*:\s*"((?:[^"\\]|\\.)*)'
_STRINGS = r'"((?:[^"\\]|\\.)*)"'
_PATCHED_FILE = r"\*\*\* (?:Add|Update|Delete) File: (.+?)(?:\\n|$)"

# A command that runs as a delegation has an event of its own, `subtask`, beside the call: one thing is counted once.
IS_CALL = "kind IN ('tool', 'delegation') AND name <> 'subtask'"
IS_DELEGATION = "kind = 'delegation' AND name <> 'subtask'"

IN_SESSIONS = "list_contains($sessions::VARCHAR[], session_id)"
IN_EXCHANGES = f"{IN_SESSIONS} AND list_contains($exchanges::VARCHAR[], exchange_id)"

# A few more than asked for, which the joins on ids leave out: two bounds are compared while a table is read, but with a
# long list every text of a session is read first (one exchange of 9,000 parts: 27 against 3 ms).
IN_MESSAGES = f"""
    {IN_SESSIONS} AND message_id BETWEEN list_min($messages::VARCHAR[]) AND list_max($messages::VARCHAR[])
"""


def one_line(column: str) -> str:
    """Write the SQL that puts a text on one line of at most 120 characters."""
    marks = f"regexp_replace(left({column}, {_LOOKED_AT}), '{_DIRECTIONS}', '', 'g')"
    words = rf"trim(regexp_replace({marks}, '[\s\x00-\x1f\x7f]+', ' ', 'g'))"
    return f"if(length({words}) <= {LABEL_CHARACTERS}, {words}, left({words}, {LABEL_CHARACTERS - 1}) || '…')"


def call_words(name: str, title: str, input_start: str) -> str:
    """Write the SQL that says what a call was about: its title, else the argument that says best, else all arguments.

    Args:
        name: Column of the tool's name.
        title: Column of its title.
        input_start: Column of the first 2,000 characters of its arguments.
    """
    return f"""CASE
        WHEN {title} <> '' THEN {title}
        WHEN {input_start} IS NULL OR {input_start} = '{{}}' THEN NULL
        WHEN {name} IN ('apply_patch', 'patch')
            THEN array_to_string(regexp_extract_all({input_start}, '{_PATCHED_FILE}', 1), ', ')
        ELSE coalesce(
            nullif(replace(replace(regexp_extract({input_start}, '{_ARGUMENT}', 1), '\\n', ' '), '\\"', '"'), ''),
            {input_start}
        )
    END"""


def message_ids(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str], exchange_ids: Sequence[str]) -> list[str]:
    """Name the messages of some exchanges: the values of `$messages`."""
    sql = f"SELECT DISTINCT message_id FROM exchange_traces WHERE {IN_EXCHANGES}"
    found = con.execute(sql, {"sessions": list(session_ids), "exchanges": list(exchange_ids)}).fetchall()
    return [message_id for (message_id,) in found]


def exchange_labels(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str]) -> dict[str, str]:
    """Write one line about each exchange of some sessions, by id: what was asked for, else what the user ran."""
    return dict(con.execute(_EXCHANGE_LABELS, {"sessions": list(session_ids)}).fetchall())


def _events(traces: str, parts: str) -> str:
    """Write the tables that end in `events`.

    Args:
        traces: Which rows of `exchange_traces`.
        parts: Which rows of `parts` and `part_bodies`.
    """
    return f"""
    traces AS MATERIALIZED (SELECT * FROM exchange_traces WHERE {traces}),
    per_message AS (
        SELECT message_id, min(position) AS first_position,
               count(*) FILTER (kind = 'step') AS steps,
               count(input_tokens) FILTER (kind = 'step') AS counted_steps,
               min(position) FILTER (kind = 'step') AS first_step,
               max(position) FILTER (kind = 'step') AS last_step
        FROM traces GROUP BY message_id
    ),
    sent AS MATERIALIZED (
        SELECT message_id, role, agent, provider_id, model_id, created_at, completed_at, user_message_id,
               error_name, error_data, is_fork_copy, is_summary, deleted_at AS message_deleted_at,
               has_usage AND NOT is_usage_missing AS is_usage_known, total_tokens,
               cost_recorded_usd AS message_cost_usd,
               reasoning_tokens > 0 AND reasoning_in_output_tokens >= reasoning_tokens AS is_reasoning_inside,
               -- rows of the third generation are in the order of `seq`, all others in that of time
               if(seq IS NULL, NULL, max(created_at) OVER (
                   PARTITION BY session_id, seq IS NULL ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               )) AS latest_before
        FROM messages WHERE {IN_SESSIONS}
    ),
    asked AS (SELECT message_id AS user_message_id, created_at AS asked_at FROM sent WHERE role = 'user'),
    said AS MATERIALIZED (
        SELECT part_id, call_id, is_synthetic, error_data AS call_error, deleted_at AS part_deleted_at
        FROM parts WHERE {parts}
    ),
    joined AS (
        SELECT t.* EXCLUDE (cost_recorded_usd), t.cost_recorded_usd AS step_cost_usd,
               sent.* EXCLUDE (message_id), per_message.* EXCLUDE (message_id), said.*, asked_at,
               kind = 'step' AND position = last_step AS is_last_step,
               -- a message with one step carries that step's numbers, and knows how reasoning was counted
               is_usage_known AND (
                   kind = 'compaction'
                   OR (kind = 'step' AND counted_steps = 1 AND t.input_tokens IS NOT NULL)
                   OR (kind = 'step' AND counted_steps = 0 AND position = last_step)
               ) AS is_whole_message
        FROM traces t
        JOIN per_message USING (message_id)
        LEFT JOIN sent USING (message_id)
        LEFT JOIN asked ON asked.user_message_id = sent.user_message_id
        LEFT JOIN said ON said.part_id = t.trace_id
    ),
    events AS (
        SELECT j.* EXCLUDE (started_at, ended_at, status),
               position = first_position AS is_first_of_message,
               -- the first step of a message begins with it and the last one ends with it; others record no time
               CASE WHEN kind <> 'step' OR position = first_step THEN j.started_at END AS started_at,
               CASE WHEN kind <> 'step' THEN j.ended_at WHEN is_last_step THEN completed_at END AS ended_at,
               CASE
                   WHEN kind = 'step' AND is_unfinished AND NOT is_last_step THEN 'restarted'
                   WHEN is_failed THEN 'failed'
                   WHEN is_unfinished THEN 'unfinished'
                   WHEN kind IN ('text', 'reasoning') AND j.started_at IS NOT NULL AND j.ended_at IS NULL
                       THEN 'unfinished'
                   WHEN kind IN ('tool', 'delegation') AND j.status IS NULL THEN 'unknown'
                   ELSE 'ok'
               END AS status,
               CASE
                   WHEN is_whole_message THEN total_tokens
                   WHEN kind = 'step' AND is_usage_known
                       THEN input_tokens + output_tokens + cache_read_tokens + cache_write_tokens
                            + if(is_reasoning_inside, 0, reasoning_tokens)
               END AS tokens,
               CASE WHEN is_whole_message THEN message_cost_usd WHEN kind = 'step' THEN step_cost_usd END AS cost_usd,
               part_deleted_at IS NOT NULL OR message_deleted_at IS NOT NULL AS is_deleted,
               coalesce(
                   j.ended_at < j.started_at
                   OR (kind <> 'step' AND j.started_at < created_at)
                   OR (position = first_position AND (
                       completed_at < created_at OR created_at < asked_at OR created_at < latest_before
                   )), FALSE
               ) AS is_clock_backwards
        FROM joined j
    )
    """


def _labelled(parts: str) -> str:
    """Write the tables that end in `labelled`: each event with one line about it, from its texts or arguments."""
    return f"""
    bodies AS MATERIALIZED (
        SELECT part_id, left(text, {_LOOKED_AT}) AS text_start, left(input, 2000) AS input_start
        FROM part_bodies WHERE {parts}
    ),
    worded AS (
        SELECT events.*, CASE
                   WHEN kind IN ('prompt', 'text', 'reasoning', 'compaction', 'other') AND text_start <> ''
                       THEN text_start
                   WHEN kind = 'step' THEN model_id
                   WHEN kind = 'error' THEN coalesce(error_data->>'$.data.message', error_data->>'$.message')
                   WHEN kind = 'compaction' THEN NULL
                   WHEN kind = 'patch' THEN array_to_string(list_transform(
                       regexp_extract_all(regexp_extract(input_start, '"files":\\[(.*)', 1), '{_STRINGS}', 1),
                       lambda path: parse_filename(path)
                   ), ', ')
                   -- of a switch from one model to another both have an id, so none of them alone says what it is about
                   WHEN kind = 'other' THEN coalesce(nullif(title, ''), input_start)
                   ELSE {call_words("name", "title", "input_start")}
               END AS words
        FROM events LEFT JOIN bodies ON bodies.part_id = events.trace_id
    ),
    labelled AS (SELECT * EXCLUDE (words), coalesce({one_line("words")}, '') AS label FROM worded)
    """


# All events of `$sessions`.
EVENTS = _events(IN_SESSIONS, IN_SESSIONS)
LABELLED = f"{EVENTS}, {_labelled(IN_SESSIONS)}"

# Those of `$exchanges` in `$sessions`.
SOME_EVENTS = _events(IN_EXCHANGES, IN_MESSAGES)
SOME_LABELLED = f"{SOME_EVENTS}, {_labelled(IN_MESSAGES)}"

# One line about each exchange of `$sessions`: what was asked for, else what the user ran.
_EXCHANGE_LABELS = f"""
    WITH openers AS (
        SELECT t.exchange_id, unnest(arg_min(
                   {{'trace_id': t.trace_id, 'name': t.name, 'title': t.title}}, (t.kind <> 'prompt', t.position)
               ))
        FROM (SELECT * FROM exchange_traces WHERE {IN_SESSIONS} AND kind IN ('prompt', 'tool', 'delegation')) t
        JOIN (SELECT exchange_id, kind FROM exchanges WHERE {IN_SESSIONS}) x USING (exchange_id)
        WHERE t.kind = CASE x.kind WHEN 'shell' THEN 'tool' ELSE 'prompt' END
           OR (x.kind = 'command' AND t.kind = 'delegation')
        GROUP BY t.exchange_id
    ),
    texts AS (
        SELECT part_id AS trace_id, left(text, {_LOOKED_AT}) AS text_start, left(input, 2000) AS input_start
        FROM part_bodies WHERE {IN_SESSIONS}
    ),
    worded AS (
        SELECT exchange_id, coalesce(
                   nullif(text_start, ''), {call_words("name", "title", "input_start")}, ''
               ) AS words
        FROM openers LEFT JOIN texts USING (trace_id)
    )
    SELECT exchange_id, {one_line("words")} AS label FROM worded
"""
