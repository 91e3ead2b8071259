"""Stopping by Ctrl-C, SIGTERM or a closed terminal, whatever the process does at that moment."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from indexer import __main__ as command_line
from indexer import database, interrupts, migrations, service
from indexer.arguments import INTERRUPTED
from indexer.bulk_loader import BulkResult, Progress
from indexer.database import Database
from indexer.live import Follower
from indexer.publish import Publisher
from tests.builders import project, session, user, write_json_tree
from tests.commands import indexer
from tests.conftest import OwnIndex
from tests.stress.running import ROOT

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANDLED = (*ENDINGS, signal.SIGALRM)


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Set the handlers, and those of before afterwards."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs tests by `nohup` ignores it
    interrupts.stop_on_signals()
    yield
    interrupts.stop_on_signals()  # forgets that it was asked
    for number, handler in before.items():
        signal.signal(number, handler)


def test_check_nobody_asked_goes_on() -> None:
    """It is called all the time."""
    interrupts.check()


@pytest.mark.parametrize("number", ENDINGS)
def test_check_interrupt_that_did_not_get_through_stops_later(number: signal.Signals) -> None:
    """What the handler raised may be dropped by whoever was at work."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


def test_stop_on_signals_closed_terminal_that_is_ignored_goes_on() -> None:
    """`nohup` starts a process so, and wants it to outlive its terminal; Ctrl-C counts all the same."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    interrupts.stop_on_signals()

    signal.raise_signal(signal.SIGHUP)
    interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_stop_on_signals_inside_the_import_system_waits_until_it_is_left() -> None:
    """There, what is raised leaves a lock behind that every other import waits for: the process never ended."""
    lines = "signal.raise_signal(signal.SIGTERM)\nleft.append('the lock')"
    importing = compile(lines, "<frozen importlib._bootstrap>", "exec")
    left: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        exec(importing, {"signal": signal, "left": left})
        signal.pause()

    assert left == ["the lock"]


def test_follow_interrupt_lost_in_the_full_pass_ends_before_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks while nothing happens are far apart."""
    waits: list[float] = []

    def wait(follower: Follower, timeout_s: float) -> bool:
        """Note that it is waited for; it ends."""
        waits.append(timeout_s)
        return True

    def lose(result: BulkResult) -> None:
        """Drop what the handler raises, as a query may."""
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)

    @contextmanager
    def silent() -> Iterator[Progress]:
        """Show no progress."""
        yield lambda done, total: None

    monkeypatch.setattr(Follower, "wait", wait)
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), user()])
    with Database.open(tmp_path / "index.duckdb") as database:
        service.follow(database, Publisher(database), [data_dir], silent, lose)

    assert waits == []


def test_told_query_that_was_interrupted_is_an_interrupt() -> None:
    """DuckDB raises an error of its own in the place of what the handler raised."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), interrupts.told():
        raise RuntimeError("Query interrupted")


def test_told_failure_that_nobody_asked_for_stays_one() -> None:
    """Only who was asked to stop takes a failure for that."""
    with pytest.raises(RuntimeError, match="broken"), interrupts.told():
        raise RuntimeError("broken")


def test_progress_interrupt_that_did_not_get_through_stops_at_the_next_step() -> None:
    """All commands that take long tell how far they are."""
    with pytest.raises(KeyboardInterrupt), command_line._progress() as show:
        show(1, 3)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        show(2, 3)
        pytest.fail("it went on")


def test_progress_query_that_was_interrupted_is_an_interrupt() -> None:
    """Not a failure with a traceback."""
    with pytest.raises(KeyboardInterrupt), command_line._progress():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Query interrupted")


@pytest.mark.parametrize("command", ["bulk", "run"])
def test_main_stopped_while_it_opens_the_index_is_an_interrupt(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To lay down the schema, or to bring an older one up to date, are queries as well."""
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session()])

    def stopped(con: object, is_sample: bool) -> None:
        """Be asked to stop inside a query."""
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr(database, "_create", stopped)

    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--data", str(data_dir), "--db", str(tmp_path / "a.duckdb")])

    assert ended.value.code == INTERRUPTED


@pytest.mark.parametrize("done_before", [0, 10])
def test_backfill_stopped_while_it_migrates_says_to_run_it_again(
    done_before: int, own_index: OwnIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever version it has reached by then."""
    index = own_index("json")
    with Database.open_existing(index) as older:
        older.migrate(1, is_backed_up=True)
    apply, applied = migrations.apply, list[str]()

    def stopped(con: duckdb.DuckDBPyConnection, step: migrations.Migration, now: datetime) -> None:
        """Be asked to stop inside a query of some step."""
        if len(applied) == done_before:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("Query interrupted")
        applied.append(step.label)
        apply(con, step, now)

    monkeypatch.setattr(migrations, "apply", stopped)

    done = indexer("backfill", "--db", index)

    assert (done.returncode, len(applied)) == (INTERRUPTED, done_before)
    assert done.stderr.endswith("interrupted: run it again\n")


@pytest.mark.parametrize("attempt", range(3))
def test_run_stopped_while_it_says_that_it_follows_ends_in_order(attempt: int, tmp_path: Path) -> None:
    """At that moment it commits and publishes: the signal arrives inside a query, or between two."""
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(), user("msg_1")])
    command = [sys.executable, "-m", "indexer", "run", "--data", str(data_dir), "--db", str(tmp_path / "a.duckdb")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "phase real-time" in line)

        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()

    assert (process.returncode, "Traceback" in rest) == (0, False), said + rest
