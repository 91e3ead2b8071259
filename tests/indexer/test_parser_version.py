"""A newer parser reads everything anew; what it cannot reach any more stays as an older one left it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer import bulk_loader, exchanges, parsers
from indexer.database import Database
from indexer.publish import Publisher
from tests.builders import START_MS, Doc, assistant, part, session, tokens, user, write_json_tree
from tests.conftest import KINDS_OF_SETS, BuildIndex
from tests.indexer.test_backfill import content_of, read

DataSet = Callable[[str], Path]

TITLES = """
    SELECT session_id, title FROM parts WHERE part_type = 'tool' ORDER BY session_id
"""


def tool_session(name: str) -> list[Doc]:
    """Make a session with one answer and one tool call in it."""
    state = {"status": "completed", "title": f"tool of {name}", "input": {}, "output": "", "metadata": {}}
    start = START_MS + sum(name.encode())  # the same times would make them copies of one another
    return [
        session(f"ses_{name}"),
        user(f"msg_{name}u", f"ses_{name}", created=start),
        assistant(f"msg_{name}a", f"ses_{name}", parent=f"msg_{name}u", created=start, usage=tokens(7, 5, total=12)),
        part(f"prt_{name}", "tool", f"msg_{name}a", f"ses_{name}", tool="bash", callID="call_1", state=state),
    ]


def be_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the parser be of the version before: it does not know the titles of parts yet."""
    monkeypatch.setattr(parsers, "PARSER_VERSION", parsers.PARSER_VERSION - 1)
    monkeypatch.setattr(parsers, "_part_title", lambda part, state, part_type: None)


def test_bulk_newer_parser_rewrites_what_it_reaches_and_keeps_the_rest(
    build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session is there, one was deleted in OpenCode, one is in a folder that is no longer named."""
    data_dir = write_json_tree(tmp_path / "opencode", [*tool_session("there"), *tool_session("deleted")])
    other = write_json_tree(tmp_path / "other", tool_session("elsewhere"))
    with monkeypatch.context() as old:
        be_old(old)
        index = build_index(data_dir, other)
    before = read(index, TITLES)
    stats = "SELECT session_id, root_tokens, part_count, exchange_count FROM session_stats ORDER BY session_id"
    numbers = read(index, stats)
    for folder in ("session/*/ses_deleted.json", "message/ses_deleted", "part/msg_deleted*"):
        for found in (data_dir / "storage").glob(folder):
            shutil.rmtree(found) if found.is_dir() else found.unlink()

    build_index(data_dir)

    ids = ("ses_deleted", "ses_elsewhere", "ses_there")
    assert before == [(name, None) for name in ids]
    assert read(index, TITLES) == [(ids[0], None), (ids[1], None), (ids[2], "tool of there")]
    assert read(index, stats) == numbers == [(name, 12, 1, 1) for name in ids]
    assert read(index, "SELECT session_id FROM sessions WHERE deleted_at IS NOT NULL") == [("ses_deleted",)]


@pytest.mark.parametrize("name", KINDS_OF_SETS)
def test_bulk_newer_parser_makes_an_old_index_a_fresh_one(
    name: str,
    data_set: DataSet,
    build_index: BuildIndex,
    real_path: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every message is written, and nothing of the older reading is left; the next pass writes nothing."""
    with monkeypatch.context() as old:
        be_old(old)
        build_index(data_set(name), name="old.duckdb")
    written = []
    with Database.open(tmp_path / "old.duckdb") as database:
        publisher = Publisher(database)
        for _ in range(2):
            result = bulk_loader.load(database, publisher, bulk_loader.find_sources([data_set(name)]))
            written.append((result.written, result.messages))

    assert content_of(tmp_path / "old.duckdb") == content_of(real_path(name))
    assert written[0][0] == written[0][1] > 0
    assert written[1][0] == 0


def test_bulk_newer_parser_reads_a_copy_in_another_folder(
    build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same documents, moved: equal content does not keep the older reading."""
    docs = [doc for number in range(8) for doc in tool_session(str(number))]
    with monkeypatch.context() as old:
        be_old(old)
        index = build_index(write_json_tree(tmp_path / "before", docs))

    build_index(write_json_tree(tmp_path / "after", docs))

    assert read(index, TITLES) == [(f"ses_{number}", f"tool of {number}") for number in range(8)]


def test_bulk_newer_parser_says_anew_how_exchanges_ended(
    build_index: BuildIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to version 5 an answer that was closed without a reply passed for one."""
    silent = assistant("msg_2a", usage=tokens(), cost=0, finish=None)
    data_dir = write_json_tree(tmp_path / "opencode", [session(), user(), silent])
    how = "SELECT status FROM exchanges"
    with monkeypatch.context() as old:
        be_old(old)
        old.setattr(exchanges, "_has_ended", lambda message, parts: True)
        index = build_index(data_dir)
    before = read(index, how)

    build_index(data_dir)

    assert (before, read(index, how)) == ([("answered",)], [("unanswered",)])
