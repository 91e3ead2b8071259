"""Bare work that the indexer's is measured against, one kind a process: `python -m tests.bench.floors KIND DATA`.

Prints JSON: seconds without the start of the process, and the bytes that came from the disk.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson

READ, PARSE = "read", "parse"


def files(data_dir: Path) -> list[str]:
    """List every file of a JSON tree; to find them is not part of the floor."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(data_dir / "storage") for name in names]


def read_tree(paths: list[str]) -> None:
    """Read every file."""
    for path in paths:
        with open(path, "rb") as file:
            file.read()


def parse_tree(paths: list[str]) -> None:
    """Read and parse every file."""
    for path in paths:
        with open(path, "rb") as file:
            _parse(file.read())


def read_rows(con: sqlite3.Connection) -> None:
    """Read every row that holds sessions, messages and parts."""
    for table in ("session", "message", "part"):
        for _ in con.execute(f"SELECT * FROM {table}"):
            pass


def parse_rows(con: sqlite3.Connection) -> None:
    """Read the same rows, and parse the document of each."""
    for _ in con.execute("SELECT * FROM session"):  # has columns of its own, no document
        pass
    for table in ("message", "part"):
        for *_, data in con.execute(f"SELECT * FROM {table}"):
            _parse(data)


def _parse(body: str | bytes) -> None:
    """Parse a document. The generated storages hold some with half a surrogate pair, as OpenCode's do."""
    with suppress(orjson.JSONDecodeError):
        orjson.loads(body)


def work(kind: str, data_dir: Path) -> Callable[[], None]:
    """Prepare what is to be timed.

    Args:
        kind: `READ` or `PARSE`.
        data_dir: An OpenCode data folder with a database, else with a JSON tree.
    """
    database = data_dir / "opencode.db"
    if database.is_file():
        con = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        return lambda: (read_rows if kind == READ else parse_rows)(con)
    paths = files(data_dir)
    return lambda: (read_tree if kind == READ else parse_tree)(paths)


def main(kind: str, data_dir: Path) -> None:
    """Time one kind of bare work."""
    run = work(kind, data_dir)
    before, started = _from_disk(), time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "disk_bytes": _from_disk() - before}))


def _from_disk() -> int:
    """Return the bytes that this process had to fetch from the disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
