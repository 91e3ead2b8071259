"""A small made-up index, made once for all tests of benchmarks."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from indexer.benchmarks import cases
from indexer.benchmarks.cases import Subjects
from indexer.benchmarks.generated import generate
from indexer.published import IndexReader

PARTS = 3_000


@pytest.fixture(scope="package")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index. Never write to it."""
    path = tmp_path_factory.mktemp("generated") / "index.duckdb"
    generate(path, PARTS)
    return path


@pytest.fixture(scope="package")
def con(generated: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads it."""
    reader = IndexReader(generated)
    yield reader.connection()
    reader.close()


@pytest.fixture(scope="package")
def subjects(con: duckdb.DuckDBPyConnection) -> Subjects:
    """What is asked about."""
    found = cases.subjects(con)
    assert found is not None
    return found
