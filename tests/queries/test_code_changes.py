"""Code changes per project and directory: each line once."""

from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from queries.code_changes import (
    CHECKOUT,
    FOLDER,
    NO_REPOSITORY,
    OTHER_CHECKOUT,
    DirectoryChanges,
    ProjectChanges,
    directory_changes,
    project_changes,
)
from queries.period import Period, Scope
from tests.builders import PROJECT, START_MS, Doc, assistant, copied, part, project, session, tokens, user
from tests.conftest import DATA_SETS, OpenIndex


def worked(session_id: str, added: int | None, removed: int = 0, files: int = 1, **fields: Any) -> list[Doc]:
    """Make a session with an answer, and the summary of what it changed. None: it has no summary."""
    if added is not None:
        fields["summary"] = {"additions": added, "deletions": removed, "files": files}
    return [
        session(session_id, **fields),
        user(f"msg_{session_id}u", session_id),
        # no two alike: they would be taken for a fork's copies
        assistant(
            f"msg_{session_id}a", session_id, parent=f"msg_{session_id}u", usage=tokens(input=sum(session_id.encode()))
        ),
    ]


def edited(session_id: str) -> Doc:
    """Make a call that edited a file."""
    state = {"status": "completed", "input": {}, "output": "", "time": {"start": START_MS, "end": START_MS + 1}}
    return part(f"prt_{session_id}", "tool", f"msg_{session_id}a", session_id, tool="edit", callID="c", state=state)


def test_directory_changes_places_of_one_repository_are_told_apart(open_index: OpenIndex) -> None:
    """The checkout, a folder in it, one whose name only begins alike, and a folder without git."""
    con = open_index(
        project(name="Shop"),
        project("global", worktree="/"),
        *worked("ses_a", 10, 2, 3),
        *worked("ses_b", 5, 1, 1),
        *worked("ses_c", 4, directory="/home/dev/shop/web"),
        *worked("ses_d", 3, directory="/home/dev/shop-hotfix"),
        *worked("ses_e", 0, files=0, directory="/home/dev/notes", project_id="global"),
    )

    found = directory_changes(con, Scope())

    assert found == [
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop", CHECKOUT, 2, 0, 0, 15, 3, 4),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop/web", FOLDER, 1, 0, 0, 4, 0, 1),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop-hotfix", OTHER_CHECKOUT, 1, 0, 0, 3, 0, 1),
        DirectoryChanges("global", None, "/home/dev/notes", NO_REPOSITORY, 1, 0, 0, 0, 0, 0),
    ]


def test_project_changes_child_sessions_and_forks_count_no_line_twice(open_index: OpenIndex) -> None:
    """The summary of the session that called holds what its child did; that of a fork, what it copied."""
    told = worked("ses_a", 10)
    con = open_index(
        project(),
        *told,
        *worked("ses_child", 7, parentID="ses_a"),
        session("ses_fork", created=START_MS + 1, summary={"additions": 12, "deletions": 0, "files": 2}),
        *copied(told[1:], "ses_fork", "x"),
    )

    assert project_changes(con, Scope()) == [ProjectChanges(PROJECT, "shop", 1, 1, 0, 2, 10, 0, 1)]


def test_project_changes_child_whose_parent_is_gone_counts_itself(open_index: OpenIndex) -> None:
    """Its changes are in no other session."""
    con = open_index(project(), *worked("ses_child", 7, parentID="ses_gone"))

    (found,) = project_changes(con, Scope())

    assert (found.sessions, found.left_out_sessions, found.additions) == (1, 0, 7)


def test_project_changes_nothing_said_although_files_were_edited_is_unknown(open_index: OpenIndex) -> None:
    """OpenCode 1.18 sets every summary to 0. A 0 without an edit is a 0."""
    con = open_index(
        project(),
        *worked("ses_edited", 0, files=0),
        edited("ses_edited"),
        *worked("ses_talked", 0, files=0),
        *worked("ses_none", None),
    )

    (found,) = project_changes(con, Scope())

    assert (found.sessions, found.unrecorded_sessions, found.additions) == (3, 2, 0)


def test_project_changes_no_summary_at_all_is_no_zero(open_index: OpenIndex) -> None:
    """Not recorded is None."""
    con = open_index(project(), *worked("ses_none", None))

    (found,) = project_changes(con, Scope())

    assert (found.additions, found.deletions, found.files_changed) == (None, None, None)


def test_project_changes_period_keeps_sessions_with_a_message_in_it(open_index: OpenIndex) -> None:
    """As a whole."""
    con = open_index(project(), *worked("ses_a", 10))
    newest = con.execute("SELECT max(quarter_at) FROM usage_slices").fetchone()
    assert newest is not None

    assert project_changes(con, Scope(period=Period(start=newest[0])))[0].additions == 10
    assert project_changes(con, Scope(period=Period(end=newest[0]))) == []


@pytest.mark.parametrize("name", DATA_SETS)
def test_directory_changes_add_up_to_their_projects(
    name: str, real_index: Callable[[str], duckdb.DuckDBPyConnection]
) -> None:
    """Sessions and lines."""
    con = real_index(name)

    projects, folders = project_changes(con, Scope()), directory_changes(con, Scope())

    assert [row.project_id for row in projects] == list(dict.fromkeys(row.project_id for row in folders))
    for row in projects:
        own = [each for each in folders if each.project_id == row.project_id]
        assert row.sessions == sum(each.sessions for each in own)
        assert (row.additions or 0) == sum(each.additions or 0 for each in own)
