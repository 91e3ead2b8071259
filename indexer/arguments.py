"""What the command lines have in common: how they are read, and what numbers and paths they take."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reads a command line; its help is shown as it is written."""

    def __init__(self, prog: str | None = None, description: str | None = None) -> None:
        """Describe a command.

        Args:
            prog: Its name. None: as it was called.
            description: What it does.
        """
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a whole number.

    Args:
        least: Smaller ones are wrong usage.
        most: Larger ones are wrong usage. None: any goes.
    """

    def read(text: str) -> int:
        """Read a number."""
        value = int(text)
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not in the range {least} to {most or 'any'}")
        return value

    read.__name__ = "number"  # what argparse calls it where it is none
    return read


def path(text: str) -> Path:
    """Read a path. An empty one, as of a variable that is not set, would name the folder one happens to be in."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """End where nobody reads any more, as with `| head`, or somebody pressed Ctrl-C: without a traceback.

    What is printed can be, whatever the terminal is, or the last of it is missed: then the exit code is 1.
    """
    prepare_streams()
    try:
        try:
            yield
        finally:  # also where the command ends with its own exit code: Python's own last flush is too late
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if not _is_output_lost():
            raise
        _let_go_of_output()
        print(f"The output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def prepare_streams() -> None:
    """Let whatever is printed go somewhere: to nowhere if it was closed, and as `?` what its encoding lacks."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of files need not be UTF-8, and are printed as they are
        is_utf_8 = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf_8 else "replace")


def _is_output_lost() -> bool:
    """Tell whether nothing can be printed any more, as into a file on a full disk."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _let_go_of_output() -> None:
    """Send what is still to be printed to nowhere: Python flushes it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
