"""What is written about sessions is for its owner alone, also where a user lets others read all new files."""

import os
import queue
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import launcher
from indexer.database import Database
from indexer.index_files import private_folder
from indexer.published import IndexReader, hold
from tests.builders import assistant, part, project, session, user, write_json_tree

ROOT = Path(__file__).resolve().parents[2]
DOCS = (project(), session(), user(), assistant(cost=1), part("prt_1", "text", text="secret"))


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    """Let others read and write every new file, but where the program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index that does not exist yet, nor does its folder."""
    return tmp_path / "share" / "analytics" / "index.duckdb"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A small OpenCode storage."""
    return write_json_tree(tmp_path / "opencode", DOCS)


def _run(*arguments: object) -> None:
    """Run the indexer's command line."""
    command = [sys.executable, "-m", "indexer", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)


def _open_to_others(folder: Path) -> dict[str, str]:
    """Return name and mode of everything in a folder, itself too, that others may read, write or enter."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in modes.items() if mode & 0o077}


def test_bulk_leaves_nothing_for_others(index: Path, data_dir: Path) -> None:
    """The working file, what is published, locks, what is going on, and spend that lost its source."""
    _run("bulk", "--data", data_dir, "--db", index)
    shutil.rmtree(data_dir / "storage" / "message")
    _run("bulk", "--data", data_dir, "--db", index)

    names = {path.name for path in index.parent.rglob("*")}
    assert names >= {"index.duckdb.kept-spend", "work.duckdb", "indexer.lock", "indexer.pid", "activity.json"}
    assert _open_to_others(index.parent) == {}


def test_open_what_is_set_aside_is_not_for_others(index: Path) -> None:
    """A damaged working file and a copy that was put back leave the private folder; nothing of ours opened them."""
    with Database.open(index):
        pass
    work = private_folder(index) / "work.duckdb"
    shutil.copyfile(work, index)
    with Database.open(index):
        pass
    work.write_bytes(b"damaged")
    with Database.open(index):
        pass

    kept = {
        path.name.split("-")[0]: oct(stat.S_IMODE(path.stat().st_mode)) for path in index.parent.glob("*.duckdb.b*")
    }
    assert kept == {"index.duckdb.bak": "0o600", "index.duckdb.broken": "0o600"}


def test_open_new_folder_of_the_index_is_not_for_others(index: Path) -> None:
    """Who may write there could replace the index."""
    with Database.open(index):
        assert oct(stat.S_IMODE(index.parent.stat().st_mode)) == "0o700"


def test_reader_of_a_copied_index_spills_where_nobody_looks(index: Path, data_dir: Path, tmp_path: Path) -> None:
    """A copy has no private folder beside it, and DuckDB's temporary files are for everyone."""
    _run("bulk", "--data", data_dir, "--db", index)
    (tmp_path / "held").mkdir(mode=0o700)
    reader = IndexReader(hold(index, tmp_path / "held"))

    with reader.connection() as con:
        setting = con.execute("SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'").fetchone()
    reader.close()

    assert setting is not None
    assert oct(stat.S_IMODE(Path(setting[0]).parent.stat().st_mode)) == "0o700"


def test_child_start_both_processes_write_for_their_owner(tmp_path: Path) -> None:
    """What the launcher starts inherits no mask that lets others read."""
    file = tmp_path / "made"
    child = launcher.Child.start("test", [sys.executable, "-c", f"open({str(file)!r}, 'w')"], {}, queue.SimpleQueue())

    child.wait_for_end()

    assert oct(stat.S_IMODE(file.stat().st_mode)) == "0o600"
