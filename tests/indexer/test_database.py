"""The writer's side: real files, real transactions, a second process where two processes matter."""

import json
import multiprocessing
import os
import shutil
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from indexer import database as database_module
from indexer.database import Database, copy_file
from indexer.duckdb_file import SCHEMA_VERSION, attach, quoted, quoted_name
from indexer.exceptions import (
    AnotherIndexerRuns,
    IndexBroken,
    IndexForeign,
    IndexNewer,
    IndexUnavailable,
)
from indexer.index_files import private_folder
from indexer.migrations import known
from indexer.publish import Publisher
from indexer.published import IndexReader

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index in a folder that does not exist yet, with a quote in its name."""
    return tmp_path / "user's data" / "analytics.duckdb"


def names(*values: str) -> pa.Table:
    """Return rows of the table `agents`."""
    return pa.table({"name": list(values)})


def stored(database: Database, sql: str) -> list[Any]:
    """Return what a query finds in the working file."""
    return database.con.execute(sql).fetchall()


def write_names(database: Database, *values: str) -> None:
    """Commit rows of the table `agents`."""
    with database.transaction():
        database.replace_rows("agents", ["name"], names(*values))


def claim_newer(path: Path) -> None:
    """Let a closed index claim a schema version that this program does not know, in its working file."""
    con = attach(private_folder(path) / "work.duckdb", path, "READ_WRITE", {})
    con.execute("INSERT INTO schema_migrations VALUES ($version, 'next', now(), '')", {"version": SCHEMA_VERSION + 1})
    con.close()


def make_regular(path: Path, *values: str) -> None:
    """Make a regular file of ours with some agents at a path, as a restored backup is."""
    with Database.open(path.with_name("made.duckdb")) as database:
        write_names(database, *values)
    os.replace(private_folder(path.with_name("made.duckdb")) / "work.duckdb", path)


def open_elsewhere(path: Path, answer: Any) -> None:
    """Open an index in another process and send how that ended."""
    try:
        with Database.open(path):
            answer.send("opened")
    except (AnotherIndexerRuns, IndexUnavailable) as error:
        answer.send(f"{type(error).__name__}: {error}")


def attach_elsewhere(file: Path, answer: Any) -> None:
    """Open a DuckDB file for writing in another process and send how that ended."""
    try:
        attach(file, file, "READ_WRITE", {}).close()
        answer.send("opened")
    except IndexUnavailable as error:
        answer.send(str(error))


def answer_of(target: Any, argument: Path) -> str:
    """Run a function of this module in another process and return what it sends."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(argument, theirs))
    process.start()
    answer = str(ours.recv())
    process.join()
    return answer


def test_open_no_file_creates_an_empty_index(path: Path) -> None:
    """A fresh index has the schema, its version and one state row."""
    with Database.open(path) as database:
        state = stored(database, "SELECT revision, phase, documents_done, is_sample FROM sync_state")
        versions = stored(database, "SELECT version, name FROM schema_migrations ORDER BY version")

        assert (state, versions) == ([(0, "stopped", 0, False)], [(each.version, each.name) for each in known()])
        assert (database.revision, database.phase) == (0, "stopped")


def test_open_new_index_is_private_to_its_owner(path: Path) -> None:
    """Nobody else may look into the folder of the working file, whatever it was before."""
    private_folder(path).mkdir(parents=True, mode=0o755)

    with Database.open(path):
        assert stat.S_IMODE(private_folder(path).stat().st_mode) == 0o700


def test_open_old_clients_file_has_their_storage_version(path: Path) -> None:
    """The working file is written for DuckDB 1.5 and later."""
    with Database.open(path) as database:
        tags = stored(database, "SELECT tags FROM duckdb_databases() WHERE database_name = 'index_db'")

        assert "v1.5" in str(tags)


def test_open_again_keeps_what_was_committed(path: Path) -> None:
    """Closing loses nothing."""
    with Database.open(path) as database:
        write_names(database, "build")
        database.set_phase("bulk", "reading")

    with Database.open(path) as database:
        assert (database.revision, database.phase, stored(database, "FROM agents")) == (2, "bulk", [("build",)])


def test_open_relative_path_in_the_current_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare file name means the current folder."""
    monkeypatch.chdir(tmp_path)

    with Database.open(Path("here.duckdb")) as database:
        assert database.path == tmp_path / "here.duckdb"


def test_open_second_process_is_refused_and_told_who_runs(path: Path) -> None:
    """One indexer per index; the message names it."""
    with Database.open(path):
        answer = answer_of(open_elsewhere, path)

    assert answer.startswith(f"AnotherIndexerRuns: Another indexer (process {os.getpid()}) already writes")
    assert answer_of(open_elsewhere, path) == "opened"


def test_open_holder_without_a_number_is_still_refused(path: Path) -> None:
    """The lock decides, the number beside it only informs."""
    with Database.open(path):
        (private_folder(path) / "indexer.pid").unlink()

        with pytest.raises(AnotherIndexerRuns, match="process unknown"):
            Database.open(path)


def test_open_working_file_held_by_another_program_says_so(path: Path) -> None:
    """Not our lock, but DuckDB's: a person opened the working file."""
    with Database.open(path):
        pass
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=hold_file, args=(private_folder(path) / "work.duckdb", theirs))
    holder.start()
    ours.recv()

    with pytest.raises(IndexBroken, match="Another program holds .*work.duckdb open"):
        Database.open(path)

    ours.send("done")
    holder.join()


def hold_file(file: Path, signal: Any) -> None:
    """Hold a DuckDB file open until told otherwise."""
    con = attach(file, file, "READ_WRITE", {})
    signal.send("open")
    signal.recv()
    con.close()


def test_open_copies_made_keep_duckdbs_own_lock(path: Path) -> None:
    """Copying the working file must not let another process write to it."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()
        write_names(database, "build")
        publisher.publish(new_base=True)

        answer = answer_of(attach_elsewhere, database.work_path)

    assert answer.startswith("Another program holds")


def test_open_schema_newer_than_the_program_is_refused(path: Path) -> None:
    """A newer program's index is not touched."""
    Database.open(path).close()
    claim_newer(path)

    with pytest.raises(IndexNewer, match=rf"schema version {SCHEMA_VERSION + 1}, newer than this program's .*Update"):
        Database.open(path)


def test_open_refused_leaves_the_lock_free(path: Path) -> None:
    """Who was refused does not block the next one."""
    Database.open(path).close()
    claim_newer(path)

    for _ in range(2):
        with pytest.raises(IndexNewer):
            Database.open(path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(5000), b"a note\n"])
def test_open_other_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    """Whatever is no DuckDB file stays as it is, and nothing is created beside it."""
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(IndexForeign, match="Move it away, or choose another file with --db"):
        Database.open(path)

    assert (path.read_bytes(), list(path.parent.iterdir())) == (content, [path])


def test_open_other_programs_database_is_refused(path: Path) -> None:
    """A DuckDB file without our tables is another program's."""
    path.parent.mkdir()
    con = duckdb.connect()
    con.execute(f"ATTACH {quoted(path)} AS other")
    con.execute("CREATE TABLE other.sync_state (revision INTEGER)")
    con.close()

    with pytest.raises(IndexForeign, match="is a DuckDB database of another program"):
        Database.open(path)

    assert list(path.parent.iterdir()) == [path]


def test_open_folder_at_the_path_is_refused(path: Path) -> None:
    """A folder is no index."""
    path.mkdir(parents=True)

    with pytest.raises(IndexForeign, match="is not a file"):
        Database.open(path)


def test_open_someone_elses_link_is_refused(path: Path) -> None:
    """A link that the publisher did not make would be replaced by the first publication."""
    path.parent.mkdir()
    path.symlink_to("elsewhere.duckdb")

    with pytest.raises(IndexForeign, match=r"is a link to .*elsewhere\.duckdb"):
        Database.open(path)


def test_open_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").touch()

    with pytest.raises(IndexBroken, match=r"cannot be used: .* Choose another file with --db\."):
        Database.open(tmp_path / "file" / "analytics.duckdb")


def test_open_state_row_lost_says_so(path: Path) -> None:
    """An index without its state row cannot be continued."""
    with Database.open(path) as database:
        database.con.execute("DELETE FROM sync_state")

    with pytest.raises(IndexBroken, match="lost its state row"):
        Database.open(path)


@pytest.mark.parametrize("is_sample", [True, False])
def test_open_sample_and_own_data_never_mix(path: Path, is_sample: bool) -> None:
    """An index stays what it was made for."""
    Database.open(path, is_sample=is_sample).close()

    with pytest.raises(IndexForeign, match=r"holds .*, not .*\."):
        Database.open(path, is_sample=not is_sample)


def test_open_regular_file_of_ours_is_kept_and_taken_over(path: Path) -> None:
    """A restored backup becomes the working file, and is itself kept."""
    path.parent.mkdir()
    make_regular(path, "restored")
    before = path.read_bytes()

    with Database.open(path) as database:
        rows = stored(database, "FROM agents")
        revision = database.revision

    backups = list(path.parent.glob("analytics.duckdb.bak-*"))
    assert (rows, revision) == ([("restored",)], 1)
    assert ([backup.read_bytes() for backup in backups], path.exists()) == ([before], False)


def test_open_regular_file_with_a_wal_loses_nothing(path: Path) -> None:
    """What a file's WAL holds is part of it, and is kept with its backup."""
    path.parent.mkdir()
    make_regular(path, "in the file")
    con = attach(path, path, "READ_WRITE", {"checkpoint_threshold": "1GB"})
    con.execute("PRAGMA disable_checkpoint_on_shutdown")
    con.execute("INSERT INTO agents VALUES ('in the WAL')")
    con.close()
    assert path.with_name("analytics.duckdb.wal").exists()

    with Database.open(path) as database:
        rows = stored(database, "FROM agents ORDER BY name")

    assert rows == [("in the WAL",), ("in the file",)]
    assert len(list(path.parent.glob("analytics.duckdb.bak-*.wal"))) == 1


def test_open_regular_file_beside_a_working_file_keeps_both(path: Path) -> None:
    """The restored file wins; what was there before is set aside, not deleted."""
    with Database.open(path) as database:
        write_names(database, "before")
    make_regular(path, "restored")

    with Database.open(path) as database:
        rows = stored(database, "FROM agents")

    (before,) = path.parent.glob("analytics.duckdb.bak-*-work")
    con = attach(before, before, "READ_ONLY", {})
    assert (rows, con.execute("FROM agents").fetchall()) == ([("restored",)], [("before",)])
    con.close()


def test_open_regular_file_of_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    """A backup made by a newer program is not taken over."""
    Database.open(path).close()
    claim_newer(path)
    os.replace(private_folder(path) / "work.duckdb", path)

    with pytest.raises(IndexNewer):
        Database.open(path)

    assert path.is_file()


def test_transaction_commit_counts_one_revision(path: Path) -> None:
    """Every batch has its number, in the file and in memory."""
    with Database.open(path) as database:
        write_names(database, "build")
        write_names(database, "plan")

        assert (database.revision, stored(database, "SELECT revision FROM sync_state")) == (2, [(2,)])


def test_transaction_not_visible_keeps_the_revision_and_is_kept(path: Path) -> None:
    """Bookkeeping takes no revision number and is committed all the same."""
    with Database.open(path) as database:
        before = stored(database, "SELECT revision, updated_at FROM sync_state")
        with database.transaction(is_visible=False):
            database.replace_rows("agents", ["name"], names("build"))

        assert (database.revision, database.commits) == (0, 1)
        assert stored(database, "SELECT revision, updated_at FROM sync_state") == before
    with Database.open(path) as database:
        assert stored(database, "FROM agents") == [("build",)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_transaction_error_leaves_nothing(path: Path, error: type[BaseException]) -> None:
    """All of a batch, or nothing; the error is not swallowed."""
    with Database.open(path) as database:
        write_names(database, "build")

        with pytest.raises(error), database.transaction():
            database.replace_rows("agents", ["name"], names("plan"))
            raise error

        assert (database.revision, stored(database, "FROM agents")) == (1, [("build",)])
        write_names(database, "next")
        assert database.revision == 2


def test_transaction_bad_batch_leaves_nothing_and_the_next_one_works(path: Path) -> None:
    """A row that the table refuses undoes its batch only."""
    with Database.open(path) as database:
        with pytest.raises(duckdb.ConstraintException):
            write_names(database, "twice", "twice")

        assert (database.in_transaction, database.revision, stored(database, "FROM agents")) == (False, 0, [])
        write_names(database, "next")
        assert stored(database, "FROM agents") == [("next",)]


def test_transaction_connection_gone_raises_the_first_error(path: Path) -> None:
    """Where even the rollback fails, the first error is the one that is told."""
    database = Database.open(path)

    with pytest.raises(ValueError, match="first"), database.transaction():
        database.con.close()
        raise ValueError("first")

    database.close()


def test_replace_rows_same_key_replaces_and_others_stay(path: Path) -> None:
    """Rows are known by their key; columns are matched by name, those left out are NULL."""
    rows = pa.table({"model_id": ["m"], "vendor": ["v"]})
    with Database.open(path) as database:
        with database.transaction():
            database.replace_rows("models", ["vendor", "model_id"], pa.table({"vendor": ["v"], "model_id": ["other"]}))
            database.replace_rows("models", ["vendor", "model_id"], rows)

        with database.transaction():
            database.replace_rows("models", ["vendor", "model_id"], rows)

        assert stored(database, "FROM models ORDER BY model_id") == [("v", "m"), ("v", "other")]


def test_replace_rows_twice_in_one_transaction_keeps_the_last(path: Path) -> None:
    """A document that changes twice within a batch."""
    with Database.open(path) as database:
        with database.transaction():
            for title in ("first", "last"):
                rows = project_rows(1).set_column(1, "name", pa.array([title]))
                database.replace_rows("projects", ["project_id"], rows)

        assert stored(database, "SELECT name FROM projects") == [("last",)]


def project_rows(count: int) -> pa.Table:
    """Return rows of the table `projects`."""
    return pa.table(
        {
            "project_id": [f"project-{number}" for number in range(count)],
            "name": ["name"] * count,
            "generation": pa.array([1] * count, pa.int8()),
            "content_hash": pa.array(range(count), pa.int64()),
        }
    )


def test_replace_rows_no_rows_changes_nothing(path: Path) -> None:
    """An empty batch, even one without types."""
    with Database.open(path) as database:
        with database.transaction():
            database.replace_rows("agents", ["name"], names())

        assert stored(database, "FROM agents") == []


def test_replace_rows_decimals_and_json_are_stored_as_they_are(path: Path) -> None:
    """Money to the last of 12 decimals, JSON as written, absent as NULL."""
    cost = Decimal("999999.123456789012")
    error = json.dumps({"name": "APIError", "data": {"statusCode": 500}})
    with Database.open(path) as database:
        database.con.execute("CREATE TABLE money (id VARCHAR, cost_usd DECIMAL(18, 12), error_data JSON)")
        rows = pa.table(
            {
                "id": ["a", "b"],
                "cost_usd": pa.array([cost, None], pa.decimal128(18, 12)),
                "error_data": [None, error],
            }
        )

        with database.transaction():
            database.replace_rows("money", ["id"], rows)

        assert stored(database, "SELECT id, cost_usd, error_data->>'$.data.statusCode' FROM money ORDER BY id") == [
            ("a", cost, None),
            ("b", None, "500"),
        ]


def test_replace_rows_many_rows_over_many_is_exact(path: Path) -> None:
    """Every row once after a batch that replaces half of the table."""
    with Database.open(path) as database:
        for count in (10_000, 5_000):
            with database.transaction():
                database.replace_rows("projects", ["project_id"], project_rows(count))

        assert stored(database, "SELECT count(*), count(DISTINCT project_id) FROM projects") == [(10_000, 10_000)]


def test_set_phase_new_phase_is_kept_and_told(path: Path) -> None:
    """Phase, its start and its history."""
    with Database.open(path) as database:
        database.set_phase("bulk", "reading everything")

        assert stored(database, "SELECT phase, message FROM sync_events") == [("bulk", "reading everything")]
        assert stored(database, "SELECT phase FROM sync_state") == [("bulk",)]
        assert (database.phase, database.revision) == ("bulk", 1)


def test_set_phase_same_phase_keeps_its_start(path: Path) -> None:
    """`phase_since` is when the phase began, not when it was last mentioned."""
    with Database.open(path) as database:
        database.set_phase("bulk", "reading")
        since = stored(database, "SELECT phase_since FROM sync_state")

        database.set_phase("bulk", "still reading")

        assert stored(database, "SELECT phase_since FROM sync_state") == since


def test_close_twice_does_nothing(path: Path) -> None:
    """Closing is safe to repeat."""
    database = Database.open(path)
    database.close()

    database.close()


def test_open_short_file_is_read_to_its_end_unless_it_was_left_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB cuts unused blocks off and still counts them; to read a large index took most of a start."""
    read: list[str] = []
    monkeypatch.setattr(database_module, "contents", lambda con, name: read.append(name))
    monkeypatch.setattr(database_module, "size_of", lambda file: 0)  # shorter than any

    def opened() -> int:
        """Open and close the index; return how often it was read so far."""
        Database.open(path).close()
        return len(read)

    first, left_so = opened(), opened()
    work = private_folder(path) / "work.duckdb"
    os.utime(work, ns=(1, 1))  # as whoever cuts or writes it
    changed, left_again = opened(), opened()
    shutil.copy2(work, work.with_name("other"))
    os.replace(work.with_name("other"), work)
    replaced = opened()
    (private_folder(path) / "whole").write_bytes(b"\xff")
    unreadable_note = opened()

    assert [first, left_so, changed, left_again, replaced, unreadable_note] == [1, 1, 2, 2, 3, 4]


def test_open_short_file_that_was_not_left_in_order_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who closes a usable index notes how it is left."""
    read: list[str] = []
    Database.open(path).close()
    failed = Database.open(path)
    with failed.transaction() as con:
        con.execute("INSERT INTO projects BY NAME SELECT 'p' AS project_id, 0 AS generation, 0 AS content_hash")
    failed.checkpoint()
    failed.is_usable = False
    failed.close()
    monkeypatch.setattr(database_module, "contents", lambda con, name: read.append(name))
    monkeypatch.setattr(database_module, "size_of", lambda file: 0)

    Database.open(path).close()

    assert read == ["index_db"]


def test_quoted_name_with_quotes_is_one_identifier() -> None:
    """Names of tables and columns cannot end early."""
    assert quoted_name('a"b') == '"a""b"'


def test_copy_file_source_cut_short_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that shrinks while it is copied must not become a shorter copy."""
    (tmp_path / "source").write_bytes(b"12345")
    source = os.open(tmp_path / "source", os.O_RDWR)
    copy_some = database_module._copy_some

    def shrink(source: int, out: int, count: int) -> int:
        """Cut the source before it is read."""
        os.ftruncate(source, 0)
        return copy_some(source, out, count)

    monkeypatch.setattr(database_module, "_copy_some", shrink)

    with pytest.raises(OSError, match="5 bytes shorter"):
        copy_file(source, tmp_path / "target")

    os.close(source)


def test_open_published_index_of_the_last_run_is_no_backup(path: Path) -> None:
    """Our own link at the path is not taken over from."""
    with Database.open(path) as database:
        Publisher(database).publish()

    Database.open(path).close()

    assert (path.is_symlink(), IndexReader(path).revision()) == (True, 0)
    assert list(path.parent.glob("*.bak-*")) == []


def agents_after_kill(database: Database, folder: Path) -> list[Any]:
    """Open what a kill would leave at this moment."""
    shutil.copytree(database.folder, private_folder(folder / "index.duckdb"), ignore=shutil.ignore_patterns("*.lock"))
    with Database.open(folder / "index.duckdb") as left:
        return stored(left, "SELECT name FROM agents ORDER BY name")


def test_unlogged_killed_keeps_what_was_checkpointed(path: Path, tmp_path: Path) -> None:
    """What came after the last checkpoint is gone as a whole; what came before is all there."""
    with Database.open(path) as database:
        write_names(database, "before")
        with database.unlogged(1):
            write_names(database, "checkpointed")
            database.checkpoint()
            write_names(database, "lost")
            found = agents_after_kill(database, tmp_path / "killed")

    assert found == [("before",), ("checkpointed",)]


def test_unlogged_over_everything_is_safe_and_later_commits_are_logged(path: Path, tmp_path: Path) -> None:
    """The end is a checkpoint; from then on a commit is safe at once."""
    with Database.open(path) as database:
        with database.unlogged(1):
            write_names(database, "unlogged")
        write_names(database, "logged")
        found = agents_after_kill(database, tmp_path / "killed")

    assert found == [("logged",), ("unlogged",)]


def test_unlogged_many_messages_get_more_memory(path: Path) -> None:
    """A million parts failed with what is enough for a hundred thousand: changed keys wait for a checkpoint there."""
    limit = "SELECT CAST(string_split(current_setting('memory_limit'), ' ')[1] AS DOUBLE)"
    with Database.open(path) as database:
        before = stored(database, limit)
        with database.unlogged(1):
            ((few,),) = stored(database, limit)
        with database.unlogged(400_000):
            ((many,),) = stored(database, limit)

        assert many - few == pytest.approx(100 * 1_000_000 / 2**20, abs=1)
        assert stored(database, limit) == before


def test_unlogged_failing_caller_keeps_its_error_and_the_database_usable(path: Path) -> None:
    """An interrupt in the middle of a pass is not hidden, and what was committed stays."""
    with Database.open(path) as database:
        with pytest.raises(KeyboardInterrupt), database.unlogged(1):
            write_names(database, "kept")
            raise KeyboardInterrupt

        assert database.is_usable
        assert stored(database, "SELECT name FROM agents") == [("kept",)]
