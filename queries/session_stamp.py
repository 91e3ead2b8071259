"""Whether a session changed: one number for all that its timeline, its transcript and its figures are made of."""

import duckdb

from queries.session_tree import tree_below
from queries.traced import IN_SESSIONS


def session_stamp(con: duckdb.DuckDBPyConnection, session_id: str) -> int | None:
    """Sum up a session and everything below it.

    Args:
        con: The index, open for reading.
        session_id: Any session, root or not.

    Returns:
        The same number as long as nothing of it changes, whatever else is written to the index. None if the index has
        no such session.
    """
    sessions = [node.session_id for node in tree_below(con, session_id)]
    if not sessions:
        return None
    named = con.execute(_NAMED, {"sessions": sessions}).fetchall()
    values = {"sessions": sessions, "named": [*sessions, *(name for (name,) in named)]}
    ((stamp,),) = con.execute(_STAMP, values).fetchall()
    return int(stamp)


_IN = IN_SESSIONS
_IN_NAMED = "list_contains($named::VARCHAR[], session_id)"

# Sessions that a call or a parent's name leads to: they may be outside of the tree, and come later.
_NAMED = f"""
    SELECT child_session_id FROM exchange_traces WHERE {_IN} AND child_session_id IS NOT NULL
    UNION
    SELECT parent_id FROM sessions WHERE {_IN} AND parent_id IS NOT NULL
"""

# What is derived from the documents of a message changes with its hash, or with the rows here. The number of an
# exchange is compared only lest DuckDB looks up each exchange by its index (741 of 7,000: 15 against 2 ms).
_HASHED = (
    f"SELECT s.*, p.name, p.worktree FROM sessions s LEFT JOIN projects p USING (project_id) WHERE {_IN_NAMED}",
    f"FROM session_stats WHERE {_IN_NAMED}",
    f"FROM session_traces WHERE {_IN}",
    f"SELECT message_id, content_hash, is_fork_copy, deleted_at FROM messages WHERE {_IN}",
    f"FROM exchanges WHERE {_IN} AND number > 0",
    f"FROM exchange_traces WHERE {_IN}",
    f"FROM usage_slices WHERE {_IN}",
)
_SUMS = "\nUNION ALL\n".join(
    f"SELECT hash({place}, count(*), bit_xor(hash(r))) AS sum FROM ({rows}) r" for place, rows in enumerate(_HASHED)
)
_STAMP = f"SELECT bit_xor(sum) FROM ({_SUMS})"
