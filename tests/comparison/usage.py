"""What a tool counted for a message, and the facts about the message that tell why another tool counted otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

COUNTERS = ("input", "output", "cache_read", "cache_write", "reasoning")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a message, or of one of its steps.

    Attributes:
        input: Without cached tokens.
        output: As recorded; holds the reasoning where the client wrote it so.
        reasoning: Beside `output`: what has to be added to the other four to count every token once.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Add up all counters."""
        return sum(getattr(self, name) for name in COUNTERS)

    def without_negatives(self) -> "Usage":
        """Read counts below zero as zero."""
        return usage_of(max(0, getattr(self, name)) for name in COUNTERS)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as our index has it.

    Attributes:
        usage: All its steps.
        steps: The usage of each step that recorded it; the message's own where none did.
        reasoning_in_output: Of each step, the reasoning that `output` holds.
        cost_usd: As recorded; None: not recorded.
        is_fork_copy: Its request is counted in another session.
        has_content: It has a tool call, or a text or reasoning that is not empty.
        generation: The storage its row came from: 1 the JSON tree, 2 and 3 the database.
    """

    message_id: str
    session_id: str
    model_id: str | None
    usage: Usage
    steps: tuple[Usage, ...]
    reasoning_in_output: tuple[int, ...]
    cost_usd: Decimal | None
    is_fork_copy: bool
    has_content: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Printed:
    """The totals that a tool shows its user.

    Attributes:
        tokens: Every token, by the tool's own sum; None: it shows none.
        sessions: How many sessions it lists.
        messages: How many messages it lists; None: it does not say.
        cost_by_model: By the model's id, without its provider.
    """

    usage: Usage
    tokens: int | None
    cost_usd: Decimal
    sessions: int
    messages: int | None
    cost_by_model: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """Everything another tool counted.

    Attributes:
        printed: What it shows.
        usages: What it counted for each message that it has, by id.
        session_ids: The sessions that it lists.
        absent: Why it does not have a message, by id.
        recorded_usd: Its cost of each message that it takes from the record; messages without: priced by its own table.
        counts_reasoning: Whether its totals hold reasoning that is not in output.
        reads_cost: Whether it reads recorded costs at all.
    """

    printed: Printed
    usages: dict[str, Usage]
    session_ids: frozenset[str]
    absent: dict[str, str]
    recorded_usd: dict[str, Decimal] = field(default_factory=dict)
    counts_reasoning: bool = True
    reads_cost: bool = True


def usage_of(counts: Iterable[int]) -> Usage:
    """Make a usage of counts in the order of `COUNTERS`; what is missing at the end is zero."""
    return Usage(**dict(zip(COUNTERS, counts, strict=False)))


def add(usages: list[Usage]) -> Usage:
    """Add up usages, counter by counter."""
    return usage_of(sum(getattr(usage, name) for usage in usages) for name in COUNTERS)
