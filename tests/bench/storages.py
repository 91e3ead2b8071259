"""The storages that are measured: generated once, copied before anything is written, dropped from the file cache."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from indexer.published import IndexReader
from tests import corpus

JSON, SQLITE = "json", "sqlite"


@dataclass(frozen=True, slots=True)
class Bed:
    """A storage to measure on, with its index.

    Attributes:
        size: A name of `corpus.SIZES`.
        storage: Its generation, `json` or `sqlite`.
        folder: Holds both, and nothing else of value.
    """

    size: str
    storage: str
    folder: Path

    @property
    def names(self) -> tuple[str, str]:
        """Size and storage, as figures have them."""
        return self.size, self.storage

    @property
    def data(self) -> Path:
        """OpenCode's data folder, a copy that may be written to."""
        return self.folder / "opencode"

    @property
    def index(self) -> Path:
        """What readers open."""
        return self.folder / "index" / "index.duckdb"

    @property
    def log(self) -> Path:
        """Takes what the processes print."""
        return self.folder / "processes.log"

    def forget_index(self) -> None:
        """Remove the index."""
        shutil.rmtree(self.index.parent, ignore_errors=True)

    def parts(self) -> int:
        """Count the parts of the index."""
        return int(str(self.ask("SELECT count(*) FROM parts")[0][0]))

    def longest(self) -> str:
        """Name the session with the most parts."""
        sql = "SELECT session_id FROM parts GROUP BY session_id ORDER BY count(*) DESC, session_id LIMIT 1"
        return str(self.ask(sql)[0][0])

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Run a statement on the newest published revision."""
        reader = IndexReader(self.index)
        con = reader.connection()
        try:
            return con.execute(sql).fetchall()
        finally:
            con.close()
            reader.close()


def prepare(folder: Path, size: str, storage: str) -> Bed:
    """Make a storage unless the folder holds it, and copy it.

    Args:
        folder: Keeps generated storages for the next time, as `M-json`; one may be a link to elsewhere.
        size: A name of `corpus.SIZES`.
        storage: `json` or `sqlite`.
    """
    kept = folder / f"{size}-{storage}"
    if not _has_storage(kept):
        corpus.write(corpus.plan_of(size, storage), kept)
    bed = Bed(size, storage, folder / "work" / f"{size}-{storage}")
    shutil.rmtree(bed.folder, ignore_errors=True)
    shutil.copytree(kept, bed.data)
    os.sync()
    return bed


def drop_from_cache(data_dir: Path) -> None:
    """Take the contents of all files out of the system's file cache; names and inodes stay in it."""
    os.sync()  # only what is on the disk can be dropped
    for folder, _, names in os.walk(data_dir):
        for name in names:
            file = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def bytes_of(data_dir: Path) -> int:
    """Add up the sizes of all files."""
    return sum(os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(data_dir) for name in names)


def _has_storage(data_dir: Path) -> bool:
    """Tell whether a folder holds OpenCode's data."""
    return (data_dir / "storage").is_dir() or (data_dir / "opencode.db").is_file()
