"""Indexes of the real data sets, made once for all tests of queries."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from indexer.publish import IndexReader
from tests.indexing import index


@pytest.fixture(scope="session")
def real_index(
    data_set: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], duckdb.DuckDBPyConnection]]:
    """Open the index of a real data set, by its name in `DATA_SETS`."""
    readers: dict[str, IndexReader] = {}

    def open_set(name: str) -> duckdb.DuckDBPyConnection:
        """Index the set unless that was done before, and return a connection."""
        if name not in readers:
            path = tmp_path_factory.mktemp(name) / "index.duckdb"
            index(path, data_set(name))
            readers[name] = IndexReader(path)
        return readers[name].connection()

    yield open_set
    for reader in readers.values():
        reader.close()
