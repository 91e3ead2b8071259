"""What an index of a corpus must say, counted from what was generated and never from what was written.

The rules are those of docs/metrics.md, applied to facts that the generator knows: which step opened, which message is
the copy of which, how its client counts reasoning.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from tests.corpus.model import Json, Message, Session, Store, Usage

ITEM_TYPES = ("text", "reasoning", "tool")  # what `session_message` keeps of a message's parts


@dataclass(slots=True)
class Spend:
    """Sums of tokens and cost."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0
    total: int = 0
    cost_nano: int = 0

    def add(self, usage: Usage, *, is_reasoning_inside: bool) -> None:
        """Add one request; reasoning inside output is not counted a second time in the total."""
        self.input += usage.input
        self.output += usage.output
        self.reasoning += usage.reasoning
        self.cache_read += usage.cache_read
        self.cache_write += usage.cache_write
        self.total += usage.input + usage.output + usage.cache_read + usage.cache_write
        self.total += 0 if is_reasoning_inside else usage.reasoning
        self.cost_nano += usage.cost_nano

    def as_json(self) -> Json:
        """Write it as `python -m indexer totals --json` does."""
        names = ("input", "output", "reasoning", "cache_read", "cache_write", "total")
        return {
            "tokens": {name: getattr(self, name) for name in names},
            "cost_recorded_usd": usd_text(self.cost_nano),
        }


@dataclass(slots=True)
class SessionTruth:
    """Own and inherited numbers of a session."""

    own: Spend = field(default_factory=Spend)
    inherited: Spend = field(default_factory=Spend)


@dataclass(slots=True)
class Truth:
    """The right totals of a corpus.

    Attributes:
        contents: How often each kind of event, and of session, was generated.
        orphan_parts: Parts whose message is gone; `parts` holds them, too.
        files: Documents written: files of the tree or rows, of all stores together.
        document_bytes: Their size.
    """

    sessions: int = 0
    messages: int = 0
    parts: int = 0
    orphan_parts: int = 0
    exchanges: int = 0
    exchange_traces: int = 0
    fork_copies: int = 0
    total: Spend = field(default_factory=Spend)
    per_session: dict[str, SessionTruth] = field(default_factory=dict)
    per_model: dict[str, Spend] = field(default_factory=dict)
    contents: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    document_bytes: int = 0

    def add(self, session: Session) -> None:
        """Count one session with everything in it."""
        self.sessions += 1
        self.contents.update(session.contents)
        sums = self.per_session[session.session_id] = SessionTruth()
        for message in session.messages:
            if message.is_lost:
                self.parts += len(message.parts)
                self.orphan_parts += len(message.parts)
            else:
                self._add_message(session, message, sums)

    def totals(self) -> Json:
        """Write what `python -m indexer totals --json` must print, but for the revision and what is deleted."""
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "parts": self.parts,
            "exchanges": self.exchanges,
            "exchange_traces": self.exchange_traces,
            "fork_copies": self.fork_copies,
            **self.total.as_json(),
            "per_session": {
                session_id: {
                    "root_tokens": sums.own.input + sums.own.output,
                    **sums.own.as_json(),
                    "inherited": sums.inherited.as_json(),
                }
                for session_id, sums in sorted(self.per_session.items())
            },
            "per_model": {model: spend.as_json() for model, spend in sorted(self.per_model.items())},
        }

    def _add_message(self, session: Session, message: Message, sums: SessionTruth) -> None:
        """Count one message from the one store whose copy of it counts."""
        store = chosen_store(message)
        items = [part for part in message.parts if part.type in ITEM_TYPES]
        is_rows = store == Store.SESSION_MESSAGE
        self.messages += 1
        self.exchanges += message.opens_exchange
        if is_rows:
            count = len(items) if message.type == "assistant" else 0
            self.parts += count
            self.exchange_traces += 1 + count + message.has_error
        else:
            steps = sum(part.type in ("step-start", "step-finish") for part in message.parts)
            self.parts += len(message.parts)
            self.exchange_traces += len(message.parts) - steps + message.step_traces + message.has_error
        usages = [message.recorded] if is_rows else message.steps
        # a request that was copied is the same request: it counts where it was made
        is_copy = message.origin is not None and not message.recorded.is_zero
        self.fork_copies += is_copy
        for usage in usages:
            is_inside = is_reasoning_inside(usage, message, session, store)
            (sums.inherited if is_copy else sums.own).add(usage, is_reasoning_inside=is_inside)
            if not is_copy:
                self.total.add(usage, is_reasoning_inside=is_inside)
        if not is_copy and (message.type == "assistant" or not message.recorded.is_zero):
            model = self.per_model.setdefault("/".join(message.model or ("unknown", "unknown")), Spend())
            for usage in usages:
                model.add(usage, is_reasoning_inside=is_reasoning_inside(usage, message, session, store))


def chosen_store(message: Message) -> Store:
    """Name the store whose copy of a message counts.

    Rows of 1.18 before the tree, unless the tree's copy records later times; either before `session_message` if it is
    finished there, as only there it has its steps; else `session_message`.
    """
    with_parts = [store for store in message.stores if store != Store.SESSION_MESSAGE and store != message.stale_in]
    if Store.SESSION_MESSAGE in message.stores and message.stale_in != Store.SESSION_MESSAGE:
        is_answer = message.type == "assistant" and message.is_finished
        return with_parts[-1] if with_parts and is_answer else Store.SESSION_MESSAGE
    return with_parts[-1]


def is_reasoning_inside(usage: Usage, message: Message, session: Session, store: Store) -> bool:
    """Tell whether `output` of a request counts as including `reasoning`.

    A recorded total tells. Without one it is inside in the tree, and in rows that the migration wrote for a session of
    an old client, unless there is more reasoning than output; else apart.
    """
    if usage.has_total and store != Store.SESSION_MESSAGE:
        return usage.is_reasoning_inside
    is_migrated = store == Store.SQLITE and session.client.store == Store.JSON and written_by(message) == Store.JSON
    return (store == Store.JSON or is_migrated) and usage.reasoning <= usage.output


def written_by(message: Message) -> Store:
    """Name the store that a message was first written to; a fork's copy is written when it is made."""
    return message.stores[0]


def usd_text(nano: int) -> str:
    """Write an amount of 1e-9 USD as a plain decimal without trailing zeros."""
    text = f"{Decimal(nano).scaleb(-9):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
