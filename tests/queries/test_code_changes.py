"""Code changes per project and directory: each line once."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from queries.code_changes import (
    CHECKOUT,
    CLONE,
    FOLDER_IN,
    NO_REPOSITORY,
    OTHER_CHECKOUT,
    WORKTREE,
    CodeChanges,
    DirectoryChanges,
    ProjectChanges,
    code_changes,
    directory_changes,
    project_changes,
)
from queries.period import Period, Scope
from tests.builders import (
    PROJECT,
    START_MS,
    Doc,
    Json,
    assistant,
    copied,
    part,
    project,
    session,
    tokens,
    user,
    write_sqlite,
)
from tests.conftest import DATA_SETS, OpenIndex


def worked(session_id: str, added: int | None, removed: int = 0, files: int = 1, **fields: Any) -> list[Doc]:
    """Make a session with an answer, and what its prompt changed. None: nothing is recorded."""
    noted: Json = {} if added is None else {"summary": {"diffs": changed(added, removed, files)}}
    return [
        session(session_id, **fields),
        user(f"msg_{session_id}u", session_id, **noted),
        # no two alike: they would be taken for a fork's copies
        assistant(
            f"msg_{session_id}a", session_id, parent=f"msg_{session_id}u", usage=tokens(input=sum(session_id.encode()))
        ),
    ]


def summarised(session_id: str, added: int, **fields: Any) -> list[Doc]:
    """Make a session of which only a summary says what changed."""
    files = 1 if added else 0
    return worked(session_id, None, summary={"additions": added, "deletions": 0, "files": files}, **fields)


def changed(added: int, removed: int = 0, files: int = 1) -> list[Json]:
    """Make the files that a prompt changed; the first has all the lines."""
    lines = [(added, removed), *[(0, 0)] * (files - 1)][:files]
    return [{"file": f"f{number}", "additions": plus, "deletions": minus} for number, (plus, minus) in enumerate(lines)]


def edited(session_id: str) -> Doc:
    """Make a call that edited a file."""
    state = {"status": "completed", "input": {}, "output": "", "time": {"start": START_MS, "end": START_MS + 1}}
    return part(f"prt_{session_id}", "tool", f"msg_{session_id}a", session_id, tool="edit", callID="c", state=state)


def test_directory_changes_places_of_one_repository_are_told_apart(open_index: OpenIndex) -> None:
    """A worktree inside the checkout is no folder of it; a place whose name only begins alike is elsewhere."""
    con = open_index(
        project(name="Shop", sandboxes=["/home/dev/shop/.trees/fix"]),
        project("global", worktree="/"),
        *worked("ses_a", 10, 2, 3),
        *worked("ses_b", 5, 1, 1),
        *worked("ses_c", 4, directory="/home/dev/shop/web"),
        *worked("ses_d", 3, directory="/home/dev/shop-hotfix"),
        *worked("ses_e", 0, files=0, directory="/home/dev/notes", project_id="global"),
        *worked("ses_f", 2, directory="/home/dev/shop/.trees/fix"),
        *worked("ses_g", 1, directory="/home/dev/shop/.trees/fix/web"),
    )

    found = directory_changes(con, Scope())

    assert found == [
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop", CHECKOUT, 2, 0, 0, 15, 3, 4),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop/web", FOLDER_IN + CHECKOUT, 1, 0, 0, 4, 0, 1),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop-hotfix", OTHER_CHECKOUT, 1, 0, 0, 3, 0, 1),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop/.trees/fix", WORKTREE, 1, 0, 0, 2, 0, 1),
        DirectoryChanges(PROJECT, "Shop", "/home/dev/shop/.trees/fix/web", FOLDER_IN + WORKTREE, 1, 0, 0, 1, 0, 1),
        DirectoryChanges("global", None, "/home/dev/notes", NO_REPOSITORY, 1, 0, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("text", ["lamp", "SHINES"])
def test_code_changes_text_filter_leaves_the_sessions_that_hold_it(text: str, open_index: OpenIndex) -> None:
    """In the title or in what was said."""
    said = part("prt_1", "text", "msg_ses_au", "ses_a", text="It shines.")
    con = open_index(project(), *worked("ses_a", 10, 2, 3, title="Mend the lamp"), said, *worked("ses_b", 5))

    found = directory_changes(con, Scope(text=text))

    assert [(row.sessions, row.additions) for row in found] == [(1, 10)]


@pytest.mark.parametrize(
    ("name", "copy", "tree"),
    [
        pytest.param("json", OTHER_CHECKOUT, WORKTREE, id="1.1 notes no clones"),
        pytest.param("sqlite", CLONE, WORKTREE, id="1.18 says which is which"),
        pytest.param("migrated-after", OTHER_CHECKOUT, WORKTREE, id="1.18 keeps what 1.1 noted"),
    ],
)
def test_directory_changes_real_worktree_and_clone_are_told_apart(
    name: str, copy: str, tree: str, real_index: Callable[[str], duckdb.DuckDBPyConnection]
) -> None:
    """`shop-api-copy` was made by `git clone`, `infra-hotfix` by `git worktree add`."""
    found = {row.directory: row.kind for row in directory_changes(real_index(name), Scope())}

    assert found["/home/dev/src/shop-api-copy"] == copy
    assert found["/home/dev/src/infra-hotfix"] == tree
    assert found["/home/dev/src/web-ui/packages/widgets"] == FOLDER_IN + CHECKOUT


def test_project_changes_real_work_of_two_generations_is_alike(
    real_index: Callable[[str], duckdb.DuckDBPyConnection],
) -> None:
    """Both clients were given the same work in `shop-api` and the project with a name that is not ASCII."""

    def counted(name: str) -> dict[str | None, tuple[int | None, ...]]:
        """Read the lines and files of each project."""
        rows = project_changes(real_index(name), Scope())
        return {row.project: (row.additions, row.deletions, row.files_changed) for row in rows}

    old, new = counted("json"), counted("sqlite")

    assert {name: old[name] for name in ("shop-api", "Prüfstand ☃ 測試")} == {
        name: new[name] for name in ("shop-api", "Prüfstand ☃ 測試")
    }
    assert new["shop-api"] == (40, 2, 23)


@pytest.mark.parametrize("name", DATA_SETS)
def test_code_changes_real_answers_are_those_of_both_queries(
    real_index: Callable[[str], duckdb.DuckDBPyConnection], name: str
) -> None:
    """And every directory is in its project once."""
    con = real_index(name)

    found = code_changes(con, Scope())

    assert found == CodeChanges(project_changes(con, Scope()), directory_changes(con, Scope()))
    assert sum(row.sessions for row in found.projects) == sum(row.sessions for row in found.directories)


def test_project_changes_child_sessions_and_forks_count_no_line_twice(open_index: OpenIndex) -> None:
    """The prompt of the session that called holds what its child did; a fork has copies of prompts, and its own."""
    told = worked("ses_a", 10)
    fork = [session("ses_fork", created=START_MS + 1), *copied(told[1:], "ses_fork", "x")]
    own = worked("ses_fork", 4)[1:]
    con = open_index(project(), *told, *worked("ses_child", 7, parentID="ses_a"), *fork, *own)

    assert project_changes(con, Scope()) == [ProjectChanges(PROJECT, "shop", 1, 2, 0, 1, 14, 0, 2)]


def test_project_changes_fork_with_only_a_summary_is_left_out(open_index: OpenIndex) -> None:
    """It begins with what was copied."""
    told = summarised("ses_a", 10)
    summary = {"additions": 12, "deletions": 0, "files": 2}
    fork = session("ses_fork", created=START_MS + 1, summary=summary)
    con = open_index(project(), *told, fork, *copied(told[1:], "ses_fork", "x"))

    assert project_changes(con, Scope()) == [ProjectChanges(PROJECT, "shop", 1, 1, 0, 1, 10, 0, 1)]


def test_project_changes_child_whose_parent_is_gone_counts_itself(open_index: OpenIndex) -> None:
    """Its changes are in no other session."""
    con = open_index(project(), *worked("ses_child", 7, parentID="ses_gone"))

    (found,) = project_changes(con, Scope())

    assert (found.sessions, found.left_out_sessions, found.additions) == (1, 0, 7)


def test_project_changes_prompts_count_before_the_summary(open_index: OpenIndex) -> None:
    """OpenCode 1.18 writes the summary of a session only for what was undone."""
    con = open_index(project(), *worked("ses_a", 10, summary={"additions": 1, "deletions": 1, "files": 1}))

    assert project_changes(con, Scope())[0].additions == 10


def test_project_changes_undone_prompt_does_not_count_and_a_deleted_session_does(
    tmp_path: Path, open_index: OpenIndex
) -> None:
    """Its lines are not in the folder any more; those of a session that was only cleared away are."""
    docs = [
        project(),
        *worked("ses_undone", 10),
        user("msg_2u", "ses_undone", created=START_MS + 9_000, summary={"diffs": changed(5)}),
        *worked("ses_deleted", 3),
    ]
    data_dir = write_sqlite(tmp_path / "live", docs)
    open_index(data_dir)
    with sqlite3.connect(data_dir / "opencode.db") as connection:
        connection.execute("DELETE FROM message WHERE id = 'msg_2u' OR session_id = 'ses_deleted'")
        connection.execute("DELETE FROM session WHERE id = 'ses_deleted'")
    connection.close()

    con = open_index(data_dir)

    assert project_changes(con, Scope())[0].additions == 10 + 3


@pytest.mark.parametrize("recorded", [worked, summarised])
def test_project_changes_nothing_said_although_files_were_edited_is_unknown(
    recorded: Callable[..., list[Doc]], open_index: OpenIndex
) -> None:
    """A 0 without an edit is a 0; one with an edit is not known."""
    files = {"files": 0} if recorded is worked else {}
    con = open_index(
        project(),
        *recorded("ses_edited", 0, **files),
        edited("ses_edited"),
        *recorded("ses_talked", 0, **files),
        *worked("ses_none", None),
    )

    (found,) = project_changes(con, Scope())

    assert (found.sessions, found.unrecorded_sessions, found.additions) == (3, 2, 0)


def test_project_changes_one_silent_prompt_makes_its_session_unknown_and_keeps_the_rest(open_index: OpenIndex) -> None:
    """What is recorded is the least that changed."""
    con = open_index(
        project(),
        *worked("ses_a", None),
        edited("ses_a"),
        user("msg_2u", "ses_a", created=START_MS + 9_000, summary={"diffs": changed(5)}),
    )

    (found,) = project_changes(con, Scope())

    assert (found.unrecorded_sessions, found.additions) == (1, 5)


def test_project_changes_no_record_at_all_is_no_zero(open_index: OpenIndex) -> None:
    """Not recorded is None."""
    con = open_index(project(), *worked("ses_none", None))

    (found,) = project_changes(con, Scope())

    assert (found.additions, found.deletions, found.files_changed) == (None, None, None)


@pytest.mark.parametrize(
    ("diffs", "expected"),
    [
        ([{"file": "a", "additions": 2, "deletions": 1}, "no file"], (2, 1, 1)),
        ([{"file": "a", "deletions": 1}], (None, 1, 1)),
        ([{"file": "a", "additions": 2**62, "deletions": 0}] * 3, (None, 0, 3)),
        ({"file": "a"}, (None, None, None)),
    ],
)
def test_load_damaged_diffs_are_not_known(
    diffs: object, expected: tuple[int | None, ...], open_index: OpenIndex
) -> None:
    """Never a 0, and never a crash."""
    con = open_index(session(), user(summary={"diffs": diffs}))

    found = con.execute("SELECT additions, deletions, files_changed FROM messages").fetchone()

    assert found == expected


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
