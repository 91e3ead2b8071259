"""What OpenCode deleted survives the loss of the index, as numbers and nothing else."""

import logging
import os
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from indexer import bulk_loader, kept_spend
from indexer.database import Database
from indexer.index_files import private_folder
from indexer.kept_spend import KeptSpend, Unusable, kept_spend_path
from indexer.publish import Publisher
from indexer.totals import Totals
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    part,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.test_exactness import totals_of

Load = Callable[[], Path]


def history() -> list[Doc]:
    """Three sessions: one with a child and a fork, one that loses messages, one that stays."""
    usage = tokens(100, 20, 5, 30, total=150)
    first = [
        session("ses_a", title="secret title a", directory="/secret/place"),
        user("msg_a1", "ses_a"),
        part("prt_a1", "text", "msg_a1", "ses_a", text="secret words"),
    ]
    answered = [
        assistant("msg_a2", "ses_a", parent="msg_a1", usage=usage, cost=0.25),
        step_finish("prt_a2", usage, "msg_a2", "ses_a"),
        part(
            "prt_a3",
            "tool",
            "msg_a2",
            "ses_a",
            tool="task",
            callID="call_1",
            state={"status": "error", "error": "secret error", "input": {}, "metadata": {"sessionId": "ses_child"}},
        ),
    ]
    return [
        *first,
        *answered,
        session("ses_child", parentID="ses_a"),
        assistant("msg_c1", "ses_child", usage=tokens(7, 3, total=10), cost=0.5, error={"name": "Aborted"}),
        session("ses_fork", created=START_MS + 9_000),
        *copied(answered, "ses_fork", "_f"),
        session("ses_b"),
        user("msg_b1", "ses_b"),
        part("prt_b1", "text", "msg_b1", "ses_b", text="kept"),
        assistant("msg_b2", "ses_b", parent="msg_b1", usage=tokens(11, 1, total=12), cost=0.125),
        part("prt_b2", "text", "msg_b2", "ses_b", text="one"),
        part("prt_b3", "text", "msg_b2", "ses_b", text="two"),
        user("msg_b3", "ses_b", created=START_MS + 20_000),
        assistant("msg_b4", "ses_b", parent="msg_b3", created=START_MS + 21_000, usage=tokens(5, 5, total=10)),
    ]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A JSON tree with the history."""
    return write_json_tree(tmp_path / "opencode", history())


@pytest.fixture
def load(tmp_path: Path, data_dir: Path, no_retries: None) -> Load:
    """Bring the index of the data folder up to date, or make it anew, as the indexer does."""

    def run() -> Path:
        """Run one full pass."""
        path = tmp_path / "index.duckdb"
        with Database.open(path) as database:
            kept_spend.restore(database.con, path)
            publisher = Publisher(database)
            bulk_loader.load(database, publisher, bulk_loader.find_sources([data_dir]))
            kept_spend.save(database.con, path)
            publisher.close()
        return path

    return run


def delete(data_dir: Path, *names: str) -> None:
    """Delete files and folders of a JSON tree."""
    for name in names:
        path = data_dir / "storage" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_some(data_dir: Path) -> None:
    """Delete two sessions, some messages and a part, as OpenCode does."""
    for path in data_dir.glob("storage/session/*/ses_a.json"):
        path.unlink()
    for path in data_dir.glob("storage/session/*/ses_child.json"):
        path.unlink()
    delete(data_dir, "message/ses_a", "message/ses_child", "part/msg_a1", "part/msg_a2")
    delete(data_dir, "message/ses_b/msg_b4.json", "message/ses_b/msg_b3.json", "part/msg_b2/prt_b3.json")


def lose(index: Path) -> None:
    """Delete an index as a person would."""
    index.unlink()
    shutil.rmtree(private_folder(index))


def without_revision(totals: Totals) -> dict[str, object]:
    """Take out what counts batches."""
    return {name: value for name, value in totals.items() if name != "revision"}


def test_restore_lost_index_of_a_json_tree_has_the_same_totals(
    load: Load, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sessions, messages of a living session, parts of a living message, a fork whose original is gone."""
    load()
    delete_some(data_dir)
    index = load()
    before = totals_of(index)
    lose(index)
    caplog.clear()

    after = totals_of(load())

    assert without_revision(after) == without_revision(before)
    assert before["deleted"]["sessions"] == 2
    assert before["deleted"]["messages"] == 5
    assert "restored 2 sessions, 5 messages, 4 parts" in caplog.text


@pytest.mark.parametrize("is_third", [False, True])
def test_restore_lost_index_of_a_database_has_the_same_totals(
    is_third: bool, load: Load, data_dir: Path, tmp_path: Path
) -> None:
    """Rows of the second generation, and of the third."""
    shutil.rmtree(data_dir)
    if is_third:
        rows: list[Doc] = [session("ses_a"), session("ses_b")]
        for name in ("ses_a", "ses_b"):
            rows += [
                row(f"msg_1{name}", "user", 1, name, text="Hi"),
                answer(f"msg_2{name}", 2, name, usage=tokens(10, 1), content=[{"type": "text", "text": "Yes"}]),
            ]
        write_session_messages(data_dir, rows)
        statements = ["DELETE FROM session_v2 WHERE id = 'ses_a'", "DELETE FROM session_message WHERE seq = 2"]
        statements.append("DELETE FROM session_message WHERE session_id = 'ses_a'")
    else:
        write_sqlite(data_dir, history())
        statements = [
            "DELETE FROM session WHERE id IN ('ses_a', 'ses_child')",
            "DELETE FROM message WHERE session_id IN ('ses_a', 'ses_child') OR id = 'msg_b4'",
            "DELETE FROM part WHERE session_id IN ('ses_a', 'ses_child') OR id = 'prt_b3'",
        ]
    load()
    with sqlite3.connect(data_dir / "opencode.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    index = load()
    before = totals_of(index)
    lose(index)

    after = totals_of(load())

    assert without_revision(after) == without_revision(before)
    assert before["deleted"]["messages"] > 0


def test_restore_derived_tables_equal_those_of_the_lost_index(load: Load, data_dir: Path) -> None:
    """Not only the sums: exchanges, traces, trees and statistics, row by row."""
    load()
    delete_some(data_dir)
    index = load()
    tables = ("session_stats", "exchanges", "exchange_traces", "session_traces", "agents", "models", "tools")
    queries = [f"SELECT * FROM {table} ORDER BY ALL" for table in tables]
    with Database.open(index) as database:
        before = [database.con.execute(query).fetchall() for query in queries]
    lose(index)

    load()

    with Database.open(index) as database:
        assert [database.con.execute(query).fetchall() for query in queries] == before


def test_restore_session_that_is_back_in_the_sources_comes_to_life(load: Load, data_dir: Path) -> None:
    """As any other, and the next backup is empty."""
    load()
    alive = totals_of(load())
    delete_some(data_dir)
    lose(load())
    write_json_tree(data_dir, history())

    found = totals_of(load())

    assert without_revision(found) == without_revision(alive)
    assert found["deleted"]["messages"] == 0
    kept = kept_spend.read(kept_spend_path(data_dir.parent / "index.duckdb"))
    assert kept is not None
    assert set(kept.rows.values()) == {0}


def test_restore_session_that_came_back_before_a_kill_counts_once(load: Load, data_dir: Path) -> None:
    """The follower writes the backup when it stops: until then, and after a kill, it holds what is alive again."""
    load()
    alive = totals_of(load())
    delete_some(data_dir)
    path = load()
    write_json_tree(data_dir, history())
    with Database.open(path) as database:  # killed: nothing is saved at the end
        bulk_loader.load(database, Publisher(database), bulk_loader.find_sources([data_dir]))
    stale = kept_spend.read(kept_spend_path(path))
    live = totals_of(path)

    with Database.open(path) as database:
        restored = kept_spend.restore(database.con, path)
        Publisher(database).publish()

    assert stale is not None and stale.rows["messages"] > 0
    assert restored == 0
    assert without_revision(live) == without_revision(totals_of(path)) == without_revision(alive)


def test_restore_older_copy_of_the_index_gets_what_was_deleted_since(
    load: Load, data_dir: Path, tmp_path: Path
) -> None:
    """A copy from before a session began: rows it has stay, what it lacks is added."""
    shutil.rmtree(data_dir)
    write_json_tree(data_dir, [doc for doc in history() if doc.session_id != "ses_a"])
    index = load()
    shutil.copytree(private_folder(index), tmp_path / "copy")
    write_json_tree(data_dir, history())
    load()
    delete_some(data_dir)
    before = totals_of(load())
    shutil.rmtree(private_folder(index))
    (tmp_path / "copy").rename(private_folder(index))
    index.unlink()

    after = totals_of(load())

    assert without_revision(after) == without_revision(before)
    assert "ses_a" in after["per_session"]


def test_save_writes_only_when_something_deleted_changed(load: Load, data_dir: Path) -> None:
    """No file where nothing is deleted; afterwards the same file until more is deleted."""
    index = load()
    file = kept_spend_path(index)
    assert not file.exists()
    delete_some(data_dir)
    load()
    first = file.stat().st_ino

    with Database.open(index) as database:
        again = kept_spend.save(database.con, index)

    assert again is False
    assert file.stat().st_ino == first
    delete(data_dir, "message/ses_b/msg_b2.json", "part/msg_b2")
    load()
    kept = kept_spend.verify(file)
    assert kept is not None
    assert kept.rows == {"sessions": 2, "messages": 6, "parts": 5}


def test_save_holds_no_titles_no_texts_no_folders_of_the_user(load: Load, data_dir: Path) -> None:
    """Numbers, for the owner alone."""
    load()
    delete_some(data_dir)

    file = kept_spend_path(load())

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        tables = [pq.read_table(BytesIO(archive.read(name))) for name in names[1:]]
    assert not any("secret" in str(table.to_pylist()) for table in tables)
    assert names == ["manifest.json", "sources", "sessions", "messages", "parts"]
    assert not {"title", "slug", "directory", "error_data"} & {name for table in tables for name in table.column_names}


def test_save_full_disk_keeps_the_one_before(
    load: Load, data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said in the log, and written by the next call that can."""
    load()
    delete_some(data_dir)
    index = load()
    before = kept_spend.verify(kept_spend_path(index))
    delete(data_dir, "message/ses_b/msg_b2.json")

    def refuse(descriptor: int) -> None:
        """Fail as a full disk does."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    load()
    monkeypatch.undo()

    assert kept_spend.verify(kept_spend_path(index)) == before
    assert "No space left on device" in caplog.text
    assert not list(index.parent.glob("*.kept-spend.new"))
    load()
    assert kept_spend.verify(kept_spend_path(index)) != before


def cut(file: Path) -> None:
    """Cut a file in half."""
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    """Change one byte inside the rows of messages."""
    with zipfile.ZipFile(file) as archive:
        place = archive.getinfo("messages").header_offset + 200
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)


def replace_by_text(file: Path) -> None:
    """Put something else there."""
    file.write_text("not a backup", encoding="utf-8")


def make_newer(file: Path) -> None:
    """Write it as a later version of this program would."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", '{"program": "opencode-analytics kept spend", "format": 99}')


def drop_table(file: Path) -> None:
    """Take one table out."""
    with zipfile.ZipFile(file) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != "parts"}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


def put_other_rows(file: Path) -> None:
    """Give a table the rows of another one."""
    with zipfile.ZipFile(file) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, kept["sources"] if name == "messages" else content)


@pytest.mark.parametrize("harm", [cut, flip, replace_by_text, make_newer, drop_table, put_other_rows])
def test_restore_unusable_backup_is_kept_aside_and_the_loss_is_told(
    harm: Callable[[Path], None], load: Load, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never fatal, nothing half restored, never deleted."""
    load()
    delete_some(data_dir)
    index = load()
    file = kept_spend_path(index)
    lose(index)
    harm(file)
    harmed = file.read_bytes()

    found = totals_of(load())

    assert found["deleted"] == {
        "sessions": 0,
        "messages": 0,
        "tokens": dict.fromkeys(("input", "output", "reasoning", "cache_read", "cache_write", "total"), 0),
        "cost_recorded_usd": "0",
    }
    aside = list(index.parent.glob("*.kept-spend.unusable-*"))
    assert [each.read_bytes() for each in aside] == [harmed]
    assert kept_spend.LOSS in caplog.text
    assert not file.exists()


def test_restore_without_a_backup_tells_what_a_new_index_cannot_know(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, when it is made."""
    caplog.set_level(logging.INFO)

    load()

    assert "is lost with it" in caplog.text
    caplog.clear()
    load()
    assert "is lost with it" not in caplog.text


def test_save_damaged_backup_is_written_anew(load: Load, data_dir: Path) -> None:
    """The index has it all, the damaged one is kept aside."""
    load()
    delete_some(data_dir)
    index = load()
    file = kept_spend_path(index)
    good = kept_spend.verify(file)
    cut(file)

    with Database.open(index) as database:
        is_written = kept_spend.save(database.con, index)

    assert is_written
    assert kept_spend.verify(file) == good
    assert len(list(index.parent.glob("*.unusable-*"))) == 1


def test_restore_column_of_a_later_schema_is_filled_or_left_out(load: Load, data_dir: Path) -> None:
    """A backup outlives the program that wrote it."""
    load()
    delete_some(data_dir)
    index = load()
    before = totals_of(index)
    with Database.open(index) as database:
        database.con.execute("ALTER TABLE sessions ADD COLUMN of_the_future INTEGER")
        database.con.execute("DROP INDEX idx_parts_session")
        database.con.execute("DROP INDEX idx_parts_type")
        database.con.execute("ALTER TABLE parts DROP COLUMN is_synthetic")
        kept_spend_path(index).unlink()
        kept_spend.save(database.con, index)
    lose(index)

    after = totals_of(load())

    assert without_revision(after) == without_revision(before)


def test_restore_backup_of_the_sample_data_is_no_spend_of_the_user(load: Load, data_dir: Path) -> None:
    """The two never mix."""
    load()
    delete_some(data_dir)
    index = load()
    lose(index)
    kept_spend_path(index).rename(index.with_name("sample.duckdb.kept-spend"))
    sample = index.with_name("sample.duckdb")

    with Database.open(sample, is_sample=True) as database:
        restored = kept_spend.restore(database.con, sample)

    assert restored == 0
    assert not kept_spend_path(sample).exists()


def test_verify_missing_and_damaged_files(tmp_path: Path) -> None:
    """None and an error are two things."""
    file = tmp_path / "a.kept-spend"

    missing = kept_spend.verify(file)

    assert missing is None
    file.write_bytes(b"PK")
    with pytest.raises(Unusable, match="cannot be read"):
        kept_spend.verify(file)


def test_is_current_tells_whether_the_index_has_more(load: Load, data_dir: Path) -> None:
    """What `check` asks."""
    load()
    delete_some(data_dir)
    index = load()
    kept = kept_spend.read(kept_spend_path(index))
    assert isinstance(kept, KeptSpend)

    with Database.open(index) as database:
        is_current = kept_spend.is_current(database.con, kept)

    assert is_current
