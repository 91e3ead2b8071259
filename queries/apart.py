"""Run a query of the user's own in a process of its own, which may be ended at any moment and take nothing along."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from queries import console
from queries.console import Answer, Refusal

_ROOT = Path(__file__).resolve().parents[1]
_GRACE_S = 20.0  # to start, to open the index and to hand over the rows, on a busy machine
# Nothing else of the environment: DuckDB takes the proxy from there, with its password, and shows it as a setting.
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
_one = threading.Lock()  # each may take as much memory as all pages together


def ask(index: Path, query: str, max_s: float = console.MAX_S) -> Answer | Refusal:
    """Run a query on the newest published revision, one at a time.

    Args:
        index: What readers open.
        query: One statement.
        max_s: Seconds after which it is stopped.
    """
    if refused := console.too_long(query):
        return refused
    with _one:
        try:
            run = subprocess.run(
                [sys.executable, "-m", "queries.query_process", str(index), str(max_s)],
                cwd=_ROOT,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                input=query.encode("utf-8", "replace"),
                stdout=subprocess.PIPE,
                timeout=max_s + _GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Refusal(f"Ended: it ran for more than {max_s:g} s and did not stop.")
    try:
        return console.unpack(run.stdout)
    except ValueError:  # of JSON and of Arrow
        return Refusal(
            f"The query ended its own process ({_ending(run.returncode)}); nothing else was harmed. This is a fault of "
            "DuckDB, or of this program."
        )


def _ending(code: int) -> str:
    """Say how a process ended."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
