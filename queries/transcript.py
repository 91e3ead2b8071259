"""What was said and done in one exchange, in full: prompts, answers, reasoning, calls with arguments and output."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

import duckdb

from queries import edits, traced
from queries.edits import FileDiff
from queries.rows import fetch_rows

__all__ = ["CUT_BYTES", "Attachment", "FileDiff", "Piece", "piece", "session_pieces", "transcript"]

CUT_BYTES = 4096  # of each text, unless the whole is asked for


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a prompt; only its name, type and size are kept.

    Attributes:
        name: Its file name, path or address, whichever is recorded; `file` if none is.
        size_bytes: Of content that was sent along. None: not recorded.
    """

    name: str
    mime: str | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """What is stored of one event, and shown as it is."""

    trace_id: str
    exchange_id: str
    session_id: str
    message_id: str
    part_id: str | None
    call_id: str | None
    role: str
    agent: str | None
    model: str | None
    kind: str
    name: str
    label: str
    title: str | None
    status: str
    text: str | None
    input_json: str | None
    output: str | None
    text_bytes: int
    input_bytes: int
    output_bytes: int
    is_shortened: bool
    error_message: str | None
    exit_code: str | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    tokens: int | None
    cost_usd: Decimal | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    child_session_id: str | None
    is_synthetic: bool
    is_fork_copy: bool
    is_deleted: bool
    is_clock_backwards: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece(_Recorded):
    """One event of an exchange with its texts, untrusted: never to be rendered as HTML or Markdown.

    Attributes:
        trace_id: The event's id in the timeline.
        part_id: None for errors and for what stands for a whole message.
        call_id: Of the provider. Calls only.
        role: Of its message: user, assistant, or a row type of the third generation.
        kind: As in the timeline; so are `name`, `label` and `status`.
        title: One line where OpenCode has one.
        text: Of prompts, answers, reasoning, summaries; of errors what was reported. None if there is none.
        input_json: Arguments of a call; of an error OpenCode's error object; else what more is recorded. JSON text; cut
            off, it is no valid JSON.
        output: What a call returned, or its error.
        text_bytes: True size, also of what is not stored; so are the other two.
        is_cut: A text is shorter here than in the index: `piece` has the whole.
        is_shortened: A text is shorter in the index than in OpenCode's storage: the index keeps 64 KB of each.
        error_message: Of a failed call or answer.
        exit_code: Of a program that ended badly; `none` if it was stopped.
        diffs: Of calls that edit files, else empty.
        attachments: Attached files.
        input_tokens: Steps only, as recorded; so are the other counters.
        tokens: Every token once. Model requests only.
        cost_usd: None: not recorded, or no model request.
        started_at: Naive UTC. None: not recorded.
        duration_ms: None where an end is not known or the clock went backwards.
        is_synthetic: No person typed it.
        is_fork_copy: Counted in the session it was copied from.
        is_deleted: OpenCode deleted it: its texts are gone.
        is_clock_backwards: Its times are before those of what came before it.
    """

    is_cut: bool
    diffs: tuple[FileDiff, ...]
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored(_Recorded):
    """A row of the query.

    Attributes:
        arguments: Of calls that edit and of attachments, whole; `input_json` may be cut.
    """

    arguments: str | None


_RECORDED = tuple(field.name for field in fields(_Recorded))


def transcript(con: duckdb.DuckDBPyConnection, exchange_id: str, cut_bytes: int | None = CUT_BYTES) -> list[Piece]:
    """Read one exchange.

    Args:
        con: The index, open for reading.
        exchange_id: An exchange; child sessions have their own.
        cut_bytes: Bytes of each text at most. None: all that is stored.

    Returns:
        Its events in order. Empty if there is no such exchange, or nothing in it.
    """
    found = con.execute("SELECT session_id FROM exchanges WHERE exchange_id = $id", {"id": exchange_id}).fetchone()
    return _of_exchange(con, found[0], exchange_id, None, cut_bytes) if found else []


def piece(con: duckdb.DuckDBPyConnection, trace_id: str) -> Piece | None:
    """Read one event with all of its texts that is stored. None if there is no such event."""
    sql = "SELECT session_id, exchange_id FROM exchange_traces WHERE trace_id = $id"
    found = con.execute(sql, {"id": trace_id}).fetchone()
    return next(iter(_of_exchange(con, found[0], found[1], trace_id, None)), None) if found else None


def session_pieces(con: duckdb.DuckDBPyConnection, session_id: str) -> list[Piece]:
    """Read all exchanges of one session in full, for an export.

    Args:
        con: The index, open for reading.
        session_id: Any session; those it delegated to are left out.

    Returns:
        By number of the exchange, then in order. Empty if there is no such session, or nothing in it.
    """
    return [_piece(each, None) for each in fetch_rows(con, _SESSION, {"sessions": [session_id]}, _Stored)]


def _of_exchange(
    con: duckdb.DuckDBPyConnection, session_id: str, exchange_id: str, trace_id: str | None, cut_bytes: int | None
) -> list[Piece]:
    """Read an exchange, or one event of it."""
    values = {
        "sessions": [session_id],
        "exchanges": [exchange_id],
        "messages": traced.message_ids(con, [session_id], [exchange_id]),
        "trace": trace_id,
        "cut": cut_bytes,
    }
    return [_piece(each, cut_bytes) for each in fetch_rows(con, _EXCHANGE, values, _Stored)]


def _piece(stored: _Stored, cut_bytes: int | None) -> Piece:
    """Cut the texts of a piece, and read what its arguments say."""
    texts = {name: _cut(getattr(stored, name), cut_bytes) for name in ("text", "input_json", "output")}
    sizes = (stored.text_bytes, stored.input_bytes, stored.output_bytes)
    recorded = {name: getattr(stored, name) for name in _RECORDED}
    return Piece(
        **recorded | texts,
        is_cut=cut_bytes is not None and any(size > cut_bytes for size in sizes),
        diffs=tuple(_cut_diff(diff, cut_bytes) for diff in edits.diffs(stored.name, stored.arguments)),
        attachments=_attachments(stored),
    )


def _cut(text: str | None, cut_bytes: int | None) -> str | None:
    """Cut a text to some bytes of UTF-8, never inside a character."""
    if text is None or cut_bytes is None or len(text) * 4 <= cut_bytes:
        return text
    return text.encode("utf-8", "replace")[:cut_bytes].decode("utf-8", "ignore")


def _cut_diff(diff: FileDiff, cut_bytes: int | None) -> FileDiff:
    """Cut the text of a diff."""
    text = _cut(diff.text, cut_bytes) or ""
    return diff if text == diff.text else replace(diff, text=text, is_cut=True)


def _attachments(stored: _Stored) -> tuple[Attachment, ...]:
    """Read which files a prompt names: a file part is one, a row of the third generation has a list of them."""
    if stored.kind not in ("file", "prompt") or not stored.arguments:
        return ()
    try:
        given = json.loads(stored.arguments)
    except (ValueError, RecursionError):  # cut off
        return ()
    files = [given] if stored.kind == "file" else given.get("files", []) if isinstance(given, dict) else []
    return tuple(_attachment(file) for file in _objects(files))


def _objects(values: object) -> Sequence[dict[str, object]]:
    """Return the objects of a list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _attachment(file: dict[str, object]) -> Attachment:
    """Describe one attached file."""
    names = [file.get(name) for name in ("filename", "name", "path", "url", "uri")]
    sizes = [file.get(name) for name in ("data_url_bytes", "content_bytes")]
    mime = file.get("mime")
    return Attachment(
        name=next((name for name in names if isinstance(name, str) and name), "file"),
        mime=mime if isinstance(mime, str) else None,
        size_bytes=next((size for size in sizes if isinstance(size, int)), None),
    )


def _pieces_sql(labelled: str, bodies: str, chosen: str) -> str:
    """Write the query of pieces.

    Args:
        labelled: Tables that end in `labelled`.
        bodies: Which rows of `part_bodies`.
        chosen: Which events.
    """
    cut = "if($cut::BIGINT IS NULL, {0}, left({0}, $cut::BIGINT))" if "$trace" in chosen else "{0}"
    tools = ", ".join(f"'{tool}'" for tool in edits.EDIT_TOOLS)
    return f"""
        WITH {labelled},
        whole AS (
            SELECT part_id AS body_id, {cut.format("text")} AS text, {cut.format("input")} AS input_json,
                   {cut.format("output")} AS output, input, text_bytes, input_bytes, output_bytes,
                   coalesce(strlen(text), 0) < text_bytes
                   OR coalesce(strlen(input), 0) < input_bytes
                   OR coalesce(strlen(output), 0) < output_bytes AS is_shortened
            FROM part_bodies WHERE {bodies}
        ),
        of_exchange AS (
            SELECT exchange_id, number, is_fork_copy AS is_exchange_copy
            FROM exchanges WHERE {traced.IN_SESSIONS}
        ),
        reported AS (
            SELECT *, if(kind = 'error', error_data::VARCHAR, NULL) AS error_json,
                   CASE WHEN kind = 'error' THEN coalesce(error_data->>'$.data.message', error_data->>'$.message')
                        ELSE call_error->>'$.message' END AS error_message,
                   CASE WHEN name <> 'invalid' AND call_error->>'$.status' = 'completed'
                        THEN coalesce(call_error->>'$.exit', 'none') END AS exit_code
            FROM labelled WHERE {chosen}
        )
        SELECT trace_id, exchange_id, session_id, message_id, part_id, call_id, coalesce(role, 'unknown') AS role,
               agent, provider_id || '/' || model_id AS model, kind, name, label, title, status,
               if(kind = 'error', error_message, text) AS text,
               if(kind = 'error', {cut.format("error_json")}, input_json) AS input_json,
               output,
               if(kind IN ('file', 'prompt') OR name IN ({tools}), input, NULL) AS arguments,
               coalesce(strlen(if(kind = 'error', error_message, NULL)), text_bytes, 0) AS text_bytes,
               coalesce(strlen(error_json), input_bytes, 0) AS input_bytes,
               coalesce(output_bytes, 0) AS output_bytes, coalesce(is_shortened, FALSE) AS is_shortened,
               error_message, exit_code,
               input_tokens, output_tokens, reasoning_tokens, cache_read_tokens, cache_write_tokens,
               tokens, cost_usd, started_at, ended_at,
               if(ended_at >= started_at, date_diff('millisecond', started_at, ended_at), NULL) AS duration_ms,
               child_session_id, coalesce(is_synthetic, FALSE) AS is_synthetic,
               is_exchange_copy OR coalesce(is_fork_copy, FALSE) AS is_fork_copy, is_deleted,
               is_clock_backwards
        FROM reported JOIN of_exchange USING (exchange_id) LEFT JOIN whole ON body_id = trace_id
        ORDER BY number, position
    """


_EXCHANGE = _pieces_sql(
    traced.SOME_LABELLED, traced.IN_MESSAGES, "$trace::VARCHAR IS NULL OR trace_id = $trace::VARCHAR"
)
_SESSION = _pieces_sql(traced.LABELLED, traced.IN_SESSIONS, "TRUE")
