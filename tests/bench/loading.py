"""The first full pass against bare reading, and a restart with nothing changed."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from indexer.published import IndexReader
from tests.bench import floors
from tests.bench.figures import Figure, Target
from tests.bench.processes import INDEXER, Following, output_of, run
from tests.bench.storages import JSON, Bed, bytes_of, drop_from_cache

COLD, WARM = "cold", "warm"
PEAK_MB = 600.0
PEAK = Target(PEAK_MB, sizes=("M", "L"))
# A load of the tree that keeps its memory small may take longer.
TREE_RATIO, SMALL_TREE_RATIO, DATABASE_RATIO = 4.0, 6.0, 10.0
RESTART_S = {JSON: Target(2.0, sizes=("M",)), "sqlite": Target(0.3)}
RESTARTS = 5
_FLOOR_NAMES = {floors.READ: "read everything", floors.PARSE: "read and parse everything"}
ROUNDS = {"S": 3, "M": 3, "L": 1}


def load(bed: Bed) -> Iterator[Figure]:
    """Measure the first full pass, leaving its index behind.

    Floors and passes alternate, each in a process of its own; cold is what follows a drop of the file cache.
    """
    taken: dict[str, list[float]] = {}
    peaks, from_disk = [], []
    for _ in range(ROUNDS[bed.size]):
        for state in (COLD, WARM):
            for kind in (floors.READ, floors.PARSE):
                seconds, disk_bytes = _floor(bed, kind, state)
                taken.setdefault(f"{kind}, {state}", []).append(seconds)
                if (kind, state) == (floors.READ, COLD):
                    from_disk.append(disk_bytes)
            bed.forget_index()
            _prepare_cache(bed.data, state)
            bed.index.parent.mkdir(parents=True)
            cost = run([*INDEXER, "bulk", "--data", bed.data, "--db", bed.index], bed.log)
            taken.setdefault(f"load, {state}", []).append(cost.seconds)
            peaks.append(cost.peak_mb)
    rounds, took = ROUNDS[bed.size], {name: median(seconds) for name, seconds in taken.items()}
    target = Target(_most_ratio(bed.storage, max(peaks)), is_ratio=True, sizes=("M",))
    for state in (COLD, WARM):
        for kind, promised in ((floors.READ, None), (floors.PARSE, target)):
            yield Figure(
                *("load", f"first index, {state}", *bed.names, took[f"load, {state}"], "s", rounds),
                floor=took[f"{kind}, {state}"],
                floor_name=_FLOOR_NAMES[kind],
                target=promised,
            )
    megabytes = bytes_of(bed.data) / 1e6
    yield Figure("load", "most memory (VmHWM)", *bed.names, max(peaks), "MB", len(peaks), target=PEAK)
    index_mb = _index_mb(bed)
    yield Figure("load", "index", *bed.names, index_mb, "MB", floor=megabytes, floor_name="bytes of the storage")
    share = 100 * median(from_disk) / 1e6 / megabytes
    yield Figure("load", "storage that the cold floor fetched from the disk", *bed.names, share, "%", rounds)


def restart(bed: Bed) -> Iterator[Figure]:
    """Measure how long `run` takes to follow an index that is up to date."""
    bare, taken = [], []
    for _ in range(RESTARTS):
        loads = "import indexer.__main__, indexer.service, indexer.live"  # what `run` loads
        bare.append(run([sys.executable, "-c", loads], bed.log).seconds)
        with Following(bed) as indexer:
            taken.append(indexer.ready_s)
    yield Figure(
        *("restart", "nothing changed, until real-time is published", *bed.names, median(taken), "s", RESTARTS),
        floor=median(bare),
        floor_name="start of Python and imports",
        target=RESTART_S[bed.storage],
    )


def ensure_index(bed: Bed) -> None:
    """Index the storage unless that was done."""
    if not bed.index.exists():
        shutil.rmtree(bed.index.parent, ignore_errors=True)
        bed.index.parent.mkdir(parents=True)
        run([*INDEXER, "bulk", "--data", bed.data, "--db", bed.index], bed.log)


def _floor(bed: Bed, kind: str, state: str) -> tuple[float, int]:
    """Time bare work; return seconds, and the bytes that came from the disk."""
    _prepare_cache(bed.data, state)
    said = json.loads(output_of([sys.executable, "-m", "tests.bench.floors", kind, bed.data]))
    return said["seconds"], said["disk_bytes"]


def _prepare_cache(data_dir: Path, state: str) -> None:
    """Drop the storage from the file cache; what is warm was read just before."""
    if state == COLD:
        drop_from_cache(data_dir)


def _most_ratio(storage: str, peak_mb: float) -> float:
    """Return how many times the floor a load may take."""
    if storage != JSON:
        return DATABASE_RATIO
    return SMALL_TREE_RATIO if peak_mb < PEAK_MB else TREE_RATIO


def _index_mb(bed: Bed) -> float:
    """Return the size of the published index."""
    reader = IndexReader(bed.index)
    try:
        return reader.sizes()[0] / 1e6
    finally:
        reader.close()
