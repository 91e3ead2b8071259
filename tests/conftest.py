"""Fixtures shared by all tests: the real data sets, and an index of any storage."""

import fcntl
import json
import os
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer import bulk_loader, sample
from indexer.index_files import private_folder
from indexer.published import IndexReader
from tests.builders import Doc, write_json_tree
from tests.indexing import index

DATA = Path(__file__).parent / "data"

# every folder of the real data sets that holds storage: name -> archive and folder inside it
DATA_SETS = {
    "json": ("opencode-1.1-json-A", "opencode"),
    "sqlite": ("opencode-1.18-sqlite-A", "opencode"),
    "live-wal": ("opencode-1.18-live-wal-A", "opencode"),
    "migrated-before": ("opencode-migrated-both-A", "before/opencode"),
    "migrated-intermediate": ("opencode-migrated-both-A", "intermediate"),
    "migrated-after": ("opencode-migrated-both-A", "after/opencode"),
}

# one of each kind: migrated-before holds just what json does, and migrated-intermediate the same as rows
KINDS_OF_SETS = ("json", "sqlite", "migrated-after", "live-wal")

# Stories of whole processes and pages at work. They lead through modules whose own tests say what is covered.
STORIES = ("tests/browser/", "tests/indexer/test_kills.py", "tests/test_race_condition.py")
LONGEST = (*STORIES, "tests/indexer/test_following.py")  # begun first, so that nobody waits for one that began last

MOST_CORES = 7  # more processes would want more memory than a small machine has

_measured: set[str] = set()  # tests of which a case was run

Once = Callable[[str, Callable[[Path], object]], Path]
BuildIndex = Callable[..., Path]
OwnIndex = Callable[..., Path]
OpenIndex = Callable[..., duckdb.DuckDBPyConnection]


def pytest_xdist_auto_num_workers() -> int:
    """Say in how many processes `make test` runs tests: one more than cores, as tests wait for pages and processes."""
    return min(os.cpu_count() or 1, MOST_CORES) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Measure no process that a test starts: of the processes that `coverage` follows, only those that run tests."""
    if config.getoption("dist", "no") == "no":  # they start no others
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the first case of each test only, and no story: measuring costs up to half as much as a test.

    Other cases run the same lines. What `make test` reports is what is covered at least.
    """
    name, here, in_threads = item.nodeid.partition("[")[0], sys.gettrace(), threading.gettrace()
    if name not in _measured and not name.startswith(STORIES):
        _measured.add(name)
        return (yield)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, each as it is."""
    items.sort(
        key=lambda item: next((at for at, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))
    )


def expected(archive: str) -> dict[str, Any]:
    """Read the independent truth of an archive."""
    truth: dict[str, Any] = json.loads((DATA / f"{archive}.expected.json").read_text(encoding="utf-8"))
    return truth


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test, nor a process that it starts, read the settings of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in ("ANALYTICS_CONFIG", "OPENCODE_CONFIG", "ANALYTICS_TIME_ZONE", "ANALYTICS_FIRST_WEEKDAY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a folder by a function, once for all processes of this run; both by name. Never write to it afterwards."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # has a folder of its own in that of all
        root = root.parent

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        """Return the folder."""
        folder = root / f"once-{name}"
        with (root / f"once-{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.fstat(lock.fileno()).st_size:
                folder.mkdir()
                fill(folder)
                lock.write("filled")
        return folder

    return filled


@pytest.fixture(scope="session")
def data_set(once: Once) -> Callable[[str], Path]:
    """Unpack a real data set (a name in `DATA_SETS`) and return its data folder. Never write to it."""

    def unpack(name: str) -> Path:
        """Return the data folder of a set."""
        archive, folder = DATA_SETS[name]

        def extract(target: Path) -> None:
            """Unpack the archive."""
            with tarfile.open(DATA / f"{archive}.tar.gz") as tar:
                if hasattr(tarfile, "data_filter"):  # not in every 3.11; the archives are our own
                    tar.extraction_filter = tarfile.data_filter
                tar.extractall(target)

        return once(archive, extract) / folder

    return unpack


@pytest.fixture(scope="session")
def real_path(once: Once, data_set: Callable[[str], Path]) -> Callable[[str], Path]:
    """Return the path of the index of a real data set. Never write to it."""

    def path_of(name: str) -> Path:
        """Index the set unless that was done before."""
        return once(f"index-{name}", lambda folder: index(folder / "index.duckdb", data_set(name))) / "index.duckdb"

    return path_of


@pytest.fixture(scope="session")
def priced_path(once: Once, data_set: Callable[[str], Path]) -> Callable[[str], Path]:
    """Return the path of the index of a real data set, with the prices of its models. Never write to it."""

    def path_of(name: str) -> Path:
        """Index the set unless that was done before."""

        def fill(folder: Path) -> None:
            """Index it by OpenCode's configuration of the sample, which names the same models."""
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OPENCODE_CONFIG", str(sample.CONFIGURATION))
                index(folder / "index.duckdb", data_set(name))

        return once(f"priced-{name}", fill) / "index.duckdb"

    return path_of


@pytest.fixture
def own_index(tmp_path: Path, real_path: Callable[[str], Path], no_retries: None) -> OwnIndex:
    """Copy the index of a real data set, for a test that writes to it."""

    def copy(name: str, folder: str = ".") -> Path:
        """Copy what was indexed once, `index.duckdb`, into a folder below the test's, and return the path."""
        made, own = real_path(name), tmp_path / folder / "index.duckdb"
        shutil.copytree(private_folder(made), private_folder(own))
        own.symlink_to(made.readlink())
        return own

    return copy


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no full pass wait, 2.4 s in all, for files that may be being rewritten: nobody rewrites them."""
    monkeypatch.setattr(bulk_loader, "_RETRY_S", 0.0)


@pytest.fixture
def build_index(tmp_path: Path, no_retries: None) -> BuildIndex:
    """Index data folders with the real indexer and return the path of the published index."""

    def build(*data_dirs: Path, name: str = "index.duckdb", is_sample: bool = False) -> Path:
        """Run one full pass over some folders, into a new or an existing index."""
        return index(tmp_path / name, *data_dirs, is_sample=is_sample)

    return build


@pytest.fixture
def open_index(tmp_path: Path, build_index: BuildIndex) -> Iterator[OpenIndex]:
    """Index documents as a JSON tree, or data folders, and return a connection that reads the index."""
    readers: list[IndexReader] = []

    def build(*sources: Doc | Path) -> duckdb.DuckDBPyConnection:
        """Index what is given: documents, or data folders."""
        folders = [source for source in sources if isinstance(source, Path)]
        docs = [source for source in sources if isinstance(source, Doc)]
        if docs:
            folders.append(write_json_tree(tmp_path / "opencode", docs))
        reader = IndexReader(build_index(*folders))
        readers.append(reader)
        return reader.connection()

    yield build
    for reader in readers:
        reader.close()
