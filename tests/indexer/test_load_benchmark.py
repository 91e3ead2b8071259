"""The benchmark measures the real functions on real documents, and holds the limit of 50 ms a calculation."""

import subprocess
import sys
from pathlib import Path

import pytest

from indexer import load_benchmark, sample
from indexer.load_benchmark import EXTRACTION_LIMIT_US, BulkLoad, Extraction
from tests.builders import assistant, session, step_finish, tokens, user, write_json_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's data folder. Never write to it."""
    return sample.unpack(tmp_path_factory.mktemp("sample"))


def test_usage_documents_sample_gives_messages_and_steps(data_dir: Path) -> None:
    """Every message and every step-finish part, as bytes."""
    documents = load_benchmark.usage_documents(data_dir)

    assert len([body for body in documents if b'"role"' in body]) == 672
    assert all(b'"role"' in body or b'"step-finish"' in body for body in documents)


def test_measure_extraction_real_documents_far_below_the_limit(data_dir: Path) -> None:
    """Microseconds are expected; 50 ms is the promise."""
    measured = load_benchmark.measure_extraction(load_benchmark.usage_documents(data_dir), calls=1)

    assert measured.documents > 672
    assert 0 < measured.extract_us <= measured.slowest_us < EXTRACTION_LIMIT_US


def test_measure_bulk_load_real_files_are_all_read(data_dir: Path) -> None:
    """The floor reads every file of the tree; the load takes longer, as it does that and more."""
    measured = load_benchmark.measure_bulk_load(data_dir, rounds=1)

    assert measured.files == len(list((data_dir / "storage").rglob("*.json")))
    assert measured.ratio > 1


def test_measure_derivation_counts_the_rows_of_the_index(data_dir: Path) -> None:
    """Exchanges and traces of the sample, rebuilt at once and session by session: the same rows."""
    measured = load_benchmark.measure_derivation(data_dir)

    assert (measured.sessions, measured.rows) == (114, 191 + 1600)
    assert measured.live_s > measured.bulk_s > 0


def test_ratio_is_measured_against_the_bare_work() -> None:
    """A ratio of 4 is four times as long."""
    ratios = Extraction(1, extract_us=2.0, parse_us=0.5, slowest_us=3.0).ratio, BulkLoad(1, load_s=8, floor_s=2).ratio

    assert ratios == (4.0, 4.0)


def test_main_named_folder_prints_ratios(tmp_path: Path) -> None:
    """The command that `make bench` runs, on a small folder: the tests above measure the sample."""
    usage = tokens(input=10)
    data = write_json_tree(tmp_path, [session(), user(), assistant(usage=usage), step_finish("prt_1", usage)])
    command = [sys.executable, "-m", "indexer.load_benchmark", "--data", str(data), "--calls", "1", "--rounds", "1"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert "extract_root_tokens()" in run.stdout
    assert "ratio" in run.stdout
