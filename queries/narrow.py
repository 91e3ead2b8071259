"""The SQL of a scope: one text that every query starts with, so that all pages narrow alike."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb

from indexer import processors
from queries.period import Scope
from queries.rows import KNOWN_HITS

if TYPE_CHECKING:  # a report in the terminal is quicker without
    import pyarrow


def _if_set(filter_name: str, is_unset: str, condition: str) -> str:
    """Write a condition that holds where a filter is not set, so that `narrowed` finds it."""
    return f"/*{filter_name}*/ ({is_unset} OR {condition}) /**/"


# Sessions whose title, prompts or answers hold the text; and where prompts and answers do. Text that no person typed (a
# file's content that the client adds to a prompt) and parts without a message are not searched. Long texts have a
# column of their own: both are looked through one after the other, as one condition on both takes a fifth longer.
_SAID = """
    SELECT session_id, min(part_id) AS first_said, arg_min(place, part_id) AS place
    FROM (
        SELECT session_id, part_id, rowid AS place FROM part_bodies WHERE contains(searched_text, lower($text))
        UNION ALL
        SELECT session_id, part_id, rowid FROM part_bodies WHERE contains(long_searched_text, lower($text))
    )
    WHERE $text <> ''
"""
_OF_SAID = """
    hits AS (
        SELECT session_id FROM sessions WHERE $text <> '' AND contains(lower(title), lower($text))
        UNION
        SELECT session_id FROM said
    )
"""
HITS = f"""
    said AS ({_SAID} GROUP BY session_id),
    {_OF_SAID}
"""
_KNOWN_HITS = f"""
    said AS (FROM {KNOWN_HITS} WHERE place IS NOT NULL),
    hits AS (SELECT session_id FROM {KNOWN_HITS})
"""
_NO_HITS = "hits AS (SELECT NULL::VARCHAR AS session_id WHERE false)"

_OF_PROJECTS = """
    session_id IN (
        SELECT session_id FROM sessions WHERE list_contains($projects::VARCHAR[], coalesce(project_id, 'unknown'))
    )
"""
IN_SESSION = f"""
    {_if_set("projects", "len($projects::VARCHAR[]) = 0", _OF_PROJECTS)}
    AND {_if_set("text", "$text = ''", "session_id IN (SELECT session_id FROM hits)")}
    AND {_if_set("one_session", "$one_session = ''", "session_id = $one_session")}
"""

MODEL = "coalesce(provider_id, 'unknown') || '/' || coalesce(model_id, 'unknown')"


def in_period(column: str) -> str:
    """Write the condition on a time. A period leaves out what has no known time; `all` keeps it."""
    return f"""
        {_if_set("start", "$start::TIMESTAMP IS NULL", f"{column} >= $start::TIMESTAMP")}
        AND {_if_set("end", "$end::TIMESTAMP IS NULL", f"{column} < $end::TIMESTAMP")}
    """


def by_name(agent: str, model: str) -> str:
    """Write the condition on names. Rows that name nobody match no name.

    Args:
        agent: What an agent is called.
        model: What a model is called.
    """
    return f"""
        {_if_set("agents", "len($agents::VARCHAR[]) = 0", f"list_contains($agents::VARCHAR[], {agent})")}
        AND {_if_set("models", "len($models::VARCHAR[]) = 0", f"list_contains($models::VARCHAR[], {model})")}
    """


# Of whatever carries usage: it belongs to somebody, known or not.
BY_NAME = by_name("coalesce(agent, 'unknown')", MODEL)

# Of `tool_calls` and `failures`.
IN_SCOPE = f"is_counted AND {in_period('message_at')} AND {BY_NAME} AND {IN_SESSION}"

# The spend of a scope: in any period that begins and ends at a quarter of an hour, which all do that one can choose.
SLICED = f"""
    sliced AS (
        SELECT * FROM usage_slices
        WHERE kind = 'counted' AND {in_period("quarter_at")} AND {BY_NAME} AND {IN_SESSION}
    )
"""

# With local wall-clock times. DuckDB converts slowly (3.5 of 11 ms for all of a million parts): it is done for both
# ends of each day of UTC, and for single slices only on days on which the offset changes.
TIMED = """
    utc_days AS (SELECT DISTINCT quarter_at::DATE AS utc_day FROM sliced),
    offsets AS (
        SELECT utc_day, timezone($tz, timezone('UTC', utc_day::TIMESTAMP)) - utc_day::TIMESTAMP AS since,
               timezone($tz, timezone('UTC', (utc_day + 1)::TIMESTAMP)) - (utc_day + 1)::TIMESTAMP AS until
        FROM utc_days
    ),
    timed AS (
        SELECT sliced.*, if(since = until, quarter_at + since, timezone($tz, timezone('UTC', quarter_at))) AS local_time
        FROM sliced LEFT JOIN offsets ON utc_day = quarter_at::DATE
    )
"""


def step_at(local_time: str) -> str:
    """Write the start of the step `$step` that a local time is in. DuckDB's weeks begin on Monday; ours may not.

    Args:
        local_time: Wall-clock time, a TIMESTAMP.
    """
    shift = "to_days(if($step = 'week', $first_weekday, 0)::INTEGER)"
    return f"(date_trunc($step, {local_time} - {shift}) + {shift})::TIMESTAMP"


def hits(con: duckdb.DuckDBPyConnection, text: str) -> "pyarrow.Table":
    """Look a text up, once for all queries of a page: to look is most of what each of them takes.

    Of many texts several threads look at a part each, also where two processors leave every question one thread
    (`READER_SETTINGS`): it takes a quarter of a second alone where a million parts were not looked at since the
    revision was opened.

    Args:
        con: The index, open for reading.
        text: As in a scope; not empty.

    Returns:
        The `hits` of a scope: session_id of each session that holds the text; first_said, the id of the first prompt or
        answer that does, and place, where its text is stored, both NULL if only the title does.
    """
    import pyarrow

    first, *others = _portions(con)
    with ThreadPoolExecutor(_MOST_THREADS, "search") as pool:
        begun = [pool.submit(_said_apart, con.cursor(), text, portion) for portion in others]
        found = [_said(con, text, first), *(portion.result() for portion in begun)]
    con.register(_FOUND, pyarrow.concat_tables(found))
    return con.sql(_HITS_OF_FOUND, params={"text": text}).to_arrow_table()


_MOST_THREADS = 4
_LEAST_TEXTS = 50_000  # of a thread
_FOUND = "found_said"
_HITS_OF_FOUND = f"""
    WITH said AS (
        SELECT session_id, min(first_said) AS first_said, arg_min(place, first_said) AS place
        FROM {_FOUND} GROUP BY session_id
    ),
    {_OF_SAID}
    SELECT session_id, first_said, place FROM hits LEFT JOIN said USING (session_id)
"""


def _portions(con: duckdb.DuckDBPyConnection) -> list[range]:
    """Cut the places of all texts into as many parts as threads are to look at them."""
    [(places,)] = con.execute("SELECT coalesce(max(rowid), 0) + 1 FROM part_bodies").fetchall()
    count = max(min(places // _LEAST_TEXTS, processors.usable(), _MOST_THREADS), 1)
    size = math.ceil(places / count)
    return [range(start, start + size) for start in range(0, places, size)]


def _said(con: duckdb.DuckDBPyConnection, text: str, places: range) -> "pyarrow.Table":
    """Look a text up in some places."""
    sql = f"{_SAID} AND place >= {places.start} AND place < {places.stop} GROUP BY session_id"
    return con.sql(sql, params={"text": text}).to_arrow_table()


def _said_apart(con: duckdb.DuckDBPyConnection, text: str, places: range) -> "pyarrow.Table":
    """Do the same on a connection that is not needed for anything else."""
    with closing(con):
        con.execute("USE index_db")  # not inherited
        return _said(con, text, places)


def narrowed(sql: str, scope: Scope) -> str:
    """Leave the conditions out that hold anyway: where nothing is set, they are half of what DuckDB plans.

    Args:
        sql: A query made of the texts above.
        scope: Its values will be those of this scope.

    Returns:
        A query with the same result.
    """
    unset = [name for name, value in values(scope).items() if not value]
    if not scope.text:
        sql = sql.replace(HITS, _NO_HITS)
    elif scope.hits is not None:
        sql = sql.replace(HITS, _KNOWN_HITS)
    return re.sub(rf"/\*(?:{'|'.join(unset)})\*/.*?/\*\*/", "TRUE", sql, flags=re.DOTALL) if unset else sql


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
        KNOWN_HITS: scope.hits,
        "first_weekday": scope.first_weekday,
        "one_session": scope.session_id,
    }
