"""The benchmark measures what the pages run: all of it."""

import ast
from pathlib import Path

import duckdb
import pytest

from indexer.benchmarks import cases
from indexer.benchmarks.cases import CASES, Case, Subjects
from indexer.database import Database

ROOT = Path(__file__).resolve().parents[3]
LOADERS = ("load", "hold", "ask", "share", "source", "latest", "newest_source", "_asked")


def loaded(source: str) -> set[str]:
    """List the functions of `queries` that a module of the pages hands to `data`, as `module.function`."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "queries":
            inside = (node.module or "").removeprefix("queries").removeprefix(".")
            modules |= {
                alias.asname or alias.name: f"{inside}.{alias.name}" if inside else alias.name for alias in node.names
            }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="data"), attr=loader) | ast.Name(id=loader), args=[first, *_]
            ) if loader in LOADERS:
                match first:
                    case ast.Attribute(value=ast.Name(id=name), attr=function) if name in modules:
                        found.add(f"{modules[name]}.{function}")
                    case ast.Name(id=name) if name in modules:
                        found.add(modules[name])
    return found


def test_loaded_both_ways_of_importing_are_understood() -> None:
    """A module, and a function."""
    source = "from queries import costs\nfrom queries.session_dump import session_dump as dump\n"

    found = loaded(source + "data.load(costs.cost_totals, scope)\nask = data.source(dump, x)\ndata.sizes()")

    assert found == {"costs.cost_totals", "session_dump.session_dump"}


def test_cases_every_query_of_a_page_is_measured() -> None:
    """A page that loads something new needs a case for it in indexer/benchmarks/cases.py."""
    run_by_pages = set[str]().union(
        *(loaded(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "pages").rglob("*.py")))
    )

    measured = {f"{case.query.__module__.removeprefix('queries.')}.{case.query.__name__}" for case in CASES}

    assert len(run_by_pages) > 20
    assert sorted(run_by_pages - measured) == []
    assert sorted(measured - run_by_pages) == []


def test_cases_names_are_unique() -> None:
    """They are the key of the results."""
    names = [case.name for case in CASES]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ask_every_case_runs(case: Case, con: duckdb.DuckDBPyConnection, subjects: Subjects) -> None:
    """On the index as it is."""
    assert case.ask(subjects)(con) is not None


def test_subjects_empty_index_has_none(tmp_path: Path) -> None:
    """There is nothing to ask about."""
    with Database.open(tmp_path / "index.duckdb") as database:
        assert cases.subjects(database.con) is None
