"""Rows of the index: one dataclass per table that is filled from documents (see schema.sql for every column)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import ClassVar, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

EpochMs = NewType("EpochMs", int)  # milliseconds since 1970, UTC; a TIMESTAMP column in the index


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A row of `projects`."""

    TABLE: ClassVar[str] = "projects"
    KEYS: ClassVar[tuple[str, ...]] = ("project_id",)

    project_id: str
    name: str | None
    worktree: str | None
    vcs: str | None
    worktrees: tuple[str, ...]
    clones: tuple[str, ...]
    created_at: EpochMs | None
    updated_at: EpochMs | None
    source_id: int | None
    generation: int
    content_hash: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of `sessions`."""

    TABLE: ClassVar[str] = "sessions"
    KEYS: ClassVar[tuple[str, ...]] = ("session_id",)

    session_id: str
    project_id: str | None
    parent_id: str | None
    fork_session_id: str | None
    title: str | None
    slug: str | None
    directory: str | None
    client_version: str | None
    created_at: EpochMs | None
    updated_at: EpochMs | None
    archived_at: EpochMs | None
    additions: int | None
    deletions: int | None
    files_changed: int | None
    stored_cost_usd: Decimal | None
    stored_input_tokens: int | None
    stored_output_tokens: int | None
    stored_reasoning_tokens: int | None
    stored_cache_read_tokens: int | None
    stored_cache_write_tokens: int | None
    is_placeholder: bool
    is_missing_in_newer: bool
    source_id: int | None
    generation: int
    content_hash: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A row of `messages`, but for `is_fork_copy`, which depends on other sessions (derive.py)."""

    TABLE: ClassVar[str] = "messages"
    KEYS: ClassVar[tuple[str, ...]] = ("message_id",)

    message_id: str
    session_id: str
    role: str
    user_message_id: str | None
    seq: int | None
    agent: str | None
    provider_id: str | None
    model_id: str | None
    created_at: EpochMs | None
    completed_at: EpochMs | None
    finish: str | None
    is_summary: bool
    error_name: str | None
    error_data: str | None
    error_category: str | None
    has_usage: bool
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_in_output_tokens: int
    total_tokens: int
    root_tokens: int
    step_count: int
    is_usage_missing: bool
    is_total_mismatch: bool
    cost_recorded_usd: Decimal | None
    cost_steps_usd: Decimal | None
    fork_key: int | None
    is_fork_copy: bool
    is_missing_in_newer: bool
    source_id: int
    generation: int
    recorded_until: EpochMs | None
    content_hash: int
    additions: int | None = None
    deletions: int | None = None
    files_changed: int | None = None
    cost_list_usd: Decimal | None = None  # known when it is written (prices.py)


@dataclass(frozen=True, slots=True)
class PartRow:
    """A row of `parts`."""

    TABLE: ClassVar[str] = "parts"
    KEYS: ClassVar[tuple[str, ...]] = ("part_id",)

    part_id: str
    message_id: str
    session_id: str | None
    position: int
    part_type: str
    tool_name: str | None
    call_id: str | None
    tool_status: str | None
    title: str | None
    started_at: EpochMs | None
    ended_at: EpochMs | None
    child_session_id: str | None
    error_data: str | None
    error_category: str | None
    target: str | None
    output_bytes: int | None
    is_failed: bool
    is_unfinished: bool
    is_synthetic: bool
    is_shell_notice: bool
    is_orphan: bool
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_in_output_tokens: int | None
    cost_recorded_usd: Decimal | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PartBodyRow:
    """A row of `part_bodies`."""

    TABLE: ClassVar[str] = "part_bodies"
    KEYS: ClassVar[tuple[str, ...]] = ("part_id",)

    part_id: str
    message_id: str
    session_id: str | None
    text: str | None
    input: str | None
    output: str | None
    text_bytes: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A row of `documents`: something that could not be read, or only in part."""

    TABLE: ClassVar[str] = "documents"
    KEYS: ClassVar[tuple[str, ...]] = ("source_id", "key")

    source_id: int
    key: str
    owner_id: str
    document_kind: str
    state: str
    reason: str
    size_bytes: int | None
    first_seen_at: EpochMs
    last_seen_at: EpochMs


@dataclass(frozen=True, slots=True)
class StampRow:
    """A row of `read_stamps`: what a document looked like when it was read."""

    TABLE: ClassVar[str] = "read_stamps"
    KEYS: ClassVar[tuple[str, ...]] = ("source_id", "document_kind", "document_id")

    source_id: int
    document_kind: str
    document_id: str
    stamp: int | None
    parts: int | None


Row = ProjectRow | SessionRow | MessageRow | PartRow | PartBodyRow | DocumentRow | StampRow
RowType = TypeVar("RowType", ProjectRow, SessionRow, MessageRow, PartRow, PartBodyRow, DocumentRow, StampRow)

_ARROW_TYPES: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    Decimal: pa.decimal128(38, 12),
    EpochMs: pa.timestamp("ms"),
    tuple[str, ...]: pa.list_(pa.string()),
}


def arrow_table(row_type: type[RowType], rows: Sequence[RowType]) -> pa.Table:
    """Put rows of one table into columns.

    Args:
        row_type: The dataclass of the table.
        rows: Its rows, possibly none.

    Returns:
        One column per field, named and typed like the table's.
    """
    schema = _arrow_schema(row_type)
    return _table(schema, list(map(attrgetter(*schema.names), rows)))


def tuple_table(row_type: type, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Put derived rows of one table into columns.

    Args:
        row_type: The named tuple of the table; its fields are the columns.
        rows: Its rows, possibly none.

    Returns:
        One column per field, named and typed like the table's.
    """
    return _table(_arrow_schema(row_type), rows)


def _table(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Put the values of rows into columns."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def select_list(row_type: type) -> str:
    """Write the columns of a named tuple for a SELECT, times as milliseconds."""
    return ", ".join(
        f"epoch_ms({name}) AS {name}" if type_ is EpochMs else name for name, type_ in _types(row_type).items()
    )


def _arrow_schema(row_type: type) -> pa.Schema:
    """Translate the type hints of a row into Arrow types."""
    return pa.schema({name: _ARROW_TYPES[type_] for name, type_ in _types(row_type).items()})


def _types(row_type: type) -> dict[str, object]:
    """Return the type of every column; an optional one has one member beside None."""
    if row_type not in _TYPES:
        members = {
            name: [each for each in (get_args(hint) if _is_optional(hint) else (hint,)) if each is not type(None)]
            for name, hint in get_type_hints(row_type).items()
            if name not in ("TABLE", "KEYS")
        }
        _TYPES[row_type] = {name: types[0] for name, types in members.items()}
    return _TYPES[row_type]


def _is_optional(hint: object) -> bool:
    """Tell whether a type hint is a choice, as `str | None` is."""
    return get_origin(hint) in (UnionType, Union)


_TYPES: dict[type, dict[str, object]] = {}  # reading type hints takes longer than a row
