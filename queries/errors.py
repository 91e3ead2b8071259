"""What failed: answers that ended in an error, and tool calls that failed."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from queries import narrow, report_lines
from queries.period import Scope
from queries.rows import fetch_rows


def of_sessions(condition: str = "TRUE") -> str:
    """Write the query of the errors of each session: one definition, whatever shows them.

    Answers that ended in an error, plus tool calls that failed. An answer that the user cut short is no error. Those of
    a fork's copies count in the fork, too, as all that happened there. A compaction that failed is no answer: where it
    used nothing, no page counts it.

    Args:
        condition: Which sessions, on `session_id`.

    Returns:
        SQL with the columns `session_id` and `errors`.
    """
    return f"""
        SELECT session_id, sum(failed_answers + failed_calls)::BIGINT AS errors
        FROM usage_slices WHERE {condition} AND kind <> 'other' GROUP BY session_id
    """


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """One thing that failed.

    Attributes:
        error_id: Id of the message or part.
        occurred_at: Naive UTC. None if unknown.
        is_call: A tool call, not an answer.
        name: The tool, or the error's name.
        message: One line of what was reported, at most 300 characters: the first; of a program that ended with an exit
            code, the last. None if nothing was.
        exit_code: Of a program that ended. None: there is none.
        session_title: None if the session has none.
    """

    error_id: str
    occurred_at: datetime | None
    is_call: bool
    name: str
    message: str | None
    exit_code: str | None
    session_id: str
    session_title: str | None


def newest_errors(con: duckdb.DuckDBPyConnection, scope: Scope, limit: int | None = None) -> list[ErrorEvent]:
    """List what failed last.

    Args:
        con: The index, open for reading.
        scope: What to look at: calls belong to the time, agent and model of their message.
        limit: Rows at most. None: all.

    Returns:
        Newest first, unknown times last, then by id. Answers that the user cut short, copies that forks made and what
        was deleted in OpenCode are left out.
    """
    return fetch_rows(con, narrow.narrowed(_NEWEST, scope), {**narrow.values(scope), "limit": limit}, ErrorEvent)


# JSON is read only for the rows that are shown.
_NEWEST = f"""
    WITH {narrow.HITS},
    newest AS MATERIALIZED (
        SELECT if(is_call, failure_id, message_id) AS error_id, failed_at, is_call, name, session_id
        FROM failures
        WHERE {narrow.IN_SCOPE} AND NOT is_aborted AND NOT is_deleted
        ORDER BY failed_at DESC NULLS LAST, error_id
        LIMIT $limit::BIGINT
    ),
    reported AS (
        SELECT newest.*, error_data
        FROM newest JOIN (SELECT message_id AS error_id, error_data FROM messages) USING (error_id) WHERE NOT is_call
        UNION ALL
        SELECT newest.*, error_data
        FROM newest JOIN (SELECT part_id AS error_id, error_data FROM parts) USING (error_id) WHERE is_call
    ),
    read AS (SELECT *, {report_lines.HAS_EXIT} AS has_exit, {report_lines.REPORT} AS report FROM reported)
    SELECT error_id,
           failed_at AS occurred_at,
           is_call, name,
           {report_lines.LINE} AS message,
           CASE WHEN has_exit THEN coalesce(error_data->>'$.exit', 'none') END AS exit_code,
           session_id,
           nullif(trim(title), '') AS session_title
    FROM read LEFT JOIN sessions USING (session_id)
    ORDER BY failed_at DESC NULLS LAST, error_id
"""
