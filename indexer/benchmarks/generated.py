"""A made-up index of any size, for measuring queries without anybody's data.

Rows are made in SQL: a fixed hash of their number stands for chance, so the same size gives the same rows. They have
the shape that OpenCode's own have: a few long sessions and many short ones, child sessions, working days over a year,
favourite models and tools, durations that differ a thousandfold, a few calls in a hundred that fail. What is derived
from them, the indexer derives, by the very functions that every index goes through.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import orjson

from indexer.backfill import backfill
from indexer.database import Database
from indexer.error_rules import classify
from indexer.publish import Publisher

LEAST_PARTS = 200
PARTS_PER_MESSAGE = 10
_MESSAGES_PER_SESSION = 25
_MESSAGES_PER_TRANSACTION = 10_000
_NEWEST = datetime(2026, 11, 1, 18)

# What answers end in: error objects as OpenCode stores them.
_MESSAGE_ERRORS: tuple[dict[str, object], ...] = (
    {"name": "MessageAbortedError", "data": {"message": "The operation was aborted."}},
    {"name": "APIError", "data": {"message": "Too Many Requests", "statusCode": 429, "isRetryable": True}},
    {"name": "APIError", "data": {"message": "Overloaded", "statusCode": 529, "isRetryable": True}},
    {"name": "APIError", "data": {"message": "Internal server error", "statusCode": 500, "isRetryable": True}},
    {"name": "ProviderAuthError", "data": {"providerID": "anthropic", "message": "invalid x-api-key"}},
    {"name": "MessageOutputLengthError", "data": {}},
    {"name": "UnknownError", "data": {"message": "Unable to connect. Is the computer able to access the url?"}},
    {"name": "APIError", "data": {"message": "prompt is too long: 201234 tokens > 200000 maximum", "statusCode": 400}},
)
# What failed calls say, by tool.
_CALL_ERRORS: tuple[tuple[str, dict[str, object]], ...] = (
    ("bash", {"status": "completed", "exit": 1, "message": "FAILED tests/test_orders.py::test_total - assert 3 == 4"}),
    ("bash", {"status": "completed", "exit": 127, "message": "sh: 1: pnpm: not found"}),
    ("bash", {"status": "completed", "exit": None, "message": "Command timed out after 120000 ms"}),
    ("edit", {"status": "error", "message": "oldString not found in content"}),
    ("read", {"status": "error", "message": "Error: File not found: /home/dev/shop/src/orders.py"}),
    ("webfetch", {"status": "error", "message": "Error: Request failed with status code: 404"}),
)
_NAMES = {
    # Each is twice as likely as the next.
    "agents": ("build", "plan", "explore", "general", "review", "docs"),
    "models": (
        "anthropic/claude-sonnet-4-5",
        "openai/gpt-5-codex",
        "anthropic/claude-haiku-4-5",
        "google/gemini-2.5-pro",
        "openai/gpt-5-mini",
        "openrouter/qwen3-coder",
        "local/devstral",
    ),
    "tools": ("read", "bash", "edit", "grep", "glob", "todowrite", "write", "list", "task", "webfetch", "skill"),
    "programs": ("git", "npm", "pytest", "ls", "cat", "python", "make", "cargo", "docker"),
}
_SENTENCES = (
    "The total is wrong where an order has a discount and a voucher.",
    "First the failing test, then the smallest change that makes it pass.",
    "Two callers rely on the old order of the arguments.",
    "The cache is cleared when the configuration changes, but not when a file is renamed.",
    "I will look at how the other reports read their settings.",
    "All tests pass now; the linter has one complaint about an unused import.",
    "The function returns early if the list is empty, so the header is never written.",
    "There is a race between the watcher and the first full scan.",
    "Let me check whether the migration is applied in one transaction.",
    "The page shows stale numbers because the key of the cache lacks the time zone.",
    "Renaming the column breaks the export, which goes by position.",
    "A retry after the timeout would hide the error rather than mend it.",
)

Progress = Callable[[int, int], None]


def generate(path: Path, parts: int, progress: Progress | None = None) -> None:
    """Make a published index at a path where nothing is.

    Args:
        path: What readers will open.
        parts: About how many parts it has; a tenth as many messages.
        progress: Called with the number of messages done and to do while everything is derived.
    """
    with Database.open(path) as database:
        publisher = Publisher(database)
        for statement in _PLAN:
            database.con.execute(statement, _used(statement, {"messages": parts // PARTS_PER_MESSAGE}))
        _prepare_names(database.con)
        with database.transaction() as con:
            for statement in _SESSIONS:
                con.execute(statement, _used(statement, {"newest": _NEWEST}))
        for first in range(0, parts // PARTS_PER_MESSAGE, _MESSAGES_PER_TRANSACTION):
            chunk = {"first": first, "last": first + _MESSAGES_PER_TRANSACTION, "newest": _NEWEST}
            with database.transaction() as con:
                for statement in _ROWS:
                    con.execute(statement, _used(statement, chunk))
        backfill(database, publisher, progress)
        with database.transaction() as con:
            con.execute("UPDATE sync_state SET last_full_pass_at = updated_at, last_reconciled_at = updated_at")
        database.set_phase("stopped", "generated")
        publisher.publish(new_base=True)
        publisher.close()


def _used(statement: str, values: dict[str, object]) -> dict[str, object]:
    """Return the values that a statement names."""
    return {name: value for name, value in values.items() if f"${name}" in statement}


def _prepare_names(con: duckdb.DuckDBPyConnection) -> None:
    """Make lists to pick from: names as often as they are likely, and errors with their categories."""
    for name, values in _NAMES.items():
        weighted = [value for place, value in enumerate(reversed(values)) for _ in range(2**place)]
        con.execute(f"CREATE TEMP TABLE {name}_list AS SELECT $values::VARCHAR[] AS picks", {"values": weighted})
    con.execute("CREATE TEMP TABLE sentence_list AS SELECT $values::VARCHAR[] AS picks", {"values": list(_SENTENCES)})
    answers = [(str(error["name"]), orjson.dumps(error).decode(), classify(error)) for error in _MESSAGE_ERRORS]
    calls = [(tool, orjson.dumps(error).decode(), classify(error, tool)) for tool, error in _CALL_ERRORS]
    for table, rows in (("answer_errors", answers), ("call_errors", calls)):
        con.execute(f"CREATE TEMP TABLE {table} (name VARCHAR, error_data JSON, category VARCHAR)")
        con.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
    con.execute("CREATE OR REPLACE TEMP TABLE answer_errors AS SELECT *, rowid AS number FROM answer_errors")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE call_errors AS
        SELECT *, row_number() OVER (PARTITION BY name ORDER BY rowid) - 1 AS number,
               count(*) OVER (PARTITION BY name) AS numbers
        FROM call_errors
        """
    )


# `chance(i, salt)`: from 0 to 1, always the same for a number. `pick(list, i, salt)`: one of a list.
_PLAN = (
    "CREATE TEMP MACRO chance(i, salt) AS (hash(i, salt) % 1000003) / 1000003.0",
    "CREATE TEMP MACRO pick(picks, i, salt) AS picks[1 + (hash(i, salt) % len(picks))::INTEGER]",
    # Ids that begin with a time, as OpenCode's: DuckDB knows the first eight bytes of the least and the greatest text
    # of a row group, and ids that share those would be looked for in every one.
    """
    CREATE TEMP MACRO named(prefix, i) AS
    prefix || lpad(lower(to_hex(i::BIGINT << (
        CASE prefix WHEN 'ses_' THEN 30 WHEN 'msg_' THEN 26 ELSE 20 END
    ))), 12, '0')
    || left(md5(prefix || i), 14)
    """,
    # Sizes of sessions: most are short, one in a hundred has ten times the mean.
    f"""
    CREATE TEMP TABLE plan_sessions AS
    WITH sizes AS (
        SELECT i AS session, 2 + ({_MESSAGES_PER_SESSION} * 0.5 * pow(-ln(1 - chance(i, 'size')), 1.9))::BIGINT AS size
        FROM range($messages) numbers(i)
    ),
    ends AS (SELECT *, sum(size) OVER (ORDER BY session)::BIGINT AS last FROM sizes)
    SELECT session, last - size AS first, least(size, $messages - (last - size)) AS size
    FROM ends WHERE last - size < $messages
    """,
)

# The older a session, the earlier its rows. A year of it: mornings to evenings, rarely at the weekend.
_SESSIONS = (
    """
    CREATE TEMP TABLE dated_sessions AS
    WITH counted AS (SELECT *, count(*) OVER () AS sessions FROM plan_sessions),
    days AS (
        SELECT *, 364 - (364 * session // sessions) AS days_ago FROM counted
    ),
    dated AS (
        SELECT *, date_trunc('day', $newest::TIMESTAMP) - to_days(days_ago::INTEGER)
                  + to_milliseconds((7 + 10 * chance(session, 'hour')) * 3600000) AS day_at
        FROM days
    )
    SELECT session, first, size,
           CASE WHEN isodow(day_at) > 5 AND chance(session, 'weekend') < 0.8 THEN day_at - INTERVAL 2 days
                ELSE day_at END AS started_at,
           session // 7 % 12 AS project,
           CASE WHEN session > 0 AND chance(session, 'child') < 0.25 THEN session - 1 END AS parent
    FROM dated
    """,
    """
    INSERT INTO sources BY NAME
    SELECT 1 AS source_id, 'generated' AS data_dir, 'json_tree' AS kind, 'generated' AS path, 'ok' AS state,
           count(*) AS sessions, sum(size)::BIGINT AS messages, 0 AS parts, $newest AS newest_at, $newest AS indexed_at
    FROM dated_sessions
    """,
    """
    INSERT INTO documents BY NAME
    SELECT 1 AS source_id, 'part/' || i || '.json' AS key, named('msg_', i) AS owner_id, 'part' AS document_kind,
           if(i % 3 = 0, 'partial', 'unreadable') AS state, 'not JSON: unexpected end of data' AS reason,
           100 + i AS size_bytes, $newest AS first_seen_at, $newest AS last_seen_at
    FROM range(50) numbers(i)
    """,
    """
    INSERT INTO projects BY NAME
    SELECT named('', i) AS project_id, NULL AS name, '/home/dev/project-' || i AS worktree, 'git' AS vcs,
           $newest AS created_at, $newest AS updated_at, 1 AS source_id, 1 AS generation, i AS content_hash
    FROM range(12) numbers(i)
    """,
    """
    INSERT INTO sessions BY NAME
    SELECT named('ses_', session) AS session_id, named('', project) AS project_id,
           CASE WHEN parent IS NOT NULL THEN named('ses_', parent) END AS parent_id,
           pick((SELECT picks FROM sentence_list), session, 'title') AS title, 'quiet-otter' AS slug,
           '/home/dev/project-' || project AS directory, '1.1.65' AS client_version,
           started_at AS created_at, started_at AS updated_at, false AS is_placeholder,
           false AS is_missing_in_newer, 1 AS source_id, 1 AS generation, session AS content_hash
    FROM dated_sessions
    """,
)

_ROWS = (
    # One exchange in about ten messages; the user reads for some minutes, an answer takes seconds.
    """
    CREATE OR REPLACE TEMP TABLE plan_messages AS
    WITH placed AS (
        SELECT d.session, first + step AS message, step, started_at, parent, size,
               step = 0 OR chance(first + step, 'user') < 0.09 AS is_user
        FROM dated_sessions d, unnest(range(size)) steps(step)
        WHERE first >= $first AND first < $last
    ),
    timed AS (
        SELECT *, CASE WHEN is_user THEN 60 + 1200 * pow(chance(message, 'gap'), 3)
                       ELSE 4 + 40 * pow(chance(message, 'gap'), 2) END AS gap_s
        FROM placed
    )
    SELECT *,
           date_trunc('milliseconds', started_at + to_seconds(sum(gap_s) OVER turns)) AS created_at,
           max(CASE WHEN is_user THEN message END) OVER turns AS asked,
           coalesce(lead(is_user) OVER (PARTITION BY session ORDER BY step), true) AS is_last,
           CASE WHEN is_user THEN 1 ELSE (4 + hash(message, 'parts') % 15)::BIGINT END AS parts
    FROM timed
    WINDOW turns AS (PARTITION BY session ORDER BY step)
    """,
    """
    INSERT INTO messages BY NAME
    WITH failed AS (
        SELECT *, CASE WHEN NOT is_user AND is_last AND chance(message, 'failed') < 0.12
                       THEN hash(message, 'error') % (SELECT count(*) FROM answer_errors) END AS number
        FROM plan_messages
    ),
    spent AS (
        SELECT *,
               if(is_user, 0, (200 + 3000 * chance(message, 'in'))::BIGINT) AS input_tokens,
               if(is_user, 0, (50 + 2500 * pow(chance(message, 'out'), 3))::BIGINT) AS output_tokens,
               if(is_user, 0, (1500 * pow(chance(message, 'think'), 4))::BIGINT) AS reasoning_tokens,
               if(is_user, 0, (10000 + 90000 * chance(message, 'cached'))::BIGINT) AS cache_read_tokens,
               if(is_user, 0, (4000 * chance(message, 'write'))::BIGINT) AS cache_write_tokens,
               pick((SELECT picks FROM models_list), message // 40, 'model') AS model
        FROM failed LEFT JOIN answer_errors USING (number)
    )
    SELECT named('msg_', message) AS message_id, named('ses_', session) AS session_id,
           if(is_user, 'user', 'assistant') AS role,
           CASE WHEN NOT is_user THEN named('msg_', asked) END AS user_message_id,
           pick((SELECT picks FROM agents_list), message // 30, 'agent') AS agent,
           split_part(model, '/', 1) AS provider_id, split_part(model, '/', 2) AS model_id,
           created_at, CASE WHEN NOT is_user THEN created_at + to_seconds(3) END AS completed_at,
           if(is_user, NULL, if(is_last, 'stop', 'tool-calls')) AS finish, false AS is_summary,
           name AS error_name, error_data, category AS error_category, NOT is_user AS has_usage,
           input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens,
           0 AS reasoning_in_output_tokens,
           input_tokens + output_tokens + reasoning_tokens + cache_read_tokens + cache_write_tokens AS total_tokens,
           input_tokens + output_tokens AS root_tokens, if(is_user, 0, 1) AS step_count, false AS is_usage_missing,
           false AS is_total_mismatch,
           CASE WHEN is_user THEN NULL WHEN model LIKE 'local/%' THEN 0
                ELSE (input_tokens * 3 + output_tokens * 15 + cache_read_tokens * 0.3)::DECIMAL(18, 6) / 1000000
           END AS cost_recorded_usd,
           false AS is_fork_copy, false AS is_missing_in_newer, 1 AS source_id, 1 AS generation,
           created_at AS recorded_until, message AS content_hash
    FROM spent ORDER BY message
    """,
    # An answer is one step or two: thinking, words and calls in between.
    """
    CREATE OR REPLACE TEMP TABLE plan_parts AS
    WITH placed AS (
        SELECT session, message, is_user, parts, created_at, position, 100 * message + position AS part,
               CASE WHEN is_user THEN 'text'
                    WHEN position = 0 THEN 'step-start'
                    WHEN position = parts - 1 THEN 'step-finish'
                    WHEN parts >= 10 AND position = parts // 2 THEN 'step-finish'
                    WHEN parts >= 10 AND position = parts // 2 + 1 THEN 'step-start'
                    WHEN position = 1 THEN 'reasoning'
                    WHEN chance(100 * message + position, 'type') < 0.52 THEN 'tool'
                    WHEN chance(100 * message + position, 'type') < 0.80 THEN 'text'
                    WHEN chance(100 * message + position, 'type') < 0.95 THEN 'reasoning'
                    ELSE 'patch' END AS part_type
        FROM plan_messages, unnest(range(parts)) positions(position)
    ),
    named_tools AS (
        SELECT *, CASE WHEN part_type = 'tool' THEN pick((SELECT picks FROM tools_list), part, 'tool') END AS tool_name
        FROM placed
    ),
    delegating AS (
        SELECT *, if(tool_name = 'task',
                     row_number() OVER (PARTITION BY session, tool_name ORDER BY part), NULL) AS delegation
        FROM named_tools
    ),
    ended AS (
        SELECT d.*, child.session AS child,
               coalesce(chance(part, 'failed') < 0.05 AND tool_name IN (SELECT name FROM call_errors), false)
                   AS is_failed,
               coalesce(part_type = 'tool' AND chance(part, 'hung') < 0.002, false) AS is_hung,
               (8 * exp(7 * pow(chance(part, 'duration'), 2)))::BIGINT
                   * if(tool_name IN ('bash', 'task', 'webfetch'), 12, 1) AS duration_ms
        FROM delegating d LEFT JOIN dated_sessions child ON child.parent = d.session AND delegation = 1
    )
    SELECT ended.*, is_hung AND NOT is_failed AS is_unfinished, error_data, category
    FROM ended LEFT JOIN call_errors ON is_failed AND name = tool_name AND number = hash(part, 'which') % numbers
    """,
    """
    INSERT INTO parts BY NAME
    SELECT named('prt_', part) AS part_id, named('msg_', message) AS message_id, named('ses_', session) AS session_id,
           position::INTEGER AS position, part_type, tool_name,
           CASE WHEN part_type = 'tool' THEN named('call_', part) END AS call_id,
           CASE WHEN part_type = 'tool'
                THEN CASE WHEN is_unfinished THEN 'running'
                          WHEN error_data->>'$.status' = 'error' THEN 'error' ELSE 'completed' END
           END AS tool_status,
           CASE WHEN part_type = 'tool' THEN tool_name || ' ' || part % 977 END AS title,
           CASE WHEN part_type IN ('tool', 'text', 'reasoning') THEN created_at + to_milliseconds(100 * position) END
               AS started_at,
           CASE WHEN part_type IN ('tool', 'text', 'reasoning') AND NOT is_unfinished
                THEN created_at + to_milliseconds(100 * position + duration_ms) END AS ended_at,
           CASE WHEN child IS NOT NULL THEN named('ses_', child) END AS child_session_id,
           error_data, category AS error_category,
           CASE WHEN tool_name = 'bash' THEN pick((SELECT picks FROM programs_list), part, 'program')
                WHEN tool_name IN ('read', 'edit', 'write')
                THEN '/home/dev/project-' || session // 7 % 12 || '/src/module_' || hash(part, 'file') % 400 || '.py'
           END AS target,
           CASE WHEN part_type = 'tool' THEN (20000 * pow(chance(part, 'size'), 4))::BIGINT END AS output_bytes,
           is_failed, is_unfinished, false AS is_synthetic, false AS is_shell_notice, false AS is_orphan,
           CASE WHEN part_type = 'step-finish' THEN 1000 END AS input_tokens,
           CASE WHEN part_type = 'step-finish' THEN 200 END AS output_tokens,
           CASE WHEN part_type = 'step-finish' THEN 0 END AS reasoning_tokens,
           CASE WHEN part_type = 'step-finish' THEN 20000 END AS cache_read_tokens,
           CASE WHEN part_type = 'step-finish' THEN 0 END AS cache_write_tokens,
           CASE WHEN part_type = 'step-finish' THEN 0.01 END AS cost_recorded_usd,
           600 AS size_bytes
    FROM plan_parts ORDER BY part
    """,
    """
    INSERT INTO part_bodies BY NAME
    WITH worded AS (
        SELECT *,
               pick((SELECT picks FROM sentence_list), part, 'a') || ' ' || md5(part::VARCHAR) || ' '
               || pick((SELECT picks FROM sentence_list), part, 'b') || ' '
               || pick((SELECT picks FROM sentence_list), part, 'c') AS words
        FROM plan_parts WHERE part_type IN ('text', 'reasoning', 'tool')
    ),
    bodies AS (
        SELECT *,
               CASE WHEN part_type <> 'tool' THEN words END AS text,
               CASE WHEN part_type = 'tool'
                    THEN json_object('filePath', '/home/dev/' || part % 400, 'command', words)::VARCHAR END AS input,
               CASE WHEN part_type = 'tool' THEN repeat(words || chr(10), (1 + hash(part, 'lines') % 4)::INTEGER) END
                   AS output
        FROM worded
    )
    SELECT named('prt_', part) AS part_id, named('msg_', message) AS message_id, named('ses_', session) AS session_id,
           text, input, output, coalesce(strlen(text), 0) AS text_bytes, coalesce(strlen(input), 0) AS input_bytes,
           coalesce(strlen(output), 0) AS output_bytes
    FROM bodies ORDER BY part
    """,
)
