"""The commands of docs/migrations.md do what it says, one after the other, on an older index."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.database import Database
from indexer.duckdb_file import SCHEMA_VERSION
from indexer.migrations import known
from indexer.publish import Publisher
from tests.conftest import OwnIndex
from tests.indexer.test_backfill import content_of

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "migrations.md").read_text(encoding="utf-8")


def commands_of(heading: str) -> str:
    """Return the commands under a heading of the guide."""
    section = re.split(r"^## ", GUIDE.split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], str]:
    """Run commands of the guide as a person in the program's folder would, but with the files in a folder apart."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ANALYTICS_DB": str(tmp_path / "index.duckdb"),
    }

    def bash(commands: str) -> str:
        """Run commands; each has to succeed."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return bash


def test_guide_commands_in_order_lose_nothing(run: Callable[[str], str], own_index: OwnIndex, tmp_path: Path) -> None:
    """Try, back up and restore, migrate, roll back and fill again: the content is the same at the end."""
    index = own_index("json")
    content = content_of(index)
    with Database.open_existing(index) as database:
        database.migrate(1)
        Publisher(database).publish(new_base=True)

    tried = run(commands_of("Try on a copy"))
    restored = run(commands_of("Back up"))
    migrated = run(commands_of("Migrate"))
    rolled_back = run(commands_of("Roll back"))
    run("python -m indexer migrate")
    filled = run(commands_of("After a migration"))

    applied = [f"applied {each.label}" for each in known()[1:]]
    assert all(line in tried and line in restored for line in applied)
    assert "nothing to do" in migrated
    assert f"undone {known()[-1].label}" in rolled_back
    assert "114 sessions computed anew" in filled
    assert not list(tmp_path.glob("try.duckdb*"))
    assert content_of(index) == content


def test_guide_lists_every_migration() -> None:
    """A row of the table each, up to the newest."""
    rows = re.findall(r"^\| (\d{3}) (\w+) \|", GUIDE, flags=re.MULTILINE)

    assert [f"{number}_{name}" for number, name in rows] == [each.label for each in known()]
    assert len(rows) == SCHEMA_VERSION
