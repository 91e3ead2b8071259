"""What was spent is shown before everything is read: to the token what the finished index says, and gone after it."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import pytest

from indexer import bulk_loader, first_totals, update
from indexer.database import Database
from indexer.exclusion import Exclusion, narrowed
from indexer.publish import Publisher
from indexer.published import IndexReader
from indexer.reading import ReadingProcesses, process_count
from indexer.storages import open_storages
from indexer.survey import read_indexed, survey
from queries import health
from queries.costs import CostTotals, cost_rows, cost_totals
from queries.overview import Activity, overview
from queries.period import Scope
from queries.sessions import session_list
from tests import agreement
from tests.builders import (
    START_MS,
    assistant,
    copied,
    part,
    project,
    session,
    tokens,
    user,
    write_json_tree,
)
from tests.conftest import DATA_SETS, Once
from tests.corpus import plan_of, write
from tests.indexing import FIRST_SLICES, index

SPEND = f"{FIRST_SLICES} ORDER BY ALL"

Rows = list[tuple[object, ...]]


@pytest.fixture(autouse=True)
def _every_pass_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small passes show totals first, on a machine with one processor, too."""
    monkeypatch.setattr(bulk_loader, "_MANY_MESSAGES", 1)
    monkeypatch.setattr(first_totals, "process_count", Mock(return_value=1))
    monkeypatch.setattr(first_totals, "_MESSAGES_PER_READ", 50)
    monkeypatch.setattr(first_totals, "_ROWS_PER_FETCH", 40)
    monkeypatch.setattr(first_totals, "_SLICES_PER_WRITE", 30)


@pytest.fixture(scope="session")
def corpus(once: Once) -> Path:
    """Write a small storage of all generations, with everything that real ones have: forks, bad files, prices."""
    return once("first-totals-corpus", lambda folder: write(plan_of("S", "all"), folder))


def first_spend(path: Path, data_dir: Path) -> Rows:
    """Return what is known of spend before any message is indexed."""
    with Database.open(path) as database:
        publisher = Publisher(database)
        storages = open_storages(database, bulk_loader.find_sources([data_dir]))
        found = survey(read_indexed(database), storages, is_trusting=False, with_failed=True)
        bulk_loader._show_totals(database, publisher, storages, found.changes)
        assert database.con.execute("SELECT count(*) FROM messages").fetchone() == (0,)
        rows = database.con.execute("FROM first_slices ORDER BY ALL").fetchall()
        publisher.close()
    return rows


def spend(path: Path) -> Rows:
    """Return what a finished index says of the same."""
    with closing(IndexReader(path)) as reader:
        return reader.connection().execute(SPEND).fetchall()


def seen(path: Path) -> tuple[CostTotals, int, bool]:
    """Return what a reader sees: all that was spent, how many messages are indexed, and what is said of that."""
    with closing(IndexReader(path)) as reader:
        con = reader.connection()
        status = health.status(con)
        return cost_totals(con, Scope()), status.messages, status.has_first_totals


@pytest.mark.parametrize("name", DATA_SETS)
def test_add_real_set_equals_the_finished_index(
    name: str, data_set: Callable[[str], Path], real_path: Callable[[str], Path], tmp_path: Path
) -> None:
    """Every counter, cost, price and fork copy, in storages of every generation, and in several at once."""
    found = first_spend(tmp_path / "index.duckdb", data_set(name))

    assert found
    assert found == spend(real_path(name))


def test_add_storages_of_all_generations_equal_the_finished_index(corpus: Path, tmp_path: Path) -> None:
    """Copies in several storages, several steps, forks, undone answers, and documents that cannot be read."""
    found = first_spend(tmp_path / "first.duckdb", corpus)

    assert {row[1] for row in found} == {"counted", "copy", "other"}
    assert found == spend(index(tmp_path / "whole.duckdb", corpus))


def test_load_first_pass_shows_everything_spent_from_its_first_batch_on(
    data_set: Callable[[str], Path], real_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see the final totals all the time, whatever is read by then; and nothing is left of it at the end."""
    path, looks = tmp_path / "index.duckdb", list[tuple[CostTotals, int, bool]]()
    monkeypatch.setattr("indexer.batch.MAX_ROWS", 300)
    monkeypatch.setattr("indexer.publish._BULK_INTERVAL_S", 0.0)
    monkeypatch.setattr("indexer.publish._BULK_SHARE", 1.0)
    final, messages, _ = seen(real_path("sqlite"))

    index(path, data_set("sqlite"), progress=lambda done, total: looks.append(seen(path)))

    order = [is_first for _, _, is_first in looks]
    assert order == sorted(order), "once they are known they stay"
    assert {totals for totals, _, is_first in looks if is_first} == {final}
    assert len({read for _, read, is_first in looks if is_first}) > 2, "it was looked at while messages were read"
    assert seen(path) == (final, messages, False)
    assert not agreement.differences(path, real_path("sqlite"))


class Stop(Exception):
    """Stands for Ctrl-C."""


def interrupted(path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a first pass after some of its messages."""

    def stop(done: int, total: int) -> None:
        """Stop it once a few messages are there."""
        if done > 100:
            raise Stop

    monkeypatch.setattr("indexer.batch.MAX_ROWS", 300)
    with Database.open(path) as database:
        publisher = Publisher(database)
        with pytest.raises(Stop):
            bulk_loader.load(database, publisher, bulk_loader.find_sources([data_dir]), stop)
        publisher.close()


def test_load_interrupted_first_pass_keeps_its_totals_until_the_next_one(
    data_set: Callable[[str], Path], real_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known stays known; the next pass begins without, as the storage may be another one by then."""
    path, looks = tmp_path / "index.duckdb", list[bool]()
    final, _, _ = seen(real_path("json"))
    interrupted(path, data_set("json"), monkeypatch)
    before, _, is_first = seen(path)

    with Database.open(path) as database:
        publisher = Publisher(database)
        publisher.publish()
        sources = bulk_loader.find_sources([data_set("json")])
        bulk_loader.load(database, publisher, sources, lambda done, total: looks.append(has_rows(database)))
        publisher.close()

    assert (before, is_first) == (final, True)
    assert looks
    assert not any(looks)
    assert not agreement.differences(path, real_path("json"))


def has_rows(database: Database) -> bool:
    """Tell whether totals are there that were known first."""
    return database.con.execute("SELECT EXISTS (FROM first_slices)").fetchone() == (True,)


def test_load_usage_that_cannot_be_read_is_left_to_the_pass(
    data_set: Callable[[str], Path], real_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that reads ahead may be killed at any time: then totals grow with the pass, and nothing is lost."""
    monkeypatch.setattr(ReadingProcesses, "usages", lambda self, chunks: ((ids, None) for ids in chunks))

    assert not first_spend(tmp_path / "first.duckdb", data_set("json"))
    assert not agreement.differences(index(tmp_path / "index.duckdb", data_set("json")), real_path("json"))


def test_is_worthwhile_second_pass_reads_only_once(
    data_set: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that has messages shows what they cost already."""
    path = index(tmp_path / "index.duckdb", data_set("live-wal"))
    again = Mock()
    monkeypatch.setattr(bulk_loader, "_show_totals", again)

    index(path, data_set("live-wal"))

    again.assert_not_called()


def test_is_worthwhile_storage_that_is_narrowed_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something is left out only the main process reads: it would read everything twice."""
    monkeypatch.setattr(first_totals, "process_count", process_count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    plain = bulk_loader.find_sources([write_json_tree(tmp_path / "opencode", [session(), user()])])

    with Database.open(tmp_path / "index.duckdb") as database:
        found = [
            first_totals.is_worthwhile(database, open_storages(database, sources))
            for sources in (plain, narrowed(plain, Exclusion(["/somewhere"])))
        ]

    assert found == [True, False]


def test_add_session_without_a_document_counts_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to an unknown project, and its messages are read last: totals by project add up all the same."""
    spent = tokens(1_000, 500)
    data_dir = write_json_tree(
        tmp_path / "opencode",
        [
            *(project(), session("ses_1"), user("msg_1"), assistant("msg_2", cost=1, usage=spent)),
            *(user("msg_3", "ses_lost"), assistant("msg_4", "ses_lost", cost=2, usage=spent)),
            *(session("ses_child", parentID="ses_lost"), assistant("msg_5", "ses_child", cost=4, usage=spent)),
        ],
    )
    looks: list[tuple[Decimal | None, ...]] = []

    def look(done: int, total: int) -> None:
        """Note what readers see by project, in the list of sessions, and in all."""
        with closing(IndexReader(tmp_path / "index.duckdb")) as reader:
            con = reader.connection()
            by_project = sum(row.cost_recorded_usd or 0 for row in cost_rows(con, "project", Scope()))
            listed = session_list(con, Scope(), fold=True, sort="newest").total
            looks.append((Decimal(by_project), listed.cost_recorded_usd, cost_totals(con, Scope()).cost_recorded_usd))

    monkeypatch.setattr("indexer.publish._BULK_INTERVAL_S", 0.0)
    index(tmp_path / "index.duckdb", data_dir, progress=look)
    look(5, 5)

    nothing: tuple[Decimal | None, ...] = (Decimal(0), None, None)
    assert looks[0] == nothing, "its sessions are there before it is known what was spent"
    assert {*looks[1:]} == {(Decimal(7),) * 3}
    assert len(looks) > 2
    assert not agreement.differences(tmp_path / "index.duckdb", index(tmp_path / "fresh.duckdb", data_dir))


def test_remove_session_that_was_not_read_after_all_goes_with_its_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first pass is stopped, and what only messages named is deleted before the next one: nothing names it."""
    data_dir = write_json_tree(
        tmp_path / "opencode", [session("ses_1"), user("msg_1"), user("msg_2", "ses_lost"), user("msg_3", "ses_lost")]
    )
    monkeypatch.setattr(update, "apply", Mock(side_effect=[update.Applied(), Stop]))
    with Database.open(tmp_path / "index.duckdb") as database:
        publisher = Publisher(database)
        with pytest.raises(Stop):
            bulk_loader.load(database, publisher, bulk_loader.find_sources([data_dir]))
        named = database.con.execute("SELECT session_id FROM sessions ORDER BY ALL").fetchall()
        publisher.close()
    monkeypatch.undo()
    shutil.rmtree(data_dir / "storage" / "message" / "ses_lost")

    index(tmp_path / "index.duckdb", data_dir)

    assert ("ses_lost",) in named
    with closing(IndexReader(tmp_path / "index.duckdb")) as reader:
        kept = reader.connection().execute(
            "SELECT session_id FROM sessions UNION FROM (SELECT session_id FROM session_stats)"
        )
        assert kept.fetchall() == [("ses_1",)]


def test_snapshot_fork_that_is_read_first_is_no_session_of_its_originals_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy counts until the original is read; its tool calls must not bring its session into sums of spend."""
    spent = tokens(1_000, 500)
    original = [user("msg_1"), assistant("msg_2", cost=1, usage=spent), part("prt_1", "tool", "msg_2", tool="bash")]
    fork = copied(original, "ses_2", "f")
    later = START_MS + 40 * 86_400_000
    data_dir = write_json_tree(
        tmp_path / "opencode",
        [
            *(session("ses_1", updated=START_MS), session("ses_2", created=later, updated=later), *original, *fork),
            assistant("msg_9", "ses_2", created=later, cost=1, usage=tokens(7, 7)),
        ],
    )
    looks: list[list[tuple[str | None, int]]] = []

    def look(done: int, total: int) -> None:
        """Note how many sessions each day has."""
        with closing(IndexReader(tmp_path / "index.duckdb")) as reader:
            looks.append([(row.key, row.sessions) for row in cost_rows(reader.connection(), "day", Scope())])

    monkeypatch.setattr("indexer.publish._BULK_INTERVAL_S", 0.0)
    monkeypatch.setattr("indexer.batch.MAX_ROWS", 1)
    index(tmp_path / "index.duckdb", data_dir, progress=look)
    look(5, 5)

    assert len(looks) > 3
    assert looks[1:] == [looks[-1]] * (len(looks) - 1)


def final_of(activity: Activity) -> tuple[Activity, int]:
    """Return what does not grow any more, and how many answers there are, with an end and without."""
    known = replace(activity, calls=0, failed_calls=0, answers=0, unfinished_answers=0)
    return known, activity.answers + activity.unfinished_answers


def test_overview_half_read_index_counts_the_calls_that_were_read(
    data_set: Callable[[str], Path], real_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spend and answers are final, and tool calls and answers without an end grow: every sum is a number."""
    path = tmp_path / "index.duckdb"
    interrupted(path, data_set("json"), monkeypatch)

    with closing(IndexReader(path)) as reader, closing(IndexReader(real_path("json"))) as finished:
        con, final = reader.connection(), overview(finished.connection(), Scope())
        found, rows = overview(con, Scope()), cost_rows(con, "agent", Scope())
        read = con.execute(
            "SELECT sum(calls)::BIGINT FROM index_db.main.usage_slices WHERE kind = 'counted'"
        ).fetchone()

    assert (found.now.calls,) == read
    assert 0 < found.now.calls < final.now.calls
    assert final_of(found.now) == final_of(final.now)
    assert [row.agent for row in found.agents] == [row.agent for row in final.agents]
    assert sum(row.errors for row in rows) >= found.now.failed_answers
