"""`check` finds what is wrong, and the command it names mends it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexer import activity, bulk_loader, checks, kept_spend, parsers
from indexer.activity import Activity
from indexer.checks import NOTE, OK, PROBLEM, Check, Place
from indexer.database import Database
from indexer.index_files import private_folder
from indexer.kept_spend import kept_spend_path
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.builders import (
    assistant,
    damaged,
    part,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_sqlite,
)
from tests.commands import indexer, obey
from tests.conftest import DATA_SETS
from tests.indexer.disks import without_privileges

ROOT = Path(__file__).resolve().parents[2]
HEADERS, BLOCK = 12_288, 262_144  # of a DuckDB file, in bytes


@dataclass(frozen=True)
class Lab:
    """An index with its data folder; the folder's name needs quotes in a shell."""

    index: Path
    data_dir: Path

    @property
    def place(self) -> Place:
        """What to check."""
        return Place(self.index)

    @property
    def folder(self) -> Path:
        """The private folder."""
        return private_folder(self.index)

    def load(self) -> None:
        """Run one full pass."""
        with Database.open(self.index) as database:
            publisher = Publisher(database)
            bulk_loader.load(database, publisher, bulk_loader.find_sources([self.data_dir]))
            kept_spend.save(database.con, self.index)
            database.set_phase("stopped", "test")
            publisher.close()

    def execute(self, *statements: str) -> None:
        """Harm the index itself, and publish it."""
        with Database.open(self.index) as database:
            for statement in statements:
                with database.transaction() as con:
                    con.execute(statement)
            Publisher(database).publish()

    def published(self) -> Path:
        """Return the published file."""
        return self.index.resolve()


def lab_in(folder: Path) -> Lab:
    """Name what is in a folder."""
    return Lab(folder / "my index.duckdb", folder / "open code's data")


def make(folder: Path) -> None:
    """Build an index of a small storage, of which something was deleted once."""
    lab = lab_in(folder)
    write_json_tree(
        lab.data_dir,
        [
            session(),
            user(),
            part("prt_1", "text", "msg_1u", text="Hi"),
            assistant(usage=tokens(100, 10, total=110)),
            step_finish("prt_2", tokens(100, 10, total=110)),
            session("ses_2"),
            assistant("msg_3a", "ses_2", usage=tokens(1, 2, total=3)),
        ],
    )
    lab.load()
    shutil.rmtree(lab.data_dir / "storage" / "message" / "ses_2")
    lab.load()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make the small index once: where it belongs, and a copy of that folder."""
    place, kept = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("kept") / "lab"
    make(place)
    shutil.copytree(place, kept, symlinks=True)
    return place, kept


@pytest.fixture
def lab(made: tuple[Path, Path]) -> Lab:
    """A small index in order, at the same place for all tests: an index knows where its data is."""
    place, kept = made
    shutil.rmtree(place)
    shutil.copytree(kept, place, symlinks=True)
    return lab_in(place)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], None]:
    """Run a command as a person would copy it from the output."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)

    def run(command: str) -> None:
        """Run a command; it has to succeed."""
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-euc", command], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr

    return run


def problems(found: list[Check]) -> dict[str, Check]:
    """Return what is wrong, by name."""
    return {check.name: check for check in found if check.state == PROBLEM}


def test_thorough_index_in_order_has_no_problem(lab: Lab) -> None:
    """Every check is done, and what is deleted is no difference."""
    found = checks.thorough(lab.place)

    assert {check.name: check.state for check in found} == {
        "index": OK,
        "working file": OK,
        "rows": OK,
        "totals": OK,
        "references": OK,
        "indexer": NOTE,
        "deleted texts": OK,
        "documents": OK,
        "kept spend": OK,
        "content": OK,
        "disk": OK,
    }


@pytest.mark.parametrize("name", DATA_SETS)
def test_thorough_real_data_every_content_hash_is_equal(name: str, real_path: Callable[[str], Path]) -> None:
    """All generations, alone and beside each other: no false alarm."""
    found = checks.thorough(Place(real_path(name)), sample=None)

    assert problems(found) == {}
    assert next(check.text for check in found if check.name == "content").endswith("read again, all equal")


# --- what a command mends


def drop_link(lab: Lab) -> None:
    """Delete the link that readers open."""
    lab.index.unlink()


def drop_folder(lab: Lab) -> None:
    """Delete everything but the link."""
    shutil.rmtree(lab.folder)


def drop_all(lab: Lab) -> None:
    """Delete the index."""
    shutil.rmtree(lab.folder)
    lab.index.unlink()


def drop_work(lab: Lab) -> None:
    """Delete the working file."""
    (lab.folder / "work.duckdb").unlink()


def spoil_published(lab: Lab) -> None:
    """Overwrite the beginning of the published file."""
    lab.published().chmod(0o600)
    lab.published().write_bytes(b"\0" * 5_000)


def spoil_work(lab: Lab) -> None:
    """Overwrite the beginning of the working file."""
    with (lab.folder / "work.duckdb").open("r+b") as file:
        file.write(b"\0" * 5_000)


def spoil_rows(lab: Lab) -> None:
    """Change one byte of a block, in both files, which opening the file does not read."""
    lab.published().chmod(0o600)
    files = [lab.published(), lab.folder / "work.duckdb"]
    whole = [file.read_bytes() for file in files]
    for place in range(HEADERS + BLOCK // 2, len(whole[0]), BLOCK):
        for file, content in zip(files, whole, strict=True):
            file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        if "rows" in problems(checks.thorough(lab.place)):
            return
    raise AssertionError("no block holds rows")


def spoil_sums(lab: Lab) -> None:
    """Change a derived number."""
    lab.execute("UPDATE session_stats SET total_tokens = total_tokens + 1")


def spoil_usage(lab: Lab) -> None:
    """Change a counter that reports add up, but not its total."""
    lab.execute("UPDATE usage_slices SET output_tokens = output_tokens + 1 WHERE kind = 'counted'")


def spoil_trees(lab: Lab) -> None:
    """Change a counter of whole trees, but not its total."""
    lab.execute("UPDATE session_stats SET subtree_input_tokens = subtree_input_tokens + 1")


def drop_trees(lab: Lab) -> None:
    """Take sessions out of their trees."""
    lab.execute("DELETE FROM session_traces")


def spoil_searched(lab: Lab) -> None:
    """Let prompts be searched for words that they do not have."""
    lab.execute("UPDATE part_bodies SET searched_text = 'else' WHERE searched_text IS NOT NULL")


def misplace_searched(lab: Lab) -> None:
    """Let short prompts be searched where the long ones are, too."""
    lab.execute("UPDATE part_bodies SET long_searched_text = searched_text WHERE searched_text IS NOT NULL")


def drop_row(lab: Lab) -> None:
    """Take a message away from its parts."""
    lab.execute("DELETE FROM messages WHERE message_id = 'msg_2a'")


def drop_request(lab: Lab) -> None:
    """Let a request be nowhere among those of its session."""
    lab.execute("DELETE FROM request_chain")


def spoil_order(lab: Lab) -> None:
    """Let a request follow one that is not there."""
    lab.execute("UPDATE request_chain SET prior_id = 'prt_0'")


def keep_deleted_text(lab: Lab) -> None:
    """Leave a text that should be gone."""
    lab.execute("UPDATE sessions SET title = 'secret', deleted_at = now()::TIMESTAMP WHERE session_id = 'ses_1'")


def await_wiping(lab: Lab) -> None:
    """Leave bytes of deleted texts in the file, as a kill after the deletion does."""
    lab.execute("UPDATE sync_state SET texts_deleted_at = now()::TIMESTAMP")


def cut_pass_short(lab: Lab) -> None:
    """Leave the phase as a killed pass does."""
    with Database.open(lab.index) as database:
        database.set_phase("bulk", "test")
        Publisher(database).close()


def fail(lab: Lab) -> None:
    """Leave the phase as a failed indexer does."""
    with Database.open(lab.index) as database:
        database.set_phase("failed", "the reason")
        Publisher(database).close()


def make_older(lab: Lab) -> None:
    """Go back to the first schema."""
    with Database.open_existing(lab.index) as database:
        database.migrate(1)
        Publisher(database).publish(new_base=True)


def drop_kept_spend(lab: Lab) -> None:
    """Delete the backup of what is deleted."""
    kept_spend_path(lab.index).unlink()


def cut_kept_spend(lab: Lab) -> None:
    """Damage the backup."""
    os.truncate(kept_spend_path(lab.index), 100)


def add_documents(lab: Lab) -> None:
    """Let OpenCode go on while no indexer runs."""
    write_json_tree(lab.data_dir, [session("ses_9"), assistant("msg_9", "ses_9", usage=tokens(1, 1, total=2))])


def delete_documents(lab: Lab) -> None:
    """Let OpenCode delete while no indexer runs."""
    shutil.rmtree(lab.data_dir / "storage" / "message" / "ses_1")
    next(lab.data_dir.glob("storage/session/*/ses_1.json")).unlink()


def change_documents(lab: Lab) -> None:
    """Let OpenCode write a part again."""
    write_json_tree(lab.data_dir, [part("prt_1", "text", "msg_1u", text="Hi, with more words")])


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (drop_link, "index"),
        (drop_folder, "index"),
        (drop_all, "index"),
        (drop_work, "working file"),
        (spoil_published, "index"),
        (spoil_work, "working file"),
        (spoil_rows, "rows"),
        (spoil_sums, "totals"),
        (spoil_usage, "totals"),
        (spoil_trees, "totals"),
        (drop_trees, "totals"),
        (spoil_searched, "totals"),
        (misplace_searched, "totals"),
        (drop_request, "totals"),
        (spoil_order, "totals"),
        (drop_row, "references"),
        (keep_deleted_text, "deleted texts"),
        (await_wiping, "deleted texts"),
        (cut_pass_short, "indexer"),
        (make_older, "index"),
        (drop_kept_spend, "kept spend"),
        (cut_kept_spend, "kept spend"),
        (add_documents, "content"),
        (delete_documents, "content"),
        (change_documents, "content"),
    ],
)
def test_thorough_problem_is_mended_by_the_command_it_names(
    harm: Callable[[Lab], None], name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a person would: copy the command, run it, check again; after a migration there may be something to read."""
    monkeypatch.setenv("OPENCODE_DATA_DIR", str(lab.data_dir))
    harm(lab)

    found = problems(checks.thorough(lab.place))

    assert name in found
    remedy = found[name].remedy
    assert remedy is not None
    obey(remedy)
    if harm is make_older:
        (left,) = problems(checks.thorough(lab.place)).values()
        assert left.remedy is not None
        obey(left.remedy)
    assert problems(checks.thorough(lab.place)) == {}


def test_thorough_remedy_copied_into_a_shell_mends(
    lab: Lab, shell: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands, with a path that needs quotes, as they are printed."""
    monkeypatch.setenv("OPENCODE_DATA_DIR", str(lab.data_dir))
    spoil_rows(lab)
    remedy = problems(checks.thorough(lab.place))["rows"].remedy

    shell(remedy or "")

    assert problems(checks.thorough(lab.place)) == {}


def test_bulk_index_marked_as_damaged_by_hand_names_the_mark(lab: Lab) -> None:
    """As the guide says; an empty file has no reason in it."""
    (lab.folder / "damaged").touch()

    done = indexer("bulk", "--data", lab.data_dir, "--db", lab.index)

    assert f"is damaged ({lab.folder / 'damaged'} says so): kept as" in done.stderr


def test_quick_failed_indexer_tells_its_last_words(lab: Lab) -> None:
    """From the history."""
    fail(lab)

    found = problems(checks.quick(lab.place))

    assert "the reason" in found["indexer"].text
    assert found["indexer"].remedy is not None
    assert "run --data" in found["indexer"].remedy


def test_thorough_killed_while_following_is_no_problem(lab: Lab) -> None:
    """Nothing is lost; the command to go on is named."""
    with Database.open(lab.index) as database:
        database.set_phase("real-time", "test")
        Publisher(database).close()

    found = checks.thorough(lab.place)

    assert problems(found) == {}
    told = next(check for check in found if check.name == "indexer")
    assert told.state == NOTE
    assert "killed" in told.text


# --- what no command mends


def test_thorough_index_of_a_newer_program_is_told(lab: Lab) -> None:
    """And left alone."""
    lab.execute("INSERT INTO schema_migrations VALUES (99, 'future', now()::TIMESTAMP, '')")

    found = problems(checks.thorough(lab.place))

    assert "newer than this program" in found["index"].text
    assert found["index"].remedy is None


def test_thorough_file_of_another_program_is_told(tmp_path: Path) -> None:
    """Whatever it is."""
    file = tmp_path / "foreign.duckdb"
    file.write_text("a letter", encoding="utf-8")

    found = problems(checks.thorough(Place(file, (tmp_path,))))

    assert str(file) in found["index"].text
    assert found["index"].remedy is None
    assert "No OpenCode data" in found["sources"].text


def test_thorough_folder_is_no_index_to_be_mended(tmp_path: Path) -> None:
    """No start of the indexer would take it, so none is advised."""
    found = {check.name: check for check in checks.thorough(Place(tmp_path))}

    assert "No indexer made it: move it away" in found["index"].text
    assert found["index"].remedy is None
    assert found["working file"] == Check("working file", NOTE, "none yet")


def test_thorough_index_of_another_user_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after one start with more rights. No command of this user mends it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")  # another user's settings cannot be read, either
    lab.folder.chmod(0)

    with without_privileges():
        found = {check.name: check for check in checks.thorough(lab.place)}

    lab.folder.chmod(0o700)
    assert "Only its owner may read it" in found["index"].text
    assert "Only its owner may use it" in found["working file"].text
    assert (found["index"].remedy, found["working file"].remedy) == (None, None)


@pytest.mark.parametrize("command", ["backfill", "migrate", "rollback"])
def test_command_index_of_another_user_ends_with_a_line(command: str, lab: Lab) -> None:
    """Not with a traceback."""
    lab.folder.parent.chmod(0)

    with without_privileges():
        done = indexer(command, "--db", lab.index)

    lab.folder.parent.chmod(0o700)
    assert done.returncode == 1
    assert f"The folder {lab.folder} cannot be used" in done.stderr


def test_thorough_data_folder_gone_names_it_and_keeps_the_rows(lab: Lab) -> None:
    """A disk that is not mounted is no deletion."""
    lab.data_dir.rename(lab.data_dir.with_name("elsewhere"))

    found = problems(checks.thorough(lab.place))

    assert "No OpenCode data" in found["sources"].text
    assert str(lab.data_dir) in found["sources"].text
    assert "content" not in found


def test_thorough_one_storage_of_a_folder_gone_or_unreadable_is_told(lab: Lab) -> None:
    """The other one is compared."""
    write_sqlite(lab.data_dir, [session("ses_5"), user("msg_5", "ses_5")])
    lab.load()
    (lab.data_dir / "opencode.db").write_bytes(b"this is no database, but it is long enough" * 100)

    unreadable = {check.name: check for check in checks.thorough(lab.place)}
    (lab.data_dir / "opencode.db").unlink()
    gone = checks.thorough(lab.place)

    assert (unreadable["source"].state, unreadable["content"].state) == (PROBLEM, NOTE)
    assert "not a database" in unreadable["source"].text
    assert "The rest is not compared" in unreadable["content"].text
    told = next(check for check in gone if check.name == "source")
    assert told.state == NOTE
    assert "is not there now" in told.text


def test_thorough_nothing_that_could_be_compared_is_never_called_equal(tmp_path: Path) -> None:
    """The only storage is of an unknown layout: what is in it may be anything."""
    lab = lab_in(tmp_path)
    write_sqlite(lab.data_dir, [session(), user()])
    lab.load()
    with sqlite3.connect(lab.data_dir / "opencode.db") as connection:
        connection.execute("ALTER TABLE message RENAME COLUMN data TO content")
    connection.close()

    found = {check.name: check for check in checks.thorough(lab.place)}

    assert (found["source"].state, found["content"].state) == (PROBLEM, NOTE)
    assert "no content could be compared" in found["content"].text


def test_thorough_documents_that_all_failed_are_not_called_equal(tmp_path: Path) -> None:
    """Nothing of them can be compared; each is listed."""
    lab = lab_in(tmp_path)
    write_json_tree(lab.data_dir, [session(), damaged(user(), b"{")])
    lab.load()

    found = {check.name: check for check in checks.thorough(lab.place)}

    assert found["content"].state == NOTE
    assert "none of them could be read again" in found["content"].text


def test_quick_source_that_could_not_be_read_is_told(lab: Lab) -> None:
    """With the reason of the last pass."""
    (lab.data_dir / "opencode.db").write_bytes(b"this is no database, but it is long enough" * 100)
    lab.load()

    found = problems(checks.quick(lab.place))

    assert "not a database" in found["source"].text


def test_thorough_unreadable_document_is_a_note(lab: Lab) -> None:
    """Counted, and no difference."""
    write_json_tree(lab.data_dir, [damaged(user("msg_bad"), b"{"), damaged(part("prt_1", "text", "msg_1u"), b"{")])
    lab.load()

    found = checks.thorough(lab.place)

    assert problems(found) == {}
    assert next(check for check in found if check.name == "documents").text.startswith("2 could not be read")


def test_thorough_index_of_an_older_parser_is_told_apart(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents did not change; the next pass reads them anew."""
    shutil.rmtree(lab.folder)
    monkeypatch.setattr(parsers, "PARSER_VERSION", 255)
    lab.load()
    monkeypatch.undo()

    found = problems(checks.thorough(lab.place))

    assert "2 were read by an older version" in found["content"].text


def test_thorough_restored_backup_in_one_file_is_a_note(lab: Lab) -> None:
    """The next start takes it over."""
    with Database.open(lab.index) as database:
        database.con.execute("CHECKPOINT index_db")
    whole = lab.folder / "work.duckdb"
    shutil.copy(whole, lab.index.with_name("whole"))
    drop_all(lab)
    lab.index.with_name("whole").rename(lab.index)

    found = checks.thorough(lab.place)

    assert problems(found) == {}
    assert "takes it over" in next(check for check in found if check.name == "working file").text


def test_thorough_full_disk_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it hurts."""
    usage = shutil.disk_usage(lab.folder)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    found = problems(checks.thorough(lab.place))

    assert "Only 1 MB are free" in found["disk"].text


def test_quick_clock_set_back_is_a_note(lab: Lab) -> None:
    """Times of the future are told."""
    with Database.open(lab.index) as database:
        database.con.execute("UPDATE sync_state SET updated_at = updated_at + INTERVAL 1 DAY")
        Publisher(database).publish(new_base=True)

    found = checks.quick(lab.place)

    assert next(check for check in found if check.name == "clock").state == NOTE


# --- while an indexer runs


def say(lab: Lab, **fields: object) -> None:
    """Write what a running indexer says: this process stands for it."""
    values: dict[str, object] = {
        "pid": os.getpid(),
        "at_ms": time.time_ns() // 1_000_000,
        "phase": "real-time",
        "queue": 0,
        "waiting_since_ms": None,
        "latency_ms": 120,
        "documents_per_second": 1.5,
        "watched": (),
        "next_comparison_at_ms": None,
        "last_comparison_ms": None,
        "problem": None,
    }
    activity.write_activity(lab.index, Activity(**{**values, **fields}))  # type: ignore[arg-type]


def test_thorough_running_indexer_that_catches_up_is_no_problem(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it applies within seconds is no difference."""
    with Database.open(lab.index) as database:
        publisher = Publisher(database)
        publisher.publish()
        say(lab)
        add_documents(lab)
        change_documents(lab)

        def apply(reader: IndexReader, deadline: float) -> None:
            """Do what the indexer would while the check waits."""
            bulk_loader.load(database, publisher, bulk_loader.find_sources([lab.data_dir]))

        monkeypatch.setattr(checks, "_await_revision", apply)

        found = checks.thorough(lab.place)

    assert problems(found) == {}
    assert next(check for check in found if check.name == "content").state == OK


def test_thorough_running_indexer_is_behind_and_not_wrong(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by how much, and when everything is compared."""
    monkeypatch.setattr(checks, "_SETTLE_S", 0.2)
    with Database.open(lab.index) as database:
        Publisher(database).publish()
        say(lab, next_comparison_at_ms=time.time_ns() // 1_000_000 + 60_000)
        add_documents(lab)

        found = checks.thorough(lab.place)

    content = next(check for check in found if check.name == "content")
    assert content.state == NOTE
    assert content.text.startswith("behind by 2 documents")
    assert "Everything is compared at" in content.text
    assert problems(found) == {}


def test_quick_silent_indexer_is_told_with_the_way_to_end_it(lab: Lab) -> None:
    """It holds the index, so another one cannot start."""
    with Database.open(lab.index):
        say(lab, at_ms=time.time_ns() // 1_000_000 - 60_000)

        found = problems(checks.quick(lab.place))

    assert found["indexer"].remedy == f"kill {os.getpid()}"


def test_quick_indexer_with_a_problem_repeats_it(lab: Lab) -> None:
    """A full disk, say."""
    with Database.open(lab.index):
        say(lab, problem="the disk is full")

        found = problems(checks.quick(lab.place))

    assert "the disk is full" in found["indexer"].text


def test_find_writer_without_a_heartbeat_is_there_all_the_same(lab: Lab) -> None:
    """A migration says nothing."""
    with Database.open(lab.index):
        running = checks.find_writer(lab.index)

    assert (running.is_there, running.pid, running.is_silent) == (True, os.getpid(), False)
    assert not checks.find_writer(lab.index).is_there


# --- the command line


def test_check_command_prints_one_line_each_and_ends_with_the_answer(lab: Lab) -> None:
    """For a person and for scripts."""
    well = indexer("check", "--db", lab.index)
    add_documents(lab)
    behind = indexer("check", "--db", lab.index, "--json")

    assert well.returncode == 0
    assert well.stdout.endswith("All is well.\n")
    assert behind.returncode == 1
    found = json.loads(behind.stdout)
    assert found["ok"] is False
    assert "'" in next(check["remedy"] for check in found["checks"] if check["name"] == "content"), "quoted paths"


def test_compare_database_with_rows_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    """Neither times nor sizes changed."""
    data_dir = write_sqlite(tmp_path / "data", [session(), user(), part("prt_1", "text", "msg_1u", text="abc")])
    lab = Lab(tmp_path / "index.duckdb", data_dir)
    lab.load()
    with sqlite3.connect(data_dir / "opencode.db") as connection:
        connection.execute("UPDATE part SET data = replace(data, 'abc', 'xyz')")
    connection.close()

    found = problems(checks.thorough(lab.place, sample=None))

    assert "1 changed since (msg_1u)" in found["content"].text
