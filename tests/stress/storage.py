"""Writes to OpenCode's storage the way its clients do while they work, and remembers what it deleted.

Documents go into a JSON tree (rewritten in place, not at once) or into a database, one answer at a time.
"""

import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.builders import Doc, assistant, part, project, session, step_finish, tokens, user

_LEFT_OUT = ("id", "sessionID", "messageID")


class Store(Protocol):
    """One storage of OpenCode, open for writing."""

    def put(self, docs: Iterable[Doc]) -> None:
        """Write documents that are new or changed."""

    def remove(self, docs: Iterable[Doc]) -> None:
        """Remove documents."""

    def close(self) -> None:
        """Let go of it."""


class Tree:
    """The JSON tree of 1.1: one file a document, rewritten in place."""

    def __init__(self, data_dir: Path, rng: random.Random) -> None:
        """Name the data folder."""
        self._root = data_dir / "storage"
        self._rng = rng

    def put(self, docs: Iterable[Doc]) -> None:
        """Write files; now and then a reader can see half of one."""
        for doc in docs:
            path = self._path(doc)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(doc.body, indent=2).encode()
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                half = len(text) // 2 if self._rng.random() < 0.05 else len(text)
                os.write(file, text[:half])
                if half < len(text):
                    time.sleep(0.002)
                    os.write(file, text[half:])
            finally:
                os.close(file)

    def remove(self, docs: Iterable[Doc]) -> None:
        """Remove files and the folders that they leave empty."""
        for doc in docs:
            path = self._path(doc)
            path.unlink()
            if doc.kind in ("message", "part") and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def close(self) -> None:
        """Every file is already closed."""

    def _path(self, doc: Doc) -> Path:
        """Say where a document lies."""
        folder = {
            "project": Path("project"),
            "session": Path("session", str(doc.body.get("projectID"))),
            "message": Path("message", doc.session_id),
            "part": Path("part", doc.message_id),
        }[doc.kind]
        return self._root / folder / f"{doc.id}.json"


class Rows:
    """The database of 1.18; every call is one transaction, and is noted in the client's log of events."""

    def __init__(self, data_dir: Path, name: str = "opencode.db") -> None:
        """Open it; its tables exist."""
        self._events = 0
        self._run = f"{time.time_ns():x}"
        self._con = sqlite3.connect(data_dir / name, isolation_level=None, timeout=30, check_same_thread=False)
        self._con.execute("PRAGMA synchronous = OFF")
        tables = self._con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._has_events = ("event",) in tables  # 1.2 has none

    def put(self, docs: Iterable[Doc]) -> None:
        """Write rows."""
        self._con.execute("BEGIN IMMEDIATE")
        for doc in docs:
            values = _columns(doc)
            names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
            changed = ", ".join(f"{name} = excluded.{name}" for name in values if name not in ("id", "time_created"))
            self._con.execute(
                f"INSERT INTO {doc.kind} ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}", values
            )
            self._note(doc, "updated")
        self._con.execute("COMMIT")

    def remove(self, docs: Iterable[Doc]) -> None:
        """Remove rows."""
        self._con.execute("BEGIN IMMEDIATE")
        for doc in docs:
            self._con.execute(f"DELETE FROM {doc.kind} WHERE id = ?", (doc.id,))
            self._note(doc, "removed")
            if doc.kind == "session" and self._has_events:
                self._con.execute("DELETE FROM event WHERE aggregate_id = ?", (doc.id,))
        self._con.execute("COMMIT")

    def close(self) -> None:
        """Close it."""
        self._con.close()

    def _note(self, doc: Doc, what: str) -> None:
        """Log an event; of projects there are none."""
        if doc.session_id and self._has_events:
            self._events += 1
            row = (f"evt_{self._run}{self._events:09}", doc.session_id, self._events, f"{doc.kind}.{what}", "{}")
            self._con.execute("INSERT INTO event (id, aggregate_id, seq, type, data) VALUES (?, ?, ?, ?, ?)", row)


def _columns(doc: Doc) -> dict[str, str | int | None]:
    """Return the columns of a document's row, all that have no default; it changed just now."""
    body = doc.body
    now = time.time_ns() // 1_000_000
    stamps: dict[str, str | int | None] = {"time_created": now, "time_updated": now}
    if doc.kind == "project":
        return {"id": doc.id, "worktree": body["worktree"], "vcs": "git", "sandboxes": "[]", **stamps}
    if doc.kind == "session":
        named = {name: body[name] for name in ("slug", "directory", "title", "version")}
        return {"id": doc.id, "project_id": body["projectID"], "parent_id": body.get("parentID"), **named, **stamps}
    data = json.dumps({name: value for name, value in body.items() if name not in _LEFT_OUT}, separators=(",", ":"))
    owner = {"message_id": doc.message_id} if doc.kind == "part" else {}
    return {"id": doc.id, "session_id": doc.session_id, **owner, **stamps, "data": data}


# --- what is written


@dataclass(slots=True)
class Turn:
    """One message with its parts.

    Attributes:
        is_settled: The index was seen to have it as it is.
    """

    message: Doc
    parts: list[Doc]
    is_settled: bool = False

    @property
    def docs(self) -> list[Doc]:
        """List its documents, the message first."""
        return [self.message, *self.parts]


@dataclass(slots=True)
class Talk:
    """One session that is being written."""

    doc: Doc
    store: Store
    turns: list[Turn] = field(default_factory=list)


class Author:
    """Adds, rewrites and deletes at random; repeatable but for times.

    Attributes:
        deleted_sessions: Ids of sessions that the index had and that are gone.
        deleted_messages: The same of messages, those of deleted sessions included.
        written: Documents written or removed so far.
    """

    def __init__(self, stores: list[Store], seed: int, talks: int = 6, most_talks: int = 24) -> None:
        """Begin a few sessions in every store.

        Args:
            stores: Where to write.
            seed: Another seed writes something else.
            talks: How many sessions there are at first.
            most_talks: How many there are at most.
        """
        self._most_talks = most_talks
        self.deleted_sessions: set[str] = set()
        self.deleted_messages: set[str] = set()
        self.written = 0
        self._rng = random.Random(seed)
        self._stores = stores
        self._talks: list[Talk] = []
        self._count = 0
        self._name = f"{seed:x}"
        for store in stores:
            store.put([project()])
        for _ in range(talks):
            self._begin()

    def act(self) -> None:
        """Do one thing that a person at OpenCode does."""
        action = self._rng.choices(
            (self._begin, self._go_on, self._rewrite, self._undo, self._delete), (1, 6, 6, 1, 0.4)
        )[0]
        action()

    def settle(self) -> None:
        """Note that the index has everything as it is; only what is settled is deleted from now on."""
        for talk in self._talks:
            for turn in talk.turns:
                turn.is_settled = True

    def close(self) -> None:
        """Close the stores."""
        for store in self._stores:
            store.close()

    def _next(self, prefix: str) -> str:
        """Make an id; they ascend."""
        self._count += 1
        return f"{prefix}_{self._count:08d}{self._name}"

    def _put(self, store: Store, docs: list[Doc]) -> None:
        """Write and count."""
        store.put(docs)
        self.written += len(docs)

    def _remove(self, store: Store, docs: list[Doc]) -> None:
        """Remove and count."""
        store.remove(docs)
        self.written += len(docs)

    def _begin(self) -> None:
        """Begin a session, now and then as the child of another one in the same store."""
        if len(self._talks) >= self._most_talks:
            return
        store = self._rng.choice(self._stores)
        parents = [talk.doc.id for talk in self._talks if talk.store is store and not talk.doc.body.get("parentID")]
        doc = session(self._next("ses"), created=_now())
        if parents and self._rng.random() < 0.3:
            doc.body["parentID"] = self._rng.choice(parents)
        talk = Talk(doc, store)
        self._talks.append(talk)
        self._put(store, [talk.doc])
        self._answer(talk)

    def _go_on(self) -> None:
        """Prompt in some session."""
        self._answer(self._rng.choice(self._talks))

    def _answer(self, talk: Talk) -> None:
        """Write a prompt and its answer, one document after the other."""
        asked = user(self._next("msg"), talk.doc.id, created=_now())
        prompt = part(self._next("prt"), "text", asked.id, talk.doc.id, text="Please go on")
        self._write(talk, Turn(asked, [prompt]))
        answer = self._assistant(self._next("msg"), talk.doc.id, asked.id)
        texts = [part(self._next("prt"), "text", answer.id, talk.doc.id, text=self._words())]
        tool = {"status": "completed", "input": {}, "output": self._words(), "time": {"start": _now(), "end": _now()}}
        texts.append(part(self._next("prt"), "tool", answer.id, talk.doc.id, tool="read", callID="c", state=tool))
        self._write(talk, Turn(answer, [*texts, self._finish(self._next("prt"), answer)]))

    def _write(self, talk: Talk, turn: Turn) -> None:
        """Write a message, then each of its parts."""
        talk.turns.append(turn)
        for doc in turn.docs:
            self._put(talk.store, [doc])

    def _rewrite(self) -> None:
        """Change an answer: its usage and one of its texts."""
        talk = self._rng.choice(self._talks)
        answers = [turn for turn in talk.turns if turn.message.body["role"] == "assistant"]
        if not answers:
            return
        turn = self._rng.choice(answers)
        turn.is_settled = False
        old = turn.message
        turn.message = self._assistant(old.id, talk.doc.id, str(old.body["parentID"]), old.body["time"]["created"])
        turn.parts = [
            self._finish(doc.id, turn.message) if doc.body["type"] == "step-finish" else self._changed(doc)
            for doc in turn.parts
        ]
        self._put(talk.store, turn.docs)

    def _changed(self, doc: Doc) -> Doc:
        """Give a text part another text."""
        if doc.body["type"] != "text":
            return doc
        return part(doc.id, "text", doc.message_id, doc.session_id, text=self._words())

    def _undo(self) -> None:
        """Delete the last prompt of a session and its answer, as an undo does."""
        talk = self._rng.choice(self._talks)
        if len(talk.turns) <= 2 or not all(turn.is_settled for turn in talk.turns[-2:]):
            return
        for turn in (talk.turns.pop(), talk.turns.pop()):
            self._forget(talk, turn)

    def _delete(self) -> None:
        """Delete a session and its child sessions."""
        talk = self._rng.choice(self._talks)
        doomed = [other for other in self._talks if other is talk or other.doc.body.get("parentID") == talk.doc.id]
        turns = [turn for other in doomed for turn in other.turns]
        if len(self._talks) - len(doomed) < 3 or not turns or not all(turn.is_settled for turn in turns):
            return
        for other in doomed:
            self._talks.remove(other)
            for turn in other.turns:
                self._forget(other, turn)
            self.deleted_sessions.add(other.doc.id)
            self._remove(other.store, [other.doc])

    def _forget(self, talk: Talk, turn: Turn) -> None:
        """Remove a message and its parts."""
        self.deleted_messages.add(turn.message.id)
        self._remove(talk.store, turn.docs[::-1])

    def _assistant(self, message_id: str, session_id: str, parent: str, created: int | None = None) -> Doc:
        """Make an answer with other numbers each time; OpenCode never changes when it began."""
        usage = tokens(self._rng.randrange(1, 9_000), self._rng.randrange(1, 900), cache_read=self._rng.randrange(99))
        cost, now = self._rng.randrange(1, 10**9) / 1e9, _now()
        began = created or now
        return assistant(message_id, session_id, parent=parent, created=began, completed=now, usage=usage, cost=cost)

    def _finish(self, part_id: str, answer: Doc) -> Doc:
        """Make the end of the only step of an answer."""
        body = answer.body
        return step_finish(part_id, body["tokens"], answer.id, answer.session_id, cost=body["cost"])

    def _words(self) -> str:
        """Make a text."""
        return f"{self._rng.getrandbits(64):x} " * self._rng.randrange(1, 60)


class Writing:
    """Lets an author write in a thread of its own, as a context manager.

    Attributes:
        failure: What went wrong in it.
    """

    def __init__(self, author: Author, pause_s: float) -> None:
        """Prepare."""
        self.failure: Exception | None = None
        self._author = author
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="author")

    def __enter__(self) -> "Writing":
        """Begin to write."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what was begun, and stop."""
        self._stopping.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        """Write until stopped."""
        try:
            while not self._stopping.wait(self._pause_s):
                self._author.act()
        except Exception as error:  # noqa: BLE001 (raised again at the end)
            self.failure = error


def _now() -> int:
    """Return ms since 1970."""
    return time.time_ns() // 1_000_000
