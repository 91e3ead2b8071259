"""Rows of the index: one dataclass per table that is filled from documents (see schema.sql for every column)."""

from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import ClassVar, NewType, TypeVar

EpochMs = NewType("EpochMs", int)  # milliseconds since 1970, UTC; a TIMESTAMP column in the index


def values_of(row_type: type["_Row"]) -> "attrgetter[tuple[object, ...]]":
    """Return what takes the values of a row, in the order of its fields."""
    if row_type not in _VALUES_OF:
        names: tuple[str, ...] = row_type.__slots__
        first, *others = names
        _VALUES_OF[row_type] = attrgetter(first, *others)
    return _VALUES_OF[row_type]


_VALUES_OF: dict[type, "attrgetter[tuple[object, ...]]"] = {}


class _Row:
    """What rows have in common: to send one to another process by its values takes half as long as by its fields."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Describe the row for pickle."""
        return type(self), values_of(type(self))(self)


@dataclass(frozen=True, slots=True)
class ProjectRow(_Row):
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
class SessionRow(_Row):
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
class MessageRow(_Row):
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
class PartRow(_Row):
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

    @property
    def is_searched(self) -> bool:
        """Tell whether its text is a prompt or an answer: what the text filter looks in."""
        return self.part_type == "text" and not (self.is_synthetic or self.is_orphan)


@dataclass(frozen=True, slots=True)
class PartBodyRow(_Row):
    """A row of `part_bodies`.

    Attributes:
        searched_text: The text, if it is searched; written in lower case, as DuckDB's lower() has it, and in another
            column if it is long (`sql.searched_columns`).
    """

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
    searched_text: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentRow(_Row):
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
class StampRow(_Row):
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
