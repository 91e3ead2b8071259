"""Measures what the indexer costs while nothing happens: CPU, and the bytes that it reads."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.activity import read_activity
from tests.stress.running import Child

_LOOK_S = 5.0
_QUIET_LOOKS = 9  # after the full pass: numbers are recorded, the index is compacted
_QUIET_S = 0.25  # of CPU in one look
_SETTLE_S = 600.0  # at most
_SLEEPER = "import time\nwhile True: time.sleep(1)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What idling costs.

    Attributes:
        settled_s: CPU time after the full pass, before it was quiet: the index is compacted.
        seconds: How long it was measured.
        cpu_s: User and system time in it.
        sleeper_s: The same of a Python process that does nothing but wake up once a second: on a shared virtual machine
            that alone can cost a hundredth of a core.
        read_bytes: By read calls: of files, folders and the database.
        comparisons: Comparisons of everything in that time.
        comparison_ms: How long the last one took.
        resident_bytes: Memory at the end.
        files: In the storage; so their bytes.
        file_bytes: Of all of them.
    """

    settled_s: float
    seconds: float
    cpu_s: float
    sleeper_s: float
    read_bytes: int
    comparisons: int
    comparison_ms: int | None
    resident_bytes: int
    files: int
    file_bytes: int

    @property
    def share(self) -> float:
        """Share of one core."""
        return self.cpu_s / self.seconds

    @property
    def sleeper_share(self) -> float:
        """Share of one core that the sleeper took."""
        return self.sleeper_s / self.seconds


def run(folder: Path, data_dirs: Sequence[Path], seconds: float) -> Outcome:
    """Let the indexer idle, and measure.

    Args:
        folder: For the index; an empty one.
        data_dirs: Data folders that nobody writes to.
        seconds: How long.

    Returns:
        What it cost.
    """
    index = folder / "index.duckdb"
    indexer = Child(index, data_dirs, folder / "indexer.log")
    sleeper = subprocess.Popen([sys.executable, "-c", _SLEEPER])
    try:
        indexer.wait_for_following(patience_s=3_600)
        pid = indexer.process.pid
        settled_s = settle(pid)
        started, before_s, read_bytes = time.monotonic(), cpu_s(pid), _read_bytes(pid)
        sleeper_s = cpu_s(sleeper.pid)
        planned: set[int] = set()
        while (left_s := started + seconds - time.monotonic()) > 0:
            activity = read_activity(index)
            if activity and activity.next_comparison_at_ms:
                planned.add(activity.next_comparison_at_ms)
            time.sleep(min(left_s, _LOOK_S))
        sizes = [path.stat().st_size for folder in data_dirs for path in folder.rglob("*") if path.is_file()]
        return Outcome(
            settled_s=settled_s,
            seconds=time.monotonic() - started,
            cpu_s=cpu_s(pid) - before_s,
            sleeper_s=cpu_s(sleeper.pid) - sleeper_s,
            read_bytes=_read_bytes(pid) - read_bytes,
            comparisons=len(planned) - 1,
            comparison_ms=activity.last_comparison_ms if activity else None,
            resident_bytes=_resident_bytes(pid),
            files=len(sizes),
            file_bytes=sum(sizes),
        )
    finally:
        sleeper.kill()
        sleeper.wait()
        indexer.end()


def settle(pid: int, looks: int = _QUIET_LOOKS) -> float:
    """Wait until a process has had nothing to do for a while.

    Args:
        pid: The process.
        looks: How often in a row it must have been found quiet.

    Returns:
        Its CPU time until then.
    """
    began = last = cpu_s(pid)
    quiet, deadline = 0, time.monotonic() + _SETTLE_S
    while quiet < looks and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        now = cpu_s(pid)
        quiet = quiet + 1 if now - last < _QUIET_S else 0
        last = now
    return last - began


def cpu_s(pid: int) -> float:
    """Return user and system time of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_bytes(pid: int) -> int:
    """Return what a process got from read calls so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def _resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def report(outcome: Outcome) -> str:
    """Say what was measured, in a few lines."""
    return (
        f"idle for {outcome.seconds:.0f} s on {outcome.files:,} files of {outcome.file_bytes / 1e6:,.0f} MB: "
        f"{outcome.cpu_s:.2f} s of CPU, {100 * outcome.share:.2f} % of a core (a process that only wakes up once a "
        f"second: {100 * outcome.sleeper_share:.2f} %), {outcome.comparisons} comparisons "
        f"(the last took {outcome.comparison_ms} ms), {outcome.read_bytes / 1e6:.1f} MB read by system calls, "
        f"{outcome.resident_bytes / 1e6:.0f} MB of memory; before it was quiet: {outcome.settled_s:.1f} s of CPU"
    )
