"""Exchanges and their traces ("Plan 45"): pure functions over the rows of one session (DESIGN: docs/metrics.md).

An exchange is one user message and all messages that answer it. Messages are ordered by time, a session that is wholly
in the third generation by `seq`; ids only break ties. Inside a message the order is that of the document: part times
are shown and never sorted by, as old clients stamp a text when it ends.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple, TypeVar

from indexer.rows import EpochMs

_Value = TypeVar("_Value")

_ANSWERS = ("assistant", "shell", "compaction")
ABORTED = ("MessageAbortedError", "aborted")  # how the generations name what the user cut short
# kinds of the rows of the third generation, which have no part for it
_ROW_KINDS = {
    "assistant": "step",
    "user": "prompt",
    "synthetic": "prompt",
    "compaction": "compaction",
    "shell": "tool",
}
_PLAIN_KINDS = ("text", "reasoning", "retry", "compaction", "file", "patch")
_STEPS = ("step-start", "step-finish")
_DELEGATING_TOOLS = ("task", "subagent")  # what clients call it: until 1.18, since 2.0
_NOTES = {"patch", "retry", "snapshot"}  # parts that tell of files and failed attempts, not of a reply


class Message(NamedTuple):
    """What is derived from of a row of `messages`."""

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
    error_category: str | None
    has_usage: bool
    root_tokens: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_in_output_tokens: int
    total_tokens: int
    step_count: int
    is_usage_missing: bool
    cost_recorded_usd: Decimal | None
    cost_list_usd: Decimal | None
    fork_key: int | None
    is_fork_copy: bool
    generation: int
    recorded_until: EpochMs | None
    deleted_at: EpochMs | None


class Part(NamedTuple):
    """What is derived from of a row of `parts`."""

    part_id: str
    message_id: str
    session_id: str
    position: int
    part_type: str
    tool_name: str | None
    tool_status: str | None
    title: str | None
    started_at: EpochMs | None
    ended_at: EpochMs | None
    child_session_id: str | None
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
    deleted_at: EpochMs | None


class Trace(NamedTuple):
    """A row of `exchange_traces`."""

    trace_id: str
    exchange_id: str
    session_id: str
    message_id: str
    position: int
    kind: str
    name: str
    title: str | None
    started_at: EpochMs | None
    ended_at: EpochMs | None
    status: str | None
    is_failed: bool
    is_unfinished: bool
    child_session_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_recorded_usd: Decimal | None = None


class Exchange(NamedTuple):
    """A row of `exchanges`."""

    exchange_id: str
    session_id: str
    number: int
    kind: str
    status: str
    user_message_id: str | None
    started_at: EpochMs | None
    ended_at: EpochMs | None
    agent: str | None
    provider_id: str | None
    model_id: str | None
    message_count: int
    trace_count: int
    error_name: str | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    total_tokens: int
    cost_recorded_usd: Decimal | None
    is_fork_copy: bool


class Members(NamedTuple):
    """The messages of an exchange, in order.

    Attributes:
        number: Which exchange of its session it is, from 1.
    """

    number: int
    message_ids: list[str]


class Order:
    """The messages of one session in order, and which exchange each of them belongs to.

    A row of the third generation has no parent: a user row opens an exchange and an idle row closes it; what a model
    did after an idle row and before the next user row is an exchange without a prompt.

    Attributes:
        messages: In order, each with the id of its exchange; what is not recorded comes last.
        members: The exchanges, in the order in which they begin.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        """Order all messages of a session."""
        found = list(messages)
        self._has_seq = all(message.seq is not None for message in found)
        found.sort(key=self._key)
        prompts = [message.message_id for message in found if message.role == "user"]
        self._prompts, self._coming = set(prompts), iter(prompts)
        self._upcoming = next(self._coming, None)
        self._open_prompt: str | None = None
        self._missing_prompts: set[str] = set()  # that a message names
        self._is_closed = False  # by an idle row, until the next user row
        self._idle_place = self._answer_place = 0
        self.messages: list[tuple[Message, str]] = []
        self.members: dict[str, Members] = {}
        for message in found:
            self._add(message)

    def update(self, changes: Iterable[tuple[Message | None, Message | None]]) -> list[int] | None:
        """Take in changes that leave the places and exchanges of all other messages as they are.

        Args:
            changes: Messages before and after: None where there was none, or is none any more.

        Returns:
            The places of these messages. None if others may have to move: then this order is of no more use.
        """
        if not self.messages:
            return None
        places: list[int] = []
        new: list[Message] = []
        for before, after in changes:
            if before is None:
                new += [] if after is None else [after]
            elif after is None or _placing(before) != _placing(after):
                return None
            else:
                place = bisect_left(self.messages, self._key(before), key=lambda found: self._key(found[0]))
                self.messages[place] = after, self.messages[place][1]
                places.append(place)
        for message in sorted(new, key=self._key):
            if not self._comes_last(message):
                return None
            places.append(len(self.messages))
            if message.role == "user":
                self._prompts.add(message.message_id)
            self._add(message)
        return places

    def _comes_last(self, message: Message) -> bool:
        """Tell whether a new message comes after all others, none of which belongs elsewhere because of it."""
        if self._has_seq and message.seq is None:
            return False
        is_wanted = self._open_prompt is None or message.message_id in self._missing_prompts
        is_late = self._key(message) > self._key(self.messages[-1][0])
        return is_late and not (message.role == "user" and is_wanted)

    def _key(self, message: Message) -> tuple[float, float, float, str]:
        """Say what messages are ordered by."""
        last = float("inf")
        seq, created_at = message.seq, message.created_at
        by_seq = last if seq is None else seq
        return by_seq if self._has_seq else 0, last if created_at is None else created_at, by_seq, message.message_id

    def _add(self, message: Message) -> None:
        """Put a message after those before it."""
        role, exchange_id = message.role, self._exchange_of(message)
        self.messages.append((message, exchange_id))
        members = self.members.get(exchange_id)
        if members is None:
            members = self.members[exchange_id] = Members(len(self.members) + 1, [])
        members.message_ids.append(message.message_id)
        if role == "user":
            self._open_prompt, self._upcoming = message.message_id, next(self._coming, None)
            self._is_closed = False
        elif role == "idle":
            self._idle_place, self._is_closed = len(self.messages), True
        elif role in _ANSWERS:
            self._answer_place = len(self.messages)

    def _exchange_of(self, message: Message) -> str:
        """Find out which exchange the next message belongs to."""
        role, session_id, named = message.role, message.session_id, message.user_message_id
        if role == "user":
            return message.message_id
        if named in self._prompts:
            return str(named)
        if named is not None:
            self._missing_prompts.add(named)
        has_answered = self._answer_place > self._idle_place
        if self._is_closed and (role in _ANSWERS or (role == "idle" and has_answered)):
            return f"{session_id}:{self._idle_place}"
        if role in _ANSWERS:
            return self._open_prompt or f"{session_id}:start"
        # a switch before the first prompt belongs to that prompt
        return self._open_prompt or self._upcoming or f"{session_id}:start"


# all that the order of messages, and which exchange they belong to, depends on
_placing = attrgetter("message_id", "session_id", "role", "user_message_id", "seq", "created_at")


def traces_of(message: Message, parts: Iterable[Part], exchange_id: str, first_position: int) -> tuple[Trace, ...]:
    """List the events of a message.

    One per part; a step-start and the step-finish after it are one step; one more for an error. A row of the third
    generation has no step parts: an assistant row is a step of its own, any other row one event.

    Args:
        message: The message.
        parts: Its parts, in order.
        exchange_id: Its exchange.
        first_position: Position in the session of its first event.
    """
    traces: list[Trace] = []
    if message.generation == 3:
        traces.append(_row_trace(exchange_id, message, first_position))
    own = [part for part in parts if not part.is_orphan]
    finishes = _finishes(own)
    swallowed = {finish.part_id for finish in finishes.values()}
    for part in own:
        if part.part_id not in swallowed:
            finish = finishes.get(part.part_id)
            traces.append(_part_trace(exchange_id, message, part, finish, first_position + len(traces)))
    if message.error_name is not None:
        traces.append(_error_trace(exchange_id, message, first_position + len(traces)))
    return tuple(traces)


def _finishes(parts: Iterable[Part]) -> dict[str, Part]:
    """Find the step-finish of every step-start that has one: the next step part of the message."""
    steps = [part for part in parts if part.part_type in _STEPS]
    return {
        part.part_id: following
        for part, following in zip(steps, steps[1:], strict=False)
        if part.part_type == "step-start" and following.part_type == "step-finish"
    }


def _part_trace(exchange_id: str, message: Message, part: Part, finish: Part | None, position: int) -> Trace:
    """Describe a part; a step-start together with its step-finish."""
    part_type, status, is_unfinished, started_at = part.part_type, part.tool_status, part.is_unfinished, part.started_at
    ended_at, spent = part.ended_at, part
    if part_type == "step-start":
        status = "unfinished" if finish is None else "finished"
        is_unfinished = is_unfinished or finish is None
        if finish is not None:
            ended_at = finish.ended_at if ended_at is None else ended_at
            spent = finish
    elif part_type == "step-finish":
        status = "finished"
    if started_at is None and (part_type == "step-start" or message.role != "assistant"):
        started_at = message.created_at
    return Trace(
        part.part_id,
        exchange_id,
        part.session_id,
        part.message_id,
        position,
        _kind(part, message.role),
        part_type if part.tool_name is None else part.tool_name,
        part.title,
        started_at,
        ended_at,
        status,
        part.is_failed,
        is_unfinished,
        part.child_session_id,
        spent.input_tokens,
        spent.output_tokens,
        spent.reasoning_tokens,
        spent.cache_read_tokens,
        spent.cache_write_tokens,
        spent.cost_recorded_usd,
    )


def _kind(part: Part, role: str) -> str:
    """Say what kind of event a part is."""
    part_type = part.part_type
    if part_type == "tool":
        return "delegation" if part.tool_name in _DELEGATING_TOOLS else "tool"
    if part_type == "subtask":
        return "delegation"
    if part_type in _STEPS:
        return "step"
    if part_type == "agent" or (part_type == "text" and role != "assistant"):
        return "prompt"
    return part_type if part_type in _PLAIN_KINDS else "other"


def _row_trace(exchange_id: str, message: Message, position: int) -> Trace:
    """Describe a row of the third generation."""
    is_step, has_usage = message.role == "assistant", message.has_usage
    is_unfinished = is_step and message.completed_at is None
    return Trace(
        trace_id=f"{message.message_id}:step" if is_step else message.message_id,
        exchange_id=exchange_id,
        session_id=message.session_id,
        message_id=message.message_id,
        position=position,
        kind=_ROW_KINDS.get(message.role, "other"),
        name="step" if is_step else message.role,
        title=None,
        started_at=message.created_at,
        ended_at=message.completed_at,
        status=("unfinished" if is_unfinished else "finished") if is_step else None,
        is_failed=False,
        is_unfinished=is_unfinished,
        input_tokens=message.input_tokens if has_usage else None,
        output_tokens=message.output_tokens if has_usage else None,
        reasoning_tokens=message.reasoning_tokens if has_usage else None,
        cache_read_tokens=message.cache_read_tokens if has_usage else None,
        cache_write_tokens=message.cache_write_tokens if has_usage else None,
        cost_recorded_usd=message.cost_recorded_usd,
    )


def _error_trace(exchange_id: str, message: Message, position: int) -> Trace:
    """Describe the error of a message, at the last time that is known of it."""
    return Trace(
        trace_id=f"{message.message_id}:error",
        exchange_id=exchange_id,
        session_id=message.session_id,
        message_id=message.message_id,
        position=position,
        kind="error",
        name=str(message.error_name),
        title=None,
        started_at=first_known((message.completed_at, message.recorded_until, message.created_at)),
        ended_at=None,
        status="error",
        is_failed=True,
        is_unfinished=False,
    )


def exchange_of(
    exchange_id: str,
    members: Sequence[Message],
    parts: Mapping[str, Sequence[Part]],
    traces: Sequence[Trace],
    number: int,
) -> Exchange:
    """Sum up an exchange. The requests that a fork copied count in the session they come from.

    Args:
        exchange_id: Its id.
        members: Its messages, in order.
        parts: Those of its messages, by message.
        traces: Its events.
        number: Which one of its session it is, from 1.
    """
    answers = [message for message in members if message.role == "assistant"]
    last_error = answers[-1].error_name if answers else None
    own = [message for message in members if message.has_usage and not message.is_fork_copy]
    requests = [message for message in members if message.fork_key is not None]
    prompt = next((message for message in members if message.role == "user"), None)
    times = [(message.created_at, message.completed_at) for message in members]
    times += [(trace.started_at, trace.ended_at) for trace in traces]
    return Exchange(
        exchange_id=exchange_id,
        session_id=members[0].session_id,
        number=number,
        kind="none" if prompt is None else _prompt_kind(parts.get(prompt.message_id, ())),
        status=_status(answers, parts),
        user_message_id=None if prompt is None else prompt.message_id,
        started_at=min((message.created_at for message in members if message.created_at is not None), default=None),
        ended_at=max((time for pair in times for time in pair if time is not None), default=None),
        agent=first_known(message.agent for message in reversed(answers)),
        provider_id=first_known(message.provider_id for message in reversed(answers)),
        model_id=first_known(message.model_id for message in reversed(answers)),
        message_count=len(members),
        trace_count=len(traces),
        error_name=last_error or None,
        input_tokens=sum(message.input_tokens for message in own),
        output_tokens=sum(message.output_tokens for message in own),
        reasoning_tokens=sum(message.reasoning_tokens for message in own),
        cache_read_tokens=sum(message.cache_read_tokens for message in own),
        cache_write_tokens=sum(message.cache_write_tokens for message in own),
        total_tokens=sum(message.total_tokens for message in own),
        cost_recorded_usd=sum_known(message.cost_recorded_usd for message in own),
        is_fork_copy=bool(requests) and all(message.is_fork_copy for message in requests),
    )


def _prompt_kind(parts: Iterable[Part]) -> str:
    """Say what began an exchange, from the parts of its user message."""
    own = [part for part in parts if not part.is_orphan]
    types = {part.part_type for part in own}
    texts = [part for part in own if part.part_type == "text"]
    if "compaction" in types:
        return "compaction"
    if any(part.is_shell_notice for part in own):
        return "shell"
    if "subtask" in types:
        return "command"
    is_typed = bool(types & {"file", "agent"}) or any(not part.is_synthetic for part in texts)
    return "continuation" if texts and not is_typed else "prompt"


def _status(answers: Sequence[Message], parts: Mapping[str, Sequence[Part]]) -> str:
    """Say how an exchange ended, from the messages of the assistant and their parts."""
    if not answers:
        return "unanswered"
    last = answers[-1]
    if last.error_name in ABORTED:
        return "aborted"
    if last.error_name:
        return "failed"
    if last.completed_at is None:
        return "unfinished"
    if _has_ended(last, parts.get(last.message_id, ())):
        return "answered"
    has_reply = any(_has_reply(message, parts.get(message.message_id, ())) for message in answers)
    return "unfinished" if has_reply else "unanswered"


def is_endless(message: Message, parts: Iterable[Part]) -> bool:
    """Tell whether a message is an answer whose request never came to an end: it neither succeeded nor failed."""
    if message.role != "assistant" or message.error_name is not None or message.finish is not None:
        return False
    return message.completed_at is None or not _has_ended(message, parts)


def _has_ended(message: Message, parts: Iterable[Part]) -> bool:
    """Tell whether the request of an answer that was closed without an error came to its end.

    OpenCode closes an answer in the same way where the user stops it while it waits to try again, and where the prompt
    was too long, before it compacts: then there is neither a `finish` nor usage, and no step, or none that ended.
    Old clients record no `finish`, a user's own shell command has none and no steps.
    """
    types = _told_by(parts)
    return _has_outcome(message) or "step-finish" in types or (bool(types) and "step-start" not in types)


def _has_reply(message: Message, parts: Iterable[Part]) -> bool:
    """Tell whether anything of a reply is stored, were it its beginning."""
    return _has_outcome(message) or bool(_told_by(parts) - {"step-start"})


def _has_outcome(message: Message) -> bool:
    """Tell whether an answer itself records what came of its request: how it finished, or what it used."""
    return message.finish is not None or message.total_tokens != 0


def _told_by(parts: Iterable[Part]) -> set[str]:
    """Return the types of the parts that tell of a reply."""
    return {part.part_type for part in parts} - _NOTES


def first_known(values: Iterable[_Value | None]) -> _Value | None:
    """Return the first value that is recorded."""
    return next((value for value in values if value is not None), None)


def sum_known(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Sum costs, exact. None if none is recorded: unknown is not free."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if known else None
