"""Command line of the indexer: `python -m indexer --help`."""

import argparse
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from indexer import interrupts, settings
from indexer.arguments import INTERRUPTED, Parser, ending_quietly, number, path
from indexer.duckdb_file import SCHEMA_VERSION
from indexer.exceptions import AnotherIndexerRuns, IndexUnavailable, SettingsInvalid
from indexer.published import IndexReader

# Every command loads what it needs: `status` is done before the writing half of the indexer would be there.
if TYPE_CHECKING:
    from indexer.bulk_loader import BulkResult
    from indexer.database import Database, MigrationResult
    from indexer.publish import Publisher

DONE, UNUSABLE, USAGE, ANOTHER_RUNS = 0, 1, 2, 3
BENCHMARK_WIDTH = 170  # of its table, also where the output is a file
LOG_EVERY_MESSAGES = 5_000
BULK, FOLLOWING = "indexer.bulk_loader", "indexer.live"  # what a pass, and what following, is done by

log = logging.getLogger("indexer")

_ABOUT = """Read OpenCode's storage into the index that the dashboard shows.

Nothing of OpenCode's is ever changed, and nothing leaves this machine."""
_EXIT_CODES = """Exit codes: 0 done (unreadable documents are counted, not fatal), 1 index or source unusable,
2 wrong usage or settings, 3 another indexer runs on this index, 130 interrupted (the next start goes on)."""
_DATA = """OpenCode data folder (it holds storage/ and/or opencode*.db); may be given several times. Default:
OPENCODE_DATA_DIR, else the settings file, else $XDG_DATA_HOME/opencode, else ~/.local/share/opencode."""
_DB = """The index. Default: ANALYTICS_DB, else the settings file, else
$XDG_DATA_HOME/opencode-analytics/analytics.duckdb."""
_ROWS = """Measure on made-up data with about so many parts, in a temporary folder. Default: your own index."""

# Rows make no cycles: to look for some after every 700 new objects took 7 % of the time of a live change, or of a load.
_COLLECT_AFTER = 20_000


def _set_up_memory() -> None:
    """Choose how memory is got and given back, before the writing half of the indexer is loaded."""
    gc.set_threshold(_COLLECT_AFTER)
    # Arrow's own allocator keeps what was freed: 35 MB of a first pass of 150,000 parts, 43 of a million.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def bulk(data: list[Path] | None, db: Path | None, sample: bool, verbose: bool) -> None:
    """Read everything once, then exit. Run it again at any time: only what changed is written."""
    _set_up_memory()
    from indexer import service

    _configure_log(verbose)
    interrupts.stop_on_signals()
    folders, excluded = _folders(data, db), _excluded(sample)
    try:
        with _explained(), _open(db, sample, excluded, BULK) as (database, publisher), _progress() as progress:
            result = service.read_once(database, publisher, folders, progress)
            _report(result)
    except KeyboardInterrupt:
        log.info("interrupted: what was read is kept, the next start goes on")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(UNUSABLE if result.problems or not _is_any_data(folders) else DONE)


def run(data: list[Path] | None, db: Path | None, sample: bool, verbose: bool) -> None:
    """Read everything, then follow every change until stopped with Ctrl-C."""
    _set_up_memory()
    from indexer import service

    _configure_log(verbose)
    interrupts.stop_on_signals()
    folders, excluded = _folders(data, db), _excluded(sample)

    def ready(result: "BulkResult") -> None:
        """Tell that from now on nothing has to be done."""
        _report(result)
        log.info("following changes; stop with Ctrl-C")

    def opened() -> AbstractContextManager[tuple["Database", "Publisher"]]:
        """Open the index, at first and after a full disk."""
        return _open(db, sample, excluded, FOLLOWING)

    with _explained():
        service.keep_following(settings.index_path(db), opened, folders, _progress, ready)
    log.info("stopped")


def status(db: Path | None, as_json: bool) -> None:
    """Show what the index holds, what the indexer does, what is wrong and what mends it."""
    from indexer.status import report

    found = report(settings.index_path(db))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        for name, value in found.lines():
            print(f"{name:<22} {value}")
    raise SystemExit(DONE if found.status else UNUSABLE)


def check(data: list[Path] | None, db: Path | None, full: bool, as_json: bool) -> None:
    """Verify the index against OpenCode's data; say what is wrong and what mends it. Changes nothing."""
    from indexer import checks, comparison

    place = checks.Place(settings.index_path(db), tuple(settings.data_dirs(data)) if data else None)
    found = checks.thorough(place, sample=None if full else comparison.SAMPLE)
    is_well = not any(each.state == checks.PROBLEM for each in found)
    if as_json:
        print(json.dumps({"ok": is_well, "checks": [asdict(each) for each in found]}, indent=2))
    else:
        print("\n".join(checks.lines(found)))
        print("\nAll is well." if is_well else "\nNot all is well.")
    raise SystemExit(DONE if is_well else UNUSABLE)


def totals(db: Path | None, as_json: bool) -> None:
    """Print exact tokens and cost: grand, per session, per model. Fork copies count once."""
    from indexer.totals import is_partial, read_totals

    with _explained(), _reading(db) as reader:
        con = reader.connection()
        found = read_totals(con)
        if is_partial(con):
            print("The first pass has not ended: every number here is too low.", file=sys.stderr)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['sessions']:,} sessions, {found['messages']:,} messages, {found['parts']:,} parts")
    print(f"{found['fork_copies']:,} fork copies not counted twice")
    print(f"{found['unrecorded_messages']:,} answers without a recorded cost")
    print(f"recorded cost  ${found['cost_recorded_usd']}")
    for name, count in found["tokens"].items():
        print(f"{name:<12} {count:>18,} tokens")
    for model, spend in found["per_model"].items():
        print(f"{model:<40} {spend['tokens']['total']:>18,} tokens  ${spend['cost_recorded_usd']}")


def migrate(to: int, db: Path | None, verbose: bool) -> None:
    """Bring an older index to this program's schema, keeping a copy. `bulk` and `run` do it by themselves."""
    _configure_log(verbose, normally=logging.WARNING)
    with _explained(), _open_existing(db) as (database, publisher):
        if to < database.schema_version:
            print(
                f"{database.path} is at schema version {database.schema_version} already. "
                "Go back one version at a time with `python -m indexer rollback`.",
                file=sys.stderr,
            )
            raise SystemExit(USAGE)
        _print_migration(database.migrate(to), database)
        publisher.publish(new_base=True)


def rollback(db: Path | None, verbose: bool) -> None:
    """Undo the last migration, keeping a copy: for going back to an older version of this program."""
    _configure_log(verbose, normally=logging.WARNING)
    with _explained(), _open_existing(db) as (database, publisher):
        version = database.schema_version
        if version == 1:
            print(f"{database.path} is at schema version 1, the first: nothing to roll back.", file=sys.stderr)
            raise SystemExit(UNUSABLE)
        _print_migration(database.migrate(version - 1), database)
        publisher.publish(new_base=True)
        print(f"The next `bulk`, `run` or `migrate` of this program brings it to {SCHEMA_VERSION} again.")


def backfill(db: Path | None, verbose: bool) -> None:
    """Fill what older versions left empty, from the rows in the index: also where OpenCode's own data is gone."""
    from indexer import backfill as filling

    _configure_log(verbose)
    interrupts.stop_on_signals()
    with _explained(), _open_existing(db) as (database, publisher):
        try:
            with interrupts.told():
                database.migrate()
            with _progress() as progress:
                done = filling.backfill(database, publisher, progress)
        except KeyboardInterrupt:
            database.set_phase("stopped", "backfill interrupted; run it again")
            if database.schema_version == SCHEMA_VERSION:  # half migrated it is of no use to readers
                publisher.close()
            log.info("interrupted: run it again")
            raise SystemExit(INTERRUPTED) from None
        database.set_phase("stopped", "backfill complete")
        publisher.close()
        print(
            f"{done.sessions:,} sessions computed anew; {done.messages_filled:,} of {done.messages:,} messages filled"
        )


def benchmark(db: Path | None, rows: int | None, runs: int, as_json: bool, verbose: bool) -> None:
    """Time every query of the pages: as it is, without index scans, and on a plain schema. The index keeps the result.

    Some minutes for a million parts, most of them for the plain schema. Without an index to keep it in, the result is
    printed all the same.
    """
    from rich.console import Console

    from indexer.benchmarks import report as benchmark_report
    from indexer.benchmarks import results, running
    from indexer.benchmarks.generated import LEAST_PARTS

    _configure_log(verbose, normally=logging.WARNING)
    interrupts.stop_on_signals()
    if rows is not None and rows < LEAST_PARTS:
        raise argparse.ArgumentTypeError(f"--rows must be at least {LEAST_PARTS}")
    index = settings.index_path(db)
    try:
        with _explained(), _progress("queries") as progress:
            run = running.measure_generated(rows, runs, progress) if rows else running.measure(index, runs, progress)
    except KeyboardInterrupt:
        print("interrupted: nothing was measured", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(asdict(run), indent=1, default=str))
    else:
        Console(width=max(Console().width, BENCHMARK_WIDTH)).print(benchmark_report.table(run))
    try:
        with _explained():
            print(f"The results were {results.keep(index, run).value}.", file=sys.stderr)
    except SystemExit:
        print("The results are not kept.", file=sys.stderr)
        if not rows:
            raise


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; settings that cannot be used end any command alike.

    Args:
        arguments: What follows the name of the program. None: as it was called.
    """
    parser = _parser()
    chosen = vars(parser.parse_args(arguments))
    command = cast("Callable[..., None]", chosen.pop("command"))
    try:
        with ending_quietly():
            command(**chosen)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE)


def _parser() -> Parser:
    """Describe every command and its options; what they are called is what the functions take."""
    parser = Parser("python -m indexer", f"{_ABOUT}\n\n{_EXIT_CODES}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (bulk, run, status, check, totals, migrate, rollback, backfill, benchmark):
        about = command.__doc__ or ""
        taken = commands.add_parser(command.__name__, help=about.partition("\n")[0], description=about)
        taken.set_defaults(command=command)
        names = command.__annotations__
        if "data" in names:
            taken.add_argument("--data", metavar="DIR", type=path, action="append", help=_DATA)
        taken.add_argument("--db", metavar="FILE", type=path, help=_DB)
        if "full" in names:
            taken.add_argument(
                "--full", action="store_true", help="Compare the content of all messages, not of a sample."
            )
        if "to" in names:
            versions = number(1, SCHEMA_VERSION)
            taken.add_argument(
                "--to", metavar="N", type=versions, default=SCHEMA_VERSION, help="Stop at this schema version."
            )
        if "rows" in names:
            taken.add_argument("--rows", metavar="N", type=number(1), help=_ROWS)
            runs = "Warm runs of a query at most; slow ones get fewer."
            taken.add_argument("--runs", metavar="N", type=number(1), default=30, help=runs)
        if "as_json" in names:
            taken.add_argument("--json", dest="as_json", action="store_true", help="Print JSON for scripts.")
        if "sample" in names:
            taken.add_argument("--sample", action="store_true", help=argparse.SUPPRESS)
        if "verbose" in names:
            taken.add_argument("--verbose", "-v", action="store_true", help="Log every batch.")
    return parser


def _print_migration(done: "MigrationResult", database: "Database") -> None:
    """Print what a change of the schema version did."""
    if done.backup:
        print(f"kept a copy as {done.backup}; delete it when all is well")
    for step in done.steps:
        print(f"{'applied' if done.after > done.before else 'undone'} {step.label}")
    nothing = "" if done.steps else ": nothing to do"
    print(f"{database.path} is at schema version {done.after}{nothing}")


def _folders(data: list[Path] | None, db: Path | None) -> list[Path]:
    """List the data folders; end with a message where there is no storage at all, and never was."""
    folders = settings.data_dirs(data or ())
    if not _is_any_data(folders):
        from indexer.status import has_read

        log.error("%s", settings.no_source(folders))
        if not has_read(settings.index_path(db), folders):
            raise SystemExit(UNUSABLE)
        log.info("The index was made from there before. Its rows stay, and the data is looked for again and again.")
    return folders


def _is_any_data(folders: list[Path]) -> bool:
    """Tell whether there is any storage of OpenCode, readable or not."""
    return any(settings.has_source(folder) for folder in folders)


def _excluded(sample: bool) -> Sequence[str]:
    """Return what the settings leave out; nothing of the sample, which is nobody's."""
    projects = settings.excluded_projects()
    return () if sample else projects


def _report(result: "BulkResult") -> None:
    """Tell what a full pass found."""
    log.info(
        "%d sessions and %d messages in %d sources, %d messages new or changed, %d documents unreadable",
        result.sessions,
        result.messages,
        result.sources,
        result.written,
        result.unreadable,
    )
    for problem in result.problems:
        log.error("%s", problem)


@contextmanager
def _open(
    db: Path | None, sample: bool, excluded: Sequence[str], needed: str
) -> Iterator[tuple["Database", "Publisher"]]:
    """Open the index for writing; publish and close it at the end, however that comes.

    Args:
        db: The index, as it was named.
        sample: Whether it holds the bundled sample data.
        excluded: What the settings leave out.
        needed: Module that is needed next: it is loaded while DuckDB opens the file, which needs no interpreter.
    """
    from indexer.database import Database
    from indexer.exclusion import Exclusion
    from indexer.publish import Publisher

    threading.Thread(target=import_module, args=(needed,), name="loading").start()
    with Database.open(settings.index_path(db), is_sample=sample) as database:
        database.exclusion = Exclusion(excluded)
        publisher = Publisher(database)
        try:
            yield database, publisher
        finally:
            publisher.close()


@contextmanager
def _open_existing(db: Path | None) -> Iterator[tuple["Database", "Publisher"]]:
    """Open an index as it is, whatever its schema version; close it at the end. Publishing is left to the caller."""
    from indexer.database import Database
    from indexer.publish import Publisher

    with Database.open_existing(settings.index_path(db)) as database:
        yield database, Publisher(database)


@contextmanager
def _reading(db: Path | None) -> Iterator[IndexReader]:
    """Open the published index for reading."""
    reader = IndexReader(settings.index_path(db))
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the index can raise into one line and an exit code, and a query that was stopped into an interrupt."""
    try:
        with interrupts.told():
            yield
    except AnotherIndexerRuns as error:
        print(error, file=sys.stderr)
        raise SystemExit(ANOTHER_RUNS) from error
    except IndexUnavailable as error:
        print(error, file=sys.stderr)
        raise SystemExit(UNUSABLE) from error


@contextmanager
def _progress(things: str = "messages") -> Iterator[Callable[[int, int], None]]:
    """Show progress: a bar on a terminal, a line now and then elsewhere; stop between two steps if that is asked for.

    Args:
        things: What is counted.
    """
    with interrupts.told(), _shown(things) as show:

        def report(done: int, total: int) -> None:
            """Show a step."""
            interrupts.check()
            show(done, total)

        yield report


@contextmanager
def _shown(things: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, of things that are counted."""
    if not sys.stderr.isatty():
        yield _logged_progress()
        return
    # here: without a terminal nothing is drawn
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(things), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(things, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _logged_progress() -> Callable[[int, int], None]:
    """Make a progress report that logs a line every few thousand messages."""
    reported = 0

    def report(done: int, total: int) -> None:
        """Log a line if enough was done since the last one."""
        nonlocal reported
        if done - reported >= LOG_EVERY_MESSAGES:
            reported = done
            log.info("%d of %d messages", done, total)

    return report


def _configure_log(verbose: bool, normally: int = logging.INFO) -> None:
    """Log plain lines to standard error."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else normally,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("filelock").setLevel(logging.INFO)  # a wait for a lock asks many times


class _WithoutPandas(MetaPathFinder):
    """Hides pandas, which nothing here uses, from pyarrow: it imports it to see whether a list is one of its columns.

    That took 0.3 s and 60 MB of every start.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Say that it is not installed."""
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=fullname)


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    os.umask(0o077)  # DuckDB makes its files for everyone, and they hold what was said in sessions
    main()
