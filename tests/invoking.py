"""Runs a command line inside the test, as quickly as a function."""

import io
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended.

    Attributes:
        exit_code: 0 if it returned.
        stdout: What it printed.
        stderr: What it printed as errors.
    """

    exit_code: int
    stdout: str
    stderr: str


def invoke(main: Callable[[Sequence[str]], None], *arguments: str | Path) -> Done:
    """Run a command line on a terminal of 200 columns.

    Args:
        main: Reads the arguments and does what they say.
        arguments: Of the command line.
    """
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with redirect_stdout(out), redirect_stderr(error), mock.patch.dict(os.environ, {"COLUMNS": "200"}):
        try:
            main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, error))
    return Done(code, stdout, stderr)
