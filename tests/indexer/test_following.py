"""Whatever OpenCode does while the indexer runs, the index becomes what a fresh one of the same storage would be."""

import errno
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from indexer import activity, live, stamps, update
from indexer.benchmarks import results
from indexer.changes import ChangeQueue, Changes
from indexer.database import Database
from indexer.exceptions import SourceUnusable
from indexer.survey import Survey, survey
from indexer.update import Applied
from tests.builders import (
    START_MS,
    Doc,
    answer,
    assistant,
    copied,
    damaged,
    part,
    project,
    row,
    session,
    step_finish,
    tokens,
    user,
    write_json_tree,
    write_session_messages,
    write_sqlite,
)
from tests.following import Following, following, move_back, wait_for

Follow = Callable[..., Following]
Write = Callable[[Path, Sequence[Doc]], Path]

BOTH = pytest.mark.parametrize("write", [write_json_tree, write_sqlite], ids=["files", "rows"])
EMPTY_SESSION_MESSAGE = """
    CREATE TABLE session_message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, type TEXT NOT NULL, seq INTEGER,
        time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, data TEXT NOT NULL)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """OpenCode's data folder; it is not there yet."""
    return tmp_path / "opencode"


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    """Follow folders until the test ends."""
    with ExitStack() as stack:

        def start(*data_dirs: Path) -> Following:
            """Return once the full pass is over."""
            made = stack.enter_context(following(tmp_path / "index.duckdb", *data_dirs))
            made.start()
            return made

        yield start


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Changes, Applied]]:
    """Record every look of the follower: what was named, and what became of it."""
    made: list[tuple[Changes, Applied]] = []
    apply = update.apply

    def recorded(database: Any, storages: Any, changes: Changes, **named: Any) -> Applied:
        """Look and record."""
        applied = apply(database, storages, changes, **named)
        if threading.current_thread().name == "follower":
            made.append((changes, applied))
        return applied

    monkeypatch.setattr(update, "apply", recorded)
    return made


def conversation(session_id: str = "ses_1", number: int = 1, **fields: Any) -> list[Doc]:
    """Make a session with a question and an answer of two steps."""
    question, reply = f"msg_{number}u", f"msg_{number}a"
    created = START_MS + 100_000 * number
    return [
        session(session_id, created=created, **fields),
        user(question, session_id, created=created),
        part(f"prt_{number}q", "text", question, session_id, text=f"Question {number}?"),
        assistant(reply, session_id, parent=question, created=created + 1_000, completed=created + 5_000, cost=0.5),
        part(f"prt_{number}t", "text", reply, session_id, text=f"Answer {number}."),
        step_finish(f"prt_{number}f", tokens(input=number), reply, session_id, cost=0.25),
        step_finish(f"prt_{number}g", tokens(output=number), reply, session_id, cost=0.25),
    ]


def path_of(data_dir: Path, doc: Doc) -> Path:
    """Return the file of a document."""
    folder = {
        "project": Path("project"),
        "session": Path("session", str(doc.body.get("projectID"))),
        "message": Path("message", doc.session_id),
        "part": Path("part", doc.message_id),
    }[doc.kind]
    return data_dir / "storage" / folder / f"{doc.id}.json"


def remove(data_dir: Path, docs: Sequence[Doc]) -> None:
    """Delete documents as OpenCode does: files one by one, their folders stay; or rows, in one transaction."""
    if (data_dir / "opencode.db").exists():
        run(data_dir, *(f"DELETE FROM {doc.kind} WHERE id = '{doc.id}'" for doc in docs))
    for doc in docs:
        path_of(data_dir, doc).unlink(missing_ok=True)


def run(data_dir: Path, *statements: str) -> None:
    """Change the database in one transaction, as the client does."""
    with closing(sqlite3.connect(data_dir / "opencode.db", isolation_level=None)) as con:
        con.execute("PRAGMA journal_mode = WAL")
        con.execute("BEGIN")
        for statement in statements:
            con.execute(statement)
        con.execute("COMMIT")


# --- what OpenCode does every day


@BOTH
def test_follow_new_session_is_shown_while_it_is_answered(write: Write, data_dir: Path, follow: Follow) -> None:
    """Every finished part can be seen before the next one is written; the text grows by rewrites in place."""
    write(data_dir, [project(), *conversation("ses_0", 0)])
    live = follow(data_dir)
    question = user("msg_8", "ses_1")

    write(data_dir, [session("ses_1"), question])
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'unanswered'")
    write(data_dir, [assistant("msg_9", "ses_1", parent="msg_8", completed=None, cost=0)])
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'unfinished'")
    for length in range(1, 40):
        write(data_dir, [part("prt_1", "text", "msg_9", "ses_1", text="word " * length)])
    live.sees("FROM part_bodies WHERE part_id = 'prt_1' AND text_bytes = 195")
    write(data_dir, [part("prt_2", "tool", "msg_9", "ses_1", tool="bash", callID="c", state={"status": "running"})])
    live.sees("FROM exchange_traces WHERE trace_id = 'prt_2' AND status = 'running'")
    write(
        data_dir, [step_finish("prt_3", tokens(input=7), "msg_9", "ses_1"), assistant("msg_9", "ses_1", parent="msg_8")]
    )
    live.sees("FROM session_stats WHERE session_id = 'ses_1' AND input_tokens = 7")
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'answered'")

    live.agrees()


@BOTH
def test_follow_answer_that_was_stopped_in_a_wait_is_none(write: Write, data_dir: Path, follow: Follow) -> None:
    """It is unfinished as long as the client waits; a part that comes later is seen, though its message stays."""
    write(data_dir, [project(), *conversation("ses_0", 0), session("ses_1"), user("msg_8", "ses_1")])
    live = follow(data_dir)
    waiting: dict[str, Any] = {"usage": tokens(), "cost": 0, "finish": None, "parent": "msg_8"}

    write(data_dir, [assistant("msg_9", "ses_1", completed=None, **waiting)])
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'unfinished'")
    write(data_dir, [assistant("msg_9", "ses_1", **waiting)])
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'unanswered'")
    write(data_dir, [part("prt_9", "text", "msg_9", "ses_1", text="After all.")])
    live.sees("FROM exchanges WHERE session_id = 'ses_1' AND status = 'answered'")

    live.agrees()


def test_follow_session_message_rows_are_shown_while_they_grow(data_dir: Path, follow: Follow) -> None:
    """The parts of an answer are inside its row, which is rewritten; rows can be deleted, too."""
    write_session_messages(data_dir, [project(), session("ses_0"), row("msg_0", "user", 0, "ses_0", text="?")])
    live = follow(data_dir)

    write_session_messages(data_dir, [session("ses_1"), row("msg_1", "user", 1, text="Why?")])
    live.sees("FROM messages WHERE message_id = 'msg_1'")
    for length in (1, 20, 300):
        content = [{"type": "text", "text": "word " * length}]
        write_session_messages(data_dir, [answer("msg_2", 2, usage=tokens(input=length), content=content)])
        live.sees(f"FROM messages WHERE message_id = 'msg_2' AND input_tokens = {length}")
    live.agrees()
    run(data_dir, "DELETE FROM session_message WHERE id = 'msg_1'")
    live.sees("FROM messages WHERE message_id = 'msg_1' AND deleted_at IS NOT NULL")

    live.agrees()


@BOTH
def test_follow_undone_message_keeps_its_numbers_and_loses_its_texts(
    write: Write, data_dir: Path, follow: Follow
) -> None:
    """OpenCode's undo leaves part files without their message: these are orphans, as in a fresh index."""
    docs = conversation()
    write(data_dir, [project(), *docs, *conversation("ses_2", 2)])
    live = follow(data_dir)

    remove(data_dir, [doc for doc in docs if doc.id == "msg_1a"])
    live.sees("FROM messages WHERE message_id = 'msg_1a' AND deleted_at IS NOT NULL")

    live.agrees()
    assert live.rows("SELECT input_tokens, cost_recorded_usd::DOUBLE FROM messages WHERE message_id = 'msg_1a'") == [
        (1, 0.5)
    ]
    orphans = live.rows("SELECT part_id FROM parts WHERE is_orphan AND deleted_at IS NULL ORDER BY 1")
    assert orphans == [("prt_1f",), ("prt_1g",), ("prt_1t",)]
    remove(data_dir, [doc for doc in docs if doc.message_id == "msg_1a"])
    live.sees("FROM parts WHERE part_id = 'prt_1t' AND deleted_at IS NOT NULL")
    live.agrees()
    assert live.rows("FROM part_bodies WHERE message_id = 'msg_1a'") == []
    assert live.rows("SELECT sum(input_tokens) FROM spend") == [(3,)]
    write(data_dir, docs)
    live.sees("FROM messages WHERE message_id = 'msg_1a' AND deleted_at IS NULL")
    live.agrees()
    assert live.rows("SELECT count(*) FROM parts WHERE message_id = 'msg_1a' AND deleted_at IS NULL") == [(3,)]


@BOTH
def test_follow_part_removed_is_flagged_without_its_text(write: Write, data_dir: Path, follow: Follow) -> None:
    """The rest of its message stays as it is."""
    docs = conversation()
    write(data_dir, [project(), *docs])
    live = follow(data_dir)

    remove(data_dir, [doc for doc in docs if doc.id == "prt_1t"])
    live.sees("FROM parts WHERE part_id = 'prt_1t' AND deleted_at IS NOT NULL")

    live.agrees()
    assert live.rows("FROM part_bodies WHERE part_id = 'prt_1t'") == []
    assert live.rows("SELECT count(*) FROM parts WHERE deleted_at IS NULL") == [(3,)]


@BOTH
def test_follow_part_with_another_text_leaves_the_other_parts_alone(
    write: Write, data_dir: Path, follow: Follow
) -> None:
    """A message is read whole; only what differs is written. A text of the same length differs, too."""
    last = part("prt_1z", "text", "msg_1a", "ses_1", text="Bye 1.")
    write(data_dir, [project(), *conversation(), last])
    index = follow(data_dir)
    places = "SELECT part_id, rowid FROM parts"
    before = dict(index.rows(places))

    for text in ("Bye 2.", "Bye 3."):
        last.body["text"] = text
        write(data_dir, [last])
        index.sees("FROM part_bodies WHERE text = $text", text=text)

    after = dict(index.rows(places))
    assert {part_id for part_id in before if after[part_id] != before[part_id]} == {"prt_1z"}
    index.agrees()


@BOTH
def test_follow_session_deleted_with_its_children_keeps_the_spend(write: Write, data_dir: Path, follow: Follow) -> None:
    """Money spent stays spent; titles and texts go."""
    root, child = conversation(), conversation("ses_2", 2, parentID="ses_1")
    write(data_dir, [project(), *root, *child, *conversation("ses_3", 3)])
    live = follow(data_dir)

    remove(data_dir, [*reversed(child), *reversed(root)])
    wait_for(lambda: live.rows("SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL") == [(2,)])
    wait_for(lambda: live.rows("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL") == [(4,)])

    live.agrees()
    assert live.rows("SELECT sum(cost_recorded_usd)::DOUBLE, count(DISTINCT session_id) FROM spend") == [(1.5, 3)]
    assert live.rows("FROM part_bodies WHERE session_id IN ('ses_1', 'ses_2')") == []
    assert live.rows("SELECT DISTINCT title, slug FROM sessions WHERE deleted_at IS NOT NULL") == [(None, None)]


@BOTH
def test_follow_session_renamed_archived_and_reverted_shows_it(write: Write, data_dir: Path, follow: Follow) -> None:
    """Only its own document changes."""
    docs = conversation()
    write(data_dir, [project(), *docs])
    live = follow(data_dir)

    write(
        data_dir, [session("ses_1", created=START_MS + 100_000, title="Another title", revert={"messageID": "msg_1u"})]
    )
    live.sees("FROM sessions WHERE title = 'Another title'")
    archived = session("ses_1", created=START_MS + 100_000, title="Another title")
    archived.body["time"]["archived"] = START_MS + 900_000
    write(data_dir, [archived])
    if write is write_sqlite:
        run(data_dir, f"UPDATE session SET time_archived = {START_MS + 900_000}")
    live.sees("FROM sessions WHERE archived_at IS NOT NULL")

    live.agrees()


@BOTH
def test_follow_fork_and_deleted_original_counts_every_request_once(
    write: Write, data_dir: Path, follow: Follow
) -> None:
    """The copies are none any more once the original is gone; its own numbers stay, flagged."""
    docs = conversation()
    write(data_dir, [project(), *docs])
    live = follow(data_dir)

    fork = copied(docs[1:], "ses_fork", "_f")
    write(data_dir, [session("ses_fork", created=START_MS + 500_000), *fork])
    live.sees("FROM messages WHERE message_id = 'msg_1a_f' AND is_fork_copy AND input_tokens = 1")
    wait_for(lambda: live.rows("SELECT count(*) FROM parts WHERE session_id = 'ses_fork'") == [(4,)])
    live.agrees()
    assert live.rows("SELECT sum(cost_recorded_usd)::DOUBLE FROM spend") == [(0.5,)]
    remove(data_dir, [*reversed(docs)])
    live.sees("FROM messages WHERE message_id = 'msg_1a_f' AND NOT is_fork_copy")
    live.sees("FROM sessions WHERE session_id = 'ses_1' AND deleted_at IS NOT NULL")

    live.agrees()
    assert live.rows("SELECT sum(cost_recorded_usd)::DOUBLE FROM spend") == [(0.5,)]


# --- files


def test_follow_torn_file_is_bad_only_when_it_stays(
    data_dir: Path, follow: Follow, looks: list[tuple[Changes, Applied]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.x writes in place: half a document is nothing to tell, until nobody writes it any more."""
    docs = conversation()
    write_json_tree(data_dir, [project(), *docs])
    live = follow(data_dir)
    torn = [
        damaged(part("prt_9", "text", "msg_1a"), b'{"id": "prt_9", "te'),
        damaged(user("msg_8", "ses_1"), b"{"),
        damaged(session("ses_8"), b""),
        damaged(project("q" * 40), b'{"id"'),
    ]
    monkeypatch.setattr(stamps, "UNSETTLED_MS", 600_000)

    write_json_tree(data_dir, torn)
    wait_for(lambda: sum(bool(applied.postponed) for _, applied in looks) > 3, "looks at the torn files")
    before = live.rows("FROM documents")
    monkeypatch.setattr(stamps, "UNSETTLED_MS", 2_000)
    wait_for(lambda: live.rows("SELECT count(*) FROM documents") == [(4,)], "the torn files in the ledger")
    live.agrees()
    mended = [
        part("prt_9", "text", "msg_1a", text="Whole."),
        user("msg_8", "ses_1"),
        session("ses_8"),
        project("q" * 40),
    ]
    write_json_tree(data_dir, mended)
    wait_for(lambda: live.rows("FROM documents") == [], "an empty ledger")

    assert before == []
    live.agrees()


def test_follow_retry_request_reads_bad_documents_again(
    data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no event told that they were mended."""
    bad = damaged(part("prt_9", "text", "msg_1a"), b"{")
    write_json_tree(data_dir, [project(), *conversation(), bad])
    move_back(path_of(data_dir, bad))
    live = follow(data_dir)
    assert live.rows("SELECT key FROM documents") == [("storage/part/msg_1a/prt_9.json",)]

    with monkeypatch.context() as patch:
        patch.setattr(ChangeQueue, "put", lambda queue, changes: None)
        write_json_tree(data_dir, [part("prt_9", "text", "msg_1a", text="Whole.")])
        wait_for(lambda: live.follower.queue.waiting == (0, None))
    assert live.rows("SELECT key FROM documents") == [("storage/part/msg_1a/prt_9.json",)]
    activity.request_retry(live.index)
    wait_for(lambda: live.rows("FROM documents") == [], "an empty ledger")

    live.agrees()


def test_follow_files_moved_and_replaced_are_followed(data_dir: Path, follow: Follow) -> None:
    """A session moves to another project, editors write beside and rename, files get other names."""
    docs = conversation()
    write_json_tree(data_dir, [project(), project("q" * 40), *docs, *conversation("ses_2", 2)])
    live = follow(data_dir)

    moved = session("ses_1", project_id="q" * 40, created=START_MS + 100_000)
    path_of(data_dir, moved).parent.mkdir()
    os.rename(path_of(data_dir, docs[0]), path_of(data_dir, moved))
    write_json_tree(data_dir, [moved])
    live.sees(f"FROM sessions WHERE session_id = 'ses_1' AND project_id = '{'q' * 40}' AND deleted_at IS NULL")
    text = path_of(data_dir, docs[4])
    beside = text.with_suffix(".json.tmp")
    beside.write_text(text.read_text(encoding="utf-8").replace("Answer 1.", "Another answer."), encoding="utf-8")
    os.replace(beside, text)
    live.sees("FROM part_bodies WHERE text = 'Another answer.'")
    os.rename(text, text.with_name("prt_1z.json"))
    live.sees("FROM parts WHERE part_id = 'prt_1t' AND deleted_at IS NOT NULL")
    write_json_tree(data_dir, [user("msg_7", "ses_1")])
    os.rename(data_dir / "storage" / "part" / "msg_2a", data_dir / "storage" / "part" / "msg_7")
    live.sees("FROM parts WHERE part_id = 'prt_2t' AND message_id = 'msg_7'")

    live.agrees()


def test_follow_message_moved_to_another_session_is_found_by_the_comparison(
    data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client does that. The last event names the session that lacks the file, so it looks deleted until then."""
    docs = conversation()
    write_json_tree(data_dir, [project(), *docs, *conversation("ses_2", 2)])
    monkeypatch.setattr(live, "COMPARE_LEAST_S", 0.1)
    monkeypatch.setattr(live, "COMPARE_SHARE", 1)
    running = follow(data_dir)

    write_json_tree(data_dir, [user("msg_1u", "ses_2", created=START_MS + 100_000)])
    path_of(data_dir, docs[1]).unlink()
    running.sees("FROM messages WHERE message_id = 'msg_1u' AND session_id = 'ses_2' AND deleted_at IS NULL")

    running.agrees()


def test_follow_clock_going_back_loses_nothing(data_dir: Path, follow: Follow) -> None:
    """Neither file times nor the times in documents and rows decide whether something is looked at."""
    write_json_tree(data_dir, [project(), *conversation()])
    rows = write_sqlite(data_dir.with_name("rows"), [project(), *conversation("ses_5", 5)])
    live = follow(data_dir, rows)

    older = part("prt_1t", "text", "msg_1a", text="Answer 9.")  # as long as before
    path = path_of(data_dir, older)
    status = path.stat()
    write_json_tree(data_dir, [older])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    live.sees("FROM part_bodies WHERE text = 'Answer 9.'")
    write_json_tree(data_dir, [user("msg_0", "ses_1", created=START_MS - 10**9)])
    move_back(path_of(data_dir, user("msg_0", "ses_1")), 10**7)
    live.sees("FROM messages WHERE message_id = 'msg_0'")
    changed = part("prt_5t", "text", "msg_5a", "ses_5", text="Earlier.", stamp_ms=START_MS - 10**9)
    write_sqlite(rows, [changed, session("ses_6", created=START_MS - 10**9), user("msg_6", "ses_6", created=1)])
    live.sees("FROM part_bodies WHERE text = 'Earlier.'")
    live.sees("FROM messages WHERE message_id = 'msg_6'")

    live.agrees()


def test_follow_30_000_part_folders_tells_a_change_of_one(data_dir: Path, follow: Follow) -> None:
    """One folder for each message that ever was; most of them are left empty when sessions are deleted."""
    write_json_tree(data_dir, [project(), *conversation()])
    for number in range(30_000):
        os.mkdir(data_dir / "storage" / "part" / f"msg_old{number:05}")
    live = follow(data_dir)
    assert live.follower._watch.is_by_events

    write_json_tree(data_dir, [part("prt_2", "text", "msg_1a", text="More.")])
    live.sees("FROM part_bodies WHERE text = 'More.'")
    write_json_tree(data_dir, [part("prt_3", "text", "msg_old29999", text="Late.")])
    live.sees("FROM parts WHERE part_id = 'prt_3' AND is_orphan")

    live.agrees()


# --- storages that come, go and change


def test_follow_empty_folder_takes_up_a_tree_and_a_database(data_dir: Path, follow: Follow) -> None:
    """What is only in the older storage beside the newer one is flagged, as soon as there are two."""
    data_dir.mkdir()
    live = follow(data_dir)
    docs = [*conversation(), *conversation("ses_2", 2)]

    write_json_tree(data_dir, [project(), *docs])
    live.sees("FROM messages WHERE message_id = 'msg_2a'")
    live.agrees()
    write_sqlite(data_dir, [project(), *docs[:7], *conversation("ses_3", 3)])
    live.sees("FROM sessions WHERE session_id = 'ses_2' AND is_missing_in_newer")
    live.sees("FROM sessions WHERE session_id = 'ses_3'")
    live.agrees()
    write_sqlite(data_dir, docs[7:])
    live.sees("FROM sessions WHERE session_id = 'ses_2' AND NOT is_missing_in_newer")
    live.agrees()
    run(data_dir, "DELETE FROM message WHERE id = 'msg_1u'", "DELETE FROM part WHERE message_id = 'msg_1u'")
    live.sees("FROM messages WHERE message_id = 'msg_1u' AND is_missing_in_newer")

    live.agrees()


def test_follow_rows_of_the_second_api_make_no_storage_newer(data_dir: Path, follow: Follow) -> None:
    """They are in the file of 1.18, whose sessions are read by the second generation: nothing is missing in a newer."""
    write_sqlite(data_dir, [project(), *conversation()])
    write_session_messages(data_dir, [row("msg_api", "user", 1, text="Hi")])
    live = follow(data_dir)

    write_sqlite(data_dir, conversation("ses_2", 2))
    live.sees("FROM messages WHERE message_id = 'msg_2a'")

    assert live.rows("FROM sessions WHERE is_missing_in_newer") == []
    assert live.rows("FROM messages WHERE is_missing_in_newer") == []
    live.agrees()


def test_follow_folder_that_is_not_there_yet_is_taken_up(data_dir: Path, follow: Follow) -> None:
    """The first start of the client creates it."""
    live = follow(data_dir)

    write_sqlite(data_dir, [project(), *conversation()])
    live.sees("FROM messages WHERE message_id = 'msg_1a'")

    live.agrees()


def test_follow_upgraded_database_reads_its_new_table(data_dir: Path, follow: Follow) -> None:
    """The table comes with the upgrade, empty; its first row comes later, and changes no layout."""
    write_sqlite(data_dir, [project(), *conversation()])
    live = follow(data_dir)

    run(data_dir, EMPTY_SESSION_MESSAGE)
    write_sqlite(data_dir, conversation("ses_2", 2))
    live.sees("FROM messages WHERE message_id = 'msg_2a'")
    live.agrees()
    data = '{"text": "Why?", "time": {"created": 1767225700000}}'
    run(
        data_dir,
        "INSERT INTO session_message VALUES ('msg_9', 'ses_1', 'user', 1, 1767225700000, 1767225700000, '"
        + data
        + "')",
        "UPDATE session SET time_updated = time_updated + 1 WHERE id = 'ses_1'",
    )
    live.sees("FROM messages WHERE message_id = 'msg_9'")

    live.agrees()


def test_follow_database_replaced_by_a_smaller_one_keeps_the_spend(data_dir: Path, follow: Follow) -> None:
    """What the other one lacks is deleted; what it holds is read from it, also later."""
    write_sqlite(data_dir, [project(), *(doc for number in range(5) for doc in conversation(f"ses_{number}", number))])
    smaller = write_sqlite(data_dir.with_name("smaller"), [project(), *conversation("ses_1", 1)])
    live = follow(data_dir)

    os.replace(smaller / "opencode.db", data_dir / "opencode.db")
    for name in ("opencode.db-wal", "opencode.db-shm"):
        (data_dir / name).unlink(missing_ok=True)
    wait_for(lambda: live.rows("SELECT count(*) FROM sessions WHERE deleted_at IS NOT NULL") == [(4,)])
    live.agrees()
    write_sqlite(data_dir, conversation("ses_7", 7))
    live.sees("FROM messages WHERE message_id = 'msg_7a'")

    live.agrees()
    assert live.rows("SELECT sum(cost_recorded_usd)::DOUBLE FROM spend") == [(3.0,)]


@BOTH
def test_follow_storage_moved_away_and_back_loses_nothing(write: Write, data_dir: Path, follow: Follow) -> None:
    """A disk that is not there has deleted nothing."""
    write(data_dir, [project(), *conversation(), *conversation("ses_2", 2)])
    live = follow(data_dir)
    away = data_dir.with_name("away")

    os.rename(data_dir, away)
    live.sees("FROM sources WHERE state = 'unreadable'")
    write(away, conversation("ses_3", 3))
    deleted = live.rows("FROM messages WHERE deleted_at IS NOT NULL")
    os.rename(away, data_dir)
    live.sees("FROM messages WHERE message_id = 'msg_3a'")

    live.agrees()
    write(data_dir, conversation("ses_4", 4))
    live.sees("FROM messages WHERE message_id = 'msg_4a'")
    live.agrees()
    assert (deleted, live.rows("FROM messages WHERE deleted_at IS NOT NULL")) == ([], [])


def test_follow_tree_moved_out_of_its_folder_and_back_loses_nothing(data_dir: Path, follow: Follow) -> None:
    """The data folder is still there, and empty."""
    write_json_tree(data_dir, [project(), *conversation()])
    live = follow(data_dir)

    os.rename(data_dir / "storage", data_dir / "old")
    live.sees("FROM sources WHERE state = 'unreadable'")
    os.rename(data_dir / "old", data_dir / "storage")
    live.sees("FROM sources WHERE state = 'ok'")

    live.agrees()
    assert live.rows("FROM messages WHERE deleted_at IS NOT NULL") == []


def test_follow_sources_unreadable_at_the_start_are_read_later(data_dir: Path, follow: Follow) -> None:
    """A damaged file is told, and whatever mends it is noticed."""
    tree = write_json_tree(data_dir.with_name("tree"), [project(), *conversation()])
    (tree / "storage" / "session").rename(tree / "session")
    (tree / "storage" / "message").rename(tree / "message")
    data_dir.mkdir()
    (data_dir / "opencode.db").write_bytes(b"no database" * 1_000)
    live = follow(tree, data_dir)
    assert live.rows("SELECT DISTINCT state FROM sources") == [("unreadable",)]

    good = write_sqlite(data_dir.with_name("good"), [project(), *conversation("ses_2", 2)])
    os.replace(good / "opencode.db", data_dir / "opencode.db")
    live.sees("FROM messages WHERE message_id = 'msg_2a'")
    for name in ("session", "message"):
        (tree / name).rename(tree / "storage" / name)
    live.sees("FROM messages WHERE message_id = 'msg_1a'")

    live.agrees()


# --- what costs nothing, and what heals


def test_follow_rows_stamped_anew_cost_no_revision(
    data_dir: Path, follow: Follow, looks: list[tuple[Changes, Applied]]
) -> None:
    """A migration of the client stamps every row: that costs reads, and no write that a reader would see."""
    docs = [doc for number in range(60) for doc in conversation(f"ses_{number}", number, version="1.18.0")]
    write_sqlite(data_dir, [project(), *docs])
    live = follow(data_dir)
    live.agrees()
    before = live.revision()

    run(data_dir, *(f"UPDATE {table} SET time_updated = time_updated + 5000000" for table in ("message", "part")))
    run(data_dir, "UPDATE session SET slug = slug")
    wait_for(lambda: len(looks) > 0 or live.is_over, "a look")
    wait_for(lambda: live.follower.queue.waiting == (0, None))

    assert [applied.is_visible for _, applied in looks] == [False] * len(looks)
    assert live.revision() == before
    live.agrees()


def test_follow_database_not_written_since_it_was_compared_is_not_listed(
    data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To list the rows of a heavy user takes seconds; what is written meanwhile is listed with the next comparison."""
    write_sqlite(data_dir, [project(), *conversation()])
    move_back(data_dir / "opencode.db")  # else it may be written still
    monkeypatch.setattr(live, "COMPARE_LEAST_S", 0.1)
    monkeypatch.setattr(live, "COMPARE_SHARE", 1)
    listed = []

    def count(*args: Any, **settings: Any) -> Survey:
        """Count, and list."""
        listed.append(1)
        return survey(*args, **settings)

    monkeypatch.setattr(live, "survey", count)
    running = follow(data_dir)

    def compared() -> int:
        """Wait for the end of a comparison, and count what it listed."""
        reporter = running.follower.reporter
        before, planned = len(listed), reporter._next_comparison_at_ms
        wait_for(lambda: reporter._next_comparison_at_ms != planned, "a comparison")
        return len(listed) - before

    unwritten = compared()
    write_sqlite(data_dir, conversation("ses_2", 2))
    wait_for(lambda: listed, "a listing")
    wait_for(lambda: not compared(), "an unwritten database")

    assert unwritten == 0
    running.agrees()


def test_follow_database_lost_since_it_was_compared_is_read_again(
    data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not written, so that nothing would be listed; but until then nothing that changes is read from it."""
    write_sqlite(data_dir, [project(), *conversation()])
    move_back(data_dir / "opencode.db")
    monkeypatch.setattr(live, "LOST_S", 0.1)
    running = follow(data_dir)

    wait_for(lambda: running.follower._storages, "its storages")
    running.follower._storages[0].lose(SourceUnusable("It was locked."))
    running.follower.queue.put(Changes(is_everything=True))
    wait_for(lambda: not running.follower._storages[0].problem, "another reader")

    running.agrees()


@BOTH
def test_follow_nothing_to_do_waits_until_something_is(
    write: Write, data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change, the end of a comparison and the end of all: none waits for the next look at what else is due."""
    docs = conversation()
    write(data_dir, [project(), *docs])
    running = follow(data_dir)
    wait_for(lambda: running.follower._publisher.is_at_rest, "nothing left to do")
    monkeypatch.setattr(live, "IDLE_S", 3_600.0)
    monkeypatch.setattr(live, "REST_S", 3_600.0)

    reporter = running.follower.reporter
    planned = reporter._next_comparison_at_ms
    running.follower.queue.put(Changes(is_everything=True))
    wait_for(lambda: reporter._next_comparison_at_ms != planned, "the end of a comparison")
    write(data_dir, [*conversation("ses_2", 2)])
    running.sees("FROM messages WHERE message_id = 'msg_2a'")

    running.agrees()  # and the fixture ends it


def test_follow_folder_of_the_index_cannot_be_listed_looks_on(
    data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks around for all must not end by it: nothing that is written would be noticed any more."""
    looks: list[Database] = []

    def fail(database: Database) -> bool:
        """Fail as a disk does."""
        looks.append(database)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(results, "are_left", fail)
    write_sqlite(data_dir, [project(), *conversation()])
    running = follow(data_dir)
    wait_for(lambda: len(looks) > 1, "two looks")

    write_sqlite(data_dir, [*conversation("ses_2", 2)])
    running.sees("FROM messages WHERE message_id = 'msg_2a'")

    running.agrees()


@BOTH
def test_follow_lost_events_are_healed_by_the_comparison(
    write: Write, data_dir: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no watcher reports is found where the listing differs from the index."""
    docs = conversation()
    write(data_dir, [project(), *docs, *conversation("ses_2", 2)])
    monkeypatch.setattr(live, "COMPARE_LEAST_S", 0.1)
    monkeypatch.setattr(live, "COMPARE_SHARE", 1)
    put = ChangeQueue.put

    def lose(queue: ChangeQueue, changes: Changes) -> None:
        """Take nothing from those who watch."""
        if threading.current_thread().name not in ("watch", "tree-watcher"):
            put(queue, changes)

    monkeypatch.setattr(ChangeQueue, "put", lose)
    running = follow(data_dir)

    remove(data_dir, [doc for doc in docs if doc.message_id == "msg_1a"])
    write(
        data_dir,
        [*conversation("ses_3", 3), part("prt_2t", "text", "msg_2a", "ses_2", text="Else.", stamp_ms=START_MS)],
    )
    running.sees("FROM messages WHERE message_id = 'msg_1a' AND deleted_at IS NOT NULL")
    running.sees("FROM messages WHERE message_id = 'msg_3a'")
    running.sees("FROM part_bodies WHERE text = 'Else.'")

    running.agrees()


@BOTH
def test_follow_changes_between_two_runs_are_found(write: Write, data_dir: Path, tmp_path: Path) -> None:
    """A start compares everything, without reading what looks the same."""
    docs = conversation()
    write(data_dir, [project(), *docs])
    with following(tmp_path / "index.duckdb", data_dir) as first:
        first.start()

    remove(data_dir, [doc for doc in docs if doc.message_id == "msg_1a"])
    write(data_dir, conversation("ses_2", 2))

    with following(tmp_path / "index.duckdb", data_dir) as second:
        second.start()
        second.agrees()
        assert second.rows("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL") == [(1,)]


def test_follow_interrupted_in_the_full_pass_ends_and_goes_on_later(data_dir: Path, tmp_path: Path) -> None:
    """Ctrl-C waits for nobody, and what was read is kept."""

    def interrupt(done: int, total: int) -> None:
        """Do what Ctrl-C does."""
        raise KeyboardInterrupt

    write_json_tree(data_dir, [project(), *(user(f"msg_{number}") for number in range(200)), session()])
    with following(tmp_path / "index.duckdb", data_dir, progress=interrupt) as first:
        first.begin()
        first.join()
        assert first.phase() == "stopped"

    with following(tmp_path / "index.duckdb", data_dir) as second:
        second.start()
        second.agrees()


# --- anything, in any order


class Player:
    """OpenCode at work in one data folder: writes, rewrites and deletes whatever comes, in random order."""

    def __init__(self, data_dir: Path, seed: int, kinds: str) -> None:
        """Begin with nothing.

        Args:
            data_dir: Where to write.
            seed: Of everything.
            kinds: files, rows, or both in any mixture, as during a migration.
        """
        self._rng = random.Random(seed)
        self._data_dir = data_dir
        self._seed = seed
        files: list[Write] = [write_json_tree] if kinds != "rows" else []
        rows: list[Write] = [write_sqlite] if kinds != "files" else []
        self._writers = files + rows
        self._written: dict[tuple[str, str], Doc] = {}
        self._torn: dict[str, Doc] = {}
        for write in self._writers:  # a storage without any session is none
            write(data_dir, [project(), session(f"ses_{seed}_kept"), user(f"msg_{seed}_kept", f"ses_{seed}_kept")])

    def play(self, steps: int) -> None:
        """Do some things, and leave no file torn."""
        for _ in range(steps):
            self._rng.choices(
                [self._write, self._remove, self._remove_session, self._tear, self._copy_back],
                weights=[60, 15, 4, 8 if write_json_tree in self._writers else 0, 5],
            )[0]()
        for doc in self._torn.values():
            write_json_tree(self._data_dir, [doc])

    def _session(self, number: int) -> Doc:
        """Make a session: sometimes a child, sometimes with another title."""
        rng = self._rng
        parent = {"parentID": f"ses_{self._seed}_0"} if number == 2 else {}
        return session(
            f"ses_{self._seed}_{number}",
            created=START_MS + number,
            updated=START_MS + rng.randrange(3) * 1_000,
            title=f"Title {rng.randrange(3)}",
            **parent,
        )

    def _any(self) -> Doc:
        """Make any document; it may have been there before, in another version."""
        rng = self._rng
        message = rng.randrange(9)
        message_id, session_id = f"msg_{self._seed}_{message}", f"ses_{self._seed}_{message % 3}"
        created = START_MS + 10_000 * message
        match rng.randrange(10):
            case 0:
                return self._session(rng.randrange(3))
            case 1 | 2 | 3 if message % 2:
                completed = rng.choice([None, created + 500, created + 900])
                cost = rng.choice([0.25, 0.5, None])
                return assistant(message_id, session_id, created=created, completed=completed, cost=cost)
            case 1 | 2 | 3:
                return user(message_id, session_id, created=created)
            case 4 | 5:
                part_id = f"prt_{self._seed}_{message}_f"
                return step_finish(part_id, tokens(input=rng.randrange(5)), message_id, session_id)
            case _:
                text = "word " * rng.randrange(1, 9)
                part_id = f"prt_{self._seed}_{message}_{rng.randrange(3)}"
                return part(part_id, "text", message_id, session_id, text=text)

    def _write(self) -> None:
        """Write a document."""
        doc = self._any()
        self._put(self._rng.choice(self._writers), doc)

    def _put(self, write: Write, doc: Doc) -> None:
        """Write a document somewhere."""
        write(self._data_dir, [doc])
        self._written[doc.kind, doc.id] = doc
        if write is write_json_tree:
            self._torn.pop(doc.id, None)
            if self._rng.random() < 0.3:
                move_back(path_of(self._data_dir, doc), self._rng.randrange(100_000))

    def _copy_back(self) -> None:
        """Write a document as it was, in any storage."""
        if self._written:
            self._put(self._rng.choice(self._writers), self._rng.choice(list(self._written.values())))

    def _remove(self) -> None:
        """Delete a document, without what belongs to it."""
        if self._written:
            self._delete([self._rng.choice(list(self._written.values()))])

    def _remove_session(self) -> None:
        """Delete a session with everything that belongs to it."""
        session_id = f"ses_{self._seed}_{self._rng.randrange(3)}"
        self._delete([doc for doc in reversed(self._written.values()) if doc.session_id == session_id])

    def _delete(self, docs: Sequence[Doc]) -> None:
        """Delete documents in one storage."""
        if self._rng.choice(self._writers) is write_sqlite:
            run(self._data_dir, *(f"DELETE FROM {doc.kind} WHERE id = '{doc.id}'" for doc in docs))
            return
        for doc in docs:
            self._torn.pop(doc.id, None)
            path_of(self._data_dir, doc).unlink(missing_ok=True)

    def _tear(self) -> None:
        """Leave half a file, to be written anew later."""
        doc = self._any()
        write_json_tree(self._data_dir, [damaged(doc, b'{"id": ')])
        self._torn[doc.id] = doc
        self._written[doc.kind, doc.id] = doc


@pytest.mark.parametrize("kinds", ["files", "both"])
def test_follow_random_operations_end_like_a_fresh_index(kinds: str, tmp_path: Path, follow: Follow) -> None:
    """20 seeds, each in a data folder of its own; what differs names its seed by its ids."""
    seeds = range(20)
    players = [Player(tmp_path / f"opencode-{seed}", seed, kinds) for seed in seeds]
    live = follow(*(tmp_path / f"opencode-{seed}" for seed in seeds))

    for _ in range(4):
        for player in players:
            player.play(10)
        wait_for(lambda: live.follower.queue.waiting == (0, None), "a look")

    live.agrees()
