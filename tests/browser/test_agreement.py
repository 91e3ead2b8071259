"""Headline, table and CSV show the same money on every data set, however it is grouped and filtered.

Amounts are compared as exact decimals, against `python -m indexer totals --json` or against a row of another table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from pages.ui import display
from queries.costs import GROUPINGS
from queries.table_files import FORMATS
from tests.browser import running
from tests.browser.received import Column, exact_sum
from tests.browser.running import JsonObject
from tests.browser.visit import Visit, visiting
from tests.exports import as_csv

ZONE = "Europe/Berlin"  # so that days are not UTC days
HEADLINE = "Cost, recorded"
PAGE_ROWS = 100
# Beside none; every filter on one data set, as a page takes seconds to change.
FILTERS = {"json": "agent", "sqlite": "model", "live-wal": "date", "migrated-after": "agent"}
SOME_GROUPINGS = ("model", "session", "day")


@dataclass(frozen=True, slots=True)
class Grouped:
    """Costs by one grouping.

    Attributes:
        headline: As it is shown.
        in_table: Sum of the table, all its pages.
        rows: Of the CSV file.
    """

    headline: str
    in_table: Decimal
    rows: list[dict[str, str]]

    @property
    def amounts(self) -> tuple[str, Decimal, Decimal | None]:
        """Return one amount from each of the three places."""
        return self.headline, self.in_table, _sum([_cost(row) for row in self.rows])


@dataclass(frozen=True, slots=True)
class Shown:
    """A data set on the dashboard: one server and one tab for all its tests.

    Attributes:
        totals: What the command line says.
        unfiltered: Costs by each grouping.
        kind: Of the filter, as `_filter` takes it.
    """

    visit: Visit
    totals: JsonObject
    unfiltered: dict[str, Grouped]
    kind: str

    def costs(self, by: str) -> dict[str, Decimal | None]:
        """Return the unfiltered cost of each agent, model or day."""
        return {row[by]: _cost(row) for row in self.unfiltered[by].rows}


@pytest.fixture(scope="module", params=running.DATA_SETS)
def shown(request: pytest.FixtureRequest, browser: Browser, index_of: Callable[[str], Path]) -> Iterator[Shown]:
    """Serve each data set in turn."""
    index = index_of(request.param)
    with running.dashboard(index) as base, visiting(browser, base, zone=ZONE) as visit:
        unfiltered = _grouped(visit, {"range": "all"}, GROUPINGS)
        yield Shown(visit, running.totals(index), unfiltered, FILTERS[request.param])


def _grouped(
    visit: Visit, parameters: dict[str, str], groupings: Sequence[str], in_all_formats: str = ""
) -> dict[str, Grouped]:
    """Open Costs and read it by some groupings; one of them is exported in all formats."""
    visit.open(f"/costs?{urlencode(parameters)}")
    return {by: _grouped_by(visit, parameters, by, by == in_all_formats) for by in groupings}


def _grouped_by(visit: Visit, parameters: dict[str, str], by: str, in_all_formats: bool) -> Grouped:
    """Group the costs, and read the headline, every page of the table, and the CSV file."""
    tables = [visit.group_by(by)]
    rows = _exported(visit, f"Costs by {by}", in_all_formats)
    if len(rows) > len(tables[0]["Cost"]):
        address = f"/costs?{urlencode({**parameters, 'by': by})}"
        tables += _later_pages(visit, address, "costs_rows", "costs_page", len(rows))
    assert sum(len(table["Cost"]) for table in tables) == len(rows)
    in_table = sum((exact_sum(table["Cost"]) for table in tables), Decimal(0))
    return Grouped(visit.metric(HEADLINE), in_table, rows)


def _exported(visit: Visit, what: str, in_all_formats: bool = False) -> list[dict[str, str]]:
    """Export a table as CSV and return its rows.

    Args:
        visit: The tab.
        what: The table, as its export is called.
        in_all_formats: Export it as Parquet and JSON, too: they hold the same, cell by cell.
    """
    formats = FORMATS if in_all_formats else FORMATS[:1]
    files = {each.label: as_csv(visit.export(what, each.label), each.extension) for each in formats}
    assert files == dict.fromkeys(files, files["CSV"])
    return files["CSV"]


def _cost(row: dict[str, str]) -> Decimal | None:
    """Read the cost of a CSV row; None if it is not recorded."""
    return Decimal(row["cost_recorded_usd"]) if row["cost_recorded_usd"] else None


def _sum(costs: Sequence[Decimal | None]) -> Decimal | None:
    """Add what is recorded; None if nothing is."""
    recorded = [cost for cost in costs if cost is not None]
    return sum(recorded, Decimal(0)) if recorded else None


def _filter(shown: Shown, kind: str) -> tuple[dict[str, str], Decimal | None]:
    """Choose a filter and say what must be left under it.

    Args:
        shown: The data set.
        kind: `none`, `agent`, `model` or `date`.

    Returns:
        The URL's parameters, and the cost by rows of the unfiltered tables: the second dearest agent or model, or the
        middle third of the days.
    """
    if kind == "none":
        return {"range": "all"}, Decimal(shown.totals["cost_recorded_usd"])
    if kind == "date":
        costs = shown.costs("day")
        days = sorted(day for day in costs if day != "unknown time")
        chosen = days[len(days) // 3 : len(days) - len(days) // 3]
        return {"from": chosen[0], "to": chosen[-1]}, _sum([costs[day] for day in chosen])
    ranked = sorted(shown.costs(kind).items(), key=lambda item: item[1] or Decimal(0), reverse=True)
    name, left = ranked[min(1, len(ranked) - 1)]
    return {"range": "all", kind: name}, left


def _later_pages(visit: Visit, path: str, prefix: str, page_key: str, rows: int) -> list[dict[str, Column]]:
    """Return the second and every later page of a table that is shown in pages.

    Args:
        visit: The tab.
        path: Page with its parameters.
        prefix: How the key of the table begins.
        page_key: Name of the page number in the URL.
        rows: How many rows there are in all.
    """
    tables = []
    for number in range(2, -(-rows // PAGE_ROWS) + 1):
        visit.open(f"{path}&{page_key}={number}")
        tables.append(visit.table(prefix))
    return tables


def test_costs_every_grouping_headline_table_and_csv_agree(shown: Shown) -> None:
    """One amount in three places, for each of the eight groupings; under a filter for some, one in every format."""
    visit = shown.visit
    _, in_all = _filter(shown, "none")
    parameters, left = _filter(shown, shown.kind)

    filtered = _grouped(visit, parameters, SOME_GROUPINGS, in_all_formats="session")

    for found, groupings, expected in ((shown.unfiltered, GROUPINGS, in_all), (filtered, SOME_GROUPINGS, left)):
        amounts = {by: grouped.amounts for by, grouped in found.items()}
        assert amounts == dict.fromkeys(groupings, (display.usd(expected), expected or Decimal(0), expected))
    assert visit.errors == []
    assert visit.foreign == []


def test_costs_unfiltered_equals_the_command_line(shown: Shown) -> None:
    """Tokens and cost in all, of each model and of each session are those of `totals --json`."""
    totals = shown.totals
    sessions = {row["session_id"]: row for row in shown.unfiltered["session"].rows}
    per_session = {
        name: session
        for name, session in totals["per_session"].items()
        if name in sessions or any(session["tokens"].values()) or Decimal(session["cost_recorded_usd"])
    }

    models = {name: Decimal(model["cost_recorded_usd"]) for name, model in totals["per_model"].items()}
    assert {name: cost or Decimal(0) for name, cost in shown.costs("model").items()} == models
    assert {name: _cost(row) or Decimal(0) for name, row in sessions.items()} == {
        name: Decimal(session["cost_recorded_usd"]) for name, session in per_session.items()
    }
    for counter in ("input", "output", "reasoning", "cache_read", "cache_write", "total"):
        assert sum(int(row[f"{counter}_tokens"]) for row in sessions.values()) == totals["tokens"][counter]


@pytest.mark.parametrize("is_filtered", [False, True], ids=["all", "filtered"])
def test_sessions_column_sum_equals_the_costs_row(shown: Shown, is_filtered: bool) -> None:
    """Sessions under a filter add up to the row of that agent, model or period on Costs, on the page and in files."""
    visit = shown.visit
    parameters, expected = _filter(shown, shown.kind if is_filtered else "none")
    path = f"/sessions?{urlencode({**parameters, 'children': str(not is_filtered).lower()})}"
    visit.open(path)
    rows = _exported(visit, "Sessions", is_filtered)

    tables = [visit.table("sessions_rows"), *_later_pages(visit, path, "sessions_rows", "page", len(rows))]

    assert _sum([_cost(row) for row in rows]) == expected
    assert sum(len(table["Cost"]) for table in tables) == len(rows)
    assert sum((exact_sum(table["Cost"]) for table in tables), Decimal(0)) == (expected or Decimal(0))
    assert visit.errors == []
