"""The real command line: what it prints, how it ends, and what it leaves behind.

In this process, but for what is about being one: see `tests/commands.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.database import Database
from tests.builders import START_MS, assistant, session, tokens, user, write_json_tree, write_sqlite
from tests.commands import indexer
from tests.conftest import expected
from tests.following import wait_for
from tests.pages.conftest import change

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("bulk", "run", "status", "check", "totals", "backfill", "migrate", "rollback")
DataSet = Callable[[str], Path]


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m indexer` to its end, as a process."""
    command = [sys.executable, "-m", "indexer", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A data folder with one answered prompt."""
    return write_json_tree(
        tmp_path / "opencode", [session(), user(), assistant(usage=tokens(100, 10, total=110), cost=0.25)]
    )


def test_bulk_then_totals_prints_the_truth_of_a_real_set(data_set: DataSet, tmp_path: Path) -> None:
    """The two commands that a script would run."""
    db = tmp_path / "a.duckdb"

    done = process("bulk", "--data", data_set("json"), "--db", db)
    totals = process("totals", "--json", "--db", db)

    assert (done.returncode, totals.returncode) == (0, 0)
    assert done.stdout == ""
    found = json.loads(totals.stdout)
    truth = expected("opencode-1.1-json-A")["served"]["recorded_without_fork_copies"]
    assert found["tokens"]["input"] == truth["input"]
    assert found["cost_recorded_usd"] == "12.20865019"
    assert "114 sessions and 672 messages" in done.stderr
    assert "\x1b" not in done.stderr, "plain log lines where there is no terminal"


def test_totals_for_a_person_names_every_counter_and_model(storage: Path, tmp_path: Path) -> None:
    """Readable without JSON."""
    indexer("bulk", "--data", storage, "--db", tmp_path / "a.duckdb")

    found = indexer("totals", "--db", tmp_path / "a.duckdb")

    assert "recorded cost  $0.25" in found.stdout
    for word in ("input", "output", "reasoning", "cache_read", "cache_write", "acme/nova"):
        assert word in found.stdout


def test_totals_first_pass_not_ended_says_so(storage: Path, tmp_path: Path) -> None:
    """Beside them, for a script as well."""
    indexer("bulk", "--data", storage, "--db", tmp_path / "a.duckdb")
    change(tmp_path / "a.duckdb", "UPDATE sync_state SET last_full_pass_at = NULL")

    found = indexer("totals", "--db", tmp_path / "a.duckdb", "--json")

    assert found.stderr == "The first pass has not ended: every number here is too low.\n"
    assert json.loads(found.stdout)["sessions"] == 1


def test_status_tells_phase_content_and_sources(storage: Path, tmp_path: Path) -> None:
    """Both ways of printing."""
    db = tmp_path / "a.duckdb"
    indexer("bulk", "--data", storage, "--db", db)

    for_a_person = indexer("status", "--db", db)
    for_a_script = json.loads(indexer("status", "--json", "--db", db).stdout)

    assert "stopped since" in for_a_person.stdout
    assert "1 sessions, 2 messages" in for_a_person.stdout
    assert for_a_script["phase"] == "stopped"
    assert for_a_script["sources"][0]["kind"] == "json_tree"
    assert for_a_script["last_full_pass_at"].endswith("Z")


def test_status_lists_a_source_that_could_not_be_read(storage: Path, tmp_path: Path) -> None:
    """What is missing from the totals is said, and the exit code tells it to scripts; the rest is there."""
    (storage / "opencode.db").write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)

    done = indexer("bulk", "--data", storage, "--db", tmp_path / "a.duckdb")
    found = indexer("status", "--db", tmp_path / "a.duckdb")

    assert done.returncode == 1
    assert "file is not a database" in done.stderr
    assert "unreadable" in found.stdout
    assert "file is not a database" in found.stdout
    assert json.loads(indexer("totals", "--json", "--db", tmp_path / "a.duckdb").stdout)["messages"] == 2


def test_bulk_database_of_another_program_names_what_was_found(tmp_path: Path) -> None:
    """Never an empty report."""
    data_dir = write_sqlite(tmp_path / "opencode", [])
    import sqlite3

    with sqlite3.connect(data_dir / "opencode.db") as connection:
        connection.execute("ALTER TABLE part RENAME TO piece")
    connection.close()

    done = indexer("bulk", "--data", data_dir, "--db", tmp_path / "a.duckdb")

    assert done.returncode == 1
    assert "no table 'part'" in done.stderr
    assert "piece" in done.stderr


def test_bulk_no_opencode_data_says_where_it_looked(tmp_path: Path) -> None:
    """And leaves no index behind."""
    done = indexer("bulk", "--data", tmp_path / "nowhere", "--db", tmp_path / "a.duckdb")

    assert done.returncode == 1
    assert str(tmp_path / "nowhere") in done.stderr
    assert "--data" in done.stderr
    assert not (tmp_path / "a.duckdb").exists()


def test_bulk_data_folder_gone_keeps_its_rows_and_says_so(storage: Path, tmp_path: Path) -> None:
    """As where a disk is not mounted: `status` tells of it from then on, and a running indexer would go on with it."""
    db = tmp_path / "a.duckdb"
    indexer("bulk", "--data", storage, "--db", db)
    shutil.rmtree(storage)
    storage.mkdir()  # of a mounted disk it is there, and empty

    done = indexer("bulk", "--data", storage, "--db", db)
    elsewhere = indexer("bulk", "--data", tmp_path / "nowhere", "--db", db)

    found = status(db)
    assert (done.returncode, elsewhere.returncode) == (1, 1)
    assert f"No OpenCode data in {storage}" in done.stderr
    assert "Its rows stay" in done.stderr
    assert "Its rows stay" not in elsewhere.stderr, "never read from there: most likely a wrong name"
    assert found["messages"] == 2
    assert "'state': 'unreadable'" in str(found["sources"])


@pytest.mark.parametrize("command", ["bulk", "run", "status", "check", "totals"])
def test_commands_settings_that_cannot_be_used_are_named(command: str, tmp_path: Path) -> None:
    """In plain words, and nothing is begun."""
    (tmp_path / "settings.toml").write_text('first_weekday = "mon"', encoding="utf-8")

    done = indexer(command, env={"ANALYTICS_CONFIG": str(tmp_path / "settings.toml"), "ANALYTICS_DB": ""})

    assert done.returncode == 2
    assert "settings.toml: first_weekday = \"mon\" must be 'monday'" in done.stderr
    assert "Traceback" not in done.stderr


def test_bulk_default_folders_come_from_the_environment(storage: Path, tmp_path: Path) -> None:
    """As OpenCode itself finds its data."""
    home = {"XDG_DATA_HOME": str(storage.parent), "OPENCODE_DATA_DIR": "", "ANALYTICS_DB": ""}

    done = indexer("bulk", env=home)

    assert done.returncode == 0
    assert (storage.parent / "opencode-analytics" / "analytics.duckdb").is_symlink()


def test_bulk_several_folders_are_one_history(storage: Path, tmp_path: Path) -> None:
    """--data may be given again."""
    other = write_json_tree(tmp_path / "other", [session("ses_9"), assistant("msg_9", "ses_9", created=START_MS + 7)])

    indexer("bulk", "--data", storage, "--data", other, "--db", tmp_path / "a.duckdb")

    assert json.loads(indexer("totals", "--json", "--db", tmp_path / "a.duckdb").stdout)["sessions"] == 2


def test_totals_without_an_index_says_how_to_build_it(tmp_path: Path) -> None:
    """Exit code 1 and the command."""
    found = indexer("totals", "--db", tmp_path / "none.duckdb")

    assert found.returncode == 1
    assert "python -m indexer bulk" in found.stderr


def test_bulk_while_another_indexer_runs_ends_with_3(storage: Path, tmp_path: Path) -> None:
    """One indexer per index; the message names the other one."""
    with Database.open(tmp_path / "a.duckdb"):
        done = process("bulk", "--data", storage, "--db", tmp_path / "a.duckdb")

    assert done.returncode == 3
    assert str(os.getpid()) in done.stderr


@pytest.mark.parametrize(
    "arguments", [("bulk", "--no-such-option"), ("no-such-command",), ("bulk", "--data", ""), ("totals", "--db", "")]
)
def test_command_line_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    """The exit code of wrong usage everywhere."""
    done = indexer(*arguments)

    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_help_lists_every_command_and_the_exit_codes() -> None:
    """What there is, and what scripts go by."""
    overview = indexer("--help")

    assert "Exit codes" in overview.stdout
    assert [command for command in COMMANDS if command not in overview.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_command(command: str) -> None:
    """The help names the default of what it takes."""
    details = indexer(command, "--help")

    assert "ANALYTICS_DB" in details.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_stays_until_it_is_stopped(number: signal.Signals, storage: Path, tmp_path: Path) -> None:
    """Bulk, then following; Ctrl-C and SIGTERM end it in order."""
    db = tmp_path / "a.duckdb"
    command = [sys.executable, "-m", "indexer", "run", "--data", str(storage), "--db", str(db)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "stop with Ctrl-C" in line:
            break
    wait_for(lambda: status(db)["phase"] == "real-time", "the phase")
    while_running = status(db)

    process.send_signal(number)

    assert process.wait(timeout=60) == 0
    process.stderr.close()
    assert while_running["messages"] == 2
    assert status(db)["phase"] == "stopped"


def status(db: Path) -> dict[str, object]:
    """Return what `status` says."""
    found: dict[str, object] = json.loads(indexer("status", "--json", "--db", db).stdout)
    return found


def test_totals_file_that_no_indexer_made_says_to_move_it(tmp_path: Path) -> None:
    """The indexer would refuse it, too: to start that does not help."""
    file = tmp_path / "notes.duckdb"
    file.write_text("not an index")

    done = indexer("totals", "--db", file)

    assert done.returncode == 1
    assert "move it away, or choose another file with --db" in done.stderr
    assert file.read_text() == "not an index"
