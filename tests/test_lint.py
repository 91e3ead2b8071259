"""What `make lint` promises: a function without docstring or types does not pass, wherever it hides."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docstrings import main, missing_docstrings

ROOT = Path(__file__).resolve().parents[1]
GOOD = '''"""A module."""


def outer(number: int) -> int:
    """Double it, by a nested function."""

    def _inner() -> int:
        """Double it."""
        return number * 2

    return _inner()
'''


def _mypy(path: Path) -> subprocess.CompletedProcess[str]:
    """Type-check one file by the rules of this project."""
    command = [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={path.parent}"]
    return subprocess.run([*command, str(path)], cwd=path.parent, capture_output=True, text=True, check=False)


def _ruff(path: Path) -> subprocess.CompletedProcess[str]:
    """Lint one file by the rules of this project."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", f"--config={ROOT / 'pyproject.toml'}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_missing_docstrings_complete_module_finds_nothing() -> None:
    """A module where everything is documented is fine."""
    assert list(missing_docstrings(GOOD)) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def public() -> None: ...", "public"),
        ("def _private() -> None: ...", "_private"),
        ("async def _waits() -> None: ...", "_waits"),
        ('def outer() -> None:\n    """Doc."""\n    def nested() -> None: ...', "nested"),
        ('class _Thing:\n    """Doc."""\n    def __init__(self) -> None: ...', "__init__"),
        ("class _Thing: ...", "_Thing"),
        ('def blank() -> None:\n    """ """', "blank"),
    ],
)
def test_missing_docstrings_any_function_is_found(source: str, name: str) -> None:
    """Public, private, nested and special functions all need one."""
    assert [found for _, found in missing_docstrings(source)] == [name]


def test_main_bad_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names file, line and function, and its exit code says so."""
    (tmp_path / "bad.py").write_text("def _hidden() -> None: ...\n")

    code = main(tmp_path)

    assert code == 1
    assert "bad.py:1: _hidden has no docstring" in capsys.readouterr().out


def test_main_good_and_empty_folder_pass_and_fail(tmp_path: Path) -> None:
    """A folder without any Python file is a mistake in the call, not a success."""
    empty = main(tmp_path)
    (tmp_path / "good.py").write_text(GOOD)

    assert (empty, main(tmp_path)) == (1, 0)


@pytest.mark.parametrize(
    "untyped",
    ["def outer(number):", "def outer(number: int):", "    def _inner():"],
    ids=["all", "return", "nested private"],
)
def test_lint_function_without_types_fails(tmp_path: Path, untyped: str) -> None:
    """Ruff refuses what has no types, mypy too; the same file with types passes both."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(GOOD)
    typed = next(line for line in GOOD.splitlines() if line.startswith(untyped.split("(")[0] + "("))
    bad.write_text(GOOD.replace(typed, untyped))

    assert (_ruff(good).returncode, _ruff(bad).returncode) == (0, 1)
    assert "ANN" in _ruff(bad).stdout
    assert (_mypy(good).returncode, _mypy(bad).returncode) == (0, 1)
