"""Runs the indexer's own commands and reads what they cost: time, processor and memory. Linux only."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.bench.storages import Bed
from tests.stress.running import ROOT

INDEXER = (sys.executable, "-m", "indexer")
_FOLLOWS = "following changes"  # how `run` says that the full pass is over
_LOOK_S = 0.02  # between two looks at the memory of a process: what it takes in its last moment may be missed
_LINK_LOOK_S = 0.002
_PATIENCE_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost.

    Attributes:
        seconds: From its start to its end.
        peak_mb: Most memory that was resident (VmHWM), the processes that it started included.
    """

    seconds: float
    peak_mb: float


def run(command: Sequence[str | Path], log: Path) -> Cost:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        log: Takes what it prints.

    Raises:
        RuntimeError: It failed.
    """
    with log.open("ab") as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    ended, peak = select.poll(), 0.0
    descriptor = os.pidfd_open(process.pid)
    try:
        ended.register(descriptor, select.POLLIN)
        while not ended.poll(_LOOK_S * 1_000):
            peak = max(peak, peak_mb(process.pid) + sum(map(peak_mb, _children(process.pid))))
        seconds = time.monotonic() - started
    except BaseException:
        process.kill()  # it would stand in the way of what is measured next
        process.wait()
        raise
    finally:
        os.close(descriptor)
    if process.wait():
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: see {log}")
    return Cost(seconds, peak)


def output_of(command: Sequence[str | Path]) -> str:
    """Run a command and return what it prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def peak_mb(pid: int) -> float:
    """Return the most memory that was ever resident in a process, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # not there, or gone while it was read
        return 0.0
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) / 1_024 if found else 0.0


def _children(pid: int) -> list[int]:
    """List the processes that a process started and that run now; not those that are no program of their own yet."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += [child for child in map(int, task.read_text().split()) if _program(child) != _program(pid)]
    return found


def _program(pid: int) -> bytes:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class Following:
    """`python -m indexer run` as a process, from its start to its end as a context manager.

    Attributes:
        ready_s: From the start of the process until the revision was published that says "real-time".
    """

    def __init__(self, bed: Bed) -> None:
        """Name storage and index."""
        self.ready_s = 0.0
        self._bed = bed
        self._says_ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def __enter__(self) -> "Following":
        """Start it and wait until it follows."""
        command = [*INDEXER, "run", "--data", str(self._bed.data), "--db", str(self._bed.index)]
        started = time.time()
        self._process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        try:
            if not self._says_ready.wait(_PATIENCE_S) or self._process.poll() is not None:
                raise RuntimeError(f"the indexer does not follow: see {self._bed.log}")
            self.ready_s = self._real_time_at() - started
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it as Ctrl-C does."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)

    def _listen(self) -> None:
        """Take in what it prints until it ends."""
        assert self._process is not None and self._process.stderr is not None, "it was not started"
        with self._bed.log.open("a") as log:
            for line in self._process.stderr:
                log.write(line)
                if _FOLLOWS in line:
                    self._says_ready.set()
        self._says_ready.set()  # nobody waits for what has ended

    def _real_time_at(self) -> float:
        """Wait until readers are told; return when the link to that revision was made, seconds since 1970."""
        looked_at = ""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"the indexer ended: see {self._bed.log}")
            link = os.readlink(self._bed.index)
            if link != looked_at:
                looked_at, made = link, self._bed.index.lstat().st_mtime
                is_told = self._bed.ask("SELECT phase FROM sync_state") == [("real-time",)]
                if is_told and os.readlink(self._bed.index) == link:
                    return made
            time.sleep(_LINK_LOOK_S)
        raise TimeoutError("the published index never says real-time")
