"""What a benchmark measured: figures with their floor and target, and how a result is kept as JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must stay below.

    Attributes:
        limit: Of the ratio to the floor, or of the value in the unit of its figure.
        is_ratio: Whether the ratio is meant.
        sizes: Those it was promised for.
    """

    limit: float
    is_ratio: bool = False
    sizes: tuple[str, ...] = ("S", "M", "L")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        part: Of the benchmark.
        name: What was measured.
        size: Of the generated storage.
        storage: Its generation.
        value: Median of the samples, unless the name says otherwise.
        unit: Of value and floor.
        samples: How many there were.
        floor: What the bare work took in the same run. None: nothing bare does the same.
        floor_name: That work.
        target: None if nothing was promised, or not for this size.
        subject: The page, where each has figures of the same names.
        note: More about the value, such as whose it is.
        date: Day it was measured.
        parts: Of the index that it was measured on, for growth. 0: unknown.
    """

    part: str
    name: str
    size: str
    storage: str
    value: float
    unit: str
    samples: int = 1
    floor: float | None = None
    floor_name: str = ""
    target: Target | None = None
    subject: str = ""
    note: str = ""
    date: str = ""
    parts: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """Return what names the figure."""
        return self.part, self.subject, self.name, self.floor_name, self.size, self.storage

    @property
    def ratio(self) -> float | None:
        """Tell how often the bare work could have been done in that time. None without a floor."""
        return self.value / self.floor if self.floor else None

    @property
    def is_met(self) -> bool | None:
        """Tell whether the target is met. None if there is none."""
        if self.target is None or self.size not in self.target.sizes:
            return None
        reached = self.ratio if self.target.is_ratio else self.value
        return reached is not None and reached < self.target.limit


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one machine.

    Attributes:
        machine: Cores, memory, versions: name -> text.
    """

    machine: dict[str, str]
    figures: list[Figure]

    def merged(self, figures: Iterable[Figure]) -> "Report":
        """Return the report with newer figures in place of those they measure again."""
        newest = {figure.key: figure for figure in (*self.figures, *figures)}
        return replace(self, figures=list(newest.values()))


def growth(smaller: Figure, larger: Figure) -> float | None:
    """Tell how a figure grows with the number of parts.

    Returns:
        The exponent: 0 is not at all, 1 as fast as the parts, 2 as their square. None if it cannot be told.
    """
    if min(smaller.value, larger.value) <= 0 or not 0 < smaller.parts < larger.parts:
        return None
    return math.log(larger.value / smaller.value) / math.log(larger.parts / smaller.parts)


def write(report: Report, path: Path) -> None:
    """Keep a report as JSON."""
    found = asdict(report)
    for figure in found["figures"]:
        figure["value"] = round(figure["value"], DECIMALS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read(path: Path, machine: dict[str, str]) -> Report:
    """Read a report, to add to it.

    Args:
        path: It need not exist.
        machine: This one.

    Returns:
        An empty report if there is none, or if it is of another machine or other versions: such figures do not compare.
    """
    if not path.is_file():
        return Report(machine, [])
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["machine"] != machine:
        return Report(machine, [])
    return Report(machine, [_figure(values) for values in found["figures"]])


def _figure(values: dict[str, object]) -> Figure:
    """Build a figure from JSON."""
    target = values.pop("target")
    figure = Figure(**values)  # type: ignore[arg-type]  # the fields as `asdict` wrote them
    if not isinstance(target, dict):
        return figure
    return replace(figure, target=Target(target["limit"], target["is_ratio"], tuple(target["sizes"])))
