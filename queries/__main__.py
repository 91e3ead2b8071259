"""Reports in the terminal: `python -m queries costs --by day` prints what the Costs page shows."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import duckdb
import typer
import tzlocal
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from indexer import settings
from indexer.exceptions import IndexUnavailable, SettingsInvalid
from indexer.published import IndexReader
from queries import costs, exported_tables, health, period, table_files
from queries.costs import CostRow, CostTotals
from queries.period import Scope

UNUSABLE, USAGE = 1, 2
WIDTH = 180  # of the table where the output is no terminal
By = Literal["day", "week", "month", "provider", "model", "agent", "project", "session"]
Basis = Literal["recorded", "list"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""Print reports of the index that the indexer keeps, at any time; nothing is written.

    Exit codes: 0 done, 1 no usable index, 2 wrong usage.
    """,
)

ByOption = Annotated[By, typer.Option("--by", help="What to break the costs down by.")]
BasisOption = Annotated[
    Basis, typer.Option("--basis", help="What shares and the order go by: costs as recorded, or list prices.")
]
SinceOption = Annotated[
    datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="First day. Default: the beginning.")
]
UntilOption = Annotated[
    datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day, included. Default: today.")
]
AgentOption = Annotated[list[str] | None, typer.Option("--agent", help="Only this agent; may be given several times.")]
ModelOption = Annotated[
    list[str] | None, typer.Option("--model", help="Only this provider/model; may be given several times.")
]
ProjectOption = Annotated[
    list[str] | None, typer.Option("--project", help="Only this project, by id or name; may be given several times.")
]
ZoneOption = Annotated[
    str | None, typer.Option("--tz", help="Time zone that cuts days. Default: the settings', else this machine's.")
]
DbOption = Annotated[Path | None, typer.Option("--db", metavar="FILE", help="The index. Default: as the indexer's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; money is text, exact.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, safe to open in a spreadsheet.")]


@app.callback()
def reports() -> None:
    """Print reports of the index."""


@app.command("costs")
def print_costs(
    by: ByOption = "day",
    since: SinceOption = None,
    until: UntilOption = None,
    agent: AgentOption = None,
    model: ModelOption = None,
    project: ProjectOption = None,
    basis: BasisOption = "recorded",
    tz: ZoneOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Print what OpenCode cost, and what the same tokens cost at list prices: every request once."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    with _reading(db) as con:
        scope = _scope(con, tz, (since, until), agent or (), model or (), project or ())
        rows = costs.cost_rows(con, by, scope, basis=basis)
        if as_json or as_csv:
            write = table_files.json_bytes if as_json else table_files.csv_bytes
            found = exported_tables.costs(rows, by, basis, scope.tz, _project_names(con))
            sys.stdout.buffer.write(write(found))
            return
        _print_table(rows, costs.cost_totals(con, scope), by, basis, scope, _project_names(con))
        for line in _left_out(costs.cost_totals(con, scope), costs.unpriced_models(con, scope)):
            print(line)


def _scope(
    con: duckdb.DuckDBPyConnection,
    tz: str | None,
    bounds: tuple[datetime | None, datetime | None],
    agents: Sequence[str],
    models: Sequence[str],
    projects: Sequence[str],
) -> Scope:
    """Turn the options into what to look at.

    Raises:
        BadParameter: There is no such time zone, or no such project.
    """
    time_zone, first_weekday = settings.calendar()
    zone = tz or time_zone or tzlocal.get_localzone_name() or "UTC"
    if not health.knows_zone(con, zone):
        raise typer.BadParameter(f"{zone} is no time zone; an IANA name is needed, as in Europe/Berlin")
    first, last = (None if bound is None else bound.date() for bound in bounds)
    return Scope(
        tz=zone,
        period=period.days(first, last or _today(zone, first), zone),
        agents=tuple(agents),
        models=tuple(models),
        projects=tuple(id_ for name in projects for id_ in _project_ids(con, name)),
        first_weekday=first_weekday,
    )


def _today(tz: str, first: date | None) -> date | None:
    """Return the last day of a period that only has a first one: today, or that day if it is to come."""
    today = period.local_day(datetime.now(UTC).replace(tzinfo=None), tz)
    return None if first is None else max(first, today)


def _project_ids(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Find the projects that have a name or an id.

    Raises:
        BadParameter: None has.
    """
    known = health.names(con).projects
    found = [each.project_id for each in known if name in (each.project_id, each.name)]
    if not found:
        raise typer.BadParameter(f"no project is called {_plain(name)}; see `python -m queries costs --by project`")
    return found


def _project_names(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return what to call each project."""
    return {each.project_id: each.name or each.project_id[:8] for each in health.names(con).projects}


def _print_table(
    rows: Sequence[CostRow], totals: CostTotals, by: str, basis: str, scope: Scope, names: dict[str, str]
) -> None:
    """Print the rows and their sum."""
    table = Table(title=f"Costs by {by}, {scope.tz}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(by.capitalize(), overflow="fold", min_width=16)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        key = names.get(row.key or "") or row.label or row.key or "unknown time"
        table.add_row(Text(_plain(key)), *_cells(row, row.share, row.errors))
    table.add_section()
    share = None if totals.cost_usd(basis) is None else 1.0
    table.add_row("Total", *_cells(totals, share, sum(row.errors for row in rows)))
    console = Console()
    Console(width=None if console.is_terminal else max(console.width, WIDTH), markup=False).print(table)


_HEADINGS = (
    *("Recorded USD", "List USD", "Share", "Sessions", "Messages", "Input", "Output", "Reasoning"),
    *("Cache read", "Cache write", "Total tokens", "Errors"),
)


def _cells(row: CostRow | CostTotals, share: float | None, errors: int) -> list[str]:
    """Write the numbers of a row."""
    counts = (
        *(row.sessions, row.messages, row.input_tokens, row.output_tokens, row.reasoning_tokens),
        *(row.cache_read_tokens, row.cache_write_tokens, row.total_tokens, errors),
    )
    return [
        _usd(row.cost_recorded_usd),
        _usd(row.cost_list_usd),
        "—" if share is None else f"{share:.1%}",
        *(f"{count:,}" for count in counts),
    ]


def _usd(cost: Decimal | None) -> str:
    """Write a cost; unknown is not 0."""
    return "—" if cost is None else f"{cost:,.4f}"


def _left_out(totals: CostTotals, unpriced: Sequence[costs.UnpricedModel]) -> Iterator[str]:
    """Name what the numbers do not hold."""
    if totals.fork_copies:
        yield f"Not counted twice: {totals.fork_copies:,} fork copies ({totals.fork_copy_tokens:,} tokens)."
    if totals.unrecorded_messages:
        yield f"No recorded cost: {totals.unrecorded_messages:,} messages ({totals.unrecorded_tokens:,} tokens)."
    if totals.missing_usage_messages:
        yield f"No usage recorded: {totals.missing_usage_messages:,} messages."
    if totals.unknown_time_messages:
        yield f"Left out, as their time is not known: {totals.unknown_time_messages:,} messages."
    if unpriced:
        names = ", ".join(_plain(each.model) for each in unpriced)
        yield f"No list price: {totals.unpriced_tokens:,} tokens of {names}."
    if totals.free_list_usd:
        yield f"Recorded as 0, by subscriptions and free models: {totals.free_list_usd:,.4f} USD at list prices."


def _plain(text: str) -> str:
    """Take out what a terminal would obey: names are whatever OpenCode's files say."""
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def _reading(db: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published index; end with a line that says why if there is none."""
    try:
        reader = IndexReader(settings.index_path(db))
        try:
            yield reader.connection()
        finally:
            reader.close()
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE) from error
    except IndexUnavailable as error:
        print(error, file=sys.stderr)
        raise typer.Exit(UNUSABLE) from error


if __name__ == "__main__":
    app()
