"""The SQL of a scope: one text that every query starts with, so that all pages narrow alike."""

from queries.period import Scope

# Sessions whose title, prompts or answers hold the text. Text that no person typed (a file's content that the client
# adds to a prompt) and parts without a message are not searched.
HITS = """
    hits AS (
        SELECT session_id FROM sessions WHERE $text <> '' AND contains(lower(title), lower($text))
        UNION
        SELECT body.session_id
        FROM part_bodies body JOIN parts USING (part_id)
        WHERE $text <> '' AND contains(lower(body.text), lower($text))
          AND part_type = 'text' AND NOT is_synthetic AND NOT is_orphan
    )
"""

IN_SESSION = """
    (len($projects::VARCHAR[]) = 0 OR list_contains($projects::VARCHAR[], coalesce(project_id, 'unknown')))
    AND ($text = '' OR session_id IN (SELECT session_id FROM hits))
"""

# A period leaves out what has no known time; `all` keeps it.
IN_PERIOD = """
    ($start::TIMESTAMP IS NULL OR created_at >= $start::TIMESTAMP)
    AND ($end::TIMESTAMP IS NULL OR created_at < $end::TIMESTAMP)
"""

BY_NAME = """
    (len($agents::VARCHAR[]) = 0 OR list_contains($agents::VARCHAR[], coalesce(agent, 'unknown')))
    AND (len($models::VARCHAR[]) = 0 OR list_contains($models::VARCHAR[], model))
"""

SCOPED = f"""
    scoped AS (SELECT * FROM spend WHERE {IN_PERIOD} AND {BY_NAME} AND {IN_SESSION})
"""

# Local wall-clock time of each quarter of an hour that occurs. Every offset in use is a multiple of it, and
# converting a few thousand quarters instead of every row takes a fifth of the time.
LOCAL_TIMES = """
    quarters AS (SELECT DISTINCT time_bucket(INTERVAL 15 minutes, created_at) AS quarter FROM scoped),
    local_times AS (SELECT quarter, quarter AT TIME ZONE 'UTC' AT TIME ZONE $tz AS local_time FROM quarters),
    timed AS (
        SELECT scoped.*, local_time
        FROM scoped LEFT JOIN local_times ON quarter = time_bucket(INTERVAL 15 minutes, created_at)
    )
"""


def values(scope: Scope) -> dict[str, object]:
    """Return the named values that the texts above use."""
    return {
        "tz": scope.tz,
        "start": scope.period.start,
        "end": scope.period.end,
        "agents": list(scope.agents),
        "models": list(scope.models),
        "projects": list(scope.projects),
        "text": scope.text,
    }
