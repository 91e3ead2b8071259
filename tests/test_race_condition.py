"""Story: OpenCode writes 100 files, or rows, while the full pass hands over to following; none is lost or doubled.

The same story shows that it would notice: without the lock, and without the queue, it fails.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer import bulk_loader
from indexer.bulk_loader import BulkResult
from indexer.changes import ChangeQueue, Changes
from indexer.database import Database
from indexer.documents import MessageDocuments
from indexer.exceptions import BulkInterrupted
from indexer.sources.json_tree import JsonTree
from indexer.sources.sqlite_v1 import SqliteV1
from indexer.sync_state import SyncState
from tests.builders import START_MS, Doc, assistant, part, project, session, step_finish, tokens, user, write_json_tree
from tests.builders import write_sqlite as write_rows
from tests.following import PATIENCE_S, Following, following, wait_for

OLD_MESSAGES = 150  # so that the full pass takes several transactions
NEW_MESSAGES = 20  # of five documents each
MARKER = "msg_marker"

Write = Callable[[Path, Sequence[Doc]], Path]


def write_files(data_dir: Path, docs: Sequence[Doc]) -> Path:
    """Write documents as files."""
    return write_json_tree(data_dir, docs)


KINDS: dict[str, Write] = {"files": write_files, "rows": write_rows}
_MANY = os.environ.get("HANDOVER_RUNS")  # `make stress` sets it
RUNS = dict.fromkeys(KINDS, int(_MANY)) if _MANY else {"files": 10, "rows": 4}


def answer(number: int, session_id: str) -> list[Doc]:
    """Make an answer: five documents."""
    message_id = f"msg_new{number:02}"
    return [
        assistant(message_id, session_id, cost=0.5, created=START_MS + 1_000 * number),  # else they look like copies
        part(f"prt_{number:02}a", "step-start", message_id, session_id),
        part(f"prt_{number:02}b", "text", message_id, session_id, text=f"Answer {number}."),
        step_finish(f"prt_{number:02}c", tokens(input=1), message_id, session_id, cost=0.25),
        step_finish(f"prt_{number:02}d", tokens(input=2), message_id, session_id, cost=0.25),
    ]


@dataclass
class Recorder:
    """What the threads of the indexer did.

    Attributes:
        in_bulk: Set once the full pass has written something and waits.
        go_on: Lets it go on.
        is_bulk: The full pass runs.
        noticed: Documents that were put into the queue, or would have been.
        read: Messages that the follower read, with how often.
        violations: What the follower wrote while the full pass ran.
    """

    in_bulk: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    is_bulk: bool = False
    noticed: set[str] = field(default_factory=set)
    read: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def pause(self, done: int, total: int) -> None:
        """Let the full pass wait after its first transaction."""
        self.in_bulk.set()
        assert self.go_on.wait(PATIENCE_S), "nobody lets the full pass go on"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Record what the threads do."""
    made = Recorder()
    load, put, transaction = bulk_loader.load, ChangeQueue.put, Database.transaction

    def recorded_load(*args: Any, **named: Any) -> BulkResult:
        """Note when the full pass runs; not that of the fresh index to compare with."""
        made.is_bulk = threading.current_thread().name == "indexer"
        try:
            return load(*args, **named)
        finally:
            made.is_bulk = False

    def recorded_put(queue: ChangeQueue, changes: Changes) -> None:
        """Note what was noticed."""
        put(queue, changes)
        made.noticed.update(changes.sessions, changes.messages)

    @contextmanager
    def recorded_transaction(database: Database, **named: Any) -> Iterator[duckdb.DuckDBPyConnection]:
        """Note what the follower writes at the wrong time, and keep it from doing so: two threads, one connection."""
        if made.is_bulk and threading.current_thread().name == "follower":
            made.violations.append("the follower wrote while the full pass ran")
            raise AssertionError(made.violations[-1])
        with transaction(database, **named) as con:
            yield con

    for reader in (JsonTree, SqliteV1):
        monkeypatch.setattr(reader, "messages", recorded_messages(made, reader.messages))
    monkeypatch.setattr(bulk_loader, "load", recorded_load)
    monkeypatch.setattr(ChangeQueue, "put", recorded_put)
    monkeypatch.setattr(Database, "transaction", recorded_transaction)
    return made


def recorded_messages(made: Recorder, messages: Callable[..., list[MessageDocuments]]) -> Callable[..., Any]:
    """Count what the follower reads."""

    def recorded(source: Any, ids: Mapping[str, str | None], source_id: int) -> list[MessageDocuments]:
        """Count and read."""
        found = messages(source, ids, source_id)
        if threading.current_thread().name in ("follower", "reader") and not made.is_bulk:
            made.read.update(documents.message_id for documents in found)
        return found

    return recorded


@dataclass
class Story:
    """One hand-over with a writer beside it.

    Attributes:
        live: The indexer.
        in_bulk: What was written while the full pass waited, and noticed then.
        others: What was written while it handed over, and afterwards.
    """

    live: Following
    recorder: Recorder
    in_bulk: list[Doc]
    others: list[Doc]

    @property
    def lost(self) -> set[str]:
        """List the documents that are not in the index, or flagged as deleted in it."""
        rows = self.live.rows(
            "SELECT message_id FROM messages WHERE deleted_at IS NULL "
            "UNION ALL SELECT part_id FROM parts WHERE deleted_at IS NULL AND NOT is_orphan"
        )
        return {doc.id for doc in (*self.in_bulk, *self.others) if doc.kind != "session"} - {found for (found,) in rows}


def tell(
    data_dir: Path,
    write: Write,
    recorder: Recorder,
    seed: int,
    *,
    is_all_in_bulk: bool = False,
    is_enough: Callable[[], object] | None = None,
) -> Iterator[Story]:
    """Play the story up to the moment where everything was written, and what came last is in the index.

    Args:
        data_dir: Where to write.
        write: How to write.
        recorder: What records it.
        seed: Of the order and of what is written when.
        is_all_in_bulk: Write everything while the full pass waits.
        is_enough: Tells when the full pass may go on. None: once everything written so far was noticed.
    """
    rng = random.Random(seed)
    beside = data_dir.with_name("beside")
    write_json_tree(beside, [session("ses_beside"), user("msg_0", "ses_beside")])
    old = [user(f"msg_old{number}", "ses_old") for number in range(OLD_MESSAGES)]
    write(data_dir, [project(), session("ses_old"), *old, part("prt_old", "text", "msg_old0", "ses_old")])
    docs = [answer(number, rng.choice(["ses_old", "ses_new"])) for number in range(NEW_MESSAGES)]
    first, second = sorted(rng.sample(range(1, NEW_MESSAGES), 2)) if not is_all_in_bulk else (NEW_MESSAGES,) * 2
    stages = [[doc for group in docs[start:end] for doc in group] for start, end in ((0, first), (first, second))]
    stages.append([doc for group in docs[second:] for doc in group])
    for stage in stages:
        rng.shuffle(stage)
    stages[0].insert(0, session("ses_new"))
    # what is noticed after this was written after it
    stages[0].append(session("ses_last"))

    with following(data_dir.with_name("index.duckdb"), data_dir, beside, progress=recorder.pause) as live:
        live.begin()
        wait_for(recorder.in_bulk.is_set, "the full pass")
        for doc in stages[0]:
            write(data_dir, [doc])
        is_enough = is_enough or (lambda: "ses_last" in recorder.noticed)
        wait_for(lambda: is_enough() or live.is_over, "notice of the changes")
        recorder.go_on.set()
        for doc in stages[1]:
            write(data_dir, [doc])
        wait_for(lambda: live.is_over or live.phase() == "real-time", "the hand-over")
        for doc in stages[2]:
            write(data_dir, [doc])
        write_json_tree(beside, [user(MARKER, "ses_beside")])
        wait_for(
            lambda: live.is_over or live.rows(f"SELECT 1 FROM messages WHERE message_id = '{MARKER}'"),
            "the marker",
        )
        yield Story(live, recorder, stages[0], stages[1] + stages[2])


tell_story = contextmanager(tell)


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, runs in RUNS.items() for seed in range(runs)])
def test_hand_over_while_opencode_writes_loses_and_doubles_nothing(
    kind: str, seed: int, tmp_path: Path, recorder: Recorder
) -> None:
    """100 documents are written from the middle of the full pass to after the hand-over."""
    with tell_story(tmp_path / "opencode", KINDS[kind], recorder, seed) as story:
        wait_for(lambda: not story.lost, "every document in the index")
        story.live.agrees()

        counts = story.live.rows(
            """
            SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM parts), (SELECT sum(input_tokens) FROM spend),
                   (SELECT sum(cost_recorded_usd) FROM spend)::DOUBLE,
                   (SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL)
            """
        )
        assert counts == [
            (OLD_MESSAGES + 2 + NEW_MESSAGES, 4 * NEW_MESSAGES + 1, 3 * NEW_MESSAGES, NEW_MESSAGES / 2, 0)
        ]
        assert recorder.violations == []


@pytest.mark.parametrize("kind", KINDS)
def test_hand_over_changes_of_the_full_pass_are_looked_at_once(kind: str, tmp_path: Path, recorder: Recorder) -> None:
    """However many events told of a message meanwhile, and none before the pass has ended."""
    with tell_story(tmp_path / "opencode", KINDS[kind], recorder, seed=0) as story:
        wait_for(lambda: not story.lost, "every document in the index")

        queued = {doc.message_id for doc in story.in_bulk if doc.message_id}
        assert {message_id: recorder.read[message_id] for message_id in queued} == dict.fromkeys(queued, 1)
        assert len(queued) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_hand_over_without_waiting_for_the_lock_is_noticed(
    kind: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that does not wait writes in the middle of the full pass."""

    def do_not_wait(sync: SyncState, given_up: object = None) -> None:
        """Return while the full pass runs."""
        recorder.in_bulk.wait()

    monkeypatch.setattr(SyncState, "wait_for_bulk_completion", do_not_wait)

    with (
        pytest.raises(AssertionError, match="wrote while the full pass ran"),
        tell_story(
            tmp_path / "opencode", KINDS[kind], recorder, seed=0, is_enough=lambda: recorder.violations
        ) as story,
    ):
        assert story.lost

    assert recorder.violations


def test_hand_over_lock_not_taken_is_noticed(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full pass that takes no lock looks like one that died, to whoever waits for it."""
    interrupted: list[str] = []
    wait = SyncState.wait_for_bulk_completion

    def do_wait(sync: SyncState, given_up: threading.Event | None = None) -> None:
        """Wait while the full pass runs."""
        recorder.in_bulk.wait()
        try:
            wait(sync, given_up)
        except BulkInterrupted as error:
            interrupted.append(str(error))
            raise

    monkeypatch.setattr(SyncState, "acquire_bulk_lock", lambda sync, message: True)
    monkeypatch.setattr(SyncState, "wait_for_bulk_completion", do_wait)

    with (
        pytest.raises(AssertionError, match="ends by itself only when something fails"),
        tell_story(tmp_path / "opencode", write_files, recorder, seed=0, is_enough=lambda: interrupted) as story,
    ):
        assert story.lost

    assert ["did not end (bulk)" in message for message in interrupted] == [True]


@pytest.mark.parametrize("kind", KINDS)
def test_hand_over_without_the_queue_is_noticed(
    kind: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written after the pass had listed its folder, and dropped when it was noticed, is lost."""
    put, dropped = ChangeQueue.put, set[str]()

    def drop_in_bulk(queue: ChangeQueue, changes: Changes) -> None:
        """Drop what is noticed during the full pass, also where a session that changed lately is named once more."""
        named = {*changes.sessions, *changes.touched_sessions, *changes.messages}
        if recorder.is_bulk:
            dropped.update(named)
            recorder.noticed.update(changes.sessions, changes.messages)
        elif not named <= dropped:
            put(queue, changes)

    monkeypatch.setattr(ChangeQueue, "put", drop_in_bulk)

    with tell_story(tmp_path / "opencode", KINDS[kind], recorder, seed=0, is_all_in_bulk=True) as story:
        expected = {doc.id for doc in story.in_bulk if doc.kind != "session"}

        assert story.lost == expected
