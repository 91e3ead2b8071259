"""Starts the indexer and the dashboard together, and ends both: what `make run` and `make demo` call."""

import errno
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from indexer import interrupts, sample, settings
from indexer.arguments import Parser, number, path, prepare_streams
from indexer.exceptions import SettingsInvalid

ROOT = Path(__file__).resolve().parents[1]
FIRST_PORT = 8501
USAGE = 2
ANOTHER_INDEXER_RUNS = 3
POLL_S = 0.25
START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
LAST_LINES = 20
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


class State(Enum):
    """What there is at an OpenCode data folder."""

    FOUND = "found"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """One data folder after a first look.

    Attributes:
        detail: What was found, or why it cannot be read; ends a sentence.
    """

    folder: Path
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to index, and where to."""

    folders: Sequence[Path]
    index: Path
    is_sample: bool


@dataclass
class Child:
    """One of the two processes. Its output is passed on, a name before each line, and the last lines are kept."""

    name: str
    process: subprocess.Popen[str]
    is_muted: bool = False
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], ended: "queue.SimpleQueue[Child | None]"
    ) -> "Child":
        """Start a process and follow it.

        Args:
            name: For messages.
            command: Program and arguments.
            environment: On top of this process's own.
            ended: Gets the child once it has ended and its output is read.
        """
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            umask=0o077,  # what they write is for nobody else
            start_new_session=True,  # else Ctrl-C in a terminal reaches all three at once, and they end in any order
        )
        child = cls(name, process)
        threading.Thread(target=child._follow, args=(ended,), daemon=True).start()
        return child

    def wait_for_end(self) -> None:
        """Wait until the process has ended as asked; one that does not listen is killed."""
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            say(f"The {self.name} did not end within {STOP_LIMIT_S:.0f} s and was killed.")
            self.process.kill()
            self.process.wait()

    def _follow(self, ended: "queue.SimpleQueue[Child | None]") -> None:
        """Pass on what the process prints until it ends."""
        assert self.process.stdout is not None  # a pipe was asked for
        for line in self.process.stdout:
            self.last_lines.append(line.rstrip())
            if not self.is_muted:
                say(f"{self.name} | {line.rstrip()}")
        self.process.wait()
        ended.put(self)


def say(text: str) -> None:
    """Print a line at once, also into a pipe.

    Text and end of line in one piece: the threads that pass on what both processes say would write between them. Where
    nobody reads any more, or the disk is full that it is written to, both go on: a process that is not read waits.
    """
    with suppress(OSError):
        print(f"{text}\n", end="", flush=True)


def look(folder: Path) -> Finding:
    """Find out what an OpenCode data folder holds, without reading it all.

    Args:
        folder: It need not exist.

    Returns:
        ABSENT where OpenCode never stored anything. What is there and cannot be opened is UNREADABLE, what is there
        and holds no session and no message is EMPTY; neither is the same as absent.
    """
    try:
        if not folder.exists():
            return Finding(folder, State.ABSENT, "there is no such folder")
        os.listdir(folder)  # raises where looking is forbidden, or where it is no folder
        if not settings.has_source(folder):
            detail = ("it has neither opencode*.db nor storage/", settings.old_layout(folder).removesuffix("."))
            return Finding(folder, State.ABSENT, ". ".join(filter(None, detail)))
        databases = settings.database_files(folder)
        for database in databases:
            with database.open("rb") as file:
                file.read(1)
        has_tree = (folder / "storage").exists()
        if has_tree:
            os.listdir(folder / "storage")
    except OSError as error:
        return Finding(folder, State.UNREADABLE, f"{error.strerror}: {error.filename}")
    names = ", ".join([database.name for database in databases] + ["storage/"] * has_tree)
    is_filled = any(map(_has_bytes, databases)) or has_tree and _has_documents(folder / "storage")
    return Finding(folder, State.FOUND if is_filled else State.EMPTY, names)


def plan(findings: Sequence[Finding], index: Path | None, demo: bool) -> Plan:
    """Decide what to serve, and say why.

    Args:
        findings: The data folders.
        index: The user's choice of an index file.
        demo: The user asked for the sample.

    Returns:
        The sample, with its own index, only where it was asked for or where no folder has any OpenCode storage, or had:
        what was read from a disk that is not there now is still in the index.
    """
    if not demo:
        for finding in findings:
            say(_sentence(finding))
    folders, own_index = [finding.folder for finding in findings], settings.index_path(index)
    if not demo and any(finding.state is not State.ABSENT for finding in findings):
        return Plan(folders, own_index, is_sample=False)
    if not demo and _has_read(own_index, folders):
        say("The index was made from there before: it is shown, and the data is looked for again and again.")
        return Plan(folders, own_index, is_sample=False)
    sample_index = settings.sample_index_path()
    reason = "as you asked" if demo else "because there is no OpenCode data on this machine"
    say(f"Serving the bundled sample data, {reason}. Nothing of yours is read or changed.")
    return Plan([sample.unpack(sample_index.parent)], sample_index, is_sample=True)


def _has_read(index: Path, folders: Sequence[Path]) -> bool:
    """Tell whether an index was made from any of some folders; only to ask needs what opens it."""
    from indexer.status import has_read

    return has_read(index, folders)


def free_port(first: int) -> int:
    """Find a port that nothing listens on, on any of localhost's addresses.

    Args:
        first: Where to begin.

    Returns:
        The first free one of twenty, else any that the system names.
    """
    for port in range(first, min(first + 20, 65_536)):
        if _is_free(port):
            return port
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_healthy(port: int) -> bool:
    """Ask the dashboard whether it answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would never reach localhost
    try:
        with opener.open(f"http://localhost:{port}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def may_open_browser() -> bool:
    """Tell whether a browser window would be seen by someone: not in CI, not without a screen."""
    if os.environ.get("CI"):
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def indexer_command(what: Plan) -> list[str]:
    """Spell the command that indexes and follows the data."""
    folders = [word for folder in what.folders for word in ("--data", str(folder))]
    return [
        *(sys.executable, "-m", "indexer", "run", *folders, "--db", str(what.index)),
        *(["--sample"] if what.is_sample else []),
    ]


def dashboard_command(port: int) -> list[str]:
    """Spell the command that serves the pages, to this machine whatever else is configured."""
    options = {
        "server.address": "localhost",
        "server.port": str(port),
        "server.headless": "true",
        "logger.hideWelcomeMessage": "true",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *words]


def supervise(what: Plan, port: int, open_browser: bool) -> int:
    """Run both processes until the user stops them or one of them ends.

    Args:
        what: What to index.
        port: A free port.
        open_browser: Whether to open the pages once they answer.

    Returns:
        Exit code: 0 if the user stopped it, 1 if a process ended by itself or never answered.
    """
    events: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
    children: list[Child] = []
    with _signals_as_events(events):
        try:
            environment = {"ANALYTICS_DB": str(what.index)}
            indexer = Child.start("indexer", indexer_command(what), environment, events)
            children.append(indexer)
            dashboard = Child.start("dashboard", dashboard_command(port), environment, events)
            children.append(dashboard)
            say(f"Started the indexer (process {indexer.process.pid}) and the dashboard ({dashboard.process.pid}).")
            return _follow_both(indexer, events, port, open_browser)
        finally:
            for child in children:
                # DuckDB's binding lists at its end what Python had not freed yet: 50 lines that alarm for nothing.
                child.is_muted = child.name == "dashboard"
                child.process.terminate()  # does nothing to one that has ended
            for child in children:
                child.wait_for_end()
            say("Both are stopped.")


def main() -> None:
    """Index OpenCode's data and serve the dashboard on localhost, until Ctrl-C."""
    prepare_streams()
    parser = _parser()
    chosen = parser.parse_args()
    if chosen.demo and (chosen.data or chosen.db):
        parser.error("--demo has its own data and index; leave out --data and --db.")
    try:
        settings.load()  # before both processes find out
        what = plan([look(folder) for folder in settings.data_dirs(chosen.data)], chosen.db, chosen.demo)
    except SettingsInvalid as error:
        say(str(error))
        sys.exit(USAGE)
    say(f"The index is {what.index}")
    port = free_port(chosen.port)
    if port != chosen.port:
        say(f"Port {chosen.port} is taken, so the dashboard uses {port}.")
    sys.exit(supervise(what, port, open_browser=not chosen.no_browser and may_open_browser()))


def _parser() -> Parser:
    """Describe the options."""
    codes = "Exit codes: 0 stopped by you, 1 one of the two processes could not go on, 2 usage or settings."
    parser = Parser("python -m indexer.launcher", f"{main.__doc__}\n\n{codes}")
    data = "OpenCode data folder, holding storage/ or opencode*.db. May be repeated."
    parser.add_argument("--data", metavar="DIR", type=path, action="append", default=[], help=data)
    db = "The index file. Default: ANALYTICS_DB, else the data home."
    parser.add_argument("--db", metavar="FILE", type=path, help=db)
    port = "The first port to try."
    parser.add_argument("--port", metavar="N", type=number(1, 65_535), default=FIRST_PORT, help=port)
    parser.add_argument("--demo", action="store_true", help="Serve the bundled sample data, with its own index.")
    parser.add_argument("--no-browser", action="store_true", help="Only print the address.")
    return parser


def _follow_both(indexer: Child, events: "queue.SimpleQueue[Child | None]", port: int, open_browser: bool) -> int:
    """Wait for the dashboard's first answer, then for whatever ends the run; return the exit code."""
    url = f"http://localhost:{port}"
    give_up_at = time.monotonic() + START_LIMIT_S
    is_ready = False
    while True:
        try:
            event = events.get(timeout=POLL_S)
        except queue.Empty:
            if not is_ready and is_healthy(port):
                is_ready = True
                say(f"open {url}\nEverything stays on this machine. Ctrl-C ends both.")
                if open_browser:
                    webbrowser.open(url)
            elif not is_ready and time.monotonic() > give_up_at:
                say(f"The dashboard did not answer within {START_LIMIT_S:.0f} s.")
                return 1
            continue
        if event is None:
            say("Stopping ...")
            return 0
        if event is indexer and indexer.process.returncode == ANOTHER_INDEXER_RUNS:
            say("Another indexer already keeps this index up to date, so only the dashboard is kept here.")
            continue
        lines = "\n".join(f"    {line}" for line in event.last_lines) or "    (it printed nothing)"
        say(f"The {event.name} ended by itself, exit code {event.process.returncode}. Its last lines:\n{lines}")
        return 1


@contextmanager
def _signals_as_events(events: "queue.SimpleQueue[Child | None]") -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into the event None while the block runs."""
    # SimpleQueue.put may be called from a signal handler; Queue.put may not.
    former = [(number, signal.signal(number, lambda *_: events.put(None))) for number in interrupts.ending_signals()]
    try:
        yield
    finally:
        for number, handler in former:
            signal.signal(number, handler)


def _sentence(finding: Finding) -> str:
    """Say in plain words what was found at a data folder."""
    match finding.state:
        case State.FOUND:
            return f"OpenCode data: {finding.folder} ({finding.detail})"
        case State.EMPTY:
            return (
                f"OpenCode's storage in {finding.folder} is empty ({finding.detail}): no session yet. "
                "The dashboard starts empty; use OpenCode, then start this again."
            )
        case State.UNREADABLE:
            return (
                f"OpenCode's storage in {finding.folder} cannot be read: {finding.detail}. "
                "Check who owns it and its permissions, or name another folder with --data."
            )
        case State.ABSENT:
            return f"No OpenCode data in {finding.folder}: {finding.detail}"


def _has_bytes(database: Path) -> bool:
    """Tell whether a database file or its write-ahead log holds anything."""
    log = database.with_name(database.name + "-wal")
    return database.stat().st_size > 0 or log.exists() and log.stat().st_size > 0


def _has_documents(storage: Path) -> bool:
    """Tell whether a JSON tree holds a session or a message."""
    return any(True for kind in ("session", "message") for _ in storage.glob(f"{kind}/*/*.json"))


def _is_free(port: int) -> bool:
    """Tell whether a port can be listened on, on both of localhost's addresses where both exist."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            socket.create_server((address, port), family=family).close()
        except OSError as error:
            # Without IPv6 there is nothing to be taken.
            if family is socket.AF_INET or error.errno in _TAKEN:
                return False
    return True


if __name__ == "__main__":
    main()
