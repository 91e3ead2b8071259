"""Indexes that the real indexer makes for tests."""

import tempfile
from functools import cache
from pathlib import Path

from indexer import bulk_loader
from indexer.database import Database
from indexer.index_files import private_folder
from indexer.publish import Publisher

# What the first totals of a large pass tell: all but what follows from parts. As SQL: the same as while it runs.
_OF_PARTS = "calls, failed_calls, unfinished_calls, unfinished_answers"
FIRST_SLICES = f"SELECT * EXCLUDE ({_OF_PARTS}) FROM index_db.main.usage_slices"
KNOW_SPEND_FIRST = f"INSERT INTO first_slices BY NAME {FIRST_SLICES};"


def index(path: Path, *data_dirs: Path, is_sample: bool = False, progress: bulk_loader.Progress | None = None) -> Path:
    """Run one full pass over data folders, into a new or an existing index, and publish it.

    Args:
        path: What readers open.
        data_dirs: What is indexed.
        is_sample: Whether the index holds the bundled sample data.
        progress: Called with the number of messages done and to do.

    Returns:
        The path.
    """
    if not private_folder(path).exists():
        lay_down_empty(path, is_sample)
    with Database.open(path, is_sample=is_sample) as database:
        publisher = Publisher(database)
        bulk_loader.load(database, publisher, bulk_loader.find_sources(data_dirs), progress)
        database.set_phase("stopped", "test")
        publisher.close()
    return path


def lay_down_empty(path: Path, is_sample: bool = False) -> None:
    """Put the working file of an empty index in place, as if the indexer had been stopped right after it made it.

    Laying down the schema is a quarter of the work for the few documents of a test.
    """
    folder = private_folder(path)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "work.duckdb").write_bytes(_empty_file(is_sample))


@cache
def _empty_file(is_sample: bool) -> bytes:
    """Make an empty index and return its working file."""
    with tempfile.TemporaryDirectory() as folder:
        with Database.open(Path(folder) / "index.duckdb", is_sample=is_sample) as database:
            file = database.work_path
        return file.read_bytes()
