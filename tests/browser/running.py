"""The real dashboard as a process, and the real browser: what the browser tests and the screenshots start."""

import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from indexer.launcher import Child, dashboard_command, free_port, is_healthy

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
)


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
def dashboard(index: Path, prefix: Sequence[str] = ()) -> Iterator[str]:
    """Serve an index with a fresh server that has not run any page yet.

    Args:
        index: What it shows; need not exist.
        prefix: A command to run the server under.

    Yields:
        Its address, without a slash at the end.
    """
    port = free_port(8601)
    ended: queue.SimpleQueue[Child | None] = queue.SimpleQueue()
    # Measuring coverage in the server would slow down every page; the tests of tests/pages count the same code.
    environment = {"ANALYTICS_DB": str(index), "COVERAGE_PROCESS_CONFIG": ""}
    server = Child.start("dashboard", [*prefix, *dashboard_command(port)], environment, ended)
    try:
        while not is_healthy(port):
            try:
                ended.get(timeout=0.1)
            except queue.Empty:
                continue
            raise RuntimeError("The dashboard ended:\n" + "\n".join(server.last_lines))
        yield f"http://localhost:{port}"
    finally:
        server.process.terminate()
        server.wait_for_end()


def build_index(data: Path, index: Path) -> None:
    """Index a data folder by the real command line."""
    command = [sys.executable, "-m", "indexer", "bulk", "--data", str(data), "--db", str(index)]
    subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "COVERAGE_PROCESS_CONFIG": ""}
    )
