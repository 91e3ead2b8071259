"""Stress of following OpenCode in real time, with figures: `python -m tests.stress --help`."""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from tests import corpus
from tests.stress import clients, handover, idle, kills, readers, timeline

IDLE_SHARE = 0.01  # of a core
MEDIAN_S, P95_S = 0.5, 1.0  # from the write of a document until readers have it


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        Exit code: 1 if anything is wrong.
    """
    options = _parse(arguments)
    parts = {
        "kills": _kills,
        "handover": _handover,
        "readers": _readers,
        "client": _client,
        "idle": _idle,
        "timeline": _timeline,
    }
    chosen = ("kills", "handover", "readers") if options.part == "all" else (options.part,)
    is_well = True
    for name in chosen:
        print(f"--- {name}", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"stress-{name}-") as folder:
            is_well &= parts[name](options, Path(folder))
    print("all well" if is_well else "NOT all well", flush=True)
    return 0 if is_well else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    names = parser.add_subparsers(dest="part", metavar="PART")
    every = names.add_parser("all", help="kills, handover and readers, one after the other (the default)")
    part_kills = names.add_parser("kills", help="kill the indexer at any moment, and let it go on")
    part_handover = names.add_parser("handover", help="write 100 documents while the full pass hands over, many times")
    part_readers = names.add_parser("readers", help="read without pause while documents arrive")
    for each in (every, part_kills):
        each.add_argument("--kills", type=int, default=300, help="how many at least")
        each.add_argument("--least", type=int, default=50, help="how many of each kind at least")
        each.add_argument("--seed", type=int, default=1)
    for each in (every, part_handover):
        each.add_argument("--rounds", type=int, default=200)
    for each in (every, part_readers):
        each.add_argument("--size", choices=corpus.SIZES, default="M", help="of the storage, see tests.corpus")
        each.add_argument("--seconds", type=float, default=60)
        each.add_argument("--rate", type=float, default=200, help="documents a second")
    part_readers.add_argument("--data", type=Path, action="append", help="write to this storage; a copy, please")
    client = names.add_parser("client", help="let a real client work in front of the indexer")
    client.add_argument("--binary", type=Path, required=True)
    client.add_argument("--tools", type=Path, required=True, help="folder of labkit.py")
    client.add_argument("--version", choices=("old", "new"), required=True, help="old: 1.1, new: 1.18")
    client.add_argument("--ports", type=int, nargs=2, default=(18_801, 18_802), help="of the model and of the client")
    part_idle = names.add_parser("idle", help="measure what following costs while nothing happens")
    part_idle.add_argument("--data", type=Path, action="append", required=True)
    part_idle.add_argument("--minutes", type=float, default=10)
    part_timeline = names.add_parser("timeline", help="open a very long session in the browser, and watch one grow")
    part_timeline.add_argument("--seconds", type=float, default=60)
    given = sys.argv[1:] if arguments is None else arguments
    is_named = any(each in names.choices for each in given[:1]) or {"-h", "--help"} & set(given)
    return parser.parse_args(given if is_named else ["all", *given])


def _kills(options: argparse.Namespace, folder: Path) -> bool:
    """Kill."""
    try:
        outcome = kills.run(folder, options.kills, options.least, options.seed)
    except AssertionError:
        traceback.print_exc()
        return False
    print(kills.report(outcome), flush=True)
    return True


def _handover(options: argparse.Namespace, folder: Path) -> bool:
    """Hand over."""
    outcome = handover.run(options.rounds)
    print(handover.report(outcome), flush=True)
    return not outcome.output


def _readers(options: argparse.Namespace, folder: Path) -> bool:
    """Read."""
    data_dirs = getattr(options, "data", None)
    if not data_dirs:
        data_dirs = [folder / "opencode"]
        corpus.write(corpus.plan_of(options.size, "mixed"), data_dirs[0])
    outcome = readers.run(folder, data_dirs, options.seconds, options.rate)
    print(readers.report(outcome), flush=True)
    return not outcome.problems and readers.is_soon(outcome, MEDIAN_S, P95_S)


def _client(options: argparse.Namespace, folder: Path) -> bool:
    """Let a client work."""
    outcome = clients.run(folder, options.binary, options.tools, options.version, tuple(options.ports))
    print(clients.report(outcome), flush=True)
    return not outcome.problems


def _idle(options: argparse.Namespace, folder: Path) -> bool:
    """Idle."""
    outcome = idle.run(folder, options.data, 60 * options.minutes)
    print(idle.report(outcome), flush=True)
    return outcome.share < IDLE_SHARE


def _timeline(options: argparse.Namespace, folder: Path) -> bool:
    """Look at timelines."""
    outcome = timeline.run(folder, options.seconds)
    print(timeline.report(outcome), flush=True)
    return outcome.is_soon


if __name__ == "__main__":
    sys.exit(main())
