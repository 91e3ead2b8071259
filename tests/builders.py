"""Source documents with defaults, and OpenCode storage that holds them. Tests never insert rows themselves."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
PROJECT = "p" * 40

Json = dict[str, Any]

_SQLITE_SCHEMA = """
CREATE TABLE IF NOT EXISTS project (id TEXT PRIMARY KEY, worktree TEXT NOT NULL, vcs TEXT, name TEXT,
    time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, sandboxes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, project_id TEXT NOT NULL, parent_id TEXT, slug TEXT NOT NULL,
    directory TEXT NOT NULL, title TEXT NOT NULL, version TEXT NOT NULL, fork_session_id TEXT,
    cost REAL DEFAULT 0 NOT NULL, tokens_input INTEGER DEFAULT 0 NOT NULL,
    time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, time_archived INTEGER);
CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, time_created INTEGER NOT NULL,
    time_updated INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL, session_id TEXT NOT NULL,
    time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, data TEXT NOT NULL);
"""

_SESSION_MESSAGE_SCHEMA = """
CREATE TABLE IF NOT EXISTS project (id TEXT PRIMARY KEY, worktree TEXT NOT NULL, vcs TEXT, name TEXT,
    time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, sandboxes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS session_v2 (id TEXT PRIMARY KEY, project_id TEXT NOT NULL, parent_id TEXT,
    slug TEXT NOT NULL, directory TEXT NOT NULL, title TEXT NOT NULL, version TEXT NOT NULL, fork_session_id TEXT,
    fork_message_id TEXT, cost REAL DEFAULT 0 NOT NULL, tokens_input INTEGER DEFAULT 0 NOT NULL,
    time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, time_archived INTEGER);
CREATE TABLE IF NOT EXISTS session_message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, type TEXT NOT NULL,
    seq INTEGER NOT NULL, time_created INTEGER NOT NULL, time_updated INTEGER NOT NULL, data TEXT NOT NULL,
    UNIQUE (session_id, seq));
"""
_UNNUMBERED_SCHEMA = _SESSION_MESSAGE_SCHEMA.replace("seq INTEGER NOT NULL, ", "").replace(
    ",\n    UNIQUE (session_id, seq)", ""
)


@dataclass(frozen=True)
class Doc:
    """One source document.

    Attributes:
        stamp_ms: `time_created` and `time_updated` of its row, where they differ from what the body records.
        raw: Bytes to store in place of the body, to build damaged documents.
    """

    kind: str
    id: str
    session_id: str
    message_id: str
    body: Json
    stamp_ms: int | None = None
    raw: bytes | None = None


def tokens(
    input: int = 0,
    output: int = 0,
    reasoning: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    total: int | None = None,
) -> Json:
    """Make OpenCode's token object; without `total` it has none."""
    found: Json = {
        "input": input,
        "output": output,
        "reasoning": reasoning,
        "cache": {"read": cache_read, "write": cache_write},
    }
    return found if total is None else {**found, "total": total}


def project(project_id: str = PROJECT, **fields: Any) -> Doc:
    """Make a project."""
    body = {"id": project_id, "worktree": "/home/dev/shop", "vcs": "git", "sandboxes": [], **fields}
    body.setdefault("time", {"created": START_MS, "updated": START_MS})
    return Doc("project", project_id, "", "", body)


def session(
    session_id: str = "ses_1",
    *,
    project_id: str = PROJECT,
    version: str = "1.1.65",
    created: int = START_MS,
    updated: int | None = None,
    **fields: Any,
) -> Doc:
    """Make a session; `parentID`, `title` and its own sums (`cost` and `tokens`) are given as fields."""
    body = {
        "id": session_id,
        "projectID": project_id,
        "slug": "quiet-otter",
        "directory": "/home/dev/shop",
        "title": f"Title of {session_id}",
        "version": version,
        "time": {"created": created, "updated": created if updated is None else updated},
        **fields,
    }
    return Doc("session", session_id, session_id, "", body)


def user(message_id: str = "msg_1u", session_id: str = "ses_1", *, created: int = START_MS, **fields: Any) -> Doc:
    """Make a user message."""
    body = {
        "id": message_id,
        "sessionID": session_id,
        "role": "user",
        "time": {"created": created},
        "agent": "build",
        "model": {"providerID": "acme", "modelID": "nova"},
        **fields,
    }
    return Doc("message", message_id, session_id, message_id, body)


def assistant(
    message_id: str = "msg_2a",
    session_id: str = "ses_1",
    *,
    parent: str = "msg_1u",
    created: int = START_MS + 1_000,
    completed: int | None = START_MS + 5_000,
    usage: Json | None = None,
    cost: float | int | None = 0.25,
    stamp_ms: int | None = None,
    **fields: Any,
) -> Doc:
    """Make an assistant message. None leaves `completed`, `tokens` or `cost` out."""
    body: Json = {
        "id": message_id,
        "sessionID": session_id,
        "role": "assistant",
        "parentID": parent,
        "providerID": "acme",
        "modelID": "nova",
        "agent": "build",
        "mode": "build",
        "finish": "stop",
        "time": {"created": created} if completed is None else {"created": created, "completed": completed},
    }
    if usage is not None:
        body["tokens"] = usage
    if cost is not None:
        body["cost"] = cost
    return Doc("message", message_id, session_id, message_id, {**body, **fields}, stamp_ms)


def part(
    part_id: str,
    part_type: str,
    message_id: str = "msg_2a",
    session_id: str = "ses_1",
    *,
    stamp_ms: int | None = None,
    **fields: Any,
) -> Doc:
    """Make a part of any type."""
    body = {"id": part_id, "messageID": message_id, "sessionID": session_id, "type": part_type, **fields}
    return Doc("part", part_id, session_id, message_id, body, stamp_ms)


def step_finish(
    part_id: str,
    usage: Json,
    message_id: str = "msg_2a",
    session_id: str = "ses_1",
    *,
    cost: float | None = 0.25,
    stamp_ms: int | None = None,
) -> Doc:
    """Make the end of a step, which carries the usage of one request."""
    return part(
        part_id, "step-finish", message_id, session_id, stamp_ms=stamp_ms, reason="stop", cost=cost, tokens=usage
    )


def row(
    message_id: str, row_type: str, seq: int, session_id: str = "ses_1", *, created: int | None = None, **data: Any
) -> Doc:
    """Make a row of `session_message`; by default at a time that follows its order."""
    body = {"type": row_type, "seq": seq, "time": {"created": START_MS + 1_000 * seq if created is None else created}}
    return Doc("session_message", message_id, session_id, message_id, {**body, **data})


def answer(
    message_id: str,
    seq: int,
    session_id: str = "ses_1",
    *,
    usage: Json | None = None,
    cost: float | None = 0.25,
    content: list[Json] | None = None,
    **data: Any,
) -> Doc:
    """Make a finished answer of the third generation."""
    created = START_MS + 1_000 * seq
    body: Json = {
        "agent": "build",
        "model": {"id": "nova", "providerID": "acme"},
        "content": content or [],
        "finish": "stop",
        "time": {"created": created, "completed": created + 500},
    }
    if usage is not None:
        body["tokens"] = usage
    if cost is not None:
        body["cost"] = cost
    return row(message_id, "assistant", seq, session_id, **{**body, **data})


def damaged(doc: Doc, raw: bytes) -> Doc:
    """Replace the text of a document by any bytes."""
    return Doc(doc.kind, doc.id, doc.session_id, doc.message_id, doc.body, doc.stamp_ms, raw)


def copied(docs: Iterable[Doc], session_id: str, suffix: str) -> list[Doc]:
    """Copy messages and parts into another session under new ids, as a fork does."""
    names = {"sessionID": lambda value: session_id, "id": lambda value: value + suffix}
    names["messageID"] = names["parentID"] = names["id"]
    return [
        Doc(
            doc.kind,
            doc.id + suffix,
            session_id,
            doc.message_id + suffix,
            {name: names.get(name, lambda value: value)(value) for name, value in doc.body.items()},
            doc.stamp_ms,
        )
        for doc in docs
    ]


def write_json_tree(data_dir: Path, docs: Iterable[Doc]) -> Path:
    """Write documents as OpenCode 1.1 does: one pretty-printed file each. Returns the data folder."""
    for doc in docs:
        folder = {
            "project": Path("project"),
            "session": Path("session", str(doc.body.get("projectID", "global"))),
            "message": Path("message", doc.session_id),
            "part": Path("part", doc.message_id),
        }[doc.kind]
        path = data_dir / "storage" / folder / f"{doc.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_text(doc, 2) if doc.raw is None else doc.raw)
    return data_dir


def write_sqlite(data_dir: Path, docs: Iterable[Doc], name: str = "opencode.db") -> Path:
    """Write documents as rows of a database as OpenCode 1.2 and later do. Returns the data folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(data_dir / name) as connection:
        connection.executescript(_SQLITE_SCHEMA)
        for doc in docs:
            table, values = _row(doc)
            marks = ", ".join("?" * len(values))
            sql = f"INSERT OR REPLACE INTO {table} ({', '.join(values)}) VALUES ({marks})"
            connection.execute(sql, tuple(values.values()))
    connection.close()
    return data_dir


def write_session_messages(
    data_dir: Path, docs: Iterable[Doc], name: str = "opencode.db", *, is_numbered: bool = True
) -> Path:
    """Write sessions to `session_v2` and rows to `session_message` as OpenCode 2.0 does.

    Args:
        data_dir: The data folder; made if it is missing.
        docs: The documents.
        name: Of the database.
        is_numbered: Whether rows have a `seq`; those of 1.14 and 1.15 have none.

    Returns:
        The data folder.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(data_dir / name) as connection:
        connection.executescript(_SESSION_MESSAGE_SCHEMA if is_numbered else _UNNUMBERED_SCHEMA)
        for doc in docs:
            table, values = _row(doc) if doc.kind != "session_message" else ("session_message", _message_columns(doc))
            if not is_numbered:
                values.pop("seq", None)
            marks = ", ".join("?" * len(values))
            table = "session_v2" if table == "session" else table
            sql = f"INSERT OR REPLACE INTO {table} ({', '.join(values)}) VALUES ({marks})"
            connection.execute(sql, tuple(values.values()))
    connection.close()
    return data_dir


def _message_columns(doc: Doc) -> dict[str, object]:
    """Return the columns of a `session_message` row."""
    data = {name: value for name, value in doc.body.items() if name not in ("type", "seq")}
    stamp = doc.body["time"]["created"] if doc.stamp_ms is None else doc.stamp_ms
    return {
        "id": doc.id,
        "session_id": doc.session_id,
        "type": doc.body["type"],
        "seq": doc.body["seq"],
        "time_created": stamp,
        "time_updated": stamp,
        "data": json.dumps(data) if doc.raw is None else doc.raw,
    }


def _row(doc: Doc) -> tuple[str, dict[str, object]]:
    """Return the table of a document and its columns."""
    body, time = doc.body, doc.body.get("time") or {}
    created = time.get("created", START_MS) if isinstance(time, Mapping) else START_MS
    updated = time.get("completed") or time.get("updated") or created if isinstance(time, Mapping) else START_MS
    stamps = {
        "time_created": created if doc.stamp_ms is None or doc.kind == "message" else doc.stamp_ms,
        "time_updated": updated if doc.stamp_ms is None else doc.stamp_ms,
    }
    if doc.kind == "project":
        own = {name: body.get(name) for name in ("worktree", "vcs", "name")}
        return "project", {"id": doc.id, **own, "sandboxes": json.dumps(body["sandboxes"]), **stamps}
    if doc.kind == "session":
        names = {"project_id": "projectID", "parent_id": "parentID", "fork_session_id": "forkSessionID"}
        names |= {name: name for name in ("slug", "directory", "title", "version")}
        sums = {"cost": body.get("cost", 0), "tokens_input": body.get("tokens", {}).get("input", 0)}
        return "session", {"id": doc.id, **{column: body.get(name) for column, name in names.items()}, **sums, **stamps}
    left_out = ("id", "sessionID", "messageID")
    text = _text(Doc(doc.kind, "", "", "", {name: value for name, value in body.items() if name not in left_out}), None)
    data = text.decode("utf-8", "surrogateescape") if doc.raw is None else doc.raw
    keys = {"id": doc.id, "session_id": doc.session_id}
    if doc.kind == "part":
        keys["message_id"] = doc.message_id
    return doc.kind, {**keys, **stamps, "data": data}


def _text(doc: Doc, indent: int | None) -> bytes:
    """Write the body of a document as JSON."""
    return json.dumps(doc.body, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")


def usd(text: str) -> Decimal:
    """Write an amount short."""
    return Decimal(text)
