"""The indexer's command line in this process: most of the time of a short command is that of starting Python."""

import contextlib
import io
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from indexer.__main__ import main

_PROGRAM = ("python", "-m", "indexer")


def indexer(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run what `python -m indexer` runs, to its end.

    Args:
        arguments: The command and its options.
        env: Variables for it, beside those of this process.
    """
    words = [*_PROGRAM, *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, _own_handlers():
        patch.setattr(sys, "argv", words[2:])
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def obey(line: str) -> None:
    """Run a line that the program tells a person to copy; each command in it has to succeed."""
    for words in _commands(line):
        if tuple(words[:3]) == _PROGRAM:
            done = indexer(*words[3:])
            assert done.returncode == 0, done.stderr
        else:
            subprocess.run(words, check=True)


def _commands(line: str) -> Iterator[list[str]]:
    """Split a line as a shell does."""
    words: list[str] = []
    for word in [*shlex.split(line), "&&"]:
        if word != "&&":
            words.append(word)
            continue
        yield words
        words = []


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Let a command say what it logs, and what signals do, as if nothing were said yet; then put both back."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
