"""Fails on any function or class without a docstring: `python -m tests.docstrings DIR`.

Ruff asks this of public functions only; here private, nested and test functions count too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SKIPPED_FOLDERS = {".venv", ".git", "artifacts", "__pycache__"}
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def missing_docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of every function and class in a module that has no docstring.

    Args:
        source: Python code of the module.

    Yields:
        In the order of a tree walk, nested definitions included; overload stubs are not asked.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and not (ast.get_docstring(node) or "").strip() and not _is_overload(node):
            yield node.lineno, node.name


def python_files(folder: Path) -> list[Path]:
    """List the Python files below a folder, environments and caches left out."""
    return sorted(path for path in folder.rglob("*.py") if not SKIPPED_FOLDERS & set(path.relative_to(folder).parts))


def main(folder: Path) -> int:
    """Print what is missing below a folder.

    Returns:
        Exit code: 1 if anything is missing, or if there is no Python file at all.
    """
    files = python_files(folder)
    found = [
        f"{path}:{line}: {name} has no docstring"
        for path in files
        for line, name in missing_docstrings(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(found) if found else f"Every function in {len(files)} files has a docstring.")
    return 1 if found or not files else 0


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Tell whether a definition is only a typing overload of another."""
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
