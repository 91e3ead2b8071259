"""The index in the plain `duckdb` clients, 1.5 and 2.0, while the indexer follows and writes; docs/sql.md."""

import csv
import importlib.util
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pages.ui import sql_tables
from queries import console
from queries.examples import EXAMPLES
from tests.builders import START_MS, Doc, assistant, part, project, session, step_finish, tokens, user, write_json_tree
from tests.following import Following, following

GUIDE = (Path(__file__).parents[1] / "docs" / "sql.md").read_text(encoding="utf-8")
SQL_BLOCKS = re.findall(r"^```sql\n(.*?);\n```", GUIDE, flags=re.MULTILINE | re.DOTALL)
QUERIES = [example.sql for example in EXAMPLES]
TURNS = 8

# As a person would in Python: none of our settings, and nothing of this project.
PYTHON_CLIENT = """
import json, sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as con:
    answers = [con.sql(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql})").fetchall() for sql in json.load(sys.stdin)]
print(json.dumps([duckdb.__version__, answers]))
"""
Answers = list[list[list[str | None]]]
Client = Callable[[Path, Sequence[str]], Answers]


def command_line() -> str:
    """Return the `duckdb` program of the 1.5 release."""
    found = importlib.util.find_spec("duckdb_cli")
    assert found is not None, "no duckdb-cli: `make test` installs it"
    assert found.origin is not None
    return str(Path(found.origin).with_name("duckdb.exe" if sys.platform == "win32" else "duckdb"))


def ask_1_5(index: Path, queries: Sequence[str]) -> Answers:
    """Ask as `duckdb -readonly FILE` does, one session a query."""
    answers = []
    for sql in queries:
        command = [command_line(), "-no-init", "-readonly", "-csv", "-nullvalue", "\\N", str(index), "-c", sql]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        _, *rows = csv.reader(io.StringIO(run.stdout))
        answers.append([[None if cell == "\\N" else cell for cell in row] for row in rows])
    return answers


def ask_2_0(index: Path, queries: Sequence[str]) -> Answers:
    """Ask from Python, in a process that knows nothing of this project."""
    command = [sys.executable, "-I", "-c", PYTHON_CLIENT, str(index)]
    run = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    version, answers = json.loads(run.stdout)
    assert version.startswith("2.0.")
    return answers


CLIENTS = {"1.5": ask_1_5, "2.0": ask_2_0}


def turn(number: int) -> list[Doc]:
    """Return a question and its failed answer: two tool calls, a text, tokens, cost, and an error, which is JSON."""
    asked, answered = f"msg_{number:03}a", f"msg_{number:03}b"
    at = START_MS + number * 60_000
    usage = tokens(100 + number, 10, cache_write=number + 1)
    error = {"name": "APIError", "data": {"message": "overloaded", "statusCode": 529}}
    calls = [
        part(f"prt_{number:03}{name}", "tool", answered, tool=name, callID=f"call_{name}", state=state)
        for name, state in {
            "bash": {"status": "completed", "input": {"command": "ls"}, "output": "a"},
            "read": {"status": "error", "input": {"filePath": "/a"}, "error": "no such file"},
        }.items()
    ]
    for length, call in enumerate(calls, 1):
        call.body["state"]["time"] = {"start": at, "end": at + length * 100}
    return [
        user(asked, created=at),
        assistant(answered, parent=asked, created=at, completed=at + 5_000, usage=usage, cost=number / 8, error=error),
        *calls,
        part(f"prt_{number:03}t", "text", answered, text='a, "b"\nc'),
        step_finish(f"prt_{number:03}u", usage, answered),
    ]


def ours(live: Following) -> Answers:
    """Ask as the dashboard does."""
    return [[list(row) for row in live.rows(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql})")] for sql in QUERIES]


@pytest.mark.parametrize("version", CLIENTS)
def test_plain_client_while_the_indexer_writes_answers_and_agrees(tmp_path: Path, version: str) -> None:
    """Each look opens, whatever is being published; the last one sees what the dashboard sees."""
    data_dir = write_json_tree(tmp_path / "opencode", [project(), session(title="A title"), *turn(0)])
    ask, counted = CLIENTS[version], []

    with following(tmp_path / "index.duckdb", data_dir) as live:
        live.start()
        for number in range(1, TURNS):
            write_json_tree(data_dir, turn(number))
            answers = ask(live.index, ["SELECT count(*) FROM spend", *QUERIES])
            counted.append(int(answers[0][0][0] or 0))
        live.sees("SELECT 1 FROM (SELECT count(*) AS n FROM tool_calls) WHERE n = $n", n=2 * TURNS)
        answers, expected = ask(live.index, QUERIES), ours(live)

    assert counted == sorted(counted)
    assert all(expected)
    assert answers == expected


def test_plain_client_1_5_is_the_release_before() -> None:
    """Not the one that this project is built on."""
    run = subprocess.run([command_line(), "-version"], capture_output=True, text=True, check=True)

    assert run.stdout.startswith("v1.5.")


@pytest.mark.parametrize("version", CLIENTS)
def test_guide_every_query_runs_in_each_client(tmp_path: Path, build_index: Callable[..., Path], version: str) -> None:
    """As the guide has it."""
    index = build_index(write_json_tree(tmp_path / "opencode", [project(), session(), *turn(1)]))
    queries = [sql for sql in SQL_BLOCKS if sql.startswith("SELECT")]

    answers = CLIENTS[version](index, queries)

    assert all(answers)


def test_guide_has_the_examples_of_the_page() -> None:
    """Word by word."""
    assert [sql for sql in SQL_BLOCKS if sql.startswith("SELECT")] == QUERIES


def test_guide_names_the_limits_as_they_are() -> None:
    """Of the page."""
    for limit in (
        f"{console.MAX_S:.0f} seconds",
        f"{console.MAX_ROWS:,} rows",
        f"{console.MAX_BYTES >> 20} MB",
        f"{console.MAX_QUERY_CHARS:,} characters",
        f"first {sql_tables.SHOWN_ROWS:,} rows",
        f"first {sql_tables.SHOWN_CHARS}",
    ):
        assert limit in GUIDE
