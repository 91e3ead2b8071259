"""Results reach the index, whether an indexer runs or not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from indexer import service
from indexer.benchmarks import results
from indexer.benchmarks.results import Kept, Result, Run
from indexer.database import Database
from indexer.exceptions import IndexMissing
from indexer.index_files import private_folder
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests import following
from tests.builders import assistant, session, user, write_json_tree

RESULT = Result("cost_totals: all time", "current", "Costs", 30, 1, 18, 9.5, 2.25, 3.5, 2.0, False, "SELECT 1", "SCAN")
RUN = Run(
    run_id="20261103T143207-0a1b2c3d",
    started_at=datetime(2026, 11, 3, 14, 32, 7, 123456),
    ended_at=datetime(2026, 11, 3, 14, 35),
    data="own",
    parts=1000,
    messages=100,
    sessions=4,
    database_bytes=1 << 20,
    machine="Some Processor, 2 cores",
    versions="Python 3.11.7, DuckDB 2.0.1, schema 5",
    runs=30,
    results=(RESULT, replace(RESULT, variant="no_index", is_index_used=True)),
)


@pytest.fixture
def index(build_index: Callable[..., Path], tmp_path: Path) -> Path:
    """A published index of one session."""
    return build_index(write_json_tree(tmp_path / "opencode", [session(), user(), assistant()]))


def stored(index: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Read what the published index holds: run ids and times; results."""
    reader = IndexReader(index)
    con = reader.connection()
    runs = con.execute("SELECT run_id, started_at, parts FROM benchmark_runs ORDER BY started_at").fetchall()
    found = con.execute(
        "SELECT run_id, query, variant, median_ms, is_index_used FROM benchmark_results ORDER BY ALL"
    ).fetchall()
    con.close()
    reader.close()
    return runs, found


EXPECTED = (
    [(RUN.run_id, RUN.started_at, 1000)],
    [
        (RUN.run_id, "cost_totals: all time", "current", 2.25, False),
        (RUN.run_id, "cost_totals: all time", "no_index", 2.25, True),
    ],
)


def test_keep_no_indexer_runs_is_written_and_published(index: Path) -> None:
    """Readers see it at once."""
    kept = results.keep(index, RUN)

    assert kept is Kept.WRITTEN
    assert stored(index) == EXPECTED


def test_keep_no_index_says_so(tmp_path: Path) -> None:
    """Nothing is made for it."""
    with pytest.raises(IndexMissing):
        results.keep(tmp_path / "index.duckdb", RUN)

    assert not list(tmp_path.iterdir())


def test_keep_indexer_runs_is_left_for_it(index: Path) -> None:
    """As a file that the indexer takes, once."""
    with Database.open(index) as database:
        kept = results.keep(index, RUN)
        taken = results.take(database), results.take(database)
        Publisher(database).close()

    assert kept is Kept.LEFT
    assert taken == (1, 0)
    assert stored(index) == EXPECTED


def test_take_killed_before_the_file_was_removed_writes_it_once(index: Path) -> None:
    """The run is in the index, the file is still there."""
    results.keep(index, RUN)
    with Database.open(index) as database:
        results.keep(index, RUN)
        results.take(database)
        Publisher(database).close()

    assert stored(index) == EXPECTED


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"null", b'{"results": []}', b'{"results": [], "started_at": "x", "ended_at": "y"}'], ids=str
)
def test_take_unreadable_file_is_put_aside(index: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The indexer goes on, and does not try for ever."""
    (private_folder(index) / "benchmark-odd.json").write_bytes(text)

    with Database.open(index) as database:
        taken = results.take(database), results.take(database)

    assert taken == (1, 0)
    assert "benchmark-odd.json cannot be read" in caplog.text
    assert (private_folder(index) / "unreadable-benchmark-odd.json").read_bytes() == text


def test_take_query_that_took_no_time_is_put_aside(index: Path) -> None:
    """Nothing is that fast, and the page divides by it."""
    never = tuple(replace(each, median_ms=0.0) for each in RUN.results)
    with Database.open(index) as database:
        results.keep(index, replace(RUN, run_id="odd", results=never))
        taken = results.take(database)
        found = database.con.execute("SELECT count(*) FROM benchmark_runs").fetchone()

    assert (taken, found) == (1, (0,))


def test_take_values_that_fit_no_column_are_put_aside(index: Path) -> None:
    """Another version's file: nothing of it is written."""
    with Database.open(index) as database:
        results.keep(index, replace(RUN, run_id="odd", parts="many"))  # type: ignore[arg-type]
        results.keep(index, RUN)
        taken = results.take(database)
        Publisher(database).close()

    assert taken == 2
    assert stored(index) == EXPECTED


def test_take_following_indexer_shows_results_without_a_change(index: Path, tmp_path: Path) -> None:
    """One that has nothing else to do."""
    with following.following(index, tmp_path / "opencode") as indexer:
        indexer.start()
        kept = results.keep(index, RUN)

        assert kept is Kept.LEFT
        following.wait_for(lambda: stored(index) == EXPECTED, "the results are in the index")


def test_take_next_full_pass_shows_results_that_were_left(
    index: Path, tmp_path: Path, build_index: Callable[..., Path]
) -> None:
    """The indexer was killed before it took them."""
    with Database.open(index):
        results.keep(index, RUN)

    with Database.open(index) as database:
        publisher = Publisher(database)
        service.read_once(database, publisher, [tmp_path / "opencode"], lambda done, total: None)
        publisher.close()

    assert stored(index) == EXPECTED
