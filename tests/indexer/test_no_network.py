"""The indexer asks nothing of the network, whatever it does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.no_network import Blocked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def blocked(tmp_path: Path) -> Blocked:
    """No network for the processes of a test."""
    (tmp_path / "block").mkdir()
    return Blocked(tmp_path / "block")


def _run(blocked: Blocked, *command: object) -> subprocess.CompletedProcess[str]:
    """Run Python without a network."""
    environment = {**os.environ, **blocked.environment}
    arguments = [sys.executable, *map(str, command)]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://probe.invalid')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
    ],
)
def test_blocked_any_way_out_is_stopped_and_noted(code: str, blocked: Blocked) -> None:
    """Else the other tests would prove nothing."""
    run = _run(blocked, "-c", code)

    assert "the network is blocked" in run.stderr
    assert len(blocked.attempts()) == 1


def test_commands_try_nothing(blocked: Blocked, data_set: Callable[[str], Path], tmp_path: Path) -> None:
    """A full pass over the sample, and what reads its result."""
    index = tmp_path / "index.duckdb"
    data = data_set("sqlite")

    codes = [
        _run(blocked, "-m", "indexer", *words, "--db", index).returncode
        for words in (("bulk", "--data", data), ("status",), ("check", "--full"), ("totals",))
    ]

    assert codes == [0, 0, 0, 0]
    assert blocked.attempts() == []
