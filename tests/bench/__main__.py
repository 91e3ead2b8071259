"""Measure the whole program against bare work in the same run: `python -m tests.bench --help`.

On a machine that does nothing else. Linux only: times and memory of processes are read from /proc.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import duckdb
import playwright.sync_api

from tests import corpus
from tests.bench import figures, machine, report
from tests.bench.changes import change, live
from tests.bench.computing import compute
from tests.bench.figures import Figure, Report
from tests.bench.idling import idle
from tests.bench.loading import ensure_index, load, restart
from tests.bench.paging import pages, statements
from tests.bench.storages import JSON, SQLITE, Bed, prepare
from tests.stress.running import ROOT, compile_code

# In this order: what only reads comes before what writes.
PARTS: dict[str, Callable[[Bed], Iterator[Figure]]] = {
    "compute": compute,
    "load": load,
    "restart": restart,
    "idle": idle,
    "pages": pages,
    "statements": statements,
    "change": change,
    "live": live,
}
_WITHOUT_INDEX = {"compute", "load"}
_OF_INDEX = {"pages", "statements"}
# A tree of a million parts would be 1.2 million files.
GENERATIONS = {"S": [SQLITE, JSON], "M": [SQLITE, JSON], "L": [SQLITE]}
_FAILURES = (RuntimeError, OSError, duckdb.Error, subprocess.SubprocessError, playwright.sync_api.Error)
_SETTINGS = ("ANALYTICS_", "OPENCODE_", "COVERAGE_")


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for, and keep it.

    Returns:
        Exit code: 1 if something could not be measured; a missed target is none.
    """
    options = _parse(arguments)
    result = figures.read(options.json, machine.describe())
    if options.json.is_file() and not result.figures:
        print(f"{options.json} is of another machine or other versions: it is replaced", flush=True)
    compile_code()
    measured: list[Figure] = []
    is_whole = True
    with _kept_or_temporary(options.folder) as folder, _no_settings(folder):
        for size in options.sizes:
            generations = options.generations or GENERATIONS[size]
            for storage in generations:
                # pages read the index, whatever it was made of: one storage will do
                parts = [part for part in options.parts if storage == generations[0] or part not in _OF_INDEX]
                for figure in _measure(folder, size, storage, parts):
                    is_whole &= figure is not None
                    measured += [figure] if figure else []
                    _keep(result.merged(measured), options.json, options.markdown)  # what is done is not lost
    judged = [figure.is_met for figure in measured if figure.is_met is not None]
    print(f"{judged.count(True)} of {len(judged)} figures with a target meet it; {options.markdown}", flush=True)
    return 0 if is_whole else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    quick = [part for part in PARTS if part != "idle"]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", type=_names(corpus.SIZES), default=["S"], help="of S,M,L; default: S")
    parser.add_argument("--generations", type=_names((SQLITE, JSON)), help="default: sqlite,json; of L only sqlite")
    parser.add_argument("--parts", type=_names(PARTS), default=quick, help=f"default: {','.join(quick)}; also idle")
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "benchmarks.json", help="figures are added to it")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs" / "benchmarks.md", help="is made of all in it")
    parser.add_argument("--folder", type=Path, help="keeps generated storages as S-json and so on, for the next time")
    return parser.parse_args(arguments)


@contextmanager
def _kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """Open the folder of the storages."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="opencode-analytics-bench-") as temporary:
        yield Path(temporary)


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Make a reader of names with commas between them."""

    def read(text: str) -> list[str]:
        """Read them, in the order of the known ones."""
        given = text.split(",")
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return [name for name in known if name in given]

    return read


def _measure(folder: Path, size: str, storage: str, parts: Sequence[str]) -> Iterator[Figure | None]:
    """Measure some parts on one storage; None for one that failed: hours of others must not be lost by it."""
    _say(f"{size} {storage}: prepare")
    bed = prepare(folder, size, storage)
    try:
        for part in parts:
            _say(f"{size} {storage}: {part}")
            try:
                yield from _measure_part(bed, part)
            except _FAILURES:
                traceback.print_exc()
                yield None
    finally:
        shutil.rmtree(bed.folder)


def _measure_part(bed: Bed, part: str) -> Iterator[Figure]:
    """Measure one part, on an index that is there unless the part makes it."""
    if part not in _WITHOUT_INDEX:
        ensure_index(bed)
    today, parts = datetime.now(UTC).date().isoformat(), 0
    for figure in PARTS[part](bed):
        parts = parts or (bed.parts() if bed.index.exists() else 0)
        dated = replace(figure, date=today, parts=parts)
        print(f"  {dated.subject} {dated.name}: {report.cell(dated)}", flush=True)
        yield dated


def _keep(result: Report, json: Path, markdown: Path) -> None:
    """Write both files."""
    figures.write(result, json)
    markdown.parent.mkdir(parents=True, exist_ok=True)
    markdown.write_text(report.markdown(result), encoding="utf-8")


@contextmanager
def _no_settings(folder: Path) -> Iterator[None]:
    """Let no process read the settings and prices of whoever runs this."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
            del os.environ[name]
        for kind in ("CONFIG", "CACHE", "DATA"):
            os.environ[f"XDG_{kind}_HOME"] = str(folder / "work" / "home" / kind.lower())
        yield


def _say(text: str) -> None:
    """Print what begins now."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
