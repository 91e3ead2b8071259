"""The numbers of a session: its own, from its exchanges, and with all below it."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from indexer.exchanges import Exchange, Message, Part, first_known, sum_known
from indexer.rows import EpochMs


class Spent(NamedTuple):
    """Tokens by kind."""

    root: int
    input: int
    output: int
    reasoning: int
    cache_read: int
    cache_write: int
    total: int


_TOKENS = attrgetter(*(f"{kind}_tokens" for kind in Spent._fields))  # of a message


class SessionNumbers(NamedTuple):
    """A row of `session_stats`; what it has with all below it is added last (`with_subtree`)."""

    session_id: str
    root_tokens: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    cost_list_usd: Decimal | None
    unrecorded_messages: int
    missing_usage_messages: int
    inherited_root_tokens: int
    inherited_input_tokens: int
    inherited_output_tokens: int
    inherited_reasoning_tokens: int
    inherited_cache_read_tokens: int
    inherited_cache_write_tokens: int
    inherited_total_tokens: int
    inherited_cost_recorded_usd: Decimal | None
    fork_copies: int
    exchange_count: int
    user_messages: int
    assistant_messages: int
    part_count: int
    tool_calls: int
    failed_tool_calls: int
    message_errors: int
    first_message_at: EpochMs | None
    last_message_at: EpochMs | None
    active_ms: int
    last_agent: str | None
    last_provider_id: str | None
    last_model_id: str | None
    subtree_sessions: int = 0
    subtree_root_tokens: int = 0
    subtree_input_tokens: int = 0
    subtree_output_tokens: int = 0
    subtree_reasoning_tokens: int = 0
    subtree_cache_read_tokens: int = 0
    subtree_cache_write_tokens: int = 0
    subtree_total_tokens: int = 0
    subtree_cost_recorded_usd: Decimal | None = None
    child_sessions: int = 0


class Tally(NamedTuple):
    """What the numbers of a session are added up from: some of its messages, with their parts.

    Attributes:
        own: Spent in these messages.
        inherited: The same, of the messages that a fork copied.
        counts: Unrecorded and missing usage, fork copies, messages of users and assistants, errors, parts, tool calls
            and failed ones.
        costs: Recorded costs, own and inherited, and own at list prices.
        times: First and last.
        active: When they were worked on, from prompt to end: spans that do not overlap, in order.
        last_answer: Order, agent, provider and model of the last one.
    """

    own: Spent
    inherited: Spent
    counts: tuple[int, ...]
    costs: tuple[Decimal | None, Decimal | None, Decimal | None]
    times: tuple[EpochMs | None, EpochMs | None]
    active: tuple[tuple[int, int], ...]
    last_answer: tuple[tuple[int, str], str | None, str | None, str | None] | None


def tally(members: Sequence[Message], parts: Sequence[Part], exchange: Exchange) -> Tally:
    """Count the messages of an exchange and their parts.

    Args:
        members: The messages.
        parts: Their parts.
        exchange: The exchange.
    """
    own = [message for message in members if message.has_usage and not message.is_fork_copy]
    copies = [message for message in members if message.is_fork_copy]
    answers = [message for message in members if message.role == "assistant"]
    latest = max(answers, key=_answer_order, default=None)
    starts = [message.created_at for message in members if message.created_at is not None]
    ends = [first_known((message.completed_at, message.created_at)) for message in members]
    return Tally(
        own=Spent(
            sum(message.root_tokens for message in own),
            exchange.input_tokens,
            exchange.output_tokens,
            exchange.reasoning_tokens,
            exchange.cache_read_tokens,
            exchange.cache_write_tokens,
            exchange.total_tokens,
        ),
        inherited=_spent(copies),
        counts=(
            sum(message.cost_recorded_usd is None for message in own),
            sum(message.is_usage_missing for message in own),
            len(copies),
            sum(message.role == "user" for message in members),
            len(answers),
            sum(message.error_name is not None for message in members),
            *_count_parts(parts),
        ),
        costs=(
            exchange.cost_recorded_usd,
            sum_known(message.cost_recorded_usd for message in copies),
            sum_known(message.cost_list_usd for message in own),
        ),
        times=(min(starts, default=None), max((end for end in ends if end is not None), default=None)),
        active=_active(exchange),
        last_answer=latest and (_answer_order(latest), latest.agent, latest.provider_id, latest.model_id),
    )


def _count_parts(parts: Sequence[Part]) -> tuple[int, int, int]:
    """Count parts, tool calls and failed ones."""
    return len(parts), sum(part.part_type == "tool" for part in parts), sum(part.is_failed for part in parts)


def _spent(messages: Iterable[Message]) -> Spent:
    """Add up the tokens of messages."""
    return Spent(*_column_sums(list(map(_TOKENS, messages)), len(Spent._fields)))


def _answer_order(message: Message) -> tuple[int, str]:
    """Order answers by time, those without one first."""
    return (-1 if message.created_at is None else message.created_at, message.message_id)


def _active(exchange: Exchange) -> tuple[tuple[int, int], ...]:
    """Tell when an exchange was worked on: no time at all where a clock went backwards or a time is not recorded."""
    start, end = exchange.started_at, exchange.ended_at
    return ((start, end),) if start is not None and end is not None and start < end else ()


def _united(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Unite spans that overlap: one may prompt while another prompt is answered."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        begun, reached = found.pop() if found and start <= found[-1][1] else (start, end)
        found.append((begun, max(reached, end)))
    return tuple(found)


def added(tallies: Sequence[Tally]) -> Tally:
    """Add up tallies of one session. Sums of sums are the same, in whatever order.

    Args:
        tallies: Of different messages.
    """
    first = [found.times[0] for found in tallies if found.times[0] is not None]
    last = [found.times[1] for found in tallies if found.times[1] is not None]
    return Tally(
        own=Spent(*_column_sums([found.own for found in tallies], len(Spent._fields))),
        inherited=Spent(*_column_sums([found.inherited for found in tallies], len(Spent._fields))),
        counts=tuple(_column_sums([found.counts for found in tallies], 9)),
        costs=(
            sum_known(found.costs[0] for found in tallies),
            sum_known(found.costs[1] for found in tallies),
            sum_known(found.costs[2] for found in tallies),
        ),
        times=(min(first, default=None), max(last, default=None)),
        active=_united(span for found in tallies for span in found.active),
        last_answer=max(
            (found.last_answer for found in tallies if found.last_answer), key=lambda found: found[0], default=None
        ),
    )


def own_numbers(session_id: str, whole: Tally, exchange_count: int, without_message: Sequence[Part]) -> SessionNumbers:
    """Name the numbers of a session alone.

    Args:
        session_id: Its id.
        whole: Of all its exchanges.
        exchange_count: How many these are.
        without_message: Its parts whose message does not exist.
    """
    own, inherited, last = whole.own, whole.inherited, whole.last_answer
    unrecorded, missing_usage, fork_copies, users, assistants, errors, *of_parts = whole.counts
    part_count, tool_calls, failed = (
        known + more for known, more in zip(of_parts, _count_parts(without_message), strict=True)
    )
    return SessionNumbers(
        session_id=session_id,
        root_tokens=own.root,
        input_tokens=own.input,
        output_tokens=own.output,
        reasoning_tokens=own.reasoning,
        cache_read_tokens=own.cache_read,
        cache_write_tokens=own.cache_write,
        total_tokens=own.total,
        cost_recorded_usd=whole.costs[0],
        cost_list_usd=whole.costs[2],
        unrecorded_messages=unrecorded,
        missing_usage_messages=missing_usage,
        inherited_root_tokens=inherited.root,
        inherited_input_tokens=inherited.input,
        inherited_output_tokens=inherited.output,
        inherited_reasoning_tokens=inherited.reasoning,
        inherited_cache_read_tokens=inherited.cache_read,
        inherited_cache_write_tokens=inherited.cache_write,
        inherited_total_tokens=inherited.total,
        inherited_cost_recorded_usd=whole.costs[1],
        fork_copies=fork_copies,
        exchange_count=exchange_count,
        user_messages=users,
        assistant_messages=assistants,
        part_count=part_count,
        tool_calls=tool_calls,
        failed_tool_calls=failed,
        message_errors=errors,
        first_message_at=whole.times[0],
        last_message_at=whole.times[1],
        active_ms=sum(end - start for start, end in whole.active),
        last_agent=last[1] if last else None,
        last_provider_id=last[2] if last else None,
        last_model_id=last[3] if last else None,
    )


def _column_sums(rows: Sequence[Sequence[int]], width: int) -> Sequence[int]:
    """Add up columns."""
    return list(map(sum, zip(*rows, strict=True))) if rows else [0] * width


def with_subtree(top: SessionNumbers, members: Sequence[SessionNumbers], child_sessions: int) -> SessionNumbers:
    """Add what the sessions of a subtree spent.

    Args:
        top: The session.
        members: All of its subtree, itself included.
        child_sessions: Direct children.
    """
    return top._replace(
        subtree_sessions=len(members),
        subtree_root_tokens=sum(member.root_tokens for member in members),
        subtree_input_tokens=sum(member.input_tokens for member in members),
        subtree_output_tokens=sum(member.output_tokens for member in members),
        subtree_reasoning_tokens=sum(member.reasoning_tokens for member in members),
        subtree_cache_read_tokens=sum(member.cache_read_tokens for member in members),
        subtree_cache_write_tokens=sum(member.cache_write_tokens for member in members),
        subtree_total_tokens=sum(member.total_tokens for member in members),
        subtree_cost_recorded_usd=sum_known(member.cost_recorded_usd for member in members),
        child_sessions=child_sessions,
    )
