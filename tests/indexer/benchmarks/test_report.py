"""What a benchmark prints."""

from indexer.benchmarks.report import table
from tests.benchmark_runs import run


def test_table_every_number_stands_under_its_name() -> None:
    """The first query, from the top of each column: its name and its number."""
    found = table(run())

    assert [(column.header, next(iter(column.cells))) for column in found.columns] == [
        ("page", "Costs"),
        ("query", "cost_totals: all time"),
        ("rows", "7"),
        ("cold ms", "12.0"),
        ("median ms", "4.0"),
        ("p95 ms", "8.0"),
        ("slowest statement ms", "2.0"),
        ("index", "no"),
        ("index scans off ms", "4.4"),
        ("x", "1.1"),
        ("story's schema ms", "200.0"),
        ("x", "50.0"),
    ]
