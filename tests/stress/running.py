"""Runs the indexer as a child process, and reads what is published all the time."""

import compileall
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.exceptions import IndexMissing, IndexUnavailable
from indexer.invariants import DERIVED, broken
from indexer.published import IndexReader
from tests.stress import child

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 120.0


def compile_code() -> None:
    """Write the bytecode that an installation has from its first start on, also where Python was told to write none."""
    for package in ("indexer", "pages", "queries"):
        if not compileall.compile_dir(ROOT / package, quiet=1):
            raise RuntimeError(f"{ROOT / package} cannot be compiled")


@dataclass(frozen=True, slots=True)
class Target:
    """When to kill.

    Attributes:
        letter: What the child says before.
        count: How often it says it first.
        delay_s: How long after.
        is_large: Every pass is done as a large one.
    """

    letter: str
    count: int = 1
    delay_s: float = 0.0
    is_large: bool = False


class Child:
    """One run of the indexer that tells what it does."""

    def __init__(
        self, index: Path, folders: Sequence[Path], log: Path, target: Target | None = None, *, is_armed: bool = True
    ) -> None:
        """Start it.

        Args:
            index: What readers open.
            folders: OpenCode data folders.
            log: Takes what it prints.
            target: When to kill it. None: not before `end`.
            is_armed: Whether the target counts from the beginning, not only from `arm` on.
        """
        self.said: list[str] = []
        self._is_armed = is_armed
        self._target = target
        self._log = log
        self._news = threading.Condition()
        ours, theirs = os.pipe()
        data = [argument for folder in folders for argument in ("--data", str(folder))]
        command = [sys.executable, "-m", "tests.stress.child", "run", "--db", str(index), *data]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                pass_fds=[theirs],
                start_new_session=True,  # as the launcher starts it: Linux shares the processor out by session
                env=os.environ | {child.PIPE: str(theirs)} | self._settings(target),
            )
        os.close(theirs)
        self._thread = threading.Thread(target=self._listen, args=(ours,), name="listener")
        self._thread.start()

    def wait_for_following(self, patience_s: float = _PATIENCE_S) -> None:
        """Wait until the full pass is over, and that is published."""
        self._wait(lambda: child.SWAPPED in "".join(self.said).partition(child.REAL_TIME)[2], patience_s)

    def arm(self) -> None:
        """Begin to look out for the target."""
        self._is_armed = True

    def wait_for_end(self) -> None:
        """Wait until it was killed as planned."""
        self._wait(lambda: self.process.poll() is not None)
        self._thread.join()

    def end(self) -> None:
        """Kill it, whatever it does, if it is alive."""
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def wait_for_helpers(self) -> None:
        """Wait until the processes that it started have ended, too: they have to when it is killed."""
        deadline = time.monotonic() + _PATIENCE_S
        while helpers := _processes_of(self.process.pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {helpers} outlived the indexer that started them; see {self._log}")
            time.sleep(0.02)

    @staticmethod
    def _settings(target: Target | None) -> dict[str, str]:
        """Ask the child to do passes as large ones, and to wait where what follows takes too short to hit by chance."""
        if target is None:
            return {}
        hold = {child.HOLD: target.letter} if target.letter in child.IN_PUBLICATION else {}
        return hold | ({child.LARGE: "1"} if target.is_large else {})

    def _listen(self, pipe: int) -> None:
        """Take in what it says, and kill it when the target is reached. Ends with the child."""
        count = 0
        with os.fdopen(pipe, "rb", buffering=0) as letters:
            while told := letters.read(64):
                for letter in told.decode():
                    if self._is_armed and self._target and letter == self._target.letter:
                        count += 1
                        if count == self._target.count:
                            self._kill_in(self._target.delay_s)
                    with self._news:
                        self.said.append(letter)
                        self._news.notify_all()

    def _kill_in(self, delay_s: float) -> None:
        """Kill it at once, or in a moment."""
        if delay_s:
            threading.Timer(delay_s, self.process.kill).start()
        else:
            self.process.kill()

    def _wait(self, is_met: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
        """Wait for something that it says or does."""
        deadline = time.monotonic() + patience_s
        while not is_met():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it said {''.join(self.said[-50:])}; see {self._log}")
            with self._news:
                self._news.wait(0.05)
            if self.process.poll() is not None and self._target is None and not is_met():
                raise RuntimeError(f"the indexer ended by itself: see {self._log}")


def _processes_of(session: int) -> list[int]:
    """List the living processes of a session, as Linux tells of them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = file.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(file.parent.name))
    return found


class Watcher:
    """Opens what is published again and again in a thread of its own, and checks that it balances.

    Attributes:
        opened: How many revisions were opened.
        failures: What went wrong.
    """

    def __init__(self, index: Path) -> None:
        """Name the index."""
        self.opened = 0
        self.failures: list[str] = []
        self.is_published = False
        self._index = index
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def __enter__(self) -> "Watcher":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> int:
        """Open what is published once, as a new reader does; return its revision, -1 if nothing is published yet."""
        reader = IndexReader(self._index)
        try:
            return self._look(reader)
        finally:
            reader.close()

    def _look(self, reader: IndexReader) -> int:
        """Read the newest revision, and note what is wrong with it."""
        try:
            snapshot = reader.refresh()
        except IndexMissing:
            if self.is_published:
                self.failures.append("what was published is gone")
            return -1
        except IndexUnavailable as error:
            self.failures.append(str(error))
            return -1
        self.is_published = True
        con = snapshot.cursor()
        try:
            self.failures += [f"revision {snapshot.revision}: {text}" for text in broken(con, DERIVED)]
        finally:
            con.close()
        self.opened += 1
        return snapshot.revision

    def _run(self) -> None:
        """Look until stopped; a revision never goes back."""
        reader, newest = IndexReader(self._index), -1
        try:
            while not self._stopping.is_set():
                revision = self._look(reader)
                if 0 <= revision < newest:
                    self.failures.append(f"revision {revision} after {newest}")
                newest = max(newest, revision)
                self._stopping.wait(0.02)
        finally:
            reader.close()
