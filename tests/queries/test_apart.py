"""A query in a process of its own: it may hang, grow or crash there."""

import os
import shutil
from pathlib import Path

import pytest

from queries import apart
from queries.console import Answer, Refusal
from tests.builders import project, session, user, write_json_tree
from tests.conftest import BuildIndex

# Crashes DuckDB 2.0.1.
CRASH = "SELECT (repeat('[', 100000) || repeat(']', 100000))::JSON::VARIANT"


@pytest.fixture
def index(tmp_path: Path, build_index: BuildIndex) -> Path:
    """An index of one session."""
    return build_index(write_json_tree(tmp_path / "opencode", [project(), session(title="Fix it"), user()]))


def reason(found: Answer | Refusal) -> str:
    """Return why there is no answer."""
    assert isinstance(found, Refusal), found
    return found.reason


def test_ask_query_is_answered(index: Path) -> None:
    """With the revision it was asked of."""
    found = apart.ask(index, "SELECT title FROM sessions")

    assert isinstance(found, Answer)
    assert (found.rows.to_pylist(), found.is_cut) == ([{"title": "Fix it"}], False)
    assert found.revision > 0


def test_ask_syntax_error_is_told(index: Path) -> None:
    """In DuckDB's words."""
    assert reason(apart.ask(index, "SELEC 1")).startswith("Parser Error")


def test_ask_no_index_is_told(tmp_path: Path) -> None:
    """The index may go between two looks."""
    assert reason(apart.ask(tmp_path / "none.duckdb", "SELECT 1")).startswith("No index at")


def test_ask_endless_query_is_stopped(index: Path) -> None:
    """At the limit of time."""
    found = apart.ask(index, "SELECT count(*) FROM range(1000000000000)", max_s=0.3)

    assert reason(found) == "Stopped: it ran for more than 0.3 s."


def test_ask_query_that_does_not_stop_is_ended(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From outside: the process has not even begun to count."""
    monkeypatch.setattr(apart, "_GRACE_S", 0.0)

    found = apart.ask(index, "SELECT 1", max_s=0.01)

    assert reason(found) == "Ended: it ran for more than 0.01 s and did not stop."


@pytest.mark.skipif(os.name == "nt", reason="no limits on memory there")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 100000000) FROM range(2048)",
        "SELECT list(a.range ORDER BY hash(a.range)) FROM range(1000000000) a",
    ],
)
def test_ask_too_much_memory_is_refused(index: Path, query: str) -> None:
    """Texts that DuckDB does not count, and what it counts."""
    found = apart.ask(index, query, max_s=60)

    assert reason(found).startswith("It needs more memory than a query may have.")


def test_ask_crash_harms_nothing_else(index: Path) -> None:
    """Whatever becomes of the process of one query, the next one is answered."""
    apart.ask(index, CRASH)

    found = apart.ask(index, "SELECT title FROM sessions")

    assert isinstance(found, Answer)


@pytest.mark.skipif(os.name == "nt", reason="no such program there")
def test_ask_process_without_an_answer_is_told(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty result."""
    monkeypatch.setattr("sys.executable", shutil.which("false"))

    assert "ended its own process (exit code 1)" in reason(apart.ask(index, "SELECT 1"))


@pytest.mark.skipif(os.name == "nt", reason="it has no signals")
def test_ask_killed_process_is_told(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the signal."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -KILL $$\n")
    script.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(script))

    assert "(SIGKILL)" in reason(apart.ask(index, "SELECT 1"))


def test_ask_settings_tell_nothing_of_the_environment(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB takes the proxy from there; passwords of clouds and databases are in such variables, too."""
    for name in ("HTTP_PROXY", "http_proxy", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "http://me:hunter2@127.0.0.1:9")

    found = apart.ask(index, "SELECT string_agg(value) AS told FROM duckdb_settings()")

    assert isinstance(found, Answer)
    assert "hunter2" not in str(found.rows.to_pylist())


def test_ask_lone_surrogate_is_no_crash(index: Path) -> None:
    """No text from a browser can hold one, but an address could."""
    found = apart.ask(index, "SELECT '\ud83d' AS x")

    assert isinstance(found, Answer)
    assert found.rows.to_pylist() == [{"x": "?"}]
