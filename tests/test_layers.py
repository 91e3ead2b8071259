"""Who may import whom. The two processes share one contract, the index, and nothing else."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("app", "pages", "queries", "indexer", "tests")

# What each part may import of this project, and which libraries it must not touch.
ALLOWED = {
    "app": ("pages.ui",),
    "pages": ("pages.ui", "queries"),
    "queries": ("queries",),
    "indexer": ("indexer",),
}
FORBIDDEN_LIBRARIES = {
    "queries": ("streamlit", "plotly"),
    "indexer": ("streamlit", "plotly"),
}
# The readers' opener, and the exceptions that it raises.
OPENER = ("indexer.published", "indexer.exceptions")
# More for single modules: the only bridges between the parts.
EXTRA = {
    "pages.ui.data": (
        *(*OPENER, "indexer.activity", "indexer.price_sources"),
        *("indexer.settings", "indexer.settings_model"),  # of both processes
    ),
    "pages.ui.states": ("indexer.exceptions",),  # a page state for each of them
    "queries.__main__": (*OPENER, "indexer.arguments", "indexer.settings"),  # one command line like the other
    "queries.narrow": ("indexer.processors",),  # counted in one place
    "queries.query_process": OPENER,
    "indexer.benchmarks.cases": ("queries",),  # measures what the pages run
}
# How the two processes share DuckDB is the secret of the few modules of the indexer that open a file by this one.
MAY_CONNECT = ("indexer.duckdb_file",)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: of the module itself, or of something in it, like `indexer.publish`."""

    line: int
    name: str


def imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Read the imports of a module, wherever they stand, relative ones made absolute.

    Args:
        source: Its code.
        module: Its dotted name.
        is_package: Whether it is an `__init__.py`, to which relative imports are relative.

    Yields:
        `from a import b` as `a.b`, since `b` may be a module.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{base}.{alias.name}" if base else alias.name) for alias in node.names)


def breaches(source: str, module: str, is_package: bool = False) -> list[str]:
    """Say what a module does that its layer must not.

    Args:
        source: Its code.
        module: Its dotted name.
        is_package: Whether it is an `__init__.py`.

    Returns:
        One sentence per breach, empty if the module keeps the rules.
    """
    layer = module.split(".")[0]
    allowed = ALLOWED[layer] + EXTRA.get(module, ())
    found = []
    for imported in imports(source, module, is_package):
        if _is_within(imported.name, PROJECT) and not _is_within(imported.name, allowed):
            found.append(f"{module}:{imported.line} imports {imported.name}; it may import {', '.join(allowed)}")
        elif _is_within(imported.name, FORBIDDEN_LIBRARIES.get(layer, ())):
            found.append(f"{module}:{imported.line} imports {imported.name}, which belongs to the pages")
    if module not in MAY_CONNECT:
        found += [f"{module}:{line} opens DuckDB; only {', '.join(MAY_CONNECT)} may" for line in _connects(source)]
    return found


def modules() -> list[tuple[str, Path]]:
    """List name and file of every module that the rules speak of."""
    files = [ROOT / "app.py"]
    for package in ("pages", "queries", "indexer"):
        files += sorted((ROOT / package).rglob("*.py"))
    return [(_module_name(path), path) for path in files]


def circle(known: Mapping[str, set[str]]) -> list[str]:
    """Return modules each of which imports the next, and the last of which the first; empty if there are none.

    Args:
        known: Which modules each one imports.
    """
    clear: set[str] = set()

    def climb(path: list[str]) -> list[str]:
        """Look below the last module of a path."""
        for name in sorted(known.get(path[-1], set()) - clear):
            if name in path:
                return path[path.index(name) :]
            if found := climb([*path, name]):
                return found
        clear.add(path[-1])
        return []

    return next(filter(None, (climb([module]) for module in sorted(known))), [])


def _module_name(path: Path) -> str:
    """Turn a file of this project into its dotted module name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_within(name: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether a dotted name is one of the prefixes or lies inside one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _connects(source: str) -> Iterator[int]:
    """Yield the lines that open a DuckDB database, as `duckdb.connect()` or by an imported `connect`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="duckdb"), attr="connect"):
                yield node.lineno
            case ast.ImportFrom(module="duckdb", names=names) if any(alias.name == "connect" for alias in names):
                yield node.lineno


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_breaches_every_module_keeps_its_layer(module: str, path: Path) -> None:
    """The rules hold in the code as it is."""
    found = breaches(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")

    assert found == []


def test_circle_no_modules_import_each_other() -> None:
    """Nor those that only name a type: neither of two such modules can be read without the other."""
    names = {module for module, _ in modules()}
    known = {
        module: {
            found
            for each in imports(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")
            for found in (each.name, each.name.rpartition(".")[0])
            if found in names
        }
        - {module, module.rpartition(".")[0]}
        for module, path in modules()
    }

    assert circle(known) == []


def test_circle_modules_that_import_each_other_are_named() -> None:
    """Wherever the circle begins."""
    known = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}

    assert circle(known) == ["b", "d"]


def test_modules_all_four_parts_are_looked_at() -> None:
    """An empty list of modules would pass every rule."""
    assert {name.split(".")[0] for name, _ in modules()} == set(ALLOWED)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("app", "import queries.costs"),
        ("app", "from indexer import published"),
        ("app", "import pages.costs"),
        ("pages.costs", "from indexer.published import IndexReader"),
        ("pages.costs", "import indexer"),
        ("pages.costs", "from . import sessions"),
        ("pages.ui.charts", "import indexer.settings"),
        ("pages.ui.data", "from indexer.database import Database"),
        ("pages.ui.data", "from indexer.publish import Publisher"),
        ("pages.ui.spend", "from indexer.settings import Settings"),
        ("pages.ui.states", "from indexer import published"),
        ("pages.ui.export", "from indexer.exceptions import IndexUnavailable"),
        ("pages.costs", "from tests.builders import message"),
        ("queries.costs", "import streamlit as st"),
        ("queries.costs", "from pages.ui import data"),
        ("queries.costs", "from indexer import settings"),
        ("queries.costs", "import indexer.published"),
        ("queries.__main__", "from indexer.database import Database"),
        ("indexer.derive", "from queries import costs"),
        ("indexer.derive", "import streamlit"),
        ("indexer.launcher", "import streamlit.web.bootstrap"),
        ("indexer.derive", "def late() -> None:\n    from pages.ui import display"),
        ("indexer.sources.json_tree", "from ...queries import costs"),
        ("indexer.benchmarks.cases", "from pages import costs"),
        ("indexer.benchmarks.running", "from queries import costs"),
        ("indexer.derive", "import duckdb\nduckdb.connect()"),
        ("pages.ui.data", "from duckdb import connect"),
    ],
)
def test_breaches_forbidden_import_is_reported(module: str, source: str) -> None:
    """Each rule fails on code that breaks it."""
    assert len(breaches(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("app", "import streamlit as st\nfrom pages.ui import frame"),
        ("pages.costs", "from pages.ui import charts\nfrom queries import costs"),
        ("pages.ui.data", "from indexer.exceptions import IndexUnavailable\nfrom indexer.published import IndexReader"),
        ("pages.ui.data", "from indexer import settings"),
        ("pages.ui.states", "from indexer import exceptions"),
        ("queries.__main__", "from indexer.published import IndexReader"),
        ("queries.costs", "from queries.period import Period\nimport duckdb"),
        ("indexer.benchmarks.cases", "from queries import costs"),
        ("indexer.sources.json_tree", "from ..parsers import parse_message\nfrom . import sqlite_v1"),
        ("indexer.duckdb_file", "import duckdb\nduckdb.connect()"),
    ],
)
def test_breaches_allowed_import_is_not_reported(module: str, source: str) -> None:
    """The ways that exist stay open."""
    assert breaches(source, module) == []


def test_imports_relative_in_package_is_relative_to_it() -> None:
    """In an `__init__.py` one dot is the package itself."""
    found = list(imports("from . import publish\nfrom .sources import json_tree", "indexer", is_package=True))

    assert [imported.name for imported in found] == ["indexer.publish", "indexer.sources.json_tree"]
