"""What sessions changed in the files of their project, as OpenCode recorded it.

After each prompt it compares the folder with what it was before, and notes the lines of every file at the user message.
So whatever changed in between is in it: what child sessions did, and what a person or another session did in the same
folder meanwhile. Child sessions are therefore left out: their changes are in those of the session that called them.

Where no prompt of a session says anything, the session's own summary counts: its first model step against its last.
Clients that note prompts write it only for what was undone, so there it never counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from queries import narrow
from queries.edits import EDIT_TOOLS
from queries.period import Scope
from queries.rows import fetch_rows

CHECKOUT, WORKTREE, CLONE, OTHER_CHECKOUT = "checkout", "worktree", "clone", "other checkout"
NO_REPOSITORY = "no repository"
FOLDER_IN = "folder in "  # before one of the first three


@dataclass(frozen=True, slots=True)
class ProjectChanges:
    """What the sessions of one project changed.

    Attributes:
        project_id: `unknown` for sessions that name none. All checkouts of one git repository have the same.
        project: Its name. None if it has none.
        directories: In which its sessions were started.
        sessions: Those whose changes are counted or unknown.
        unrecorded_sessions: Those of them with changes that are not recorded: files were edited, and it says that
            nothing changed, or nothing at all.
        left_out_sessions: Child sessions; and forks of which only a summary is recorded, as it begins with what they
            copied.
        additions: Lines of all prompts of the other sessions. None: nothing is recorded.
        deletions: Alike.
        files_changed: Alike; a file that two prompts changed counts twice.
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
        kind: The checkout that OpenCode names as the project's, another git worktree of the repository, another clone
            of it, or a folder inside one of them; another checkout, of which nothing recorded tells what it is (clients
            before 1.18 do not note clones, and forget worktrees that were removed); or no git repository.
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


@dataclass(frozen=True, slots=True)
class CodeChanges:
    """What sessions changed.

    Attributes:
        projects: As `project_changes` returns them.
        directories: As `directory_changes` does.
    """

    projects: list[ProjectChanges]
    directories: list[DirectoryChanges]


def code_changes(con: duckdb.DuckDBPyConnection, scope: Scope) -> CodeChanges:
    """Add up what sessions changed, by project and by directory, from one query.

    Args:
        con: The index, open for reading.
        scope: What to look at.
    """
    directories = directory_changes(con, scope)
    return CodeChanges(_by_project(directories), directories)


def project_changes(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[ProjectChanges]:
    """Add up what sessions changed, by project.

    A session counts as a whole if any of its messages is in the scope: when a line was changed is not recorded.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        Most changed lines first, then by id.
    """
    return _by_project(directory_changes(con, scope))


def directory_changes(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[DirectoryChanges]:
    """Add up what sessions changed, by directory; as `project_changes`.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        Projects in the order of `project_changes`, and their directories alike.
    """
    return fetch_rows(con, narrow.narrowed(_BY_DIRECTORY, scope), narrow.values(scope), DirectoryChanges)


def _by_project(rows: Sequence[DirectoryChanges]) -> list[ProjectChanges]:
    """Add up the directories of each project."""
    projects: dict[str, list[DirectoryChanges]] = {}
    for row in rows:
        projects.setdefault(row.project_id, []).append(row)
    added = [
        ProjectChanges(
            project_id=project_id,
            project=own[0].project,
            directories=sum(row.directory is not None for row in own),
            sessions=sum(row.sessions for row in own),
            unrecorded_sessions=sum(row.unrecorded_sessions for row in own),
            left_out_sessions=sum(row.left_out_sessions for row in own),
            additions=_sum(row.additions for row in own),
            deletions=_sum(row.deletions for row in own),
            files_changed=_sum(row.files_changed for row in own),
        )
        for project_id, own in projects.items()
    ]
    return sorted(added, key=lambda row: (-_lines(row), row.project_id))


def _sum(counts: Iterable[int | None]) -> int | None:
    """Add up what is recorded. None: nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _lines(row: ProjectChanges) -> int:
    """Count the changed lines; none where one of both kinds is not recorded."""
    return 0 if row.additions is None or row.deletions is None else row.additions + row.deletions


def recorded(of_sessions: str = "TRUE") -> str:
    """Write the table expression `recorded`: what is recorded of sessions.

    Prompts that a fork copied are left out, and those that were undone.

    Args:
        of_sessions: Condition on `session_id`. DuckDB does not find out by itself that one session needs no more rows.
    """
    return f"""
    edited AS (
        SELECT DISTINCT session_id, exchange_id FROM tool_calls
        WHERE {of_sessions} AND tool_name IN {EDIT_TOOLS} AND NOT is_failed AND NOT is_unfinished
    ),
    prompts AS (
        SELECT e.session_id, m.additions, m.deletions, m.files_changed,
               NOT e.is_fork_copy AND (m.deleted_at IS NULL OR m.deleted_at >= s.deleted_at) AS is_own,
               CASE WHEN coalesce(m.files_changed, 0) = 0 THEN edited.exchange_id IS NOT NULL
                    ELSE m.additions IS NULL OR m.deletions IS NULL END AS is_silent
        FROM (SELECT * FROM exchanges WHERE {of_sessions}) e
        JOIN sessions s ON s.session_id = e.session_id
        JOIN (SELECT * FROM messages WHERE {of_sessions}) m
          ON m.session_id = e.session_id AND m.message_id = e.user_message_id
        LEFT JOIN edited ON edited.session_id = e.session_id AND edited.exchange_id = e.exchange_id
    ),
    noted AS (
        SELECT session_id, bool_or(files_changed IS NOT NULL) AS is_told, bool_or(is_own AND is_silent) AS is_silent,
               coalesce(sum(additions) FILTER (is_own), 0)     AS additions,
               coalesce(sum(deletions) FILTER (is_own), 0)     AS deletions,
               coalesce(sum(files_changed) FILTER (is_own), 0) AS files_changed
        FROM prompts GROUP BY session_id
    ),
    judged AS (
        SELECT s.session_id, coalesce(noted.is_told, false) AS is_told,
               CASE WHEN noted.is_told THEN noted.is_silent
                    ELSE s.additions IS NULL
                         OR (s.additions = 0 AND s.deletions = 0 AND s.files_changed = 0
                             AND s.session_id IN (SELECT session_id FROM edited))
               END AS is_unrecorded,
               if(noted.is_told, noted.additions, s.additions)         AS additions,
               if(noted.is_told, noted.deletions, s.deletions)         AS deletions,
               if(noted.is_told, noted.files_changed, s.files_changed) AS files_changed
        FROM (SELECT * FROM sessions WHERE {of_sessions}) s LEFT JOIN noted ON noted.session_id = s.session_id
    ),
    recorded AS (
        SELECT session_id, is_told, is_unrecorded,
               if(is_unrecorded AND files_changed = 0, NULL, additions)     AS additions,
               if(is_unrecorded AND files_changed = 0, NULL, deletions)     AS deletions,
               if(is_unrecorded AND files_changed = 0, NULL, files_changed) AS files_changed
        FROM judged
    )
"""


_COUNTED = f"""
    {narrow.HITS},
    matching AS (
        SELECT DISTINCT session_id FROM usage_slices
        WHERE {narrow.in_period("quarter_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
    ),
    {recorded()},
    counted AS (
        SELECT coalesce(s.project_id, 'unknown') AS project_id, s.directory, r.is_unrecorded,
               r.additions, r.deletions, r.files_changed,
               parent.session_id IS NOT NULL
                   OR (NOT r.is_told AND (s.fork_session_id IS NOT NULL OR coalesce(stats.fork_copies, 0) > 0))
                   AS is_left_out
        FROM sessions s
        SEMI JOIN matching ON matching.session_id = s.session_id
        JOIN recorded r ON r.session_id = s.session_id
        LEFT JOIN session_stats stats ON stats.session_id = s.session_id
        LEFT JOIN sessions parent ON parent.session_id = s.parent_id
    )
"""

_SUMS = """
    count(*) FILTER (NOT is_left_out)                   AS sessions,
    count(*) FILTER (NOT is_left_out AND is_unrecorded) AS unrecorded_sessions,
    count(*) FILTER (is_left_out)                       AS left_out_sessions,
    (sum(additions) FILTER (NOT is_left_out))::BIGINT     AS additions,
    (sum(deletions) FILTER (NOT is_left_out))::BIGINT     AS deletions,
    (sum(files_changed) FILTER (NOT is_left_out))::BIGINT AS files_changed
"""
_PROJECT_NAME = "coalesce(nullif(name, ''), nullif(parse_filename(worktree), '')) AS project"

# A directory lies in the innermost checkout that holds it: worktrees may lie inside the folder of their project.
_BY_DIRECTORY = f"""
    WITH {_COUNTED},
    added AS (SELECT project_id, directory, {_SUMS} FROM counted GROUP BY project_id, directory),
    checkouts AS (
        SELECT project_id, worktree AS root, '{CHECKOUT}' AS kind FROM projects
        UNION ALL SELECT project_id, unnest(worktrees), '{WORKTREE}' FROM projects
        UNION ALL SELECT project_id, unnest(clones), '{CLONE}' FROM projects
    ),
    places AS (
        SELECT project_id, directory, arg_max(if(directory = root, '', '{FOLDER_IN}') || kind, length(root)) AS kind
        FROM added JOIN checkouts USING (project_id)
        WHERE directory = root OR starts_with(directory, rtrim(root, '/') || '/')
        GROUP BY project_id, directory
    )
    SELECT added.*, {_PROJECT_NAME},
           CASE WHEN worktree IS NULL OR worktree = '/' OR directory IS NULL THEN '{NO_REPOSITORY}'
                ELSE coalesce(kind, '{OTHER_CHECKOUT}') END AS kind
    FROM added LEFT JOIN projects USING (project_id) LEFT JOIN places USING (project_id, directory)
    ORDER BY coalesce(sum(additions + deletions) OVER (PARTITION BY project_id), 0) DESC, project_id,
             coalesce(additions + deletions, 0) DESC, directory
"""
