"""Writes planned sessions the way OpenCode does: the tree of 1.1, the rows of 1.18, the rows of 2.0."""

import json
import os
import random
import sqlite3
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from pathlib import Path

from tests.corpus.conversations import PROJECTS, project_id, tokens_of
from tests.corpus.model import Json, Message, Part, Plan, Session, Store, Usage
from tests.corpus.texts import Texts
from tests.corpus.truth import ITEM_TYPES, Truth

SCHEMA = Path(__file__).with_name("opencode-1.18.sql")
BATCH_BYTES = 16_000_000
BATCH_ROWS = 20_000
SESSION_COLUMNS = 29
SESSION_V2_COLUMNS = SESSION_COLUMNS + 2

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Row = tuple[object, ...]


def pretty(value: object, margin: str = "\n") -> str:
    """Write JSON as 1.1 does, with two spaces; the standard library takes five times as long with an indent."""
    inner = margin + "  "
    match value:
        case str():
            return encode_basestring(value)
        case dict():
            if not value:
                return "{}"
            items = [f"{inner}{encode_basestring(name)}: {pretty(item, inner)}" for name, item in value.items()]
            return f"{{{','.join(items)}{margin}}}"
        case list():
            if not value:
                return "[]"
            return f"[{','.join([inner + pretty(item, inner) for item in value])}{margin}]"
        case _:
            return _compact(value)


def text_of(written: str) -> str:
    """Escape lone surrogates as JavaScript does; no file or column could hold them."""
    return written if written.isascii() else written.encode("utf-8", "backslashreplace").decode()


# --- documents


def part_body(part: Part, texts: Texts) -> Json:
    """Build the document of a part without its ids."""
    if part.text is None:
        return part.fields
    text = texts.cut(part.text)
    fields = part.fields
    match part.place:
        case "text":
            return {"type": part.type, "text": text, **fields}
        case "url":
            return {**fields, "url": f"data:image/png;base64,{text}"}
        case "prompt":
            return {**fields, "prompt": text}
        case "output":
            state = {**fields["state"], "output": text}
        case "input":
            name = "content" if fields["tool"] == "write" else "newString"
            state = {**fields["state"], "output": "Applied successfully."}
            state["input"] = {**state["input"], name: text}
        case _:
            image = {"type": "file", "mime": "image/png", "url": f"data:image/png;base64,{text}"}
            state = {**fields["state"], "output": "Image read successfully", "attachments": [image]}
    return {**fields, "state": state}


def message_body(message: Message, *, is_stale: bool = False) -> Json:
    """Build the document of a message without its ids, or as it was while it was written."""
    time = {"created": message.created_ms}
    if message.completed_ms is not None and not is_stale:
        time["completed"] = message.completed_ms
    if message.type == "user":
        return {"role": "user", "time": time, **message.fields}
    usage = Usage() if is_stale else message.recorded
    provider, model = message.model or ("", "")
    fields = {name: value for name, value in message.fields.items() if name != "finish" or not is_stale}
    return {
        "role": "assistant",
        "time": time,
        "parentID": message.parent_id,
        "modelID": model,
        "providerID": provider,
        **fields,
        "cost": usage.cost_nano / 1e9,
        "tokens": tokens_of(usage),
    }


def row_body(message: Message, texts: Texts, *, is_stale: bool = False) -> Json:
    """Build the data of a `session_message` row; messages of older clients lose what it has no place for."""
    time = {"created": message.created_ms}
    if message.completed_ms is not None and not is_stale:
        time["completed"] = message.completed_ms
    usage = message.recorded
    spent = {} if usage.is_zero or is_stale else {"cost": usage.cost_nano / 1e9, "tokens": _tokens_without_total(usage)}
    match message.type:
        case "user":
            text = next((part_body(part, texts)["text"] for part in message.parts if part.type == "text"), "")
            files = [part_body(part, texts) for part in message.parts if part.type == "file"]
            return {"time": time, "text": text, **({"files": files} if files else {})}
        case "assistant":
            provider, model = message.model or ("", "")
            parts = [] if is_stale else [part for part in message.parts if part.type in ITEM_TYPES]
            fields: Json = {name: message.fields[name] for name in ("finish", "error") if name in message.fields}
            if "name" in fields.get("error", {}):
                fields["error"] = {"type": fields["error"]["name"], "message": fields["error"]["data"]["message"]}
            return {
                "time": time,
                "agent": message.fields["agent"],
                "model": {"id": model, "providerID": provider},
                "content": [_item(part, texts) for part in parts],
                **({} if is_stale else fields),
                **spent,
            }
        case "compaction":
            return {"time": time, **message.fields, "summary": part_body(message.parts[0], texts)["text"], **spent}
        case _:
            return {"time": time, **message.fields}


def _item(part: Part, texts: Texts) -> Json:
    """Build an item of an assistant row's content."""
    body = part_body(part, texts)
    if part.type != "tool":
        return {name: value for name, value in body.items() if name != "time" or part.type == "reasoning"}
    old = body["state"]
    started = old.get("time", {}).get("start", 0)
    time = {"created": started, "ran": started, "completed": old.get("time", {}).get("end")}
    state: Json = {"status": old["status"], "input": old["input"]}
    match old["status"]:
        case "pending":
            state = {"status": "streaming", "input": ""}
        case "running":
            state["metadata"] = old["metadata"]
        case "error":
            state["error"] = {"type": "unknown", "message": old["error"]}
        case _:
            state |= {"content": [{"type": "text", "text": old["output"]}], "metadata": old["metadata"]}
    if time["completed"] is None:
        del time["completed"]
    return {"type": "tool", "id": body["callID"], "name": body["tool"], "state": state, "time": time}


def _tokens_without_total(usage: Usage) -> Json:
    """Write usage as 2.0 does."""
    return {name: value for name, value in tokens_of(usage).items() if name != "total"}


def updated_ms(session: Session, store: Store) -> int:
    """Say when a store's copy of a session changed last."""
    return max(
        (message.completed_ms or message.created_ms for message in session.messages_in(store)),
        default=session.created_ms,
    )


# --- the tree


class JsonTree:
    """Writes `storage/`, one file a row."""

    store = Store.JSON

    def __init__(self, plan: Plan, data_dir: Path, texts: Texts, truth: Truth) -> None:
        """Make the folders and write the projects."""
        self._root, self._texts, self._truth = str(data_dir / "storage"), texts, truth
        self._folders: set[str] = set()
        os.makedirs(self._root, exist_ok=True)
        self._write("migration", "", "2")
        for number, (worktree, vcs, name) in enumerate(PROJECTS):
            body: Json = {"id": project_id(plan.seed, number), "worktree": worktree}
            body |= {key: value for key, value in (("vcs", vcs), ("name", name)) if value}
            body |= {"sandboxes": [], "time": {"created": plan.start_ms, "updated": plan.start_ms}}
            self._write("project", f"{body['id']}.json", pretty(body))

    def write(self, session: Session) -> None:
        """Write a session with its messages and parts."""
        if self.store not in session.stores:
            return
        body = _session_body(session, updated_ms(session, self.store))
        self._write(f"session/{session.project_id}", f"{session.session_id}.json", pretty(body))
        self._write("session_diff", f"{session.session_id}.json", "[]")
        folder = f"message/{session.session_id}"
        for message in session.messages:
            if self.store not in message.stores:
                continue
            ids = {"id": message.message_id, "sessionID": session.session_id}
            if not message.is_lost:
                self._write(folder, f"{message.message_id}.json", pretty(ids | message_body(message)))
            parts = f"part/{message.message_id}"
            ids = {"id": "", "sessionID": session.session_id, "messageID": message.message_id}
            for part in message.parts:
                ids["id"] = part.part_id
                self._write(parts, f"{part.part_id}.json", pretty(ids | part_body(part, self._texts)))

    def close(self) -> None:
        """Every file is already closed."""

    def _write(self, folder: str, name: str, text: str) -> None:
        """Write one file by system calls: Python's own files take twice as long."""
        path = f"{self._root}/{folder}"
        if name and folder not in self._folders:
            os.makedirs(path, exist_ok=True)
            self._folders.add(folder)
        data = text_of(text).encode()
        file = os.open(f"{path}/{name}" if name else path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(file, data)
        finally:
            os.close(file)
        self._truth.documents += 1
        self._truth.document_bytes += len(data)


def _session_body(session: Session, updated: int) -> Json:
    """Build the document of a session."""
    body: Json = {
        "id": session.session_id,
        "slug": session.slug,
        "version": session.client.version,
        "projectID": session.project_id,
        "directory": session.directory,
    }
    if session.parent_id:
        body["parentID"] = session.parent_id
    time = {"created": session.created_ms, "updated": updated}
    if session.is_archived:
        time["archived"] = updated
    return body | {"title": session.title, "time": time, "summary": {"additions": 3, "deletions": 1, "files": 1}}


# --- the database


class SqliteDatabase:
    """Writes `opencode.db`, the rows of 1.18 and of 2.0, in large transactions."""

    def __init__(self, plan: Plan, data_dir: Path, texts: Texts, truth: Truth) -> None:
        """Create the tables and write the projects."""
        self._plan, self._texts, self._truth = plan, texts, truth
        self._stores = [store for store in plan.stores if store != Store.JSON]
        self._rng = random.Random(f"rows:{plan.seed}")
        self._rows: dict[str, list[Row]] = {}
        self._pending_rows = self._pending_bytes = 0
        data_dir.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(data_dir / "opencode.db", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -65536"):
            self._db.execute(f"PRAGMA {pragma}")
        tables, self._indexes = SCHEMA.read_text(encoding="utf-8").split("CREATE UNIQUE INDEX", 1)
        self._db.executescript(tables)
        if Store.SESSION_MESSAGE in plan.stores:
            self._db.execute(_session_v2_table(tables))
        stamp = plan.start_ms
        self._add("migration", ("20260127222353_familiar_lady_ursula", stamp), 0)
        for number, (worktree, vcs, name) in enumerate(PROJECTS):
            row = (project_id(plan.seed, number), worktree, vcs, name, None, None, None, stamp, stamp, None, "[]", None)
            self._add("project", row, 0)

    def write(self, session: Session) -> None:
        """Write a session with its messages and parts into every table that has it."""
        for store in self._stores:
            if store in session.stores:
                self._write_session(session, store)
                if store == Store.SQLITE:
                    self._write_messages(session)
                else:
                    self._write_rows(session)

    def close(self) -> None:
        """Write what is left, then the indexes, and fold the write-ahead log into the database."""
        self._flush()
        self._db.executescript("CREATE UNIQUE INDEX" + self._indexes)
        self._db.close()

    def _write_session(self, session: Session, store: Store) -> None:
        """Write the row of a session, its sums as OpenCode keeps them: over all its messages, copies included."""
        steps = [step for message in session.messages_in(store) for step in message.steps if message.stale_in != store]
        updated = updated_ms(session, store)
        answers = [message for message in session.messages_in(store) if message.model]
        model = answers[-1].model if answers else None
        row: Row = (
            session.session_id,
            session.project_id,
            None,
            session.parent_id,
            session.slug,
            session.directory,
            "",
            session.title,
            session.client.version,
            None,
            3,
            1,
            1,
            None,
            None,
            sum(step.cost_nano for step in steps) / 1e9,
            sum(step.input for step in steps),
            sum(step.output for step in steps),
            sum(step.reasoning for step in steps),
            sum(step.cache_read for step in steps),
            sum(step.cache_write for step in steps),
            None,
            None,
            answers[-1].fields["agent"] if answers else None,
            _compact({"id": model[1], "providerID": model[0]}) if model else None,
            session.created_ms,
            updated,
            None,
            updated if session.is_archived else None,
        )
        if store == Store.SQLITE:
            self._add("session", row, 300)
        else:
            self._add("session_v2", (*row, session.fork_of, session.fork_at), 300)

    def _write_messages(self, session: Session) -> None:
        """Write message and part rows. A migration stamps all of them with its own moment and keeps no order."""
        session_id, stamp = session.session_id, session.migrated_ms.get(Store.SQLITE)
        for message in session.messages_in(Store.SQLITE):
            is_stale = message.stale_in == Store.SQLITE
            is_migrated = stamp is not None and message.stores[0] == Store.JSON
            body = text_of(_compact(message_body(message, is_stale=is_stale)))
            updated = stamp if is_migrated else (message.completed_ms or message.created_ms) + 57
            self._add("message", (message.message_id, session_id, message.created_ms, updated, body), len(body))
            parts = message.parts[:1] if is_stale else message.parts
            if is_migrated:
                parts = self._rng.sample(parts, len(parts))
            for number, part in enumerate(parts):
                body = text_of(_compact(part_body(part, self._texts)))
                made = stamp if is_migrated else message.created_ms + number
                self._add("part", (part.part_id, message.message_id, session_id, made, made, body), len(body))

    def _write_rows(self, session: Session) -> None:
        """Write `session_message` rows."""
        for seq, message in enumerate(session.messages_in(Store.SESSION_MESSAGE), 1):
            body = text_of(_compact(row_body(message, self._texts, is_stale=message.stale_in == Store.SESSION_MESSAGE)))
            created, updated = message.created_ms, (message.completed_ms or message.created_ms) + 57
            row = (message.message_id, session.session_id, message.type, seq, created, updated, body)
            self._add("session_message", row, len(body))

    def _add(self, table: str, row: Row, size: int) -> None:
        """Keep a row for the next transaction."""
        self._rows.setdefault(table, []).append(row)
        self._pending_rows += 1
        self._pending_bytes += size
        self._truth.documents += 1
        self._truth.document_bytes += size
        if self._pending_rows >= BATCH_ROWS or self._pending_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the kept rows in one transaction."""
        self._db.execute("BEGIN")
        for table, rows in self._rows.items():
            self._db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        self._db.execute("COMMIT")
        self._rows.clear()
        self._pending_rows = self._pending_bytes = 0


def _session_v2_table(tables: str) -> str:
    """Derive the table `session_v2` from `session`: the same columns and where a fork came from."""
    start = tables.index("CREATE TABLE session (")
    table = tables[start : tables.index(");", start)].replace("CREATE TABLE session (", "CREATE TABLE session_v2 (")
    columns = table[: table.index("    CONSTRAINT")]
    return f"{columns}    fork_session_id text,\n    fork_message_id text\n)"


Writer = JsonTree | SqliteDatabase


def open_stores(plan: Plan, data_dir: Path, texts: Texts, truth: Truth) -> list[Writer]:
    """Begin to write what a plan asks for into a data folder."""
    writers: list[Writer] = []
    if Store.JSON in plan.stores:
        writers.append(JsonTree(plan, data_dir, texts, truth))
    if Store.SQLITE in plan.stores or Store.SESSION_MESSAGE in plan.stores:
        writers.append(SqliteDatabase(plan, data_dir, texts, truth))
    return writers


def part_sizes(sessions: Iterable[Session], texts: Texts) -> Iterator[int]:
    """Measure the compact document of every part without writing it."""
    for session in sessions:
        for message in session.messages:
            for part in message.parts:
                yield len(text_of(_compact(part_body(part, texts))).encode())
