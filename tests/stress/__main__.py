"""Stress of following OpenCode in real time, with figures: `python -m tests.stress --help`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.stress import kills


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        Exit code; whatever is wrong raises.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("kills", help="kill the indexer at any moment, and let it go on")
    part.add_argument("--kills", type=int, default=300, help="how many at least")
    part.add_argument("--least", type=int, default=50, help="how many of each kind at least")
    part.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stress-") as folder:
        print(kills.report(kills.run(Path(folder), options.kills, options.least, options.seed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
