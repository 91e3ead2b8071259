"""What sessions changed in the files of their project: OpenCode's summary of each session.

That summary compares the folder at the session's first model step with the folder at its last one. So whatever changed
in between is in it: what child sessions did, and what a person or another session did in the same folder meanwhile.
Child sessions are therefore left out, since their changes are in those of the session that called them; so are forks,
whose summary begins with what they copied.
"""

from dataclasses import dataclass

import duckdb

from queries import narrow
from queries.edits import EDIT_TOOLS
from queries.period import Scope
from queries.rows import fetch_rows

CHECKOUT, FOLDER, OTHER_CHECKOUT, NO_REPOSITORY = "checkout", "folder in it", "worktree or clone", "no repository"


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    """What the sessions of one project changed.

    Attributes:
        project_id: `unknown` for sessions that name none. All checkouts of one git repository have the same.
        project: Its name. None if it has none.
        directories: In which its sessions were started.
        sessions: Those whose changes are counted or unknown.
        unrecorded_sessions: Those of them without a summary, or with one that says that nothing changed although they
            edited files: OpenCode 1.18 writes such. Their changes are unknown.
        left_out_sessions: Child sessions and forks: see above.
        additions: Lines, over the other sessions. None: no session recorded a summary.
        deletions: Alike.
        files_changed: Alike; a file that two sessions changed counts twice.
    """

    project_id: str
    project: str | None
    directories: int
    sessions: int
    unrecorded_sessions: int
    left_out_sessions: int
    additions: int | None
    deletions: int | None
    files_changed: int | None


@dataclass(frozen=True, slots=True)
class DirectoryChanges:
    """What the sessions of one directory changed.

    Attributes:
        project_id: As in `ProjectChanges`; so are the counts.
        project: Alike.
        directory: Where the sessions were started. None if they do not say.
        kind: One of the four above: the checkout that OpenCode names as the project's, a folder inside it, any other
            place (a git worktree or a clone: both have the same project, and nothing in the index tells them apart), or
            a folder without a git repository.
    """

    project_id: str
    project: str | None
    directory: str | None
    kind: str
    sessions: int
    unrecorded_sessions: int
    left_out_sessions: int
    additions: int | None
    deletions: int | None
    files_changed: int | None


def project_changes(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[ProjectChanges]:
    """Add up what sessions changed, by project.

    A session counts as a whole if any of its messages is in the scope: when a line was changed is not recorded.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        Most changed lines first, then by id.
    """
    return fetch_rows(con, narrow.narrowed(_BY_PROJECT, scope), _values(scope), ProjectChanges)


def directory_changes(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[DirectoryChanges]:
    """Add up what sessions changed, by directory; as `project_changes`.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        Projects in the order of `project_changes`, and their directories alike.
    """
    return fetch_rows(con, narrow.narrowed(_BY_DIRECTORY, scope), _values(scope), DirectoryChanges)


def _values(scope: Scope) -> dict[str, object]:
    """Return the named values of both queries."""
    return {**narrow.values(scope), "edit_tools": list(EDIT_TOOLS)}


_JUDGED = f"""
    {narrow.HITS},
    matching AS (
        SELECT DISTINCT session_id FROM usage_slices
        WHERE {narrow.in_period("quarter_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
    ),
    editing AS (
        SELECT DISTINCT session_id FROM tool_calls
        WHERE list_contains($edit_tools::VARCHAR[], tool_name) AND NOT is_failed AND NOT is_unfinished
    ),
    judged AS (
        SELECT coalesce(s.project_id, 'unknown') AS project_id, s.directory,
               s.additions, s.deletions, s.files_changed,
               parent.session_id IS NOT NULL OR s.fork_session_id IS NOT NULL OR coalesce(stats.fork_copies, 0) > 0
                   AS is_left_out,
               s.additions IS NULL
                   OR (s.additions = 0 AND s.deletions = 0 AND s.files_changed = 0 AND editing.session_id IS NOT NULL)
                   AS is_unrecorded
        FROM sessions s
        SEMI JOIN matching ON matching.session_id = s.session_id
        LEFT JOIN session_stats stats ON stats.session_id = s.session_id
        LEFT JOIN sessions parent ON parent.session_id = s.parent_id
        LEFT JOIN editing ON editing.session_id = s.session_id
    )
"""

_SUMS = """
    count(*) FILTER (NOT is_left_out)                   AS sessions,
    count(*) FILTER (NOT is_left_out AND is_unrecorded) AS unrecorded_sessions,
    count(*) FILTER (is_left_out)                       AS left_out_sessions,
    (sum(additions) FILTER (NOT is_left_out AND NOT is_unrecorded))::BIGINT     AS additions,
    (sum(deletions) FILTER (NOT is_left_out AND NOT is_unrecorded))::BIGINT     AS deletions,
    (sum(files_changed) FILTER (NOT is_left_out AND NOT is_unrecorded))::BIGINT AS files_changed
"""
_PROJECT_NAME = "coalesce(nullif(name, ''), nullif(parse_filename(worktree), '')) AS project"

_BY_PROJECT = f"""
    WITH {_JUDGED},
    added AS (
        SELECT project_id, count(DISTINCT directory) AS directories, {_SUMS} FROM judged GROUP BY project_id
    )
    SELECT added.*, {_PROJECT_NAME}
    FROM added LEFT JOIN projects USING (project_id)
    ORDER BY coalesce(additions + deletions, 0) DESC, project_id
"""

_BY_DIRECTORY = f"""
    WITH {_JUDGED},
    added AS (SELECT project_id, directory, {_SUMS} FROM judged GROUP BY project_id, directory)
    SELECT added.*, {_PROJECT_NAME},
           CASE WHEN worktree IS NULL OR worktree = '/' OR directory IS NULL THEN '{NO_REPOSITORY}'
                WHEN directory = worktree THEN '{CHECKOUT}'
                WHEN starts_with(directory, worktree || '/') THEN '{FOLDER}'
                ELSE '{OTHER_CHECKOUT}' END AS kind
    FROM added LEFT JOIN projects USING (project_id)
    ORDER BY coalesce(sum(additions + deletions) OVER (PARTITION BY project_id), 0) DESC, project_id,
             coalesce(additions + deletions, 0) DESC, directory
"""
