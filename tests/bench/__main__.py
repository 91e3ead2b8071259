"""Measure the whole program against bare work in the same run: `python -m tests.bench --help`.

On a machine that does nothing else. Linux only: times and memory of processes are read from /proc.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests import corpus
from tests.bench import figures, machine, report
from tests.bench.changes import change, live
from tests.bench.computing import compute
from tests.bench.figures import Figure, Report
from tests.bench.idling import idle
from tests.bench.loading import ensure_index, load, restart
from tests.bench.paging import pages, statements
from tests.bench.storages import JSON, SQLITE, Bed, prepare
from tests.stress.running import ROOT

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
# Pages read the index, whatever it was made of: one storage will do.
_OF_INDEX = {"pages", "statements"}
_SETTINGS = ("ANALYTICS_", "OPENCODE_", "COVERAGE_")


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for, and keep it.

    Returns:
        Exit code: 1 if a target is missed.
    """
    options = _parse(arguments)
    with _kept_or_temporary(options.folder) as folder:
        _leave_out_settings(folder)
        result = figures.read(options.json, machine.describe())
        measured: list[Figure] = []
        for size in options.sizes:
            for number, storage in enumerate(options.generations):
                parts = [part for part in options.parts if number == 0 or part not in _OF_INDEX]
                for figure in _measure(folder, size, storage, parts):
                    measured.append(figure)
                    _keep(result.merged(measured), options.json, options.markdown)  # what is done is not lost
    judged = [figure.is_met for figure in measured if figure.is_met is not None]
    print(f"{judged.count(True)} of {len(judged)} figures with a target meet it; {options.markdown}", flush=True)
    return 0 if all(judged) else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    both, quick = [SQLITE, JSON], [part for part in PARTS if part != "idle"]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sizes", type=_names(corpus.SIZES), default=["S"], help="of S,M,L; default: S")
    parser.add_argument("--generations", type=_names(both), default=both, help="default: sqlite,json")
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


def _measure(folder: Path, size: str, storage: str, parts: Sequence[str]) -> Iterator[Figure]:
    """Measure some parts on one storage."""
    _say(f"{size} {storage}: prepare")
    bed = prepare(folder, size, storage)
    today = datetime.now(UTC).date().isoformat()
    count = 0
    try:
        for part in parts:
            _say(f"{size} {storage}: {part}")
            if part not in ("compute", "load"):
                ensure_index(bed)
            for figure in PARTS[part](bed):
                count = count or (bed.parts() if bed.index.exists() else 0)
                dated = replace(figure, date=today, parts=count)
                print(f"  {dated.subject} {dated.name}: {report.cell(dated)}", flush=True)
                yield dated
    finally:
        shutil.rmtree(bed.folder)


def _keep(result: Report, json: Path, markdown: Path) -> None:
    """Write both files."""
    figures.write(result, json)
    markdown.parent.mkdir(parents=True, exist_ok=True)
    markdown.write_text(report.markdown(result), encoding="utf-8")


def _leave_out_settings(folder: Path) -> None:
    """Let no process read the settings and prices of whoever runs this."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        del os.environ[name]
    for kind in ("CONFIG", "CACHE", "DATA"):
        os.environ[f"XDG_{kind}_HOME"] = str(folder / "work" / "home" / kind.lower())


def _say(text: str) -> None:
    """Print what begins now."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
