"""Everything that the index knows of one session, for an export."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from queries.timeline import SessionHead, TracedExchange, TracedSession, timeline
from queries.transcript import Piece, session_pieces


@dataclass(frozen=True, slots=True)
class SessionDump:
    """One session in full. Sessions that it delegated to are named, their exchanges are left out.

    Attributes:
        origin_at: Where the milliseconds of the exchanges count from, naive UTC.
        sessions: The session and all below it, and links.
        exchanges: Its own, by number.
        pieces: Its events in order, with all texts that the index holds.
    """

    head: SessionHead
    origin_at: datetime | None
    sessions: list[TracedSession]
    exchanges: list[TracedExchange]
    pieces: list[Piece]


def session_dump(con: duckdb.DuckDBPyConnection, session_id: str) -> SessionDump | None:
    """Read one session in full.

    Args:
        con: The index, open for reading.
        session_id: Any session.

    Returns:
        All of it. None if the index has no such session.
    """
    found = timeline(con, session_id)
    if found is None:
        return None
    own = [each for each in found.exchanges if each.session == 0]
    return SessionDump(found.head, found.origin_at, found.sessions, own, session_pieces(con, session_id))
