"""Indexes of the real data sets, open for all tests of queries."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from indexer.published import IndexReader


@pytest.fixture(scope="session")
def real_index(real_path: Callable[[str], Path]) -> Iterator[Callable[[str], duckdb.DuckDBPyConnection]]:
    """Open the index of a real data set, by its name in `DATA_SETS`."""
    readers: dict[str, IndexReader] = {}

    def open_set(name: str) -> duckdb.DuckDBPyConnection:
        """Open the index unless that was done before, and return a connection."""
        if name not in readers:
            readers[name] = IndexReader(real_path(name))
        return readers[name].connection()

    yield open_set
    for reader in readers.values():
        reader.close()
