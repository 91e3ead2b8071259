"""What `agentsview` counts: its usage report, and the messages in its own database."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from tests.comparison.usage import Counted, Message, Printed, Usage, usage_of

UNREAD = "sessions left out as one of their texts holds half a character (a lone surrogate)"
OLD_COPY = "a session that both storages hold is read from the JSON tree, without what the database alone has"
BROKEN_PARTS = "messages are left out whose text or tool call is in a part with half a character (a lone surrogate)"
NO_CONTENT = "messages without text and without a tool call are left out"

_FIELDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_UNREAD_PART = re.compile(r"sync error: decoding opencode part file \S*?/part/(\w+)/")


def read_printed(output: str, database: Path) -> Printed:
    """Read a report of `agentsview usage daily --json`, and how many sessions and messages its database lists."""
    report = json.loads(output)
    totals = report["totals"]
    names = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheCreationTokens")
    cost = Decimal(totals["totalCost"]["microdollars"]).scaleb(-6)
    with closing(_open(database)) as con:
        (sessions,) = con.execute("SELECT count(*) FROM sessions").fetchone()
        (messages,) = con.execute("SELECT count(*) FROM messages").fetchone()
    return Printed(usage_of(totals[name] for name in names), None, cost, sessions, messages)


def count(data_dir: Path, database: Path, log: Path, output: str, messages: Sequence[Message]) -> Counted:
    """Read what it counted for each message.

    Args:
        data_dir: The storage that it read.
        database: Its own, made by `agentsview sync`.
        log: What it wrote down about this.
        output: What its usage report printed.
        messages: All of ours, to tell why it lacks some.
    """
    with closing(_open(database)) as con:
        rows = con.execute("SELECT source_uuid, token_usage FROM messages").fetchall()
        sessions = con.execute("SELECT id, file_path FROM sessions").fetchall()
    unread = set(_UNREAD_PART.findall(log.read_text(encoding="utf-8", errors="replace")))
    unread_sessions = {message.session_id for message in messages if message.message_id in unread}
    path_of = {session_id.removeprefix("opencode:"): path for session_id, path in sessions}
    tree_sessions = {session_id for session_id, path in path_of.items() if ".db#" not in path}
    usages = {message_id: _usage(tokens) for message_id, tokens in rows}
    causes = ((message.message_id, _absence(message, unread_sessions, tree_sessions)) for message in messages)
    absent = {message_id: cause for message_id, cause in causes if cause}
    others = {message.message_id for message in messages} - usages.keys() - absent.keys()
    return Counted(
        read_printed(output, database),
        usages,
        frozenset(path_of),
        absent | dict.fromkeys(_with_broken_parts(data_dir / "opencode.db", others), BROKEN_PARTS),
        counts_reasoning=False,
        reads_cost=False,
    )


def _absence(message: Message, unread_sessions: set[str], tree_sessions: set[str]) -> str | None:
    """Tell what may make it leave out a message; None: nothing that is known."""
    if message.session_id in unread_sessions:
        return UNREAD
    if not message.has_content:
        return NO_CONTENT
    return OLD_COPY if message.generation > 1 and message.session_id in tree_sessions else None


def _with_broken_parts(storage: Path, message_ids: Iterable[str]) -> Iterator[str]:
    """Yield those of some messages that have a part which is no Unicode text: it takes such a part for empty."""
    if not storage.is_file():
        return
    with closing(_open(storage)) as con:
        for message_id in message_ids:
            parts = con.execute("SELECT data FROM part WHERE message_id = ?", (message_id,)).fetchall()
            if not all(_is_unicode(data) for (data,) in parts):
                yield message_id


def _is_unicode(data: str) -> bool:
    """Tell whether all texts of a document are whole characters."""
    try:
        json.dumps(json.loads(data), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class Showing:
    """Tells whether its database has all that a finished one has: sessions, their messages, their output."""

    def __init__(self, database: Path, finished: Path) -> None:
        """Name a database, which may not exist yet, and a finished one of the same storage."""
        self._database = database
        self._final = _sums(finished)

    def __call__(self) -> bool:
        """Look."""
        try:
            return _sums(self._database) == self._final
        except sqlite3.OperationalError:  # not there yet, or without tables
            return False


def _sums(database: Path) -> tuple[int, int, int]:
    """Add up what its list of sessions says; cheap enough to ask again and again."""
    sql = "SELECT count(*), sum(message_count), sum(total_output_tokens) FROM sessions"
    with closing(_open(database)) as con:
        sessions, messages, output = con.execute(sql).fetchone()
    return sessions, messages, output


def _usage(tokens: str) -> Usage:
    """Read the usage of one message; its reports read counts below zero as zero."""
    found = json.loads(tokens) if tokens else {}
    return usage_of(int(found.get(name, 0)) for name in _FIELDS).without_negatives()


def _open(database: Path) -> sqlite3.Connection:
    """Open its database for reading."""
    return sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
