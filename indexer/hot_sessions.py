"""The sessions that changed last, as they were derived: what the next change leaves alone is not read again.

Pure: nothing here reads or writes the index.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from indexer.changes import Changes
from indexer.exchanges import Exchange, Message, Part, Trace, assigned, exchange_of, traces_of
from indexer.report_rows import (
    Failure,
    SliceKey,
    ToolCall,
    UsageSlice,
    calls_of,
    failures_of,
    merged,
    slices_of,
)
from indexer.request_chain import Chained, ChainLink, Standing, chained
from indexer.rows import EpochMs, PartRow
from indexer.session_numbers import SessionNumbers, Tally, own_numbers, tally

MOST_ROWS = 60_000  # some 60 MB
MOST_ROWS_IN_BULK = 5_000  # a full pass reads one session after another
MOST_NUMBERS = MOST_PRICED = 5_000
MOST_LISTINGS = MOST_TREES = 100
MOST_PARTS = 10_000  # some 10 MB

# by source and session: message id to stamp, None where it may have changed again in the same moment
Listings = dict[tuple[int, str], dict[str, int | None]]
# what the list price of a request depends on, see `prices.costs_of`
Request = tuple[object, ...]
# a part with a hash of its text, None where it has none
PartVersion = tuple[PartRow, int | None]

_Row = TypeVar("_Row", Trace, Exchange, ToolCall, Failure, ChainLink)
_Kept = TypeVar("_Kept")


class _Derived(NamedTuple):
    """What follows from the messages of one exchange."""

    members: list[Message]
    exchange: Exchange
    tally: Tally
    calls: dict[str, ToolCall]
    failures: dict[str, Failure]
    slices: dict[SliceKey, UsageSlice]


class Held(NamedTuple):
    """What the index has of one session, by id."""

    traces: Mapping[str, Trace]
    exchanges: Mapping[str, Exchange]
    calls: Mapping[str, ToolCall]
    failures: Mapping[str, Failure]
    links: Mapping[str, ChainLink]
    slices: Mapping[SliceKey, UsageSlice]


class RowChanges(NamedTuple, Generic[_Row]):
    """What is different in one table.

    Attributes:
        rows: New ones, and such with other values than before.
        stale: Ids of rows that are gone or wrong.
    """

    rows: list[_Row]
    stale: list[str]


class SliceChanges(NamedTuple):
    """What is different among the slices of a session.

    Attributes:
        rows: All of the quarters of an hour in which any is different.
        stale: Those of these quarters that had slices before; None is that of messages without a time.
    """

    rows: list[UsageSlice]
    stale: set[EpochMs | None]


class Difference(NamedTuple):
    """What the index has to change so that derived rows are right again."""

    session_id: str
    traces: RowChanges[Trace]
    exchanges: RowChanges[Exchange]
    calls: RowChanges[ToolCall]
    failures: RowChanges[Failure]
    links: RowChanges[ChainLink]
    slices: SliceChanges


class SessionState:
    """The rows of one session and what follows from them.

    Attributes:
        rows: How many messages and parts it holds.
    """

    def __init__(self, session_id: str) -> None:
        """Begin with nothing."""
        self.session_id = session_id
        self.rows = 0
        self._messages: dict[str, Message] = {}
        self._parts: dict[str, list[Part]] = {}
        self._traces: dict[str, tuple[Trace, ...]] = {}  # by message
        self._chained: dict[str, Chained] = {}  # by message
        self._derived: dict[str, _Derived] = {}  # by exchange
        self._slices: Mapping[SliceKey, UsageSlice] = {}

    def replace(self, message_ids: Iterable[str], messages: Iterable[Message], parts: Iterable[Part]) -> None:
        """Put the rows of some messages in the place of what was there.

        Args:
            message_ids: Messages that may have changed, or left the session.
            messages: Those of them that are in the session now.
            parts: Their parts, in order; also such whose message does not exist.
        """
        for message_id in message_ids:
            self.rows -= (self._messages.pop(message_id, None) is not None) + len(self._parts.pop(message_id, ()))
        for message in messages:
            self._messages[message.message_id] = message
            self.rows += 1
        for part in parts:
            self._parts.setdefault(part.message_id, []).append(part)
            self.rows += 1

    def part_ids(self, message_ids: Iterable[str]) -> Iterator[str]:
        """Name the parts of some messages, as far as they are in the session."""
        for message_id in message_ids:
            yield from (part.part_id for part in self._parts.get(message_id, ()))

    def derive(self, changed: Collection[str], held: Held | None = None) -> Difference:
        """Derive anew what changed messages change.

        Args:
            changed: Ids of messages whose rows, or whose parts, changed.
            held: What the index has of the session. None: what was derived the last time.

        Returns:
            What differs from what the index has.
        """
        ordered = assigned(self._messages.values())
        fresh, traces_before = self._trace(ordered, changed)
        relinked, links_before = self._chain(ordered, changed)
        derived, derived_before = self._sum_up(ordered, fresh | relinked)
        before = held or Held(
            traces_before,
            {old.exchange.exchange_id: old.exchange for old in derived_before},
            {key: call for old in derived_before for key, call in old.calls.items()},
            {key: failure for old in derived_before for key, failure in old.failures.items()},
            links_before,
            self._slices,
        )
        self._slices = merged(each for found in self._derived.values() for each in found.slices.values())
        return Difference(
            session_id=self.session_id,
            traces=_changes(
                {trace.trace_id: trace for message_id in fresh for trace in self._traces[message_id]}, before.traces
            ),
            exchanges=_changes({new.exchange.exchange_id: new.exchange for new in derived}, before.exchanges),
            calls=_changes({key: call for new in derived for key, call in new.calls.items()}, before.calls),
            failures=_changes({key: row for new in derived for key, row in new.failures.items()}, before.failures),
            links=_changes(
                {link.request_id: link for message_id in relinked for link in self._chained[message_id].links},
                before.links,
            ),
            slices=_slice_changes(self._slices, before.slices),
        )

    def _trace(
        self, ordered: Iterable[tuple[Message, str]], changed: Collection[str]
    ) -> tuple[set[str], Mapping[str, Trace]]:
        """Derive the events of messages that changed, or that have another place or exchange than before.

        Returns:
            Ids of these messages; events of before that may be there no more, by id.
        """
        before, self._traces = self._traces, {}
        fresh: set[str] = set()
        position = 1
        for message, exchange_id in ordered:
            message_id = message.message_id
            traces = before.get(message_id)
            is_there = traces and traces[0].position == position and traces[0].exchange_id == exchange_id
            if traces is None or message_id in changed or (traces and not is_there):
                traces = traces_of(message, self._parts.get(message_id, ()), exchange_id, position)
                fresh.add(message_id)
            self._traces[message_id] = traces
            position += len(traces)
        replaced = _replaced(before, self._traces)
        return fresh, {trace.trace_id: trace for traces in replaced for trace in traces}

    def _chain(
        self, ordered: Iterable[tuple[Message, str]], changed: Collection[str]
    ) -> tuple[set[str], Mapping[str, ChainLink]]:
        """Follow the requests of messages that changed, or before which the session had come less or further.

        Returns:
            Ids of these messages; links of before that may be there no more, by id.
        """
        before, self._chained = self._chained, {}
        relinked: set[str] = set()
        standing = Standing()
        for message, _ in ordered:
            message_id = message.message_id
            if message.role == "user":
                continue
            found = before.get(message_id)
            if found is None or message_id in changed or found.before != standing:
                found = chained(message, self._parts.get(message_id, ()), standing)
                relinked.add(message_id)
            self._chained[message_id] = found
            standing = found.after
        replaced = _replaced(before, self._chained)
        return relinked, {link.request_id: link for found in replaced for link in found.links}

    def _sum_up(
        self, ordered: Iterable[tuple[Message, str]], fresh: Collection[str]
    ) -> tuple[list[_Derived], list[_Derived]]:
        """Derive the exchanges that hold other messages than before, or messages that were looked at.

        Returns:
            These exchanges; those of before that may be there no more.
        """
        members: dict[str, list[Message]] = {}
        for message, exchange_id in ordered:
            members.setdefault(exchange_id, []).append(message)
        before, self._derived = self._derived, {}
        new: list[_Derived] = []
        for number, (exchange_id, messages) in enumerate(members.items(), start=1):
            derived = before.get(exchange_id)
            is_same = derived and derived.exchange.number == number and derived.members == messages
            if derived is None or not is_same or any(message.message_id in fresh for message in messages):
                derived = self._derive(exchange_id, messages, number)
                new.append(derived)
            self._derived[exchange_id] = derived
        return new, _replaced(before, self._derived)

    def _derive(self, exchange_id: str, messages: list[Message], number: int) -> _Derived:
        """Derive one exchange."""
        traces = [trace for message in messages for trace in self._traces[message.message_id]]
        parts = [part for message in messages for part in self._parts.get(message.message_id, ())]
        exchange = exchange_of(exchange_id, messages, self._parts, traces, number)
        return _Derived(
            messages,
            exchange,
            tally(messages, parts, exchange),
            {call.part_id: call for call in calls_of(exchange_id, messages, self._parts, self._enters_at(messages))},
            {failure.failure_id: failure for failure in failures_of(exchange, messages, self._parts)},
            slices_of(messages, self._parts),
        )

    def _enters_at(self, messages: Iterable[Message]) -> dict[str, Mapping[str, int]]:
        """Say which requests send the outputs of calls for the first time, by message and call."""
        found = ((message.message_id, self._chained.get(message.message_id)) for message in messages)
        return {message_id: chained.enters_at for message_id, chained in found if chained is not None}

    def numbers(self) -> SessionNumbers:
        """Add up what was derived of this session alone."""
        orphaned = self._parts.keys() - self._messages.keys()
        without_message = [part for message_id in orphaned for part in self._parts[message_id]]
        tallies = [derived.tally for derived in self._derived.values()]
        return own_numbers(self.session_id, tallies, len(self._derived), without_message)


def _replaced(before: Mapping[str, _Kept], now: Mapping[str, _Kept]) -> list[_Kept]:
    """Return what was there before, and is not any more: what is left alone is the same object."""
    return [old for key, old in before.items() if now.get(key) is not old]


def _changes(wanted: Mapping[str, _Row], held: Mapping[str, _Row]) -> RowChanges[_Row]:
    """Compare rows by id."""
    return RowChanges(
        [row for key, row in wanted.items() if held.get(key) != row],
        [key for key, row in held.items() if wanted.get(key) != row],
    )


def _slice_changes(wanted: Mapping[SliceKey, UsageSlice], held: Mapping[SliceKey, UsageSlice]) -> SliceChanges:
    """Compare slices: those of one session may be a thousand, of which a change makes one or two different."""
    quarters = {row.quarter_at for key, row in wanted.items() if held.get(key) != row}
    quarters |= {row.quarter_at for key, row in held.items() if wanted.get(key) != row}
    return SliceChanges(
        [row for row in wanted.values() if row.quarter_at in quarters],
        {row.quarter_at for row in held.values() if row.quarter_at in quarters},
    )


class Trees(NamedTuple):
    """What the numbers of sessions with all below them depend on.

    Attributes:
        subtrees: Session to all that exist of its subtree, itself first: for sessions that changed, and all above them.
        child_counts: Session to the number of its direct children.
    """

    subtrees: dict[str, list[str]]
    child_counts: dict[str, int]


class HotSessions:
    """Remembers the sessions that changed last, and all names, as the index has them.

    To be forgotten when a transaction fails: then it knows of rows that were never written.

    Attributes:
        most_rows: How many rows to remember in all; the session that changed last is always remembered.
        names: Projects, agents, models and tools: table to keys. Empty until they were read.
        numbers: The numbers of sessions, those below and above the remembered ones among them.
        listings: How the messages of sessions looked when they were read last.
        parts: Parts of messages that changed last, by id.
        priced: What requests cost at list prices that were looked up last.
        trees: Sessions of which the index has the row, of OpenCode and not deleted, with the trees that they are in.
        doubtful: All messages that may have orphaned parts, and all owners of documents that may be in the ledger. None
            until they were read.
    """

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        """Begin with nothing."""
        self.most_rows = most_rows
        self.names: dict[str, set[tuple[str | None, ...]]] = {}
        self.numbers: dict[str, SessionNumbers] = {}
        self.listings: Listings = {}
        self.parts: dict[str, PartVersion] = {}
        self.priced: dict[Request, Decimal | None] = {}
        self.trees: dict[str, Trees] = {}
        self.doubtful: set[str] | None = None
        self._states: OrderedDict[str, SessionState] = OrderedDict()
        self._empty: set[str] = set()  # sessions without messages and parts

    def take(self, session_id: str) -> SessionState | None:
        """Return what is known of a session, for a change."""
        if session_id in self._empty:
            self._empty.remove(session_id)
            return SessionState(session_id)
        return self._states.pop(session_id, None)

    def keep(self, states: Iterable[SessionState]) -> None:
        """Remember sessions after a change, and forget those that did not change for the longest time."""
        for state in states:
            if state.rows:
                self._states[state.session_id] = state
            else:
                self._empty.add(state.session_id)
        rows = sum(state.rows for state in self._states.values())
        while rows > self.most_rows and len(self._states) > 1:
            rows -= self._states.popitem(last=False)[1].rows
        if len(self.numbers) > MOST_NUMBERS:
            self.numbers.clear()
        if len(self.trees) > MOST_TREES:
            self.trees.clear()
        if len(self.parts) > MOST_PARTS:
            self.parts.clear()
        if len(self.priced) > MOST_PRICED:
            self.priced.clear()

    def take_listings(self, changes: Changes) -> Listings:
        """Return how touched sessions looked, and forget it: it is to be noted anew once their messages were read."""
        if len(self.listings) > MOST_LISTINGS:
            self.listings.clear()
        touched = [key for key in self.listings if key[1] in changes.touched_sessions]
        return {key: self.listings.pop(key) for key in touched}

    def doubt(self, written: Mapping[str, str], gone: Collection[str]) -> None:
        """Note messages that were looked at by name, not with their session: its listing tells nothing about them.

        Args:
            written: Message id to session id of those that the index has anew.
            gone: Ids of those that it has no more.
        """
        of_session: dict[str, list[str]] = {}
        for message_id, session_id in written.items():
            of_session.setdefault(session_id, []).append(message_id)
        for (_, session_id), listing in self.listings.items():
            listing |= dict.fromkeys(of_session.get(session_id, ()))
            listing |= dict.fromkeys(listing.keys() & gone)

    def forget(self) -> None:
        """Forget everything."""
        self.names.clear()
        self.numbers.clear()
        self.listings.clear()
        self.parts.clear()
        self.priced.clear()
        self.trees.clear()
        self.doubtful = None
        self._states.clear()
        self._empty.clear()
