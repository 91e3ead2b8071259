"""The requests of a session in the order they were sent: what of one was in the cache for the next. Pure functions.

A provider's cache holds the beginning of what a session sends, its *prefix*. What one request read from it or wrote
into it is there for the next one. Where the next one reads less than half of that, the prefix *collapsed*. Between two
collapses or compactions lies a *stretch*: there the context only grows. What it grows by between two requests, the own
answer of the first left out, are outputs of the calls in between, as far as these can be that long (docs/metrics.md).
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from indexer.exchanges import Message, Part

SMALLEST_PREFIX = 1_024  # tokens; providers cache nothing shorter
BYTES_A_TOKEN = 2  # at least; what is denser than that is no text
_NONE: Mapping[str, int] = {}


class ChainLink(NamedTuple):
    """A row of `request_chain`."""

    request_id: str
    session_id: str
    number: int
    prior_id: str | None
    stretch: int
    is_compacted: bool
    is_collapsed: bool
    entered_bytes: int
    entered_tokens: int
    held_tokens: int


class _Request(NamedTuple):
    """What one request sent.

    Attributes:
        answer_tokens: Of its answer, without reasoning, which is not sent again. None: not known.
    """

    request_id: str
    cache_read_tokens: int
    cached_tokens: int
    context_tokens: int
    answer_tokens: int | None


class Standing(NamedTuple):
    """How far a session has come before one of its messages.

    Attributes:
        number: Requests so far.
        prior: The last of them.
        is_prior_summary: That one summarised the session.
        is_summarised: A summary came after it.
        stretch: Collapses and compactions so far.
        held_tokens: Outputs of tools that the requests of this stretch brought.
        waiting_bytes: Outputs that no request has sent yet.
    """

    number: int = 0
    prior: _Request | None = None
    is_prior_summary: bool = False
    is_summarised: bool = False
    stretch: int = 0
    held_tokens: int = 0
    waiting_bytes: int = 0


class Chained(NamedTuple):
    """What a message adds to the chain.

    Attributes:
        before: How far the session had come.
        after: How far it is then.
        links: Its requests.
        enters_at: Its calls with an output: number of the request that sends it for the first time, or will.
    """

    before: Standing
    after: Standing
    links: tuple[ChainLink, ...]
    enters_at: Mapping[str, int]


def chained(message: Message, parts: Sequence[Part], before: Standing) -> Chained:
    """Follow what a message sent and what its calls brought. A user's does neither.

    A call belongs to the request that made it: of several of one message, the first that ended after the call; after
    the last one, to that. The next request sends its output.

    Args:
        message: The message.
        parts: Its parts, in any order.
        before: How far its session had come.
    """
    if message.role == "user":
        return Chained(before, before, (), _NONE)
    requests = _requests(message, parts)
    outputs = [part for part in parts if _has_output(part, message)]
    ends = [request.request_id for request in requests]
    owners = [min(bisect_right(ends, output.part_id) + 1, len(ends)) for output in outputs]
    links: list[ChainLink] = []
    standing = before
    for place, request in enumerate(requests, start=1):
        link = _link(message, request, standing)
        links.append(link)
        standing = Standing(
            number=link.number,
            prior=request,
            is_prior_summary=message.is_summary,
            stretch=link.stretch,
            held_tokens=link.held_tokens + link.entered_tokens,
            waiting_bytes=_bytes(output for output, owner in zip(outputs, owners, strict=True) if owner == place),
        )
    if not requests:
        standing = before._replace(
            is_summarised=before.is_summarised or message.is_summary,
            waiting_bytes=before.waiting_bytes + _bytes(outputs),
        )
    return Chained(
        before,
        standing,
        tuple(links),
        {output.part_id: before.number + owner + 1 for output, owner in zip(outputs, owners, strict=True)},
    )


def _requests(message: Message, parts: Iterable[Part]) -> list[_Request]:
    """List the requests of a message that sent anything that is known, as the view `requests` names them."""
    if not message.has_usage:
        return []
    rows: list[tuple[str, Message | Part]] = [(message.message_id, message)]
    if message.step_count > 0:
        ends = (part for part in parts if part.part_type == "step-finish" and not _is_rewritten(part, message))
        rows = sorted((part.part_id, part) for part in ends)
    return [request for request_id, row in rows if (request := _request(request_id, row)) is not None]


def _request(request_id: str, row: Message | Part) -> _Request | None:
    """Say what a request sent. None if that is nothing, or not known."""
    sent, read, written = row.input_tokens, row.cache_read_tokens, row.cache_write_tokens
    if sent is None or read is None or written is None or sent + read + written <= 0:
        return None
    output, reasoning = row.output_tokens, row.reasoning_in_output_tokens
    answer = None if output is None or reasoning is None else output - reasoning
    return _Request(request_id, read, read + written, sent + read + written, answer)


def _is_rewritten(part: Part, message: Message) -> bool:
    """Tell whether a part was deleted before its message: a rewritten message no longer has it."""
    return part.deleted_at is not None and (message.deleted_at is None or part.deleted_at < message.deleted_at)


def _has_output(part: Part, message: Message) -> bool:
    """Tell whether a part is a call with an output that later requests send. What has no trace has no rent."""
    is_call = part.part_type == "tool" and not part.is_orphan
    return is_call and bool(part.output_bytes) and not _is_rewritten(part, message)


def _bytes(outputs: Iterable[Part]) -> int:
    """Add up the sizes of outputs."""
    return sum(output.output_bytes or 0 for output in outputs)


def _link(message: Message, request: _Request, standing: Standing) -> ChainLink:
    """Put one request after those before it."""
    prior, is_compacted, is_collapsed, grown = standing.prior, False, False, 0
    if prior is not None:
        is_compacted = message.is_summary or standing.is_summarised or standing.is_prior_summary
        is_collapsed = prior.context_tokens >= SMALLEST_PREFIX and 2 * request.cache_read_tokens < prior.cached_tokens
        if prior.answer_tokens is not None:
            grown = request.context_tokens - prior.context_tokens - prior.answer_tokens
    is_broken = is_compacted or is_collapsed
    return ChainLink(
        request_id=request.request_id,
        session_id=message.session_id,
        number=standing.number + 1,
        prior_id=None if prior is None else prior.request_id,
        stretch=standing.stretch + is_broken,
        is_compacted=is_compacted,
        is_collapsed=is_collapsed,
        entered_bytes=standing.waiting_bytes,
        entered_tokens=min(max(grown, 0), standing.waiting_bytes // BYTES_A_TOKEN),
        held_tokens=0 if is_broken else standing.held_tokens,
    )
