"""Migrations: both ways to the newest schema agree, every step has a way back, and a kill leaves a step done or not."""

import itertools
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer import database as database_module
from indexer import derive, migrations, price_changes
from indexer.database import Database
from indexer.duckdb_file import SCHEMA_VERSION, attach
from indexer.exceptions import IndexAltered, IndexBroken, IndexMissing, IndexOlder
from indexer.index_files import private_folder
from indexer.migrations import Migration, known
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.builders import (
    answer,
    assistant,
    part,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
)
from tests.commands import indexer
from tests.conftest import KINDS_OF_SETS, BuildIndex, OwnIndex

SPAWN = multiprocessing.get_context("spawn")
DataSet = Callable[[str], Path]
Rows = dict[str, list[tuple[object, ...]]]

# What belongs to the index itself, not to what OpenCode did.
BOOKKEEPING = {
    *("schema_migrations", "sync_state", "sync_events", "sources", "read_stamps"),
    *("benchmark_runs", "benchmark_results"),
}

# What no other row tells, only the documents: filled by the next full pass.
REREAD = {"additions", "deletions", "files_changed", "worktrees", "clones", "content_hash"}


@pytest.fixture
def real_index(own_index: OwnIndex) -> Path:
    """An index of a real data set, for the test to change."""
    return own_index("sqlite")


def schema_of(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    """Describe every table, column, constraint, view and index of the index that a connection uses.

    The order of columns is left out: migrations append.
    """
    mine = "database_name = 'index_db'"
    questions = {
        "columns": f"SELECT table_name, column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
        f"WHERE {mine} AND NOT internal",
        "constraints": f"SELECT table_name, constraint_type, constraint_text FROM duckdb_constraints() WHERE {mine}",
        "views": f"SELECT view_name, sql FROM duckdb_views() WHERE {mine} AND NOT internal",
        "indexes": f"SELECT index_name, table_name, is_unique, expressions FROM duckdb_indexes() WHERE {mine}",
    }
    return {name: con.execute(f"{question} ORDER BY ALL").fetchall() for name, question in questions.items()}


def rows_of(con: duckdb.DuckDBPyConnection, left_out: Collection[str] = REREAD) -> Rows:
    """Read all rows that tell what OpenCode did, columns by name; views too, so that a broken one shows."""
    names = con.execute(
        "SELECT table_name, list(column_name ORDER BY column_name) FROM duckdb_columns() "
        "WHERE database_name = 'index_db' AND NOT internal AND NOT list_contains($left_out::VARCHAR[], column_name) "
        "GROUP BY table_name",
        {"left_out": list(left_out)},
    ).fetchall()
    return {
        table: con.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY ALL").fetchall()
        for table, columns in names
        if table not in BOOKKEEPING
    }


def file_of(path: Path, *scripts: str) -> duckdb.DuckDBPyConnection:
    """Run scripts in an empty DuckDB file."""
    con = attach(path, path, "STORAGE_VERSION 'v1.5.0'", {})
    for script in scripts:
        con.execute(script)
    return con


def backups_of(path: Path) -> list[Path]:
    """List the copies that were kept beside an index."""
    return sorted(path.parent.glob(f"{path.name}.bak-*"))


def set_back(path: Path, version: int = 1) -> None:
    """Let an index have an older schema, published, and remove the copy that was made."""
    with Database.open_existing(path) as database:
        database.migrate(version)
        Publisher(database).publish(new_base=True)
    for backup in backups_of(path):
        backup.unlink()


# --- the files


def test_known_newest_is_the_programs_version() -> None:
    """The constant and the files agree."""
    assert known()[-1].version == SCHEMA_VERSION


def test_schema_sql_equals_all_migrations(tmp_path: Path) -> None:
    """The contract in one piece, and the same step by step."""
    contract = file_of(tmp_path / "contract.duckdb", (Path(database_module.__file__).parent / "schema.sql").read_text())
    stepwise = file_of(tmp_path / "stepwise.duckdb", *(each.up for each in known()))

    assert schema_of(stepwise) == schema_of(contract)


def test_down_every_step_gives_the_schema_before(tmp_path: Path) -> None:
    """Up to the newest, noting each version, and the same notes on the way back."""
    con = file_of(tmp_path / "a.duckdb")
    notes = []
    for migration in known():
        con.execute(migration.up)
        notes.append(schema_of(con))

    for migration in reversed(known()[1:]):
        notes.pop()
        assert migration.down is not None
        con.execute(migration.down)
        assert schema_of(con) == notes[-1], migration.label


@pytest.mark.parametrize("migration", known(), ids=lambda each: each.label)
def test_file_leaves_transactions_to_the_runner_and_never_changes_a_type(migration: Migration) -> None:
    """A COMMIT inside would break all or nothing; `ALTER ... TYPE` fails where there is an index."""
    text = f"{migration.up}\n{migration.down or ''}".upper()

    assert not re.search(r"\b(BEGIN|COMMIT|ROLLBACK)\b|\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b", text)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["001_a.up.sql", "003_c.up.sql", "003_c.down.sql"], "does not number"),
        (["001_a.up.sql", "001_b.up.sql"], "does not number"),
        (["001_a.up.sql", "002_b.up.sql"], r"no way back for \['002_b'\]"),
    ],
)
def test_known_wrong_files_are_a_bug(files: list[str], message: str, tmp_path: Path) -> None:
    """Found by whoever adds a migration, not by a user."""
    for name in files:
        (tmp_path / name).touch()

    with pytest.raises(ValueError, match=message):
        known(tmp_path)


def test_checksum_other_line_ends_are_the_same(tmp_path: Path) -> None:
    """A checkout on Windows has the same checksums."""
    (tmp_path / "unix").mkdir()
    (tmp_path / "windows").mkdir()
    (tmp_path / "unix" / "001_a.up.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (tmp_path / "windows" / "001_a.up.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")

    assert known(tmp_path / "unix")[0].checksum == known(tmp_path / "windows")[0].checksum


# --- up and down with data


@pytest.mark.parametrize("name", KINDS_OF_SETS)
def test_migrate_down_and_up_keeps_every_row(
    name: str, data_set: DataSet, own_index: OwnIndex, build_index: BuildIndex
) -> None:
    """From every kind of real set: back to the first version and up again, then a full pass that fills the rest."""
    path = own_index(name)
    with Database.open_existing(path) as database:
        before, kept = rows_of(database.con, ()), rows_of(database.con)
        down, up = database.migrate(1), database.migrate()

        assert [each.version for each in down.steps] == list(range(SCHEMA_VERSION, 1, -1))
        assert [each.version for each in up.steps] == list(range(2, SCHEMA_VERSION + 1))
        assert rows_of(database.con) == kept

    build_index(data_set(name))

    with Database.open_existing(path) as database:
        assert rows_of(database.con, ()) == before


def test_migrate_again_does_nothing(real_index: Path) -> None:
    """Running again neither copies nor writes."""
    with Database.open_existing(real_index) as database:
        revision = database.revision

        done = database.migrate()

        assert (done.before, done.after, done.steps, done.backup) == (SCHEMA_VERSION, SCHEMA_VERSION, (), None)
        assert database.revision == revision
    assert backups_of(real_index) == []


def test_migrate_records_every_step(real_index: Path) -> None:
    """Version, name, checksum, and a line in the history that the Indexer page shows."""
    with Database.open_existing(real_index) as database:
        database.migrate(1)
        database.migrate()

        recorded = database.con.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY 1").fetchall()
        told = database.con.execute("SELECT message FROM sync_events WHERE message LIKE 'migration%'").fetchall()
    assert recorded == [(each.version, each.name, each.checksum) for each in known()]
    labels = [each.label for each in known()[1:]]
    assert told == [(f"migration {each} undone",) for each in reversed(labels)] + [
        (f"migration {each} applied",) for each in labels
    ]


def test_migrate_publishes_to_readers_that_are_open(real_index: Path) -> None:
    """Who reads the old revision goes on; the new one opens, and lookups by index find the same rows."""
    set_back(real_index)
    with pytest.raises(IndexOlder):
        IndexReader(real_index).snapshot()
    with Database.open_existing(real_index) as database:
        publisher = Publisher(database)
        database.migrate()
        publisher.publish(new_base=True)
        reader = IndexReader(real_index)
        held = reader.connection()
        database.migrate(1)
        publisher.publish(new_base=True)
        database.migrate()
        publisher.publish(new_base=True)

        fresh = IndexReader(real_index).connection()

        count = "SELECT count(*) FROM parts WHERE session_id = (SELECT min(session_id) FROM parts)"
        assert held.execute(count).fetchall() == fresh.execute(count).fetchall() != [(0,)]
        held.close()
        fresh.close()


# --- error_data

ERROR_TEXTS = [
    None,
    '{"name": "APIError", "data": {"statusCode": 500}}',
    ' {\n  "name":"spaced" }\n',
    '{"a": 1, "a": 2}',
    '{"_invalid": "a key of its own"}',
    '{"_invalid": "of two", "name": "X"}',
    ' {"_invalid":"a text that looks like a kept one"}',
    "plain words",
    '{"cut": "sh',
    "",
    " ",
    "null",
    '"a text"',
    "[1, 2.50, 1e400]",
    "12345678901234567890123456789",
    "NaN",
    '{"u": "\\ud83d"}',
    "NUL \0 and \x1f and \u2028 and \U0001f600",
    '{"huge": "' + "x" * 3_000_000 + '"}',
    "[" * 500 + "]" * 500,
]


def test_error_data_json_goes_there_and_back_byte_for_byte(real_index: Path) -> None:
    """Every text can be asked as JSON afterwards, and the way back gives every byte back."""
    set_back(real_index, 2)
    with Database.open_existing(real_index) as database:
        con = database.con
        texts = {"ids": [f"prt_{number:03}" for number in range(len(ERROR_TEXTS))], "texts": ERROR_TEXTS}
        with database.transaction():
            con.execute(
                """
                INSERT INTO parts BY NAME
                SELECT unnest($ids::VARCHAR[]) AS part_id, unnest($texts::VARCHAR[]) AS error_data,
                       * EXCLUDE (part_id, error_data)
                FROM (FROM parts LIMIT 1)
                """,
                texts,
            )
        stored = "SELECT error_data::VARCHAR FROM parts WHERE length(part_id) = 7 ORDER BY part_id"

        database.migrate(3)
        asked = con.execute(
            """
            SELECT error_data ->> '$.name', error_data ->> '$._invalid' FROM parts
            WHERE length(part_id) = 7 ORDER BY part_id
            """
        ).fetchall()
        database.migrate(2)

        assert con.execute(stored).fetchall() == [(text,) for text in ERROR_TEXTS]
        assert asked[1] == ("APIError", None)
        assert [asked[number][1] for number in (4, 6, 7, 8)] == [
            "a key of its own",
            ERROR_TEXTS[6],
            "plain words",
            '{"cut": "sh',
        ]


# --- undone_requests


def test_undone_requests_answers_that_are_there_get_their_price(
    tmp_path: Path, build_index: BuildIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program before never priced what had been undone in a JSON tree; the step that changes that does."""
    usage = tokens(1_000, 500, total=1_500)
    docs = [session(), user(), assistant(usage=usage), step_finish("prt_1", usage)]
    data_dir = write_json_tree(tmp_path / "data", docs)
    build_index(data_dir)
    (data_dir / "storage" / "message" / "ses_1" / "msg_2a.json").unlink()
    path = build_index(data_dir)
    settings = tmp_path / "settings.toml"
    settings.write_text('[[prices.models]]\nprovider = "acme"\nmodel = "nova"\ninput = 3\noutput = 15\n')
    monkeypatch.setenv("ANALYTICS_CONFIG", str(settings))
    priced = """
        SELECT (SELECT count(*) FROM requests), (SELECT cost_list_usd FROM messages WHERE message_id = 'msg_2a'),
               (SELECT sum(cost_list_usd) FROM usage_slices), (SELECT cost_list_usd FROM session_stats)
    """
    with Database.open_existing(path) as database:
        database.migrate(8)
        price_changes.bring_up_to_date(database)
        before = database.con.execute(priced).fetchall()

        database.migrate()

        assert before == [(0, None, None, None)]
        assert database.con.execute(priced).fetchall() == [(1, *[Decimal("0.0105")] * 3)]


# --- searched_prompts


def test_searched_prompts_of_the_third_generation_are_filled_and_taken_back(
    tmp_path: Path, build_index: BuildIndex
) -> None:
    """Prompts that are there can be found without reading them again; other rows and answers stay as they are."""
    rows = [
        row("msg_1", "user", 1, text="Find ME"),
        row("msg_2", "synthetic", 2, text="Not me"),
        answer("msg_3", 3, content=[{"type": "text", "text": "Found"}]),
    ]
    path = build_index(write_session_messages(tmp_path / "data", [session(), *rows]))
    searched = "SELECT part_id, searched_text FROM part_bodies ORDER BY part_id"
    with Database.open_existing(path) as database:
        written = database.con.execute(searched).fetchall()
        database.migrate(9)
        before = database.con.execute(searched).fetchall()

        database.migrate()

        assert before == [("msg_1", None), ("msg_2", None), ("msg_3:0", "found")]
        assert database.con.execute(searched).fetchall() == written
        assert written == [("msg_1", "find me"), ("msg_2", None), ("msg_3:0", "found")]


# --- long_searched_texts


def test_long_searched_texts_are_moved_and_taken_back(tmp_path: Path, build_index: BuildIndex) -> None:
    """By the bytes of what is searched: the lower case of one letter may be longer than the letter."""
    texts = {"prt_1": "A" * 4_095, "prt_2": "A" * 4_096, "prt_3": "\u023a" * 2_000, "prt_4": "\u023a" * 1_000}
    said = [part(part_id, "text", text=text) for part_id, text in texts.items()]
    path = build_index(write_json_tree(tmp_path / "data", [session(), assistant(), *said]))
    searched = "SELECT part_id, {} FROM part_bodies ORDER BY part_id"
    columns = searched.format("searched_text, long_searched_text")
    with Database.open_existing(path) as database:
        written = database.con.execute(columns).fetchall()
        database.migrate(14)
        before = database.con.execute(searched.format("searched_text")).fetchall()

        database.migrate()

        assert before == [(part_id, text.lower()) for part_id, text in texts.items()]
        assert database.con.execute(columns).fetchall() == written
        assert [(part_id, long is None) for part_id, _, long in written] == [
            ("prt_1", True),
            ("prt_2", False),
            ("prt_3", False),
            ("prt_4", True),
        ]
        assert all((short is None) != (long is None) for _, short, long in written)


# --- unknown_prices


def test_unknown_prices_of_what_used_no_tokens_are_taken_back(tmp_path: Path, build_index: BuildIndex) -> None:
    """The program before gave a failed request to an unpriced model a list price of 0."""
    none = tokens(total=0)
    path = build_index(write_json_tree(tmp_path / "data", [session(), user(), assistant(usage=none, cost=0)]))
    listed = """
        SELECT (SELECT sum(cost_list_usd) FROM messages), (SELECT sum(cost_list_usd) FROM usage_slices),
               (SELECT sum(cost_list_usd) FROM session_stats), (SELECT sum(cost_list_usd) FROM priced_requests)
    """
    with Database.open_existing(path) as database:
        database.migrate(11)
        with database.transaction() as con:
            con.execute("UPDATE messages SET cost_list_usd = 0 WHERE has_usage")
            con.execute("UPDATE usage_slices SET cost_list_usd = 0 WHERE kind = 'counted'")
            con.execute("UPDATE session_stats SET cost_list_usd = 0")
        before = database.con.execute(listed).fetchall()

        database.migrate()

        assert before == [(Decimal(0),) * 4]
        assert database.con.execute(listed).fetchall() == [(None,) * 4]


# --- request_chain


@pytest.mark.parametrize("name", KINDS_OF_SETS)
def test_request_chain_is_filled_as_it_is_derived(name: str, data_set: DataSet, build_index: BuildIndex) -> None:
    """Told by SQL from the rows in the index, message by message where they come."""
    chain = "SELECT * FROM request_chain ORDER BY request_id"
    calls = "SELECT part_id, enters_at FROM tool_calls WHERE enters_at IS NOT NULL ORDER BY part_id"
    with Database.open_existing(build_index(data_set(name))) as database:
        derived = [database.con.execute(sql).fetchall() for sql in (chain, calls)]
        database.migrate(12)

        database.migrate()

        assert [database.con.execute(sql).fetchall() for sql in (chain, calls)] == derived
        assert all(derived)


# --- opening an older index


def test_open_older_schema_is_migrated_after_a_copy(real_index: Path) -> None:
    """The next start of a newer program needs nobody's help, and the copy is the index from before."""
    with Database.open_existing(real_index) as database:
        before = rows_of(database.con)
    set_back(real_index)
    with Database.open_existing(real_index) as database:
        older = rows_of(database.con)

    with Database.open(real_index) as database:
        assert database.schema_version == SCHEMA_VERSION
        assert rows_of(database.con) == before

    (backup,) = backups_of(real_index)
    con = attach(backup, backup, "READ_ONLY", {})
    assert migrations.version_of(con) == 1
    assert rows_of(con) == older
    con.close()


def test_open_copy_put_back_is_the_index_from_before(real_index: Path) -> None:
    """The copy is whole in itself: put in place of the index, it is taken over."""
    with Database.open_existing(real_index) as database:
        before = rows_of(database.con)
        backup = database.migrate(1).backup
    assert backup is not None
    real_index.unlink()
    shutil.rmtree(private_folder(real_index))
    backup.rename(real_index)

    with Database.open(real_index) as database:
        assert rows_of(database.con) == before


def test_open_older_regular_file_is_kept_once_and_migrated(real_index: Path, tmp_path: Path) -> None:
    """A restored older file is taken over and migrated; the file itself is the copy."""
    set_back(real_index)
    restored = tmp_path / "restored.duckdb"
    shutil.copyfile(real_index, restored)

    with Database.open(restored) as database:
        assert database.schema_version == SCHEMA_VERSION

    assert len(backups_of(restored)) == 1


def test_open_existing_nothing_there_creates_nothing(tmp_path: Path) -> None:
    """`migrate` at a wrong path leaves no empty index."""
    with pytest.raises(IndexMissing, match="python -m indexer bulk"):
        Database.open_existing(tmp_path / "none.duckdb")

    assert list(tmp_path.iterdir()) == []


def change_history(path: Path, sql: str) -> None:
    """Run a statement in the working file of a closed index."""
    con = attach(private_folder(path) / "work.duckdb", path, "READ_WRITE", {})
    con.execute(sql)
    con.close()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE schema_migrations SET checksum = 'c0ffee' WHERE version = 2", r"002_add_indexes .*c0ffee.*restore"),
        ("DELETE FROM schema_migrations WHERE version = 1", "never went through the migration 001_initial"),
        ("ALTER TABLE schema_migrations DROP COLUMN checksum", "before the first release"),
    ],
)
def test_open_altered_history_is_refused(sql: str, message: str, real_index: Path) -> None:
    """Named, with what to do; nothing is changed."""
    change_history(real_index, sql)

    for opener in (Database.open, Database.open_existing):
        with pytest.raises(IndexAltered, match=message):
            opener(real_index)


# --- what goes wrong


def test_migrate_no_room_for_a_copy_changes_nothing(real_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a copy no migration, and no half copy stays behind."""

    def full(source: int, target: Path) -> int:
        """Write some of the copy, then fail as a full disk does."""
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    set_back(real_index)
    monkeypatch.setattr(database_module, "copy_file", full)

    with pytest.raises(IndexBroken, match=r"No space left.*needs \d+ MB"):
        Database.open(real_index)

    with Database.open_existing(real_index) as database:
        assert database.schema_version == 1
    assert (backups_of(real_index), (private_folder(real_index) / "backup.new").exists()) == ([], False)


def test_migrate_failing_step_leaves_the_one_before(real_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is a transaction of its own; the failing one is named and undone."""
    wrong = Migration(SCHEMA_VERSION + 1, "wrong", "DELETE FROM parts; CREATE TABLE parts (i INTEGER)", "SELECT 1")
    with Database.open_existing(real_index) as database:
        before = rows_of(database.con)
    set_back(real_index)
    with Database.open_existing(real_index) as database:
        monkeypatch.setattr(migrations, "known", lambda: [*known(), wrong])

        with pytest.raises(IndexBroken, match=rf"{wrong.label} .*failed and changed nothing: .*parts"):
            database.migrate(SCHEMA_VERSION + 1)

        assert database.schema_version == SCHEMA_VERSION
        database.migrate()  # fills what the step before brought
        assert rows_of(database.con) == before


def test_open_interrupted_while_tables_are_filled_goes_on(real_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema is new already, and some sessions have no rows in its tables yet: the next start fills them."""
    with Database.open_existing(real_index) as database:
        before = rows_of(database.con)
    set_back(real_index)
    refresh, calls = derive.refresh, itertools.count()

    def interrupted(con: duckdb.DuckDBPyConnection, session_ids: Sequence[str]) -> None:
        """Stop in the third transaction."""
        if next(calls) == 2:
            raise KeyboardInterrupt
        refresh(con, session_ids)

    monkeypatch.setattr(database_module, "_SESSIONS_PER_TRANSACTION", 10)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(derive, "refresh", interrupted)
        Database.open(real_index)

    with Database.open(real_index) as database:
        assert rows_of(database.con) == before


def migrate_and_die(path: Path, to: int, share: float) -> None:
    """Migrate one step and kill this process after a share of its statements; 2: right after the commit."""

    def run(con: duckdb.DuckDBPyConnection, script: str | None) -> None:
        """Run some statements of a script, then die."""
        statements = con.extract_statements(script or "")
        for statement in statements[: round(share * len(statements))]:
            con.execute(statement)
        os.kill(os.getpid(), signal.SIGKILL)

    def up(con: duckdb.DuckDBPyConnection, migration: Migration, now: datetime) -> None:
        """Apply a migration in part."""
        run(con, migration.up)

    def down(con: duckdb.DuckDBPyConnection, migration: Migration) -> None:
        """Undo a migration in part."""
        run(con, migration.down)

    if share <= 1:
        migrations.apply, migrations.revert = up, down
    with Database.open_existing(path) as database:
        database.migrate(to)
        os.kill(os.getpid(), signal.SIGKILL)


# One function goes through every step: killed at any moment in the newest one, halfway in the others.
@pytest.mark.parametrize(
    ("version", "share"),
    [
        *((SCHEMA_VERSION, share) for share in (0.0, 0.5, 1.0, 2.0)),
        *((older, 0.5) for older in range(2, SCHEMA_VERSION, 2)),
    ],
)
@pytest.mark.parametrize("is_up", [True, False])
def test_migrate_killed_is_all_or_nothing(version: int, is_up: bool, share: float, real_index: Path) -> None:
    """SIGKILL before, within and after the statements, and after the commit: the old schema or the new, all rows."""
    with Database.open_existing(real_index) as database:
        rows = rows_of(database.con)
        database.migrate(version)
        newer = schema_of(database.con)
        database.migrate(version - 1)
        older = schema_of(database.con)
        if not is_up:
            database.migrate(version)
    start, end = (version - 1, version) if is_up else (version, version - 1)
    process = SPAWN.Process(target=migrate_and_die, args=(real_index, end, share))
    process.start()
    process.join()

    with Database.open_existing(real_index) as database:
        reached = database.schema_version
        assert process.exitcode == -signal.SIGKILL
        assert reached == (end if share == 2 else start)
        assert schema_of(database.con) == (newer if reached == version else older)
        database.migrate()
        assert rows_of(database.con) == rows


# --- the commands


def printed(*arguments: Any) -> tuple[int, str, str]:
    """Run the command line; return exit code and both outputs."""
    done = indexer(*arguments)
    return done.returncode, done.stdout, done.stderr


def test_rollback_then_migrate_print_what_they_did(real_index: Path) -> None:
    """Copy, step and version, on standard output."""
    last = known()[-1].label

    back = printed("rollback", "--db", real_index)
    older = printed("status", "--db", real_index)
    forth = printed("migrate", "--db", real_index)
    again = printed("migrate", "--db", real_index)

    assert [code for code, _, _ in (back, older, forth, again)] == [0, 1, 0, 0]
    assert f"undone {last}\n" in back[1]
    assert f"is at schema version {SCHEMA_VERSION - 1}\n" in back[1]
    assert f"python -m indexer migrate --db {real_index}" in older[1]
    assert f"applied {last}\n" in forth[1]
    assert again[1] == f"{real_index} is at schema version {SCHEMA_VERSION}: nothing to do\n"
    assert [str(backup) in back[1] + forth[1] for backup in backups_of(real_index)] == [True, True]


def test_migrate_to_stops_there_and_never_goes_back(real_index: Path) -> None:
    """`--to` is for going up step by step; going back is said in so many words."""
    refused = printed("migrate", "--to", 1, "--db", real_index)
    unknown = printed("migrate", "--to", SCHEMA_VERSION + 1, "--db", real_index)
    set_back(real_index)
    first = printed("migrate", "--to", 1, "--db", real_index)

    assert (refused[0], unknown[0], first[0]) == (2, 2, 0)
    assert "python -m indexer rollback" in refused[2]
    assert "is at schema version 1: nothing to do" in first[1]


def test_rollback_first_version_has_nothing_before_it(real_index: Path) -> None:
    """Exit code 1, and the index stays."""
    set_back(real_index)

    code, _, message = printed("rollback", "--db", real_index)

    assert (code, "nothing to roll back" in message, backups_of(real_index)) == (1, True, [])
