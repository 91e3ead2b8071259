"""Trees of sessions: which session ran which."""

from collections.abc import Collection, Iterable

import duckdb

from indexer import sql
from indexer.hot_sessions import Trees

# root, session, depth, parent, part that delegated
TreeRow = tuple[str, str, int, str | None, str | None]


def rebuild(con: duckdb.DuckDBPyConnection, session_ids: Collection[str], parents: Collection[str]) -> Trees:
    """Rebuild `session_traces` around some sessions.

    Args:
        con: The index, inside a transaction.
        session_ids: Sessions whose rows changed.
        parents: Sessions that lost a child session.

    Returns:
        The trees of those that exist.
    """
    named, near = _near(con, {*session_ids, *parents})
    links = {session_id: parent for session_id, parent in near.items() if parent in near and parent is not None}
    children: dict[str, list[str]] = {}
    for child, parent in sorted(links.items()):
        children.setdefault(parent, []).append(child)
    roots = sorted({root_of(links, session_id) for session_id in near})
    trees = [row for root in roots for row in tree_of(children, root)]
    calls = _delegating_parts(con, sorted(links))
    _write(con, named, {(*row, calls.get((row[1], row[3]))) for row in trees})
    tops = {top for session_id in {*session_ids, *parents} & near.keys() for top in _upwards(links, session_id)}
    return Trees(
        {top: [session_id for _, session_id, _, _ in tree_of(children, top)] for top in sorted(tops)},
        {top: len(children.get(top, ())) for top in tops},
    )


def _near(con: duckdb.DuckDBPyConnection, session_ids: Collection[str]) -> tuple[set[str], dict[str, str | None]]:
    """Find all sessions that links connect with some, or that were in one tree with them.

    Step by step: a history has tens of thousands of sessions, a tree a few levels.

    Returns:
        Ids of all of them, and those that exist with what they name as their parent.
    """
    held = con.execute(f"SELECT root_session_id FROM session_traces WHERE session_id IN {sql.texts(session_ids)}")
    seen = {*session_ids, *(root for (root,) in held.fetchall())}
    near: dict[str, str | None] = {}
    new = set(seen)
    while new:
        names = sql.texts(new)
        rows = con.execute(
            f"SELECT session_id, parent_id FROM sessions WHERE session_id IN {names} OR parent_id IN {names}"
        ).fetchall()
        near.update(rows)
        new = {name for row in rows for name in row if name is not None} - seen
        seen |= new
    return seen, near


def _write(con: duckdb.DuckDBPyConnection, named: Iterable[str], wanted: set[TreeRow]) -> None:
    """Write the trees of connected sessions where they differ from what is there.

    Args:
        con: The index, inside a transaction.
        named: All these sessions. One whose parent came later was a root before: any may be the root of what is there.
        wanted: The rows as they should be.
    """
    roots = sql.texts(named)
    held = con.execute(
        f"""
        SELECT root_session_id, session_id, depth, parent_session_id, delegating_part_id
        FROM session_traces WHERE root_session_id IN {roots}
        """
    ).fetchall()
    if set(held) == wanted:
        return
    con.execute(f"DELETE FROM session_traces WHERE root_session_id IN {roots}")
    columns = list(zip(*wanted, strict=True)) or [()] * 5
    con.execute(
        """
        INSERT INTO session_traces
        SELECT unnest($roots::VARCHAR[]), unnest($sessions::VARCHAR[]), unnest($depths::INTEGER[]),
               unnest($parents::VARCHAR[]), unnest($calls::VARCHAR[])
        """,
        dict(zip(("roots", "sessions", "depths", "parents", "calls"), map(list, columns), strict=True)),
    )


def _delegating_parts(con: duckdb.DuckDBPyConnection, child_ids: list[str]) -> dict[tuple[str, str | None], str]:
    """Find the first call that runs each child session: (child, session of the call) to part id.

    By time: the times inside ids began anew in August 2026, so their order is none.
    """
    if not child_ids:  # most sessions have none, and the parts are many
        return {}
    found = con.execute(
        """
        SELECT child_session_id, p.session_id, arg_min(part_id, row(m.created_at, m.seq, p.position, part_id))
        FROM parts p LEFT JOIN messages m USING (message_id)
        WHERE child_session_id IN (SELECT unnest($children::VARCHAR[])) GROUP BY ALL
        """,
        {"children": child_ids},
    ).fetchall()
    return {(child_id, session_id): part_id for child_id, session_id, part_id in found}


def root_of(parents: dict[str, str], session_id: str) -> str:
    """Find the root of a session's tree.

    Args:
        parents: Session to parent, where the parent exists.
        session_id: A session.

    Returns:
        The session above it without a parent. In a cycle of parents, its smallest id: damaged links still make a tree.
    """
    path = _upwards(parents, session_id)
    above = parents.get(path[-1])
    return path[-1] if above is None else min(path[path.index(above) :])


def tree_of(children: dict[str, list[str]], root: str) -> list[tuple[str, str, int, str | None]]:
    """List the sessions of a tree.

    Args:
        children: Session to its child sessions, in order.
        root: Its root.

    Returns:
        (root, session, depth, parent), the root first; each session once, also in a cycle.
    """
    rows: list[tuple[str, str, int, str | None]] = [(root, root, 0, None)]
    seen = {root}
    for _, session_id, depth, _ in rows:  # grows while it is read: breadth first
        for child in children.get(session_id, []):
            if child not in seen:
                seen.add(child)
                rows.append((root, child, depth + 1, session_id))
    return rows


def _upwards(links: dict[str, str], session_id: str) -> list[str]:
    """List a session and all above it, each once, also in a cycle."""
    path = [session_id]
    while (above := links.get(path[-1])) is not None and above not in path:
        path.append(above)
    return path
