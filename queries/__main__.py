"""Reports in the terminal: `python -m queries costs --by day` prints what the Costs page shows."""

import shutil
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast, get_args

import duckdb
import tzlocal

from indexer import settings
from indexer.arguments import Parser, ending_quietly, path
from indexer.exceptions import IndexUnavailable, SettingsInvalid
from indexer.published import IndexReader
from queries import costs, exported_tables, health, period, table_files, text_table
from queries.costs import CostRow, CostTotals
from queries.period import FIRST_DAY, LAST_DAY, Scope

UNUSABLE, USAGE = 1, 2
By = Literal["day", "week", "month", "provider", "model", "agent", "project", "session"]
Basis = Literal["recorded", "list"]

_ABOUT = """Print reports of the index that the indexer keeps, at any time; nothing is written.

Exit codes: 0 done, 1 no usable index, 2 wrong usage."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a report.

    Args:
        arguments: What follows the name of the program. None: as it was called.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        with ending_quietly():
            print_costs(chosen)
    except ArgumentTypeError as error:
        parser.error(str(error))


def print_costs(chosen: Namespace) -> None:
    """Print what OpenCode cost, and what the same tokens cost at list prices: every request once."""
    by, basis = cast("By", chosen.by), cast("Basis", chosen.basis)
    with _reading(chosen.db) as con:
        scope = _scope(con, chosen)
        if lacking := _lacking(health.status(con)):
            print(lacking, file=sys.stderr)  # a file that is piped on stays as it is
        rows = costs.cost_rows(con, by, scope, basis=basis)
        if chosen.json or chosen.csv:
            write = table_files.json_bytes if chosen.json else table_files.csv_bytes
            found = exported_tables.costs(rows, by, basis, scope.tz, _project_names(con))
            sys.stdout.buffer.write(write(found))
            return
        totals = costs.cost_totals(con, scope)
        _print_table(rows, totals, by, basis, scope, _project_names(con))
        for line in _left_out(totals, costs.unpriced_models(con, scope)):
            print(line)


def _parser() -> Parser:
    """Describe the reports and their options."""
    about = "Print what OpenCode cost, and what the same tokens cost at list prices: every request once."
    parser = Parser("python -m queries", _ABOUT)
    reports = parser.add_subparsers(title="reports", metavar="REPORT", required=True)
    taken = reports.add_parser("costs", help=about, description=about)
    taken.add_argument("--by", choices=get_args(By), default="day", help="What to break the costs down by.")
    taken.add_argument(
        "--basis",
        choices=get_args(Basis),
        default="recorded",
        help="What shares and the order go by: costs as recorded, or list prices.",
    )
    for name, about in (
        ("since", "First day. Default: the beginning."),
        ("until", "Last day, included. Default: today."),
    ):
        taken.add_argument(f"--{name}", metavar="YYYY-MM-DD", type=_day, help=about)
    for name, about in (("agent", "agent"), ("model", "provider/model"), ("project", "project, by id or name")):
        several = f"Only this {about}; may be given several times."
        taken.add_argument(f"--{name}", metavar="NAME", action="append", default=[], help=several)
    taken.add_argument(
        "--tz", metavar="ZONE", help="Time zone that cuts days. Default: the settings', else this machine's."
    )
    taken.add_argument("--db", metavar="FILE", type=path, help="The index. Default: as the indexer's.")
    output = taken.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="Print JSON; money is text, exact.")
    output.add_argument("--csv", action="store_true", help="Print CSV, safe to open in a spreadsheet.")
    return parser


def _day(text: str) -> date:
    """Read a day.

    Raises:
        ArgumentTypeError: It is none, or not between those that the dashboard offers: the calendar ends soon after.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no day, as in 2026-01-31") from error
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ArgumentTypeError(f"{text} is no day from {FIRST_DAY} to {LAST_DAY}")
    return day


def _scope(con: duckdb.DuckDBPyConnection, chosen: Namespace) -> Scope:
    """Turn the options into what to look at.

    Raises:
        ArgumentTypeError: There is no such time zone, agent, model or project, or the period ends before it begins.
    """
    time_zone, first_weekday = settings.calendar()
    zone = chosen.tz or time_zone or tzlocal.get_localzone_name() or "UTC"
    if not health.knows_zone(con, zone):
        raise ArgumentTypeError(f"{zone} is no time zone; an IANA name is needed, as in Europe/Berlin")
    if chosen.since and chosen.until and chosen.until < chosen.since:
        raise ArgumentTypeError(f"--until {chosen.until} is before --since {chosen.since}")
    _refuse_unknown(con, chosen)
    return Scope(
        tz=zone,
        period=period.days(chosen.since, chosen.until or _today(zone, chosen.since), zone),
        agents=tuple(chosen.agent),
        models=tuple(chosen.model),
        projects=tuple(id_ for name in chosen.project for id_ in _project_ids(con, name)),
        first_weekday=first_weekday,
    )


def _today(tz: str, first: date | None) -> date | None:
    """Return the last day of a period that only has a first one: today, or that day if it is to come."""
    today = period.local_day(datetime.now(UTC).replace(tzinfo=None), tz)
    return None if first is None else max(first, today)


def _refuse_unknown(con: duckdb.DuckDBPyConnection, chosen: Namespace) -> None:
    """Refuse names of agents and models that nothing has: no cost of theirs would look like none at all.

    Raises:
        ArgumentTypeError: One is unknown.
    """
    if not chosen.agent and not chosen.model:
        return
    known = health.names(con)
    for kind, given, names in (("agent", chosen.agent, known.agents), ("model", chosen.model, known.models)):
        for name in given:
            if name not in names:
                raise ArgumentTypeError(
                    f"no {kind} is called {_plain(name)}; see `python -m queries costs --by {kind}`"
                )


def _project_ids(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """Find the projects that have a name or an id.

    Raises:
        ArgumentTypeError: None has.
    """
    known = health.names(con).projects
    found = [each.project_id for each in known if name in (each.project_id, each.name)]
    if not found:
        raise ArgumentTypeError(f"no project is called {_plain(name)}; see `python -m queries costs --by project`")
    return found


def _project_names(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return what to call each project."""
    return {each.project_id: each.name or each.project_id[:8] for each in health.names(con).projects}


def _print_table(
    rows: Sequence[CostRow], totals: CostTotals, by: str, basis: str, scope: Scope, names: dict[str, str]
) -> None:
    """Print the rows and their sum."""
    named = [
        (
            _plain(names.get(row.key or "") or row.label or row.key or "unknown time"),
            *_cells(row, row.share, row.errors),
        )
        for row in rows
    ]
    share = None if totals.cost_usd(basis) is None else 1.0
    total = ("Total", *_cells(totals, share, sum(row.errors for row in rows)))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(f"Costs by {by}, {scope.tz}\n")
    print(*text_table.lines((by.capitalize(), *_HEADINGS), named, total, width), "", sep="\n")


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
        _usd(row.cost_usd(costs.LIST)),
        "—" if share is None else f"{share:.1%}",
        *(f"{count:,}" for count in counts),
    ]


def _usd(cost: Decimal | None) -> str:
    """Write a cost; unknown is not 0."""
    return "—" if cost is None else f"{cost:,.4f}"


def _lacking(status: health.IndexStatus) -> str:
    """Say what is too low while the first pass has not ended. Empty once it has."""
    if not status.is_partial:
        return ""
    low = "only errors are too low" if status.has_first_totals else "every number here is too low"
    read = f"{status.documents_done:,} of {status.documents_total:,}" if status.documents_total else "some"
    return f"The first pass has not ended, {read} messages are read: {low}."


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
        raise SystemExit(USAGE) from error
    except IndexUnavailable as error:
        print(error, file=sys.stderr)
        raise SystemExit(UNUSABLE) from error


if __name__ == "__main__":
    main()
