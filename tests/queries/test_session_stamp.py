"""The stamp of a session: another one once anything of it changes, and only then."""

from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.published import IndexReader
from queries.session_stamp import session_stamp
from tests.builders import START_MS, Doc, assistant, part, project, session, user, write_json_tree
from tests.indexing import index


def _text(words: str) -> Doc:
    """Make what was answered; its size is the same for words of one length."""
    return part("prt_1", "text", text=words)


def _call(part_id: str, child: str, message_id: str = "msg_2a", session_id: str = "ses_1") -> Doc:
    """Make a call that runs a session."""
    state = {"status": "completed", "input": {"description": "x"}, "output": "done", "metadata": {"sessionId": child}}
    return part(part_id, "tool", message_id, session_id, tool="task", callID="call_1", state=state)


_BEFORE = (project(), session(), user(), assistant(), _text("one"), _call("prt_2", "ses_2"))


def _stamp(folder: Path, docs: tuple[Doc, ...], gone: Callable[[Path], object] = lambda data: None) -> int | None:
    """Write documents into a data folder, index it as it is then, and return the stamp of the session."""
    data = write_json_tree(folder / "opencode", docs)
    gone(data)
    reader = IndexReader(index(folder / "index.duckdb", data))
    con = reader.connection()
    try:
        return session_stamp(con, "ses_1")
    finally:
        con.close()
        reader.close()


@pytest.mark.parametrize(
    "docs",
    [
        (_text("two"),),
        (part("prt_3", "text", text="more"),),
        (assistant(cost=0.5),),
        (session(title="Another", updated=START_MS + 9_000),),
        (session("ses_2", title="Elsewhere"),),
        (session("ses_3", parentID="ses_1"),),
        (project(name="Shop", time={"created": START_MS, "updated": START_MS + 9_000}),),
    ],
    ids=["text", "part", "cost", "title", "called", "child", "project"],
)
def test_session_stamp_something_changes_it(tmp_path: Path, docs: tuple[Doc, ...]) -> None:
    """Whatever is shown of it, also of what it leads to, and where a text has as many letters as before."""
    before = _stamp(tmp_path, _BEFORE)

    assert _stamp(tmp_path, docs) != before


def test_session_stamp_change_of_a_child_changes_it(tmp_path: Path) -> None:
    """What a session delegated is part of it."""
    below = (session("ses_2", parentID="ses_1"), user("msg_3u", "ses_2"), assistant("msg_4a", "ses_2", parent="msg_3u"))
    before = _stamp(tmp_path, (*_BEFORE, *below))

    assert _stamp(tmp_path, (part("prt_4", "text", "msg_4a", "ses_2", text="deep"),)) != before


def test_session_stamp_message_undone_changes_it_and_brought_back_is_as_before(tmp_path: Path) -> None:
    """OpenCode takes the documents away."""
    before = _stamp(tmp_path, _BEFORE)

    undone = _stamp(tmp_path, (), lambda data: next(data.rglob("msg_2a.json")).unlink())

    assert undone != before
    assert _stamp(tmp_path, _BEFORE) == before


def test_session_stamp_other_sessions_leave_it(tmp_path: Path) -> None:
    """An indexer at work writes others all the time."""
    before = _stamp(tmp_path, _BEFORE)

    others = (session("ses_9"), user("msg_9u", "ses_9"), assistant("msg_9v", "ses_9", parent="msg_9u"))

    assert _stamp(tmp_path, others) == before


def test_session_stamp_unknown_session_has_none(tmp_path: Path) -> None:
    """There is nothing to sum up."""
    assert _stamp(tmp_path, (project(), session("ses_9"))) is None
