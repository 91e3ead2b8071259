"""Wall time, ours and theirs in turns on the same storage."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from subprocess import Popen

from tests.comparison import agentsview, our_index
from tests.comparison.tools import PERIODS, Command, Tools
from tests.comparison.usage import Printed

FIRST_INDEX_GOAL = 5.0
LOOK_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Final:
    """What both indexes show when they are complete.

    Attributes:
        ours: Our totals.
        agentsview_database: One that is complete.
    """

    ours: Printed
    agentsview_database: Path


@dataclass(frozen=True, slots=True)
class Race:
    """The same task for two tools.

    Attributes:
        rival: Who runs against us.
        ours: Does it our way; returns seconds.
        theirs: Does it the rival's way.
        goal: How many times as fast we want to be.
    """

    name: str
    rival: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    goal: float = 1.0


@dataclass(slots=True)
class Result:
    """What a race took, in seconds, round by round."""

    name: str
    rival: str
    goal: float
    ours_s: list[float] = field(default_factory=list)
    theirs_s: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Tell how many times as fast as the rival we are, by medians."""
        return median(self.theirs_s) / median(self.ours_s)


def races(tools: Tools, final: Final) -> list[Race]:
    """List the races of one round, in order: later ones need what the first leaves in the folder."""
    load, sync = tools.our_load(), tools.agentsview_load()
    ours_shown = our_index.Showing(tools.index, final.ours)
    theirs_shown = agentsview.Showing(tools.agentsview_database, final.agentsview_database)
    return [
        Race(
            "first index, until a reader sees the final totals",
            "agentsview",
            partial(until, load, ours_shown),
            partial(until, sync, theirs_shown),
            FIRST_INDEX_GOAL,
        ),
        Race("resync, nothing changed", "agentsview", partial(seconds, load), partial(seconds, sync)),
        *(
            Race(
                f"costs by {by}",
                "ccusage",
                partial(seconds, tools.our_report(by)),
                partial(seconds, tools.ccusage_report(by)),
            )
            for by in PERIODS
        ),
    ]


def run(
    rounds: int, tools_of: Callable[[Path], Tools], final: Final, folder: Path, done: Callable[[Path], object]
) -> list[Result]:
    """Run all races in every round; who starts changes from round to round. Nothing is left out.

    Args:
        rounds: How often.
        tools_of: Makes the tools of a round at home in a folder.
        final: What ends a first index.
        folder: Where the folders of the rounds are made.
        done: Called with each folder when its round is over.
    """
    results: dict[str, Result] = {}
    for number in range(rounds):
        home = folder / f"round-{number}"
        home.mkdir()
        for race in races(tools_of(home), final):
            result = results.setdefault(race.name, Result(race.name, race.rival, race.goal))
            sides = [(race.ours, result.ours_s), (race.theirs, result.theirs_s)]
            for measure, times in sides if number % 2 == 0 else reversed(sides):
                times.append(measure())
        done(home)
    return list(results.values())


def seconds(command: Command) -> float:
    """Time a process from start to end."""
    start = time.perf_counter()
    command.run()
    return time.perf_counter() - start


def until(command: Command, is_shown: Callable[[], bool]) -> float:
    """Time a process from its start until something is to be seen; it may work on, and is waited for.

    Raises:
        RuntimeError: It ended, and there was nothing to be seen.
    """
    shown_at: list[float] = []

    def look(process: Popen[bytes]) -> None:
        """Look again and again, and once more when it has ended."""
        has_ended = False
        while not shown_at and not has_ended:
            has_ended = process.poll() is not None
            if is_shown():
                shown_at.append(time.perf_counter())
            else:
                time.sleep(LOOK_INTERVAL_S)

    start = time.perf_counter()
    command.run(look)
    if not shown_at:
        raise RuntimeError(f"{command.arguments[0]} ended without showing what it had shown before")
    return shown_at[0] - start
