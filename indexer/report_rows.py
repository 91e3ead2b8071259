"""Rows of the small tables that reports add up: usage slices, tool calls, failures. Pure functions over an exchange."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from indexer.error_rules import UNKNOWN
from indexer.exchanges import ABORTED, Exchange, Message, Part, first_known, is_endless, sum_known
from indexer.rows import EpochMs

QUARTER_MS = 15 * 60 * 1_000
COUNTED, COPY, OTHER = "counted", "copy", "other"

SliceKey = tuple[str, EpochMs | None, str | None, str | None, str | None]


class UsageSlice(NamedTuple):
    """A row of `usage_slices`."""

    session_id: str
    kind: str
    quarter_at: EpochMs | None
    agent: str | None
    provider_id: str | None
    model_id: str | None
    messages: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    unrecorded_messages: int
    unrecorded_tokens: int
    missing_usage_messages: int
    cost_list_usd: Decimal | None
    unpriced_messages: int
    unpriced_tokens: int
    free_list_usd: Decimal | None
    failed_answers: int
    aborted_answers: int
    unfinished_answers: int
    calls: int
    failed_calls: int
    unfinished_calls: int
    first_at: EpochMs | None
    last_at: EpochMs | None

    @property
    def key(self) -> SliceKey:
        """What tells the slices of a session apart."""
        return self.kind, self.quarter_at, self.agent, self.provider_id, self.model_id


class ToolCall(NamedTuple):
    """A row of `tool_calls`."""

    part_id: str
    session_id: str
    exchange_id: str
    tool_name: str
    message_at: EpochMs | None
    agent: str | None
    provider_id: str | None
    model_id: str | None
    started_at: EpochMs | None
    duration_ms: int | None
    is_failed: bool
    is_unfinished: bool
    is_counted: bool
    target: str | None
    output_bytes: int | None
    enters_at: int | None


class Failure(NamedTuple):
    """A row of `failures`."""

    failure_id: str
    session_id: str
    exchange_id: str
    message_id: str
    is_call: bool
    category: str
    name: str
    is_aborted: bool
    message_at: EpochMs | None
    failed_at: EpochMs | None
    agent: str | None
    provider_id: str | None
    model_id: str | None
    is_counted: bool
    is_ending: bool
    is_deleted: bool


def kind_of(message: Message) -> str:
    """Say how a message counts: as in the view `spend`, as a fork's copy, or not at all."""
    if not message.has_usage:
        return OTHER
    return COPY if message.is_fork_copy else COUNTED


def slices_of(members: Iterable[Message], parts: Mapping[str, Sequence[Part]]) -> dict[SliceKey, UsageSlice]:
    """Add up some messages of one session.

    Args:
        members: The messages.
        parts: Parts by message.
    """
    return merged(_slice(message, parts.get(message.message_id, ())) for message in members)


def merged(slices: Iterable[UsageSlice]) -> dict[SliceKey, UsageSlice]:
    """Add up slices of one session that have the same key."""
    alike: dict[SliceKey, list[UsageSlice]] = {}
    for each in slices:
        alike.setdefault(each.key, []).append(each)
    return {key: found[0] if len(found) == 1 else _sum(found) for key, found in alike.items()}


def _slice(message: Message, parts: Sequence[Part]) -> UsageSlice:
    """Describe one message."""
    at, cost, has_usage = message.created_at, message.cost_recorded_usd, message.has_usage
    is_unrecorded = has_usage and cost is None
    list_usd = message.cost_list_usd
    is_unpriced = has_usage and list_usd is None and message.total_tokens != 0
    is_aborted = message.error_name in ABORTED
    calls = [part for part in parts if part.part_type == "tool" and not part.is_orphan]
    unfinished = sum(call.is_unfinished for call in calls)
    return UsageSlice(
        session_id=message.session_id,
        kind=kind_of(message),
        quarter_at=None if at is None else EpochMs(at // QUARTER_MS * QUARTER_MS),
        agent=message.agent,
        provider_id=message.provider_id,
        model_id=message.model_id,
        messages=1,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        reasoning_tokens=message.reasoning_tokens,
        cache_read_tokens=message.cache_read_tokens,
        cache_write_tokens=message.cache_write_tokens,
        total_tokens=message.total_tokens,
        cost_recorded_usd=cost,
        unrecorded_messages=int(is_unrecorded),
        unrecorded_tokens=message.total_tokens if is_unrecorded else 0,
        missing_usage_messages=int(has_usage and message.is_usage_missing),
        cost_list_usd=list_usd,
        unpriced_messages=int(is_unpriced),
        unpriced_tokens=message.total_tokens if is_unpriced else 0,
        free_list_usd=list_usd if cost == 0 else None,
        failed_answers=int(message.error_name is not None and not is_aborted),
        aborted_answers=int(is_aborted),
        unfinished_answers=int(has_usage and is_endless(message, parts)),
        calls=len(calls) - unfinished,
        failed_calls=sum(call.is_failed for call in calls),
        unfinished_calls=unfinished,
        first_at=at,
        last_at=at,
    )


def _sum(slices: Sequence[UsageSlice]) -> UsageSlice:
    """Add up slices with one key."""
    first = slices[0]
    columns = dict(zip(UsageSlice._fields, zip(*slices, strict=True), strict=True))
    counters = {name: sum(columns[name]) for name in _COUNTERS}
    return first._replace(
        **counters,
        cost_recorded_usd=sum_known(each.cost_recorded_usd for each in slices),
        cost_list_usd=sum_known(each.cost_list_usd for each in slices),
        free_list_usd=sum_known(each.free_list_usd for each in slices),
        first_at=min((each.first_at for each in slices if each.first_at is not None), default=None),
        last_at=max((each.last_at for each in slices if each.last_at is not None), default=None),
    )


_COUNTERS = (
    *("messages", "input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("total_tokens", "unrecorded_messages", "unrecorded_tokens", "missing_usage_messages"),
    *("unpriced_messages", "unpriced_tokens"),
    *("failed_answers", "aborted_answers", "unfinished_answers", "calls", "failed_calls", "unfinished_calls"),
)


def calls_of(
    exchange_id: str,
    members: Iterable[Message],
    parts: Mapping[str, Sequence[Part]],
    enters_at: Mapping[str, Mapping[str, int]],
) -> list[ToolCall]:
    """List the tool calls of an exchange.

    Args:
        exchange_id: Its id.
        members: Its messages.
        parts: Parts by message.
        enters_at: By message and call with an output: number of the request that sends it for the first time.
    """
    return [
        ToolCall(
            part_id=part.part_id,
            session_id=message.session_id,
            exchange_id=exchange_id,
            tool_name=part.tool_name or "unknown",
            message_at=message.created_at,
            agent=message.agent,
            provider_id=message.provider_id,
            model_id=message.model_id,
            started_at=part.started_at,
            duration_ms=_duration_ms(part),
            is_failed=part.is_failed,
            is_unfinished=part.is_unfinished,
            is_counted=kind_of(message) == COUNTED,
            target=part.target,
            output_bytes=part.output_bytes,
            enters_at=enters_at.get(message.message_id, {}).get(part.part_id),
        )
        for message in members
        for part in parts.get(message.message_id, ())
        if part.part_type == "tool" and not part.is_orphan
    ]


def _duration_ms(part: Part) -> int | None:
    """Tell how long a call took. A clock that went backwards measured nothing."""
    if part.is_unfinished or part.started_at is None or part.ended_at is None or part.ended_at < part.started_at:
        return None
    return part.ended_at - part.started_at


def failures_of(exchange: Exchange, members: Sequence[Message], parts: Mapping[str, Sequence[Part]]) -> list[Failure]:
    """List what failed in an exchange: tool calls, and answers that ended in an error.

    Args:
        exchange: The exchange.
        members: Its messages, in order.
        parts: Parts by message.
    """
    answers = [message.message_id for message in members if message.role == "assistant"]
    ending = answers[-1] if exchange.error_name is not None else None
    found: list[Failure] = []
    for message in members:
        found += (
            _call_failure(exchange.exchange_id, message, part)
            for part in parts.get(message.message_id, ())
            if part.is_failed and not part.is_orphan
        )
        if message.error_name is not None:
            found.append(_answer_failure(exchange.exchange_id, message, is_ending=message.message_id == ending))
    return found


def _call_failure(exchange_id: str, message: Message, part: Part) -> Failure:
    """Describe a failed tool call."""
    return Failure(
        failure_id=part.part_id,
        session_id=message.session_id,
        exchange_id=exchange_id,
        message_id=message.message_id,
        is_call=True,
        category=part.error_category or UNKNOWN,
        name=part.tool_name or "unknown",
        is_aborted=False,
        message_at=message.created_at,
        failed_at=first_known((part.ended_at, part.started_at, message.created_at)),
        agent=message.agent,
        provider_id=message.provider_id,
        model_id=message.model_id,
        is_counted=kind_of(message) == COUNTED,
        is_ending=False,
        is_deleted=part.deleted_at is not None or message.deleted_at is not None,
    )


def _answer_failure(exchange_id: str, message: Message, *, is_ending: bool) -> Failure:
    """Describe an answer that ended in an error."""
    return Failure(
        failure_id=f"{message.message_id}:error",
        session_id=message.session_id,
        exchange_id=exchange_id,
        message_id=message.message_id,
        is_call=False,
        category=message.error_category or UNKNOWN,
        name=str(message.error_name),
        is_aborted=message.error_name in ABORTED,
        message_at=message.created_at,
        failed_at=first_known((message.completed_at, message.created_at)),
        agent=message.agent,
        provider_id=message.provider_id,
        model_id=message.model_id,
        is_counted=kind_of(message) == COUNTED,
        is_ending=is_ending,
        is_deleted=message.deleted_at is not None,
    )
