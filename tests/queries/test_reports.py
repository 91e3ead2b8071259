"""`python -m queries costs`: the numbers of the Costs page in a terminal, and as files."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from indexer.published import IndexReader
from queries import costs
from queries.__main__ import main
from queries.period import Scope
from tests.builders import START_MS, assistant, project, session, tokens, write_json_tree
from tests.conftest import BuildIndex
from tests.indexing import KNOW_SPEND_FIRST
from tests.invoking import Done, invoke
from tests.pages.conftest import change

ROOT = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000


def report(*options: str | Path) -> Done:
    """Print a report."""
    return invoke(main, "costs", *options)


@pytest.fixture
def real(priced_path: Callable[[str], Path]) -> Path:
    """The index of the real JSON tree, with the prices of its models."""
    return priced_path("json")


def test_costs_files_add_up_to_the_totals(real: Path) -> None:
    """CSV and JSON hold every row, exact."""
    whole = costs.cost_totals(IndexReader(real).connection(), Scope())

    as_csv = report("--db", real, "--by", "session", "--csv")
    as_json = report("--db", real, "--by", "model", "--json", "--basis", "list")

    rows = list(csv.DictReader(io.StringIO(as_csv.stdout.lstrip("\ufeff"))))
    assert sum(Decimal(row["cost_recorded_usd"] or 0) for row in rows) == whole.cost_recorded_usd
    found = json.loads(as_json.stdout)
    assert sum(Decimal(row["cost_list_usd"] or 0) for row in found) == whole.cost_list_usd
    assert sum(row["total_tokens"] for row in found) == whole.total_tokens
    assert sum(row["cost_list_share"] or 0 for row in found) == pytest.approx(1)


def test_costs_table_ends_with_the_total_and_names_what_is_left_out(real: Path) -> None:
    """As the Costs page does; in a process of its own."""
    command = [sys.executable, "-m", "queries", "costs", "--db", str(real), "--by", "agent"]

    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert printed.returncode == 0
    total = next(line for line in printed.stdout.splitlines() if line.strip().startswith("Total"))
    assert total.split()[1:4] == ["12.2087", "11.9992", "100.0%"]
    assert "Not counted twice: 9 fork copies (137,608 tokens)." in printed.stdout
    assert "No list price: 16,393 tokens of acme/labs/free-7b." in printed.stdout


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ("", "every number here is too low"),
        (KNOW_SPEND_FIRST, "only errors are too low"),
    ],
)
def test_costs_first_pass_not_ended_says_so_beside_the_report(
    known: str, words: str, build_index: BuildIndex, tmp_path: Path
) -> None:
    """Not in it: what reads a file would stumble over a sentence."""
    path = build_index(write_json_tree(tmp_path / "opencode", [session(), assistant(cost=1)]))
    whole = report("--db", path, "--csv")
    change(path, f"{known} UPDATE sync_state SET last_full_pass_at = NULL, documents_done = 1, documents_total = 2000")

    found = report("--db", path, "--csv")

    assert whole.stderr == ""
    assert found.stderr == f"The first pass has not ended, 1 of 2,000 messages are read: {words}.\n"
    assert found.stdout == whole.stdout


def test_costs_filters_days_agents_and_projects(build_index: BuildIndex, tmp_path: Path) -> None:
    """Days are local and both included; a project goes by its name or its id."""
    docs = [
        project(name="Shop"),
        session(),
        assistant(created=START_MS, completed=None, cost=1),
        assistant("msg_3a", created=START_MS + DAY_MS, completed=None, cost=2, agent="plan"),
        assistant("msg_4a", created=START_MS + 2 * DAY_MS, completed=None, cost=4),
    ]
    index = build_index(write_json_tree(tmp_path / "data", docs))

    def days(*options: str) -> dict[str, str]:
        """Return the recorded cost of each day."""
        printed = report("--db", index, "--json", "--tz", "UTC", *options)
        return {row["day"]: row["cost_recorded_usd"] for row in json.loads(printed.stdout)}

    second, third = "2026-01-02", "2026-01-03"
    assert days("--since", second) == {third: "4.000000000000", second: "2.000000000000"}
    assert days("--since", second, "--until", second) == {second: "2.000000000000"}
    assert days("--agent", "plan", "--project", "Shop") == {second: "2.000000000000"}
    assert days("--until", "2026-01-01", "--tz", "America/New_York") == {
        "2026-01-01": "2.000000000000",
        "2025-12-31": "1.000000000000",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--by", "nothing"), "argument --by: invalid choice: 'nothing'"),
        (("--tz", "Mars/Base"), "is no time zone"),
        (("--project", "none"), "no project is called none"),
        (("--agent", "none"), "no agent is called none; see `python -m queries costs --by agent`"),
        (("--model", "nova"), "no model is called nova; see `python -m queries costs --by model`"),
        (("--since", "2026-02-01", "--until", "2026-01-31"), "--until 2026-01-31 is before --since 2026-02-01"),
        (("--since", "yesterday"), "'yesterday' is no day"),
        (("--since", "0001-01-01"), "0001-01-01 is no day from 1970-01-01 to 2099-12-31"),
        (("--until", "9999-12-31"), "9999-12-31 is no day from 1970-01-01 to 2099-12-31"),
        (("--json", "--csv"), "--csv: not allowed with argument --json"),
    ],
)
def test_costs_wrong_usage_is_told(
    options: tuple[str, ...], said: str, build_index: BuildIndex, tmp_path: Path
) -> None:
    """With exit code 2."""
    index = build_index(write_json_tree(tmp_path / "data", [session()]))

    printed = report("--db", index, *options)

    assert printed.exit_code == 2
    assert said in printed.stderr


def test_costs_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    """With exit code 1."""
    printed = report("--db", tmp_path / "none.duckdb")

    assert printed.exit_code == 1
    assert "Build it with" in printed.stderr


def test_costs_hostile_title_does_not_reach_the_terminal(build_index: BuildIndex, tmp_path: Path) -> None:
    """Neither control characters nor markup, and no formula in CSV."""
    docs = [session(title="=1+1\x1b]0;owned\x07[bold]x[/bold]"), assistant(usage=tokens(input=1), cost=1)]
    index = build_index(write_json_tree(tmp_path / "data", docs))

    printed = report("--db", index, "--by", "session")
    as_csv = report("--db", index, "--by", "session", "--csv")

    assert "\x1b" not in printed.stdout and "\x07" not in printed.stdout
    assert "[bold]x[/bold]" in printed.stdout
    assert "'=1+1" in as_csv.stdout


def test_costs_nobody_reads_to_the_end_is_no_error(real: Path) -> None:
    """As with `| head`: it ends without a traceback."""
    command = [sys.executable, "-m", "queries", "costs", "--db", str(real)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()

    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (1, "")
