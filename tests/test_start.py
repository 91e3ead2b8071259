"""What a command loads before it does anything: most of the time of a short one."""

import subprocess
import sys

import pytest

from tests.stress.running import ROOT

# Each of them takes as long as half of the rest, and longer on a slow disk.
HEAVY = ("pyarrow", "numpy", "pandas", "pydantic", "genai_prices", "rich", "streamlit")


@pytest.mark.parametrize("module", ["indexer.__main__", "queries.__main__"])
def test_import_command_line_loads_nothing_that_short_commands_do_without(module: str) -> None:
    """Whoever needs more loads it where it is needed."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert loaded.strip() == "[]"


def test_import_reader_loads_nothing_of_the_writing_half() -> None:
    """The dashboard and the reports open what is published, and no more."""
    code = "import sys, indexer.published; print(sorted(name for name in sys.modules if name.startswith('indexer.')))"

    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert loaded.strip() == str(
        [
            *("indexer.duckdb_file", "indexer.exceptions", "indexer.failures", "indexer.index_files"),
            *("indexer.migrations", "indexer.processors", "indexer.published", "indexer.settings", "indexer.sql"),
        ]
    )
