"""The commands of docs/recovery.md do what it says, one after the other, and no total changes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import (
    assistant,
    part,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
)
from tests.test_exactness import totals_of

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.*)$", GUIDE, flags=re.MULTILINE)

Run = Callable[[str], str]


def commands_of(heading: str) -> str:
    """Return the commands under a heading of the guide; before the first one for an empty heading."""
    text = GUIDE.split(f"\n## {heading}\n")[1] if heading else GUIDE
    section = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A storage with three sessions."""
    usage = tokens(100, 10, total=110)
    docs = [session("ses_1"), user(), part("prt_1", "text", "msg_1u", text="Hi"), assistant(usage=usage)]
    docs += [step_finish("prt_2", usage), session("ses_2"), assistant("msg_2", "ses_2", usage=tokens(5, 5, total=10))]
    docs += [session("ses_3"), assistant("msg_3", "ses_3", usage=tokens(7, 3, total=10), cost=0.5)]
    return write_json_tree(tmp_path / "opencode", docs)


@pytest.fixture
def run(tmp_path: Path, data_dir: Path) -> Run:
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
        "OPENCODE_DATA_DIR": str(data_dir),
    }

    def bash(commands: str) -> str:
        """Run commands; each has to succeed. Returns what they printed, logs included."""
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return bash


def delete_session(data_dir: Path, session_id: str, message_id: str) -> None:
    """Delete a session as OpenCode does."""
    next(data_dir.glob(f"storage/session/*/{session_id}.json")).unlink()
    shutil.rmtree(data_dir / "storage" / "message" / session_id)
    shutil.rmtree(data_dir / "storage" / "part" / message_id, ignore_errors=True)


def totals(index: Path) -> dict[str, object]:
    """Read all totals but the number of batches."""
    return {name: value for name, value in totals_of(index).items() if name != "revision"}


def test_guide_commands_in_order_lose_nothing(run: Run, data_dir: Path, tmp_path: Path) -> None:
    """Look, restart, make room, rebuild, delete, back up and go back: the totals stay the same."""
    index = tmp_path / "index.duckdb"
    run(commands_of("Start again"))
    delete_session(data_dir, "ses_2", "msg_2")
    run(commands_of("Start again"))
    before = totals(index)

    looked = run(commands_of(""))
    run(commands_of("A full disk"))
    damaged = run(commands_of("A damaged index"))
    after_damage = totals(index)
    deleted = run(commands_of("A deleted index"))
    after_deletion = totals(index)
    save, restore = commands_of("Back up and go back").split("rm -rf", 1)
    run(save)
    delete_session(data_dir, "ses_3", "msg_3")
    run(commands_of("Start again"))
    later = totals(index)
    run(f"rm -rf{restore}")
    after_going_back = totals(index)
    checked = run(commands_of("OpenCode's folder"))

    assert "All is well." in looked
    assert "is damaged" in damaged
    assert "restored 1 sessions, 1 messages" in damaged
    assert "restored 1 sessions, 1 messages" in deleted
    assert after_damage == after_deletion == before
    assert later["cost_recorded_usd"] == before["cost_recorded_usd"] == "1"
    assert after_going_back == later
    assert "All is well." in checked


def test_guide_folder_gone_and_back_changes_nothing(run: Run, data_dir: Path, tmp_path: Path) -> None:
    """As the table says: nothing counts as deleted, and `status` tells."""
    index = tmp_path / "index.duckdb"
    run("python -m indexer bulk")
    before = totals(index)
    data_dir.rename(tmp_path / "elsewhere")

    run("! python -m indexer bulk")
    gone = run("python -m indexer check || true")
    (tmp_path / "elsewhere").rename(data_dir)
    back = run(commands_of("OpenCode's folder"))

    assert f"No OpenCode data in {data_dir}" in gone
    assert "All is well." in back
    assert totals(index) == before


def test_guide_folder_moved_counts_nothing_twice(run: Run, data_dir: Path, tmp_path: Path) -> None:
    """The ids are the same."""
    index = tmp_path / "index.duckdb"
    run("python -m indexer bulk")
    before = totals(index)
    data_dir.rename(tmp_path / "elsewhere")

    run("python -m indexer bulk --data elsewhere")

    assert totals(index) == before


def test_guide_links_and_headings_exist() -> None:
    """What the guide refers to is there."""
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in SECTIONS}

    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).is_file()
        assert not anchor or anchor in anchors
