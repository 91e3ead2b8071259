"""Fill what an index lacks because it was made before a field existed, from the rows that it holds.

A full pass does so for whatever it reads again; this reaches all sessions, also those whose source is gone. What only a
document tells (a new field of it) cannot be filled here: for that the parser's version rises (parsers.PARSER_VERSION).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from indexer import derive, late_columns, price_changes
from indexer.database import Database
from indexer.publish import Publisher

log = logging.getLogger(__name__)

SESSIONS_PER_TRANSACTION = 200

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """What a backfill went through.

    Attributes:
        messages_filled: Messages whose token sums were missing or wrong.
    """

    sessions: int
    messages: int
    messages_filled: int


def backfill(database: Database, publisher: Publisher, progress: Progress | None = None) -> BackfillResult:
    """Compute every derived column and table anew from the stored rows, a few sessions at a time.

    Running it again changes nothing; one that is cut short is begun again.

    Args:
        database: The index, of the newest schema version.
        publisher: Makes it visible, every few seconds and at the end.
        progress: Called with the number of messages done and to do.

    Returns:
        What was done.
    """
    database.set_phase("bulk", "backfill: computing derived numbers anew")
    sizes = dict(
        database.con.execute(
            """
            SELECT session_id, count(DISTINCT message_id) FROM (
                SELECT session_id, message_id FROM messages
                UNION ALL SELECT session_id, NULL FROM sessions
                UNION ALL SELECT session_id, NULL FROM parts WHERE session_id IS NOT NULL
            ) GROUP BY session_id ORDER BY session_id
            """
        ).fetchall()
    )
    session_ids, total, done, filled = list(sizes), sum(sizes.values()), 0, 0
    for start in range(0, len(session_ids), SESSIONS_PER_TRANSACTION):
        chunk = session_ids[start : start + SESSIONS_PER_TRANSACTION]
        done += sum(sizes[session_id] for session_id in chunk)
        with database.transaction() as con:
            changed = con.execute(_TOKEN_SUMS, {"sessions": chunk}).fetchone()
            late_columns.fill(con, chunk)
            derive.refresh(con, chunk)
            con.execute(
                "UPDATE sync_state SET documents_total = $total, documents_done = $done", {"total": total, "done": done}
            )
        filled += int(changed[0]) if changed else 0
        log.debug("filled %d sessions, %d of %d messages", len(chunk), done, total)
        if progress:
            progress(done, total)
        publisher.publish_if_due()
    price_changes.bring_up_to_date(database)
    return BackfillResult(len(session_ids), total, filled)


_TOKEN_SUMS = """
    WITH sums AS (
        SELECT message_id, input_tokens + output_tokens AS root_tokens,
               input_tokens + output_tokens + reasoning_tokens - reasoning_in_output_tokens
               + cache_read_tokens + cache_write_tokens AS total_tokens
        FROM messages WHERE session_id IN (SELECT unnest($sessions::VARCHAR[]))
    )
    UPDATE messages SET root_tokens = sums.root_tokens, total_tokens = sums.total_tokens
    FROM sums
    WHERE messages.message_id = sums.message_id
      AND (messages.root_tokens IS DISTINCT FROM sums.root_tokens
           OR messages.total_tokens IS DISTINCT FROM sums.total_tokens)
"""
