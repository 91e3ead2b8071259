"""What the rows of sessions in OpenCode's database looked like: a change is found without listing them all again.

The client indexes no update time, so every row of a session has to be looked at. To add 25,000 of them up inside SQLite
takes an eighth of the time that it takes to fetch and compare them.
"""

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson

from indexer.exceptions import SourceUnusable
from indexer.sources import Inventory
from indexer.sources.sqlite_file import (
    PLACE,
    ROWS_PER_READ,
    UPDATED,
    Numbers,
    SqliteFile,
    Value,
    combined_stamp,
    id_of,
    note_stamps,
    row_stamp,
    tables_of_messages,
)

MOST_LOOKS = 100
MOST_OWNERS = 60_000  # some 20 MB
# The client takes the time, then waits up to 5 s for other writers. Whatever comes later still, the sums tell.
LATE_MS = 10_000

Sums = tuple[int, int, int]  # of all rows of a table: how many, sums of update times and places


@dataclass(slots=True)
class _Look:
    """What the rows of one session looked like.

    Attributes:
        at_ms: When.
        numbers: By table: message to the numbers of its rows.
        sums: By table.
    """

    at_ms: int
    numbers: list[dict[Value, Numbers]]
    sums: list[Sums]

    @property
    def owners(self) -> int:
        """Count what is remembered."""
        return sum(map(len, self.numbers))


class SessionLooks:
    """Remembers what the rows of the sessions looked like that were asked for last.

    What keeps all sums is not seen here, but by who compares everything: a part that goes to another message without a
    new update time. No client writes so.
    """

    def __init__(self, file: SqliteFile, message_table: str, part_table: str | None = None) -> None:
        """Begin with nothing.

        Args:
            file: The database.
            message_table: Of the messages.
            part_table: Of their parts, if these are rows of their own.
        """
        self._file = file
        self._tables = tables_of_messages(message_table, part_table)
        self._looks: OrderedDict[str, _Look] = OrderedDict()

    def list_stamps(self, found: Inventory, session_ids: Iterable[str]) -> set[str]:
        """Look at all rows of some sessions, and remember them.

        Args:
            found: Takes the stamps of messages.
            session_ids: Of the sessions.

        Returns:
            The messages that rows are of.
        """
        every: dict[str, list[int | None]] = {}
        for session_id in session_ids:
            self._looks.pop(session_id, None)
            look = _Look(time.time_ns() // 1_000_000, [], [])
            for table, owner in self._tables:
                found_numbers = self._file.row_numbers(table, owner, session_id=session_id)
                look.numbers.append(found_numbers)
                look.sums.append(_summed(found_numbers.values()))
                for value, numbers in found_numbers.items():
                    if (message_id := id_of(value)) is not None:
                        every.setdefault(message_id, []).append(row_stamp(numbers, look.at_ms))
            self._remember(session_id, look)
        note_stamps(found, every)
        return {*every}

    def renewed(self, session_id: str, doubtful: Collection[str]) -> dict[str, int | None] | None:
        """Do what `Source.renewed` promises, for sessions that were looked at before.

        All rows are added up, and those that were updated lately are looked at. Where the sums are those of before,
        with the new rows in the places of the old ones, nothing else was written, came or went.
        """
        look = self._looks.pop(session_id, None)
        if look is None:
            return None
        now_ms = time.time_ns() // 1_000_000
        try:
            with self._file.snapshot():
                sums, recent = self._sums(session_id, look.at_ms - LATE_MS)
                named = [*{*doubtful, *recent}]
                if len(named) > ROWS_PER_READ:
                    return None
                found = [self._file.row_numbers(table, owner, named, session_id) for table, owner in self._tables]
        except (SourceUnusable, orjson.JSONDecodeError):  # whoever lists everything says what is wrong
            return None
        keys = [message_id.encode() for message_id in named]
        for before, now, held, total in zip(look.numbers, found, look.sums, sums, strict=True):
            replaced = _summed(before.pop(key) for key in keys if key in before)
            if _added(total, replaced) != _added(held, _summed(now.values())):
                return None
            before |= now
        if not {*found[-1]} <= {*found[0]}:
            return None  # parts of a message that is not there, or in another session
        self._remember(session_id, _Look(now_ms, look.numbers, sums))
        return {
            message_id: combined_stamp(row_stamp(rows[key], now_ms) for rows in found if key in rows)
            for message_id, key in zip(named, keys, strict=True)
            if key in found[0]
        }

    def _sums(self, session_id: str, since_ms: int) -> tuple[list[Sums], set[str]]:
        """Add up all rows of a session, table by table, and name the messages of those updated since a moment."""
        sums: list[Sums] = []
        recent: set[str] = set()
        for table, owner in self._tables:
            ((count, updated, places, owners),) = self._file.tuples(
                f"""
                SELECT count(*), sum({UPDATED}), sum({PLACE}),
                       json_group_array(DISTINCT CASE WHEN typeof({owner}) = 'text' THEN {owner} ELSE '' END)
                           FILTER (WHERE time_updated > ?)
                FROM {table} WHERE session_id = ?
                """,
                [since_ms, session_id],
            )
            sums.append((_whole(count), _whole(updated), _whole(places)))
            recent |= set(orjson.loads(owners if isinstance(owners, bytes) else b"[]"))
        return sums, recent

    def _remember(self, session_id: str, look: _Look) -> None:
        """Remember a look, and forget the oldest ones."""
        self._looks[session_id] = look
        if len(self._looks) > MOST_LOOKS:
            self._looks.popitem(last=False)
        owners = sum(each.owners for each in self._looks.values())
        while owners > MOST_OWNERS and len(self._looks) > 1:
            owners -= self._looks.popitem(last=False)[1].owners


def _summed(rows: Iterable[Numbers]) -> Sums:
    """Add up the numbers of rows; what SQLite cannot add up counts as nothing, as it does there."""
    count = updated = places = 0
    for number, _, update, place in rows:
        count += _whole(number)
        updated += _whole(update)
        places += _whole(place)
    return count, updated, places


def _whole(value: Value) -> int:
    """Take a number as SQLite gives it."""
    return value if isinstance(value, int) else 0


def _added(one: Sums, other: Sums) -> Sums:
    """Add up two sums."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
