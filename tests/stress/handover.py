"""Plays the story of `tests/test_race_condition.py` many times: 100 documents written during the hand-over."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.stress.running import ROOT

_STORY = "tests/test_race_condition.py"
_CHOSEN = "loses_and_doubles_nothing"
KINDS = 2  # files and rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rounds showed.

    Attributes:
        passed: Rounds without a lost or doubled document.
        seconds: How long all of them took.
        output: What is wrong, if anything is.
    """

    passed: int
    seconds: float
    output: str


def run(rounds: int) -> Outcome:
    """Play the story; every round with another order of writes, half of them with files and half with rows.

    Args:
        rounds: How many at least.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", _CHOSEN, _STORY]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"HANDOVER_RUNS": str(-(-rounds // KINDS))},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"(\d+) passed", done.stdout)
    passed = int(found[1]) if found else 0
    is_well = done.returncode == 0 and passed >= rounds
    return Outcome(passed, time.monotonic() - started, "" if is_well else done.stdout[-6_000:] + done.stderr)


def report(outcome: Outcome) -> str:
    """Say what was seen, in a few lines."""
    verdict = outcome.output or "none lost or doubled"
    return f"{outcome.passed} hand-overs with 100 documents each in {outcome.seconds:.0f} s: {verdict}"
