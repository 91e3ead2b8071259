"""The sessions that changed last, as they were derived: what the next change leaves alone is not read again.

Pure: nothing here reads or writes the index.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from indexer.changes import Changes
from indexer.exchanges import Exchange, Members, Message, Order, Part, Trace, exchange_of, traces_of
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
from indexer.session_numbers import SessionNumbers, Tally, added, own_numbers, tally

MOST_ROWS = 60_000  # some 60 MB
MOST_ROWS_IN_BULK = 5_000  # a full pass reads one session after another
MOST_NUMBERS = MOST_PRICED = 5_000
MOST_LISTINGS = MOST_TREES = 100
MOST_PARTS = 10_000  # some 10 MB

_BLOCK = 32  # exchanges whose sum is kept: of a thousand, a change adds up these, and thirty sums

# by source and session: message id to stamp, None where it may have changed again in the same moment
Listings = dict[tuple[int, str], dict[str, int | None]]
# what the list price of a request depends on, see `prices.costs_of`
Request = tuple[object, ...]
# a part with a hash of its text, None where it has none
PartVersion = tuple[PartRow, int | None]

_Row = TypeVar("_Row", Trace, Exchange, ToolCall, Failure, ChainLink)


class _Followed(NamedTuple):
    """What follows from one message, and from how far its session had come before it.

    Attributes:
        position: In its session, of its first event.
    """

    exchange_id: str
    position: int
    traces: tuple[Trace, ...]
    chained: Chained


class _Derived(NamedTuple):
    """What follows from the messages of one exchange."""

    members: Members
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

    A change costs what it changes: a session may have a thousand times as many messages.

    Attributes:
        rows: How many messages and parts it holds.
    """

    def __init__(self, session_id: str) -> None:
        """Begin with nothing."""
        self.session_id = session_id
        self.rows = 0
        self._messages: dict[str, Message] = {}
        self._parts: dict[str, list[Part]] = {}
        self._changed: dict[str, Message | None] = {}  # messages as they were when they were derived from last
        self._order = Order(())
        self._followed: dict[str, _Followed] = {}  # by message
        self._derived: dict[str, _Derived] = {}  # by exchange
        self._shares: dict[EpochMs | None, dict[str, list[UsageSlice]]] = {}  # by quarter of an hour and exchange
        self._sums: dict[int, Tally] = {}  # of exchanges with successive numbers

    def replace(self, message_ids: Iterable[str], messages: Iterable[Message], parts: Iterable[Part]) -> None:
        """Put the rows of some messages in the place of what was there.

        Args:
            message_ids: Messages that may have changed, or left the session.
            messages: Those of them that are in the session now.
            parts: Their parts, in order; also such whose message does not exist.
        """
        for message_id in message_ids:
            before = self._messages.pop(message_id, None)
            self._changed.setdefault(message_id, before)
            self.rows -= (before is not None) + len(self._parts.pop(message_id, ()))
        for message in messages:
            self._changed.setdefault(message.message_id, None)
            self._messages[message.message_id] = message
            self.rows += 1
        for part in parts:
            self._parts.setdefault(part.message_id, []).append(part)
            self.rows += 1

    def part_ids(self, message_ids: Iterable[str]) -> Iterator[str]:
        """Name the parts of some messages, as far as they are in the session."""
        for message_id in message_ids:
            yield from (part.part_id for part in self._parts.get(message_id, ()))

    def derive(self, held: Held | None = None) -> Difference:
        """Derive anew what follows from messages that were replaced.

        Args:
            held: What the index has of the session. None: what was derived the last time.

        Returns:
            What differs from what the index has.
        """
        changed, self._changed = self._changed, {}
        places, regrouped = self._arrange(changed)
        followed, followed_before, touched = self._follow(places, changed)
        derived, derived_before = self._sum_up(dict.fromkeys((*touched, *regrouped)))
        slices, slices_before = self._merge(derived, derived_before)
        before = held or Held(
            {trace.trace_id: trace for old in followed_before for trace in old.traces},
            {old.exchange.exchange_id: old.exchange for old in derived_before},
            {key: call for old in derived_before for key, call in old.calls.items()},
            {key: failure for old in derived_before for key, failure in old.failures.items()},
            {link.request_id: link for old in followed_before for link in old.chained.links},
            slices_before,
        )
        return Difference(
            session_id=self.session_id,
            traces=_changes({trace.trace_id: trace for new in followed for trace in new.traces}, before.traces),
            exchanges=_changes({new.exchange.exchange_id: new.exchange for new in derived}, before.exchanges),
            calls=_changes({key: call for new in derived for key, call in new.calls.items()}, before.calls),
            failures=_changes({key: row for new in derived for key, row in new.failures.items()}, before.failures),
            links=_changes({link.request_id: link for new in followed for link in new.chained.links}, before.links),
            slices=_slice_changes(slices, before.slices),
        )

    def _arrange(self, changed: Mapping[str, Message | None]) -> tuple[Iterable[int], list[str]]:
        """Put the messages in order.

        Returns:
            Places of messages that may follow from something else now; exchanges that changed their number, or lost
            messages.
        """
        places = self._order.update((before, self._messages.get(key)) for key, before in changed.items())
        if places is not None:
            return places, []
        self._order = Order(self._messages.values())
        members = self._order.members
        regrouped = [key for key, known in self._derived.items() if members.get(key) != known.members]
        return range(len(self._order.messages)), regrouped

    def _follow(
        self, places: Iterable[int], changed: Iterable[str]
    ) -> tuple[list[_Followed], list[_Followed], list[str]]:
        """Go through the session from each of some places on, as far as it comes to a message otherwise than before.

        Returns:
            What follows from the messages that were looked at; what did before; their exchanges.
        """
        before = [old for message_id in changed if (old := self._followed.pop(message_id, None))]
        new: list[_Followed] = []
        exchange_ids: list[str] = []
        messages, todo = self._order.messages, sorted(places, reverse=True)
        while todo:
            place = todo.pop()
            message, exchange_id = messages[place]
            known = self._followed.get(message.message_id)
            found = self._look_at(place, known)
            if found is known:
                continue
            self._followed[message.message_id] = found
            new.append(found)
            exchange_ids.append(exchange_id)
            if known:
                before.append(known)
            following = place + 1
            if following < len(messages) and (not todo or todo[-1] != following):
                todo.append(following)
        return new, before, exchange_ids

    def _look_at(self, place: int, known: _Followed | None) -> _Followed:
        """Say what follows from one message. What is known stays as far as the session comes to it as before."""
        message, exchange_id = self._order.messages[place]
        if place == 0:
            position, standing = 1, Standing()
        else:
            previous = self._followed[self._order.messages[place - 1][0].message_id]
            position, standing = previous.position + len(previous.traces), previous.chained.after
        is_there = known and known.position == position and known.exchange_id == exchange_id
        traces = known.traces if known and is_there else None
        link = known.chained if known and known.chained.before == standing else None
        if known and traces is not None and link:
            return known
        parts = self._parts.get(message.message_id, ())
        return _Followed(
            exchange_id,
            position,
            traces_of(message, parts, exchange_id, position) if traces is None else traces,
            link or chained(message, parts, standing),
        )

    def _sum_up(self, exchange_ids: Iterable[str]) -> tuple[list[_Derived], list[_Derived]]:
        """Derive some exchanges, or forget them if they are there no more.

        Returns:
            These exchanges; what they were before.
        """
        new: list[_Derived] = []
        before: list[_Derived] = []
        for exchange_id in exchange_ids:
            if old := self._derived.pop(exchange_id, None):
                before.append(old)
                self._sums.pop((old.members.number - 1) // _BLOCK, None)
            if members := self._order.members.get(exchange_id):
                self._derived[exchange_id] = self._derive(exchange_id, members)
                new.append(self._derived[exchange_id])
                self._sums.pop((members.number - 1) // _BLOCK, None)
        return new, before

    def _derive(self, exchange_id: str, members: Members) -> _Derived:
        """Derive one exchange."""
        messages = [self._messages[message_id] for message_id in members.message_ids]
        followed = [self._followed[message_id] for message_id in members.message_ids]
        traces = [trace for found in followed for trace in found.traces]
        parts = [part for message in messages for part in self._parts.get(message.message_id, ())]
        enters_at = {
            message_id: found.chained.enters_at for message_id, found in zip(members.message_ids, followed, strict=True)
        }
        exchange = exchange_of(exchange_id, messages, self._parts, traces, members.number)
        return _Derived(
            members._replace(message_ids=members.message_ids.copy()),
            exchange,
            tally(messages, parts, exchange),
            {call.part_id: call for call in calls_of(exchange_id, messages, self._parts, enters_at)},
            {failure.failure_id: failure for failure in failures_of(exchange, messages, self._parts)},
            slices_of(messages, self._parts),
        )

    def _merge(
        self, new: Sequence[_Derived], before: Sequence[_Derived]
    ) -> tuple[dict[SliceKey, UsageSlice], dict[SliceKey, UsageSlice]]:
        """Add up the slices of the quarters of an hour in which exchanges have, or had, a share.

        Returns:
            These slices; what they were before.
        """
        quarters = {row.quarter_at for derived in (*new, *before) for row in derived.slices.values()}
        slices_before = self._merged(quarters)
        for old in before:
            for row in old.slices.values():
                self._shares[row.quarter_at].pop(old.exchange.exchange_id, None)
        for derived in new:
            for row in derived.slices.values():
                shares = self._shares.setdefault(row.quarter_at, {})
                shares.setdefault(derived.exchange.exchange_id, []).append(row)
        return self._merged(quarters), slices_before

    def _merged(self, quarters: Iterable[EpochMs | None]) -> dict[SliceKey, UsageSlice]:
        """Add up the slices of some quarters of an hour."""
        shares = [share for quarter_at in quarters for share in self._shares.get(quarter_at, {}).values()]
        return merged(row for share in shares for row in share)

    def numbers(self) -> SessionNumbers:
        """Add up what was derived of this session alone."""
        exchange_ids = list(self._order.members)
        for block, start in enumerate(range(0, len(exchange_ids), _BLOCK)):
            if block not in self._sums:
                some = exchange_ids[start : start + _BLOCK]
                self._sums[block] = added([self._derived[exchange_id].tally for exchange_id in some])
        orphaned = self._parts.keys() - self._messages.keys()
        without_message = [part for message_id in orphaned for part in self._parts[message_id]]
        return own_numbers(self.session_id, added(list(self._sums.values())), len(exchange_ids), without_message)


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
