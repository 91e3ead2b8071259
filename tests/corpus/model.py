"""What a corpus consists of: the plan of a storage, and its sessions, messages and parts before they become text."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

Json = dict[str, Any]


class Store(StrEnum):
    """Where OpenCode keeps its history, oldest first."""

    JSON = "json"  # the tree of 1.1, one file a row
    SQLITE = "sqlite"  # opencode.db of 1.18, message and part rows
    SESSION_MESSAGE = "session_message"  # opencode.db of 2.0, session_v2 and session_message rows


OLDEST_FIRST = tuple(Store)


@dataclass(frozen=True)
class Plan:
    """What to generate. Equal plans give equal storage, byte for byte.

    Attributes:
        parts: About how many parts the stores hold together, each counted once however many stores hold it. Nothing is
            cut off in the middle of a conversation, so it is a little more.
        stores: One alone, or several in one data folder: then sessions are migrated, continued, left behind or new.
        big_session_traces: Add one session with at least so many traces; 0 adds none.
        text_scale: Factor on the length of every text; 1 is a heavy user (6 KB a part), 0.02 is quick to write.
        huge_part_every: One text in so many has 5 MB (before `text_scale`).
        start_ms: When the first session begins.
        days: How many days the sessions are spread over.
    """

    parts: int
    seed: int = 1
    stores: tuple[Store, ...] = (Store.JSON,)
    big_session_traces: int = 0
    text_scale: float = 1.0
    huge_part_every: int = 10_000
    start_ms: int = 1_779_840_000_000  # 2026-05-27: the time bits of ids wrap in the middle of the range
    days: int = 170


class Text(NamedTuple):
    """A text that is not made yet: where to cut it from a pool of words, code or the like."""

    pool: str
    at: int
    size: int


@dataclass(frozen=True)
class Client:
    """A client release and how it records usage.

    Attributes:
        is_reasoning_inside: Its `output` includes `reasoning`.
        has_total: It records `tokens.total`.
    """

    store: Store
    version: str
    is_reasoning_inside: bool
    has_total: bool


@dataclass(slots=True)
class Usage:
    """Usage of one request as a client records it; cost in 1e-9 USD."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost_nano: int = 0
    is_reasoning_inside: bool = False
    has_total: bool = False

    @property
    def is_zero(self) -> bool:
        """Tell whether there is nothing to count."""
        return not (
            self.input or self.output or self.reasoning or self.cache_read or self.cache_write or self.cost_nano
        )


@dataclass(slots=True)
class Part:
    """One part of a message.

    Attributes:
        fields: Its document without ids and without the text.
        text: Its long text, and `place`, where that goes: text, output, input, error, url or attachment.
    """

    part_id: str
    type: str
    fields: Json
    text: Text | None = None
    place: str = ""


@dataclass(slots=True)
class Message:
    """One message, or one row of `session_message`.

    Attributes:
        type: user or assistant; rows of 2.0 have more types.
        fields: Its document without ids, times, usage and parts.
        steps: Usage of every finished request.
        step_traces: How many steps it opened, finished or not.
        opens_exchange: It is a user message, or the first of some that answer none.
        origin: The message that a fork copied.
        era: Which of the family's clients wrote it (0 is the first); `is_early`: before the family's half.
        is_lost: The message was undone and only its parts are left (JSON tree).
        holds_usage_itself: Its step parts are lost, the usage is only in the message.
        stale_in: A store that holds an older, unfinished copy of it.
    """

    message_id: str
    type: str
    created_ms: int
    fields: Json
    completed_ms: int | None = None
    parent_id: str | None = None
    model: tuple[str, str] | None = None
    parts: list[Part] = field(default_factory=list)
    steps: list[Usage] = field(default_factory=list)
    step_traces: int = 0
    has_error: bool = False
    opens_exchange: bool = False
    origin: "Message | None" = None
    era: int = 0
    is_early: bool = True
    is_lost: bool = False
    holds_usage_itself: bool = False
    client: Client | None = None
    stores: tuple[Store, ...] = ()
    stale_in: Store | None = None

    @property
    def is_finished(self) -> bool:
        """Tell whether it records an end: completion or an error."""
        return self.completed_ms is not None or self.has_error

    @property
    def recorded(self) -> Usage:
        """What `message.tokens` and `message.cost` say: tokens of the last step, cost of all."""
        if not self.steps:
            return Usage()
        last = self.steps[-1]
        return Usage(
            last.input,
            last.output,
            last.reasoning,
            last.cache_read,
            last.cache_write,
            sum(step.cost_nano for step in self.steps),
            last.is_reasoning_inside,
            last.has_total,
        )


@dataclass(slots=True)
class Session:
    """One session with its messages.

    Attributes:
        fork_of: The session that it was forked from; `fork_at` the first message that was not copied.
        migrated_ms: When a migration copied the family into a store.
        contents: What happened in it, by name.
    """

    session_id: str
    project_id: str
    directory: str
    title: str
    slug: str
    client: Client
    created_ms: int
    parent_id: str | None = None
    fork_of: str | None = None
    fork_at: str | None = None
    is_archived: bool = False
    era: int = 0
    is_early: bool = True
    stores: tuple[Store, ...] = ()
    migrated_ms: dict[Store, int] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)

    def messages_in(self, store: Store) -> list[Message]:
        """List the messages that a store holds, in order; without those of which only parts are left."""
        return [message for message in self.messages if store in message.stores and not message.is_lost]
