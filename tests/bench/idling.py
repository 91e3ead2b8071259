"""What following costs while nothing happens: the stress part of the same name, on an index that is there."""

from collections.abc import Iterator

from tests.bench.figures import Figure, Target
from tests.bench.storages import Bed
from tests.stress import idle as stress

IDLE_S = 120.0
SHARE = Target(1.0)
SLEEPER = "a process that only wakes up once a second"


def idle(bed: Bed) -> Iterator[Figure]:
    """Measure two minutes after it has settled; of a small storage a comparison of everything falls into them."""
    found = stress.run(bed.index.parent, [bed.data], IDLE_S)
    name = f"of a core, over {IDLE_S:.0f} s"
    sleeper = 100 * found.sleeper_share
    yield Figure("idle", name, *bed.names, 100 * found.share, "%", floor=sleeper, floor_name=SLEEPER, target=SHARE)
    yield Figure("idle", "memory at the end", *bed.names, found.resident_bytes / 1e6, "MB")
