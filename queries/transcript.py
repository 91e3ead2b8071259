"""What was said and done in one exchange, in full: prompts, answers, reasoning, calls with arguments and output."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import duckdb

CUT_BYTES = 4096  # of each text, unless the whole is asked for


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a call asked to change in one file, from its arguments: OpenCode's own diffs are not in the index.

    Attributes:
        path: As the call names it.
        text: Lines with `+`, `-` or a blank before them, and `@@` between places; no line numbers, they are not known.
        additions: Lines. None: not known, as the arguments were too long to be kept whole.
        deletions: Lines. None: not known, as when a whole file was written over.
        is_cut: There is more than `text` shows.
    """

    path: str
    text: str
    additions: int | None
    deletions: int | None
    is_cut: bool


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


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of an exchange with its texts, untrusted: never to be rendered as HTML or Markdown.

    Attributes:
        trace_id: The event's id in the timeline.
        part_id: None for errors and for what a row stands for as a whole.
        kind: As in the timeline, so are `name` and `status` (ok, failed, unfinished, restarted).
        title: One line where OpenCode has one.
        text: Of prompts, answers, reasoning, summaries; of errors their message. None if there is none.
        input_json: Arguments of a call, or what else is recorded, as JSON text. Cut off, it is no valid JSON.
        output: What a call returned, or its error.
        text_bytes: True size, also of what is not stored; so are the other two.
        is_cut: A text is shorter here than in the index: `piece` has the whole.
        is_shortened: A text is shorter in the index than in OpenCode's storage: the index keeps 64 KB of each.
        error_message: Of a failed call or answer.
        exit_code: Of a program that ended badly; `none` if it was stopped.
        error_json: OpenCode's error object of an answer, JSON text. None elsewhere.
        diffs: Of calls that edit files, else empty.
        attachments: Attached files.
        input_tokens: Steps only, as recorded; so are the other counters and the cost.
        tokens: Every token once. Steps only.
        started_at: Naive UTC. None: not recorded.
        duration_ms: None where an end is not known or the clock went backwards.
        is_synthetic: No person typed it.
        is_fork_copy: Counted in the session it was copied from.
        is_deleted: OpenCode deleted it: its texts are gone.
    """

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
    title: str | None
    status: str
    text: str | None
    input_json: str | None
    output: str | None
    text_bytes: int
    input_bytes: int
    output_bytes: int
    is_cut: bool
    is_shortened: bool
    error_message: str | None
    exit_code: str | None
    error_json: str | None
    diffs: tuple[FileDiff, ...]
    attachments: tuple[Attachment, ...]
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


def transcript(con: duckdb.DuckDBPyConnection, exchange_id: str, cut_bytes: int | None = CUT_BYTES) -> list[Piece]:
    """Read one exchange.

    Args:
        con: The index, open for reading.
        exchange_id: An exchange; child sessions have their own.
        cut_bytes: Bytes of each text at most. None: all that is stored.

    Returns:
        Its events in order. Empty if there is no such exchange, or nothing in it.
    """
    raise NotImplementedError


def piece(con: duckdb.DuckDBPyConnection, trace_id: str) -> Piece | None:
    """Read one event with all of its texts that is stored. None if there is no such event."""
    raise NotImplementedError


def session_pieces(con: duckdb.DuckDBPyConnection, session_id: str) -> list[Piece]:
    """Read all exchanges of one session in full, for an export. In order; child sessions are left out."""
    raise NotImplementedError
