"""What the command lines have in common: how they are read, and what numbers and paths they take."""

import argparse
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
    """End where nobody reads any more, as with `| head`, or somebody pressed Ctrl-C: without a traceback."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
