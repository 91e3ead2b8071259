"""A whole benchmark of a few cases: what it measures, and what the command makes of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.__main__ import main
from indexer.benchmarks import running, story
from indexer.benchmarks.cases import CASES
from indexer.benchmarks.results import VARIANTS, Run
from indexer.benchmarks.running import NothingToMeasure, measure
from indexer.database import Database
from indexer.index_files import private_folder
from indexer.publish import Publisher
from indexer.published import IndexReader
from tests.indexer.benchmarks.conftest import PARTS
from tests.invoking import invoke

FEW = ("cost_totals: 30 days", "session_detail: biggest session")


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure two cases only."""
    monkeypatch.setattr(running, "CASES", tuple(case for case in CASES if case.name in FEW))


@pytest.fixture(scope="module")
def own(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of this module's own, which may be written to."""
    path = tmp_path_factory.mktemp("own") / "index.duckdb"
    shutil.copytree(private_folder(generated), private_folder(path), symlinks=True)
    path.symlink_to(Path(private_folder(path).name, *generated.readlink().parts[1:]))
    return path


@pytest.fixture(scope="module")
def measured(own: Path) -> Iterator[Run]:
    """A benchmark of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "CASES", tuple(case for case in CASES if case.name in FEW))
        yield measure(own, runs=3)


def test_measure_every_case_in_every_variant(measured: Run) -> None:
    """With all that the page shows."""
    assert [(each.query, each.variant) for each in measured.results] == [(q, v) for q in FEW for v in VARIANTS]
    assert all(each.runs == 3 and each.cold_ms > 0 and 0 < each.median_ms <= each.p95_ms for each in measured.results)
    assert all(each.sql and each.plan and each.statements for each in measured.results)
    assert (measured.data, measured.messages, measured.runs) == ("own", PARTS // 10, 3)
    assert measured.machine.endswith("cores")
    assert measured.started_at < measured.ended_at


def test_measure_only_the_index_as_it_is_uses_it(measured: Run) -> None:
    """Scans are off in one variant, and the story's tables have nothing to scan by."""
    used = {(each.query, each.variant) for each in measured.results if each.is_index_used}

    assert used == {("session_detail: biggest session", "current")}


def test_measure_story_is_asked_plainly(measured: Run) -> None:
    """Where the page's query reads a table that the story does not have."""
    sql = {each.variant: each.sql for each in measured.results if each.query == FEW[0]}

    assert sql["current"] == sql["no_index"] != sql["story"]


def test_measure_leaves_nothing_behind(own: Path, measured: Run) -> None:
    """The copies held what was said in sessions."""
    assert not list(private_folder(own).glob("held-*"))


def test_measure_index_is_written_meanwhile_stays_with_one_revision(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published at the beginning is measured, however much follows."""
    build = story.build

    def build_late(source: Path, target: Path, index: Path) -> None:
        """Publish more revisions than are kept, then go on."""
        with Database.open(own) as database:
            publisher = Publisher(database)
            for _ in range(5):
                with database.transaction() as con:
                    con.execute("UPDATE sync_state SET documents_done = documents_done + 1")
                publisher.publish(new_base=True)
            publisher.close()
        build(source, target, index)

    monkeypatch.setattr(story, "build", build_late)

    assert len(measure(own, runs=1).results) == len(FEW) * len(VARIANTS)


def test_measure_empty_index_says_so(tmp_path: Path) -> None:
    """Rather than divide by nothing."""
    with Database.open(tmp_path / "index.duckdb") as database:
        Publisher(database).close()

    with pytest.raises(NothingToMeasure, match="nothing to measure"):
        measure(tmp_path / "index.duckdb", runs=1)


def test_benchmark_own_index_prints_and_keeps_the_results(own: Path) -> None:
    """One line a query; the index has them afterwards."""
    done = invoke(main, "benchmark", "--db", own, "--runs", "2")

    assert done.exit_code == 0, done.stderr
    assert all(name in done.stdout for name in FEW)
    assert "written into the index" in done.stderr
    reader = IndexReader(own)
    con = reader.connection()
    assert con.execute("SELECT count(*) FROM benchmark_results").fetchone() == (len(FEW) * len(VARIANTS),)
    con.close()
    reader.close()


def test_benchmark_generated_data_without_an_index_prints_json(tmp_path: Path) -> None:
    """For scripts: everything; and that nobody keeps it."""
    done = invoke(main, "benchmark", "--rows", "500", "--runs", "1", "--json", "--db", tmp_path / "index.duckdb")

    found = json.loads(done.stdout)
    assert done.exit_code == 0, done.stderr
    assert found["data"] == "generated"
    assert found["messages"] == 50
    assert {result["variant"] for result in found["results"]} == set(VARIANTS)
    assert "The results are not kept." in done.stderr
    assert not list(tmp_path.iterdir())


def test_benchmark_no_index_exits_with_one(tmp_path: Path) -> None:
    """And says what to do."""
    done = invoke(main, "benchmark", "--db", tmp_path / "index.duckdb")

    assert done.exit_code == 1
    assert "python -m indexer bulk" in done.stderr
