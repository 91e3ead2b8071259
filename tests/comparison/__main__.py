"""Compares us with `agentsview` and `ccusage` on one storage: wall times in turns, totals, and why they differ.

Neither is needed by this project: they are run where they are installed, at home in a scratch folder.
"""

import argparse
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from tests.comparison import agentsview, ccusage, differences, our_index, table, timing
from tests.comparison.differences import UNEXPLAINED, Differences
from tests.comparison.timing import Final, Result
from tests.comparison.tools import INSTALL, Tools, stage
from tests.comparison.usage import Printed
from tests.stress.running import compile_code


@dataclass(frozen=True, slots=True)
class Totals:
    """What each tool shows, and why the other two differ from us.

    Attributes:
        printed: By tool, ours first.
        causes: By tool, the way from our totals to theirs.
        problems: Sentences about what is not as it should be.
    """

    printed: dict[str, Printed]
    causes: dict[str, Differences]
    problems: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        Exit code: 1 if a difference is unexplained, or our own totals are not the truth.
    """
    options = _parse(arguments)
    compile_code()
    with tempfile.TemporaryDirectory(prefix="opencode-analytics-comparison-") as scratch:
        folder = Path(scratch)
        data_dir = stage(options.data, folder / "opencode")
        make = partial(Tools, data_dir, agentsview=options.agentsview, ccusage=options.ccusage)
        (home := folder / "totals").mkdir()
        # also reads everything once, so that all rounds find the storage in the file cache
        totals = compare_totals(tools := make(home), options.truth)
        final = Final(totals.printed["ours"], tools.agentsview_database)
        results = timing.run(options.rounds, make, final, folder, shutil.rmtree)
        versions = tools.versions()
    print(_markdown(versions, totals, results))
    if options.json:
        options.json.write_text(_json(versions, totals, results), encoding="utf-8")
    for problem in totals.problems:
        print(f"NOT WELL: {problem}", file=sys.stderr)
    return 1 if totals.problems else 0


def compare_totals(tools: Tools, truth: Path | None) -> Totals:
    """Let every tool count, and explain each difference.

    Args:
        tools: At home in an empty folder.
        truth: What `tests.corpus` printed about the storage; None: not known.
    """
    tools.our_load().run()
    tools.agentsview_load().run()
    messages, session_ids = our_index.read_messages(tools.index), our_index.read_session_ids(tools.index)
    report = tools.ccusage_report("session").run()
    counted = {
        "agentsview": agentsview.count(
            tools.data_dir, tools.agentsview_database, tools.agentsview_log, tools.agentsview_report().run(), messages
        ),
        "ccusage": ccusage.count(tools.data_dir, report),
    }
    ours = our_index.printed(messages, session_ids)
    causes = {name: differences.explain(messages, theirs) for name, theirs in counted.items()}
    problems = _our_problems(ours, our_index.read_report(tools.our_report("day").run()), truth)
    for name, theirs in counted.items():
        differences.explain_sessions(session_ids, messages, theirs, causes[name])
        differences.explain_cost(messages, theirs, causes[name])
        if UNEXPLAINED in causes[name]:
            problems.append(f"{name}: part of its difference is unexplained")
    unproven = differences.unproven(ccusage.by_rule(tools.data_dir), ccusage.read_sessions(report))
    if unproven:
        problems.append(f"ccusage: its report of {len(unproven)} sessions is not what its rule gives")
    return Totals({"ours": ours} | {name: each.printed for name, each in counted.items()}, causes, problems)


def _our_problems(ours: Printed, report: Printed, truth: Path | None) -> list[str]:
    """Compare our index with our report and with the truth."""
    problems = []
    if (report.usage, report.cost_usd) != (ours.usage, ours.cost_usd):
        problems.append("our report by day does not add up to our messages: some may have no time")
    if truth:
        told: dict[str, Any] = json.loads(truth.read_text(encoding="utf-8"))
        tokens = told["tokens"]
        right = [*(tokens[name] for name in ("input", "output", "cache_read", "cache_write", "total"))]
        right += [Decimal(told["cost_recorded_usd"]), told["sessions"], told["messages"]]
        usage = ours.usage
        found = [usage.input, usage.output, usage.cache_read, usage.cache_write, ours.tokens]
        if [*found, ours.cost_usd, ours.sessions, ours.messages] != right:
            problems.append("our totals are not the truth of the corpus")
    return problems


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends with a hint if a tool is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.comparison", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="an OpenCode data folder that nothing writes to")
    parser.add_argument("--truth", type=Path, help="what tests.corpus printed when it wrote the folder")
    parser.add_argument("--rounds", type=int, default=5, help="how often each task is timed; 0: only totals")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    for name in INSTALL:
        parser.add_argument(f"--{name}", type=Path, default=shutil.which(name), help="its program; default: on PATH")
    options = parser.parse_args(arguments)
    for name, how in INSTALL.items():
        path = getattr(options, name)
        if path is None or shutil.which(path) is None:
            parser.error(f"{name} is not installed. {how}")
        setattr(options, name, Path(path).absolute())
    return options


def _markdown(versions: dict[str, str], totals: Totals, results: Sequence[Result]) -> str:
    """Write everything for a person."""
    found = [f"{', '.join(versions.values())}; {_machine()}"]
    if results:
        found.append(table.timings(results))
    found.append(table.totals(totals.printed))
    found += [
        f"From our totals to those of {name}:\n\n{table.differences(each)}" for name, each in totals.causes.items()
    ]
    return "\n\n".join(found)


def _json(versions: dict[str, str], totals: Totals, results: Sequence[Result]) -> str:
    """Write everything for a program; money is text."""
    found = {
        "versions": versions,
        "machine": _machine(),
        "timings": [{**asdict(result), "ratio": result.ratio} for result in results],
        **asdict(totals),
    }
    return json.dumps(found, default=str, indent=1)


def _machine() -> str:
    """Say on what it ran."""
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
