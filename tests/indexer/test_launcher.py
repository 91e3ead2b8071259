"""`make run`: both processes start, find a port, tell what they do, and end together."""

import errno
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer import launcher, settings
from indexer.launcher import Child, Finding, Plan, State
from tests.builders import session, write_json_tree
from tests.commands import indexer

ROOT = Path(__file__).resolve().parents[2]

# Stands in for the dashboard where a test is about the launcher alone: answers the health question at once.
ANSWERS = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Ok(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *args): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Ok).serve_forever()
"""
WAITS = "import signal; print('indexing', flush=True); signal.pause()"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without OpenCode, for this process and its children."""
    for name in ("OPENCODE_DATA_DIR", "OPENCODE_DB", "ANALYTICS_DB", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    return tmp_path


class Launched:
    """A running launcher whose output is read line by line."""

    def __init__(self, *arguments: str) -> None:
        """Start the real command."""
        command = [sys.executable, "-m", "indexer.launcher", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []

    def read_until(self, text: str) -> str:
        """Return the first line that holds a text, past ones included; fails if the launcher ends before."""
        assert self.process.stdout is not None
        for line in self.lines:
            if text in line:
                return line
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        pytest.fail(f"never printed {text!r}:\n" + "\n".join(self.lines))

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Read the rest of the output and return the exit code."""
        assert self.process.stdout is not None
        self.lines += [line.rstrip() for line in self.process.stdout]
        return self.process.wait()

    def children(self) -> list[int]:
        """Return the process ids of indexer and dashboard, from what the launcher printed."""
        line = next(line for line in self.lines if line.startswith("Started the indexer"))
        return [int(word.strip("().")) for word in line.split() if word.strip("().").isdigit()]


@pytest.fixture
def launched() -> Iterator[list[Launched]]:
    """Collects the launchers of a test, to end those that a failure left running."""
    started: list[Launched] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGTERM)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _is_alive(process_id: int) -> bool:
    """Tell whether a process still runs."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def _stand_ins(monkeypatch: pytest.MonkeyPatch, indexer: Sequence[str], dashboard: Sequence[str]) -> None:
    """Let the launcher start Python snippets for the two processes; the dashboard's gets the port as argument."""
    monkeypatch.setattr(launcher, "indexer_command", lambda what: [sys.executable, "-c", *indexer])
    monkeypatch.setattr(launcher, "dashboard_command", lambda port: [sys.executable, "-c", *dashboard, str(port)])


def test_look_missing_folder_is_absent(tmp_path: Path) -> None:
    """No folder, no OpenCode."""
    assert launcher.look(tmp_path / "opencode").state is State.ABSENT


def test_look_folder_without_storage_is_absent(tmp_path: Path) -> None:
    """A folder with logs only was never stored to."""
    (tmp_path / "log").mkdir()

    assert launcher.look(tmp_path) == Finding(tmp_path, State.ABSENT, "it has neither opencode*.db nor storage/")


def test_look_storage_with_sessions_is_found(tmp_path: Path) -> None:
    """A JSON tree with one session is data."""
    (tmp_path / "storage" / "session" / "p").mkdir(parents=True)
    (tmp_path / "storage" / "session" / "p" / "ses_1.json").write_text("{}")

    assert launcher.look(tmp_path) == Finding(tmp_path, State.FOUND, "storage/")


def test_look_database_whose_rows_are_in_the_wal_is_found(tmp_path: Path) -> None:
    """While OpenCode runs the main file may still be empty."""
    (tmp_path / "opencode.db").touch()
    (tmp_path / "opencode.db-wal").write_bytes(b"x")

    assert launcher.look(tmp_path) == Finding(tmp_path, State.FOUND, "opencode.db")


@pytest.mark.parametrize("name", ["opencode.db", "storage/session/p/"])
def test_look_storage_without_content_is_empty(tmp_path: Path, name: str) -> None:
    """Storage that exists and holds nothing is not the same as none."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(parents=True) if name.endswith("/") else path.touch()

    assert launcher.look(tmp_path).state is State.EMPTY


@pytest.mark.parametrize("case", ["folder is a file", "database is a folder", "storage is a file"])
def test_look_storage_that_cannot_be_opened_is_unreadable(tmp_path: Path, case: str) -> None:
    """Whatever the reason, it is told and never taken for absence."""
    folder = tmp_path / "opencode"
    match case:
        case "folder is a file":
            folder.touch()
        case "database is a folder":
            (folder / "opencode.db").mkdir(parents=True)
        case "storage is a file":
            folder.mkdir()
            (folder / "storage").touch()

    found = launcher.look(folder)

    assert found.state is State.UNREADABLE
    assert str(folder) in found.detail


def test_plan_no_source_serves_the_sample_with_its_own_index(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer sees a living product, and is told why; the index named by the user is left alone."""
    findings = [launcher.look(folder) for folder in settings.data_dirs()]

    what = launcher.plan(findings, index=home / "mine.duckdb", demo=False)

    cache = home / ".cache" / "opencode-analytics"
    assert (what.index, what.is_sample) == (cache / "sample.duckdb", True)
    assert [folder.parent.parent for folder in what.folders] == [cache]
    said = capsys.readouterr().out
    assert f"No OpenCode data in {home}/.local/share/opencode" in said
    assert "sample data, because there is no OpenCode data on this machine" in said


def test_plan_source_gone_that_the_index_was_made_from_is_not_replaced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a disk is not mounted: made-up numbers in the place of one's own would be taken for these."""
    data_dir, index = write_json_tree(home / "opencode", [session()]), home / "mine.duckdb"
    indexer("bulk", "--data", data_dir, "--db", index)
    shutil.rmtree(data_dir)

    what = launcher.plan([launcher.look(data_dir)], index=index, demo=False)

    assert what == Plan([data_dir], index, is_sample=False)
    assert "The index was made from there before: it is shown" in capsys.readouterr().out


@pytest.mark.parametrize(("state", "words"), [(State.EMPTY, "is empty"), (State.UNREADABLE, "cannot be read")])
def test_plan_empty_or_unreadable_source_is_not_replaced(
    home: Path, capsys: pytest.CaptureFixture[str], state: State, words: str
) -> None:
    """It has its own message; showing sample data instead would hide the trouble."""
    folders = [home / "absent", home / "opencode"]
    findings = [Finding(folders[0], State.ABSENT, "there is no such folder"), Finding(folders[1], state, "why")]

    what = launcher.plan(findings, index=None, demo=False)

    assert what == Plan(folders, settings.index_path(), is_sample=False)
    assert f"OpenCode's storage in {home}/opencode {words}" in capsys.readouterr().out


def test_plan_found_source_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The user's data goes into the user's index."""
    finding = Finding(home / "opencode", State.FOUND, "opencode.db, storage/")

    what = launcher.plan([finding], index=home / "mine.duckdb", demo=False)

    assert what == Plan([home / "opencode"], home / "mine.duckdb", is_sample=False)
    assert capsys.readouterr().out == f"OpenCode data: {home}/opencode (opencode.db, storage/)\n"


def test_indexer_command_sample_is_marked(tmp_path: Path) -> None:
    """Every folder and the index are spelt out, so nothing depends on the environment."""
    what = Plan([tmp_path / "a", tmp_path / "b"], tmp_path / "i.duckdb", is_sample=True)

    command = launcher.indexer_command(what)

    assert command[1:] == [
        *("-m", "indexer", "run", "--data", f"{tmp_path}/a", "--data", f"{tmp_path}/b"),
        *("--db", f"{tmp_path}/i.duckdb", "--sample"),
    ]


def test_free_port_taken_port_gives_another(taken_port: int) -> None:
    """A port that someone listens on is passed over."""
    assert launcher.free_port(taken_port) != taken_port


def test_free_port_nothing_free_in_range_asks_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty neighbours taken is no reason to give up."""
    monkeypatch.setattr(launcher, "_is_free", lambda port: False)

    assert launcher.free_port(65_530) > 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "w"}, True),
        ({}, False),
        ({"DISPLAY": ":0", "CI": "true"}, False),
    ],
)
def test_may_open_browser_only_where_someone_looks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    """Neither CI nor a machine without a screen gets a browser."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert launcher.may_open_browser() is expected


@pytest.mark.parametrize("which", ["indexer", "dashboard"])
def test_supervise_one_dies_the_other_is_ended_and_its_last_lines_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    """Half a product is not kept running in silence."""
    dies = "import sys; print('the disk is full', flush=True); sys.exit(1)"
    _stand_ins(monkeypatch, [dies if which == "indexer" else WAITS], [dies if which == "dashboard" else WAITS])

    code = launcher.supervise(Plan([], tmp_path / "i", is_sample=False), launcher.free_port(8501), open_browser=False)

    said = capsys.readouterr().out
    assert code == 1
    assert f"The {which} ended by itself, exit code 1. Its last lines:\n    the disk is full\n" in said
    assert said.endswith("Both are stopped.\n")


def test_child_output_that_cannot_be_passed_on_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `make run > file` on a full disk: a process that is not read waits for ever once its pipe is full."""
    ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
    full = Mock(write=Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    monkeypatch.setattr(sys, "stdout", full)

    child = Child.start("indexer", [sys.executable, "-c", "print('a line\\n' * 20_000)"], {}, ended)

    assert ended.get(timeout=20) is child
    assert child.process.returncode == 0


def test_main_encoding_that_lacks_characters_is_no_end(tmp_path: Path) -> None:
    """Folders may be named in any language, terminals may not."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "ANALYTICS_CONFIG": str(tmp_path / "fehlt\u00fc")}

    done = subprocess.run([sys.executable, "-m", "indexer.launcher"], cwd=ROOT, env=environment, capture_output=True)

    assert (done.returncode, done.stderr) == (2, b"")
    assert b"fehlt?, named by ANALYTICS_CONFIG: no file" in done.stdout


def test_supervise_other_indexer_runs_dashboard_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 is no accident: the index is being followed, only by someone else. Then the user ends it."""
    opened: list[str] = []
    _stand_ins(monkeypatch, ["import sys; sys.exit(3)"], [ANSWERS])

    def user_opens_and_ends(url: str) -> None:
        """Look at the page, then press Ctrl-C."""
        opened.append(url)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("webbrowser.open", user_opens_and_ends)
    port = launcher.free_port(8501)

    code = launcher.supervise(Plan([], tmp_path / "i", is_sample=False), port, open_browser=True)

    said = capsys.readouterr().out
    assert (code, opened) == (0, [f"http://localhost:{port}"])
    assert "Another indexer already keeps this index up to date" in said
    assert said.index(f"open http://localhost:{port}\n") < said.index("Stopping ...")


@pytest.mark.parametrize("is_ignored", [False, True])
def test_supervise_closed_terminal_ends_both_unless_it_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_ignored: bool
) -> None:
    """`nohup make run &` outlives its terminal, and ends when it is asked to."""
    asked: list[int] = []

    def ask() -> None:
        """End it."""
        asked.append(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    later = threading.Timer(1.0 if is_ignored else 60.0, ask)

    def close_terminal(url: str) -> None:
        """Close the terminal once both are there."""
        os.kill(os.getpid(), signal.SIGHUP)
        later.start()

    _stand_ins(monkeypatch, [WAITS], [ANSWERS])
    monkeypatch.setattr("webbrowser.open", close_terminal)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    what = Plan([], tmp_path / "i", is_sample=False)
    try:
        code = launcher.supervise(what, launcher.free_port(8501), open_browser=True)
    finally:
        later.cancel()
        signal.signal(signal.SIGHUP, former)

    assert code == 0
    assert asked == ([signal.SIGTERM] if is_ignored else [])


def test_supervise_dashboard_never_answers_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dashboard that hangs is told as such; a process that ignores the request to end is killed."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    _stand_ins(monkeypatch, [WAITS], [deaf])
    monkeypatch.setattr(launcher, "START_LIMIT_S", 1.0)
    monkeypatch.setattr(launcher, "STOP_LIMIT_S", 0.2)

    code = launcher.supervise(Plan([], tmp_path / "i", is_sample=False), launcher.free_port(8501), open_browser=False)

    said = capsys.readouterr().out
    assert code == 1
    assert "The dashboard did not answer within 1 s." in said
    assert "The dashboard did not end within 0 s and was killed." in said


def test_main_demo_with_data_is_a_usage_error(home: Path) -> None:
    """The sample has its own data and index."""
    run = subprocess.run(
        [sys.executable, "-m", "indexer.launcher", "--demo", "--data", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 2
    assert "--demo has its own data and index" in run.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_main_no_data_serves_the_sample_until_stopped(
    home: Path, launched: list[Launched], taken_port: int, number: signal.Signals
) -> None:
    """The real command on a machine without OpenCode: a taken port, the sample, one address, a clean end."""
    run = Launched("--port", str(taken_port))
    launched.append(run)
    address = run.read_until("open http://localhost:")
    run.read_until("following changes")

    code = run.end(number)

    assert code == 0, "\n".join(run.lines)
    assert f"Port {taken_port} is taken" in "\n".join(run.lines)
    assert not address.endswith(f":{taken_port}")
    assert len(run.children()) == 2
    assert not any(map(_is_alive, run.children()))
    assert (home / ".cache" / "opencode-analytics" / "sample.duckdb").exists()
    assert not (home / ".local").exists()


def test_main_second_start_on_one_index_keeps_the_dashboard(home: Path, launched: list[Launched]) -> None:
    """Two windows of the same demo: one indexer, two dashboards."""
    first = Launched("--demo")
    launched.append(first)
    first.read_until("open http://localhost:")
    second = Launched("--demo")
    launched.append(second)

    second.read_until("Another indexer already keeps this index up to date")
    second.read_until("open http://localhost:")

    assert (second.end(signal.SIGTERM), first.end(signal.SIGTERM)) == (0, 0)
