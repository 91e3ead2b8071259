"""Which sessions hang below a session: by their parents, as `session_stats` adds them up."""

from collections import deque
from dataclasses import dataclass

import duckdb


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A session of a tree.

    Attributes:
        parent_id: The session above it in the tree. None for the top.
        depth: 0 for the top.
    """

    session_id: str
    parent_id: str | None
    depth: int


def tree_below(con: duckdb.DuckDBPyConnection, session_id: str) -> list[TreeNode]:
    """List a session and all sessions below it.

    Args:
        con: The index, open for reading.
        session_id: The top.

    Returns:
        The top first, breadth first, older siblings first; each session once, also in a cycle of parents. Empty if
        the index has no such session.
    """
    found = con.execute(_MEMBERS, {"session_id": session_id}).fetchall()
    if session_id not in {member for member, _ in found}:
        return []
    children: dict[str, list[str]] = {}
    for member, parent in found:
        children.setdefault(parent, []).append(member)
    return _walk(children, session_id)


def _walk(children: dict[str, list[str]], top: str) -> list[TreeNode]:
    """Visit everything below a session once, breadth first."""
    nodes, seen = [TreeNode(top, None, 0)], {top}
    waiting = deque(nodes)
    while waiting:
        above = waiting.popleft()
        for child in children.get(above.session_id, []):
            if child not in seen:
                seen.add(child)
                waiting.append(TreeNode(child, above.session_id, above.depth + 1))
                nodes.append(waiting[-1])
    return nodes


# The whole tree that the session is in, as the indexer found it; from any of its sessions one can walk down.
_MEMBERS = """
    WITH members AS (
        SELECT session_id FROM session_traces
        WHERE root_session_id IN (SELECT root_session_id FROM session_traces WHERE session_id = $session_id)
        UNION
        SELECT $session_id
    )
    SELECT s.session_id, s.parent_id
    FROM members JOIN sessions s USING (session_id) LEFT JOIN session_stats stats USING (session_id)
    ORDER BY coalesce(s.created_at, stats.first_message_at) NULLS LAST, s.session_id
"""
