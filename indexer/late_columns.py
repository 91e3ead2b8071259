"""Fills the columns that came with a newer schema, from what the index holds of each row.

Documents that are read again get them from the parser; this reaches all rows at once, also those whose source is gone.
"""

from collections.abc import Collection, Mapping

import duckdb
import orjson

from indexer import prices, sql
from indexer.error_rules import classify
from indexer.tool_targets import FILE_TOOLS, SHELL_TOOLS, target_of_text

# Whose text is searched, of `part_bodies` beside `parts`: as PartRow.is_searched has it. A row of the third generation
# has a text of its own and no part: of these, prompts are searched.
_IS_SEARCHED = """
    CASE WHEN part_type IS NULL THEN part_id IN (SELECT message_id FROM messages WHERE role = 'user')
         ELSE part_type = 'text' AND NOT is_synthetic AND NOT is_orphan END
"""
# Texts that are searched otherwise than they are, or in the other one of the two columns, with what these should hold.
MISSEARCHED = f"""
    SELECT part_id, session_id, searched_text, long_searched_text
    FROM (
        SELECT part_id, session_id, held, long_held, {sql.searched_columns("said")}
        FROM (
            SELECT part_id, part_bodies.session_id, searched_text AS held, long_searched_text AS long_held,
                   if({_IS_SEARCHED}, lower(text), NULL) AS said
            FROM part_bodies LEFT JOIN parts USING (part_id)
        )
    )
    WHERE held IS DISTINCT FROM searched_text OR long_held IS DISTINCT FROM long_searched_text
"""


def fill(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> None:
    """Fill what is empty of the rows of some sessions. What OpenCode deleted has no text to tell from: it stays empty.

    Args:
        con: The index, inside a transaction.
        session_ids: The sessions.
    """
    sessions = sql.texts(session_ids)
    _set_categories(con, "messages", "message_id", "NULL", sessions)
    _set_categories(con, "parts", "part_id", "tool_name", sessions)
    con.execute(
        f"""
        UPDATE parts SET output_bytes = body.output_bytes
        FROM (SELECT part_id, output_bytes FROM part_bodies WHERE session_id IN {sessions} AND output IS NOT NULL) body
        WHERE parts.part_id = body.part_id AND parts.session_id IN {sessions}
          AND part_type = 'tool' AND parts.output_bytes IS NULL
        """
    )
    con.execute(
        f"""
        UPDATE part_bodies
        SET searched_text = said.searched_text, long_searched_text = said.long_searched_text
        FROM (SELECT * FROM ({MISSEARCHED}) WHERE session_id IN {sessions}) said
        WHERE part_bodies.part_id = said.part_id
        """
    )
    rows = con.execute(
        f"""
        SELECT part_id, tool_name, input
        FROM (SELECT * FROM parts WHERE session_id IN {sessions} AND target IS NULL) JOIN part_bodies USING (part_id)
        WHERE tool_name IN {sql.texts((*SHELL_TOOLS, *FILE_TOOLS))} AND input IS NOT NULL
        """
    ).fetchall()
    targets = {part_id: target_of_text(tool_name, text) for part_id, tool_name, text in rows}
    _update(con, "parts", "part_id", "target", {key: target for key, target in targets.items() if target is not None})
    # a client counts reasoning one way or the other, so its messages tell how their steps were counted
    con.execute(
        f"""
        UPDATE parts SET reasoning_in_output_tokens = if(coalesce(step.is_included, FALSE), step.reasoning_tokens, 0)
        FROM (
            SELECT part_id, p.reasoning_tokens, m.reasoning_in_output_tokens > 0 AS is_included
            FROM parts p LEFT JOIN messages m USING (message_id)
            WHERE p.session_id IN {sessions} AND part_type = 'step-finish' AND p.reasoning_in_output_tokens IS NULL
        ) step
        WHERE parts.part_id = step.part_id
        """
    )
    prices.fill(con, session_ids)


def _set_categories(con: duckdb.DuckDBPyConnection, table: str, key: str, tool: str, sessions: str) -> None:
    """Classify the errors of a table that have no category."""
    rows = con.execute(
        f"""
        SELECT {key}, error_data::VARCHAR, {tool} FROM {table}
        WHERE session_id IN {sessions} AND error_data IS NOT NULL AND error_category IS NULL
        """
    ).fetchall()
    categories = {row_id: classify(_value(text), tool_name) for row_id, text, tool_name in rows}
    _update(con, table, key, "error_category", categories)


def _update(con: duckdb.DuckDBPyConnection, table: str, key: str, column: str, values: Mapping[str, str]) -> None:
    """Set one column of some rows."""
    if values:
        con.execute(
            f"""
            UPDATE {table} SET {column} = found.value
            FROM (SELECT unnest($keys::VARCHAR[]) AS key, unnest($values::VARCHAR[]) AS value) found
            WHERE {table}.{key} = found.key
            """,
            {"keys": list(values), "values": list(values.values())},
        )


def _value(text: str) -> object:
    """Read a stored error; one that is no JSON for this reader is a text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
