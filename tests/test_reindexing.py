"""An index that is brought up to date equals a fresh one, whatever changed meanwhile."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from indexer import batch, update
from indexer.published import IndexReader
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    part,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.conftest import BuildIndex
from tests.following import move_back
from tests.test_exactness import content_of, totals_of

Write = Callable[[Path], object]


def assert_as_fresh(build_index: BuildIndex, data_dir: Path) -> None:
    """Bring the index of a folder up to date and compare it with a fresh one."""
    updated = build_index(data_dir, name="updated.duckdb")

    fresh = build_index(data_dir, name="fresh.duckdb")

    assert content_of(updated) == content_of(fresh)


def test_load_upgrade_to_the_third_generation_equals_a_fresh_index(build_index: BuildIndex, tmp_path: Path) -> None:
    """Prompts move to the new rows, finished answers stay and learn their place, nothing is there twice."""
    old = [
        session(version="1.18.33"),
        user("msg_1"),
        part("prt_1", "text", "msg_1", text="Hi"),
        assistant("msg_2", parent="msg_1", usage=tokens(10, 1, total=11)),
        part("prt_2", "text", "msg_2", text="Yes"),
        user("msg_3", created=START_MS + 60_000),
        part("prt_3", "text", "msg_3", text="And?"),
        assistant("msg_4", parent="msg_3", created=START_MS + 61_000, completed=None, cost=None),
        part("prt_4", "text", "msg_4", text="Wel"),
    ]
    data_dir = write_sqlite(tmp_path / "data", old)
    build_index(data_dir, name="updated.duckdb")
    write_session_messages(
        data_dir,
        [
            session(version="1.18.33"),
            row("msg_1", "user", 1, text="Hi"),
            answer("msg_2", 2, usage=tokens(10, 1)),
            row("msg_3", "user", 3, text="And?"),
            answer("msg_4", 4, usage=tokens(20, 2), content=[{"type": "text", "text": "Well."}]),
        ],
    )

    assert_as_fresh(build_index, data_dir)


def test_load_original_that_goes_on_after_the_fork_frees_its_copy(build_index: BuildIndex, tmp_path: Path) -> None:
    """A fork between two steps: afterwards both messages have numbers of their own."""
    first = tokens(10, 5, total=15)
    copy = [
        session("ses_b", created=START_MS + 9_000),
        assistant("msg_b", "ses_b", usage=first, cost=0.5, completed=None),
        step_finish("prt_b", first, "msg_b", "ses_b", cost=0.5),
    ]
    original = [
        session("ses_a"),
        assistant("msg_a", "ses_a", usage=first, cost=0.5, completed=None),
        step_finish("prt_a", first, "msg_a", "ses_a", cost=0.5),
    ]
    data_dir = write_json_tree(tmp_path / "data", [*original, *copy])
    index = build_index(data_dir, name="updated.duckdb")
    assert totals_of(index)["fork_copies"] == 1
    second = tokens(20, 5, total=25)
    write_json_tree(
        data_dir,
        [
            assistant("msg_a", "ses_a", usage=second, cost=1.0),
            step_finish("prt_a2", second, "msg_a", "ses_a", cost=0.5),
        ],
    )

    assert_as_fresh(build_index, data_dir)

    assert totals_of(index)["fork_copies"] == 0
    assert totals_of(index)["cost_recorded_usd"] == "1.5"


def test_load_session_that_moves_leaves_the_numbers_of_its_old_parent(build_index: BuildIndex, tmp_path: Path) -> None:
    """Its tokens are in one subtree, not in two."""
    docs: list[Doc] = [session("ses_p"), session("ses_q"), session("ses_c", parentID="ses_p")]
    data_dir = write_json_tree(tmp_path / "data", [*docs, assistant("msg_c", "ses_c", usage=tokens(3, 0, total=3))])
    build_index(data_dir, name="updated.duckdb")
    write_json_tree(data_dir, [session("ses_c", parentID="ses_q", updated=START_MS + 1)])

    assert_as_fresh(build_index, data_dir)


def test_load_message_that_changes_its_session_is_in_one_exchange(build_index: BuildIndex, tmp_path: Path) -> None:
    """The tree and the rows disagree: the rows count, and the old session lets go."""
    usage = tokens(1, 1, total=2)
    tree = [session("ses_a"), user("msg_1", "ses_a"), assistant("msg_2", "ses_a", parent="msg_1", usage=usage)]
    tree.append(part("prt_1", "text", "msg_1", "ses_a", text="Hi"))
    data_dir = write_json_tree(tmp_path / "data", tree)
    build_index(data_dir, name="updated.duckdb")
    rows = [session("ses_b"), user("msg_1", "ses_b"), assistant("msg_2", "ses_b", parent="msg_1", usage=usage)]
    rows.append(part("prt_1", "text", "msg_1", "ses_b", text="Hi"))
    write_sqlite(data_dir, rows)

    assert_as_fresh(build_index, data_dir)


@pytest.mark.parametrize("texts", [["Hi"], []], ids=["with a part", "without"])
def test_load_later_file_of_another_session_counts_whatever_the_row_does(
    texts: list[str], build_index: BuildIndex, tmp_path: Path
) -> None:
    """A change of the row names its own session, in which the tree does not have the message."""
    rows = [session("ses_b"), assistant("msg_2", "ses_b", completed=START_MS + 5_000, usage=tokens(1, 1, total=2))]
    file = assistant("msg_2", "ses_a", completed=START_MS + 9_000, usage=tokens(7, 1, total=8))
    parts = [part("prt_1", "text", "msg_2", "ses_a", text=text) for text in texts]
    data_dir = write_json_tree(write_sqlite(tmp_path / "data", rows), [session("ses_a"), file, *parts])
    for path in (data_dir / "storage").rglob("*.json"):
        move_back(path)
    build_index(data_dir, name="updated.duckdb")
    with closing(sqlite3.connect(data_dir / "opencode.db", isolation_level=None)) as client:
        client.execute("UPDATE message SET time_updated = time_updated + 1, data = replace(data, 'stop', 'length')")

    assert_as_fresh(build_index, data_dir)


def test_load_message_that_changes_its_session_takes_a_deleted_part_along(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """The part stays in the exchange of its message."""
    docs = [session(), session("ses_2"), user(), *(part(f"prt_{n}", "text", "msg_1u", text=f"{n}") for n in (1, 2))]
    data_dir = write_sqlite(tmp_path / "data", docs)
    build_index(data_dir)
    for change in ("DELETE FROM part WHERE id = 'prt_2'", "UPDATE part SET session_id = 'ses_2'"):
        with closing(sqlite3.connect(data_dir / "opencode.db", isolation_level=None)) as client:
            client.execute(change)
            client.execute("UPDATE message SET session_id = (SELECT session_id FROM part)")
        index = build_index(data_dir)

    con = IndexReader(index).connection()
    traces = con.execute("SELECT trace_id, session_id FROM exchange_traces ORDER BY ALL").fetchall()
    assert traces == [("prt_1", "ses_2"), ("prt_2", "ses_2")]


@pytest.mark.parametrize(
    ("before", "after"),
    [("session/a/ses_1.json", "session/b/ses_1.json"), ("message/ses_1/msg_2a.json", "message/ses_2/msg_2a.json")],
    ids=["session to another project", "message to another session"],
)
def test_load_file_that_moves_unchanged_is_where_it_lies_now(
    before: str, after: str, build_index: BuildIndex, tmp_path: Path
) -> None:
    """Older releases moved session files like this when a folder became a repository; size and times stay."""
    docs = [project("a"), project("b"), session(project_id="a"), session("ses_2", project_id="b"), user()]
    docs += [user("msg_2u", "ses_2"), assistant(usage=tokens(3, 1, total=4))]
    data_dir = write_json_tree(tmp_path / "data", docs)
    storage = data_dir / "storage"
    move_back(storage / before)
    build_index(data_dir, name="updated.duckdb")
    (storage / before).rename(storage / after)

    assert_as_fresh(build_index, data_dir)


@pytest.mark.parametrize("max_rows", [1, 5_000])
def test_load_part_id_under_a_second_message_stays_with_the_first(
    max_rows: int, build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied folder takes no part away, in one batch or in two, and the ledger names it."""
    monkeypatch.setattr(batch, "MAX_ROWS", max_rows)
    monkeypatch.setattr(update, "MESSAGES_PER_READ", 1)
    docs = [session(), user("msg_1"), part("prt_1", "text", "msg_1", text="mine"), user("msg_9")]
    data_dir = write_json_tree(tmp_path / "data", docs)
    shutil.copytree(data_dir / "storage" / "part" / "msg_1", data_dir / "storage" / "part" / "msg_1 copy")
    index = build_index(data_dir)

    build_index(data_dir)

    reader = IndexReader(index)
    con = reader.connection()
    parts = con.execute("SELECT part_id, message_id, is_orphan FROM parts").fetchall()
    listed = con.execute("SELECT owner_id FROM documents WHERE state = 'unreadable'").fetchall()
    texts = con.execute("SELECT text FROM part_bodies").fetchall()
    reader.close()
    assert parts == [("prt_1", "msg_1", False)]
    assert listed == [("msg_1 copy",)]
    assert texts == [("mine",)]


def test_load_second_api_rows_that_are_all_deleted_are_flagged(build_index: BuildIndex, tmp_path: Path) -> None:
    """An empty table is what the last deletion leaves."""
    data_dir = write_sqlite(tmp_path / "data", [session("ses_old"), user("msg_o", "ses_old")])
    write_session_messages(data_dir, [session("ses_1"), row("msg_1", "user", 1, text="secret")])
    index = build_index(data_dir)
    with sqlite3.connect(data_dir / "opencode.db") as connection:
        connection.execute("DELETE FROM session_message")
        connection.execute("DELETE FROM session_v2")
    connection.close()

    build_index(data_dir)

    found = totals_of(index)
    assert (found["deleted"]["sessions"], found["deleted"]["messages"]) == (1, 1)
    reader = IndexReader(index)
    assert reader.connection().execute("SELECT count(*) FROM part_bodies").fetchone() == (0,)
    reader.close()


def test_load_last_session_of_a_tree_that_is_deleted_is_flagged(build_index: BuildIndex, tmp_path: Path) -> None:
    """OpenCode leaves the empty folders."""
    data_dir = write_json_tree(tmp_path / "data", [session(), user(), part("prt_1", "text", "msg_1u", text="secret")])
    index = build_index(data_dir)
    for file in (data_dir / "storage").rglob("*.json"):
        file.unlink()

    build_index(data_dir)

    found = totals_of(index)
    assert (found["deleted"]["sessions"], found["deleted"]["messages"]) == (1, 1)


def test_load_sessions_of_2_0_without_any_message_are_there(build_index: BuildIndex, tmp_path: Path) -> None:
    """`session_v2` is a proof, too."""
    data_dir = write_sqlite(tmp_path / "data", [session("ses_old"), user("msg_o", "ses_old")])
    write_session_messages(data_dir, [session("ses_new")])

    found = totals_of(build_index(data_dir))

    assert set(found["per_session"]) == {"ses_old", "ses_new"}


def test_load_renamed_folder_still_notices_deletions(build_index: BuildIndex, tmp_path: Path) -> None:
    """The rows go with the folder that holds them now."""
    docs = [session("ses_1"), assistant("msg_1", "ses_1"), session("ses_2"), user("msg_2", "ses_2")]
    index = build_index(write_json_tree(tmp_path / "a", docs))
    (tmp_path / "a").rename(tmp_path / "b")
    build_index(tmp_path / "b")
    for file in (tmp_path / "b").rglob("*_1.json"):
        file.unlink()

    build_index(tmp_path / "b")

    found = totals_of(index)
    assert (found["deleted"]["sessions"], found["deleted"]["messages"]) == (1, 1)


def test_load_locked_database_changes_no_flags_of_the_tree_beside_it(build_index: BuildIndex, tmp_path: Path) -> None:
    """What is missing in a database that cannot be read now is known from before."""
    old = [session("ses_old"), assistant("msg_old", "ses_old")]
    data_dir = write_sqlite(write_json_tree(tmp_path / "data", old), [session("ses_new"), user("msg_n", "ses_new")])
    index = build_index(data_dir)
    before = content_of(index)
    database = data_dir / "opencode.db"
    database.rename(tmp_path / "away.db")
    database.write_bytes(b"no database at all, and long enough to be looked at as if it were one" * 9)

    build_index(data_dir)

    assert content_of(index) == before


def test_load_finished_rows_come_before_the_newest_generation_whatever_the_tree_says(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """Only there the answer has its steps, even if a stale tree recorded something later."""
    usage = tokens(20, 2, total=22)
    late = part("prt_1", "text", text="late", time={"start": START_MS + 90_000})
    data_dir = write_json_tree(tmp_path / "data", [session(), assistant(completed=None, usage=usage), late])
    steps = [step_finish(f"prt_{number}", usage) for number in (7, 8)]
    write_sqlite(data_dir, [session(), assistant(usage=usage), *steps])
    write_session_messages(data_dir, [session(), answer("msg_2a", 2, usage=tokens(20, 2))])

    found = totals_of(build_index(data_dir))

    assert found["tokens"]["input"] == 40


def test_load_idle_row_after_a_prompt_that_is_missing_closes_that_exchange(
    build_index: BuildIndex, tmp_path: Path
) -> None:
    """What a model did by itself after an idle row, and the idle row that ends it, are one exchange."""
    docs = [
        session(version="2.0.1"),
        row("msg_1", "user", 1, text="Hi"),
        answer("msg_2", 2),
        row("msg_3", "idle", 3, outcome="succeeded"),
        answer("msg_4", 4),
        row("msg_5", "idle", 5, outcome="succeeded"),
    ]
    reader = IndexReader(build_index(write_session_messages(tmp_path / "data", docs)))

    found = reader.connection().execute("SELECT kind, message_count FROM exchanges ORDER BY number").fetchall()

    reader.close()
    assert found == [("prompt", 3), ("none", 2)]
