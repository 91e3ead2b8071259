"""How commands end where what they print goes nowhere, or into something that cannot hold it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(
    does: str, sent: str = "", stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that does something.

    Args:
        does: What, in Python.
        sent: Where what it prints is sent, as a shell says it.
        stdout: Where the shell prints.
        variables: Of its environment.
    """
    code = f"import sys\nfrom indexer.arguments import ending_quietly\nwith ending_quietly():\n    {does}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **variables}
    shell = ["sh", "-c", f'exec "$0" -c "$1" {sent}', sys.executable, code]
    return subprocess.run(shell, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


def test_ending_quietly_nobody_reads_command_with_exit_code_says_nothing() -> None:
    """As with `status | head -1`: what was printed waits in a buffer until the command has ended."""
    reading, writing = os.pipe()
    os.close(reading)

    done = command("print('text'); sys.exit(0)", stdout=writing)

    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ending_quietly_closed_output_goes_nowhere() -> None:
    """As a service manager may start a command."""
    done = command("print('text'); print('text', file=sys.stderr); sys.stderr.isatty()", ">&- 2>&-")

    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_ending_quietly_full_disk_is_said_in_a_line(unbuffered: str) -> None:
    """As with `costs --csv > file`."""
    done = command("print('text'); sys.exit(0)", ">/dev/full", PYTHONUNBUFFERED=unbuffered)

    assert done.returncode == 1
    assert done.stderr == b"The output cannot be written: No space left on device\n"


def test_ending_quietly_other_failure_of_the_system_is_not_hidden() -> None:
    """Only what is about the output is."""
    done = command("open('/nowhere/at/all')")

    assert done.returncode == 1
    assert b"FileNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("encoding", "printed"), [("latin-1", b"? \xfc ?\n"), ("ascii:surrogateescape", b"? ? ?\n"), ("utf-8", None)]
)
def test_ending_quietly_encoding_that_lacks_characters_prints_the_rest(encoding: str, printed: bytes | None) -> None:
    """A rule below a table is no reason to print none; a file's name that is no UTF-8 is printed as it is."""
    done = command(r"print('\u2500 \xfc \udcff')", PYTHONIOENCODING=encoding)

    assert done.returncode == 0, done.stderr
    assert done.stdout == (printed or "\u2500 \xfc \udcff\n".encode(errors="surrogateescape"))
