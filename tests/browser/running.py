"""The real dashboard as a process, and the real browser: what the browser tests and the screenshots start."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from indexer.launcher import Child, dashboard_command, free_port, is_healthy

JsonObject = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = (
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # also what no page asks for
    "--process-per-site",  # a new tab has the scripts that another one compiled
)
# The data sets of tests/data, by the name that tests use: their archive, and the OpenCode data folder in it. The state
# before the migration is left out: its documents are those of the set json.
DATA_SETS = {
    "json": ("opencode-1.1-json-A", "opencode"),
    "sqlite": ("opencode-1.18-sqlite-A", "opencode"),
    "migrated-after": ("opencode-migrated-both-A", "after/opencode"),
    "live-wal": ("opencode-1.18-live-wal-A", "opencode"),
}


def browser_path() -> str | None:
    """Find the system's Chromium or Chrome; None if there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """Run a headless browser."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(BROWSER_ARGUMENTS))
        yield running
        running.close()


@contextmanager
def dashboard(index: Path, prefix: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[str]:
    """Serve an index with a fresh server that has not run any page yet.

    Args:
        index: What it shows; need not exist.
        prefix: A command to run the server under.
        options: More for Streamlit's command line; they win over those that the launcher gives.

    Yields:
        Its address, without a slash at the end.
    """
    port = own_port()
    ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
    # Measuring coverage in the server would slow down every page; the tests of tests/pages count the same code.
    environment = {"ANALYTICS_DB": str(index), "COVERAGE_PROCESS_CONFIG": ""}
    server = Child.start("dashboard", [*prefix, *dashboard_command(port), *options], environment, ended)
    try:
        while not is_healthy(port):
            try:
                ended.get(timeout=0.1)
            except queue.Empty:
                continue
            raise RuntimeError("The dashboard ended:\n" + "\n".join(server.last_lines))
        yield f"http://localhost:{port}"
    finally:
        server.is_muted = True
        server.process.terminate()
        server.wait_for_end()


def own_port() -> int:
    """Find a free port where no other run of these tests looks for one.

    A port is taken a second after it was found free: of two that found the same one, the second would show what the
    server of the first serves.
    """
    return free_port(10_000 + os.getpid() % 20_000)


def index_of(name: str, folder: Path) -> Path:
    """Unpack a data set and index it by the real command line.

    Args:
        name: One of `DATA_SETS`.
        folder: Where to put both.
    """
    archive, data = DATA_SETS[name]
    with tarfile.open(ROOT / "tests" / "data" / f"{archive}.tar.gz") as tar:
        tar.extractall(folder, [member for member in tar if member.name.startswith(f"{data}/")])
    index = folder / "index.duckdb"
    indexer("bulk", "--data", str(folder / data), "--db", str(index))
    return index


def totals(index: Path) -> JsonObject:
    """Return what `python -m indexer totals --json` prints."""
    loaded: JsonObject = json.loads(indexer("totals", "--db", str(index), "--json"))
    return loaded


def indexer(*arguments: str) -> str:
    """Run the indexer's command line and return what it prints."""
    command = [sys.executable, "-m", "indexer", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {run.returncode}: {run.stderr}")
    return run.stdout
