"""Which copy counts: the same id in two generations, or in two data folders, is the same thing and counts once.

File times never decide (copies and backups reset them), only what the documents record themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from indexer.documents import Generation
from indexer.parsers import ParsedMessage
from indexer.rows import MessageRow, ProjectRow, SessionRow


@dataclass(frozen=True, slots=True)
class MessageCopy:
    """What decides between copies of one message.

    Attributes:
        recorded_until: Latest time that the copy records, in ms; -1 if it records none.
        seq: Its place among the rows of the third generation, if it is there, too.
    """

    source_id: int
    generation: int
    is_finished: bool
    recorded_until: int
    content_hash: int
    seq: int | None = None

    @classmethod
    def of(cls, row: MessageRow) -> "MessageCopy":
        """Describe a parsed message."""
        return cls(
            row.source_id,
            row.generation,
            row.completed_at is not None or row.error_name is not None,
            -1 if row.recorded_until is None else row.recorded_until,
            row.content_hash,
            row.seq,
        )


def newest_message(copies: Sequence[MessageCopy]) -> int:
    """Choose between copies of one message, independent of their order.

    Rows of the second generation before the JSON tree, unless the tree's copy records later times. A message that is
    finished in one of these comes before `session_message`, because only there it has its steps; else the newest
    generation wins.

    Args:
        copies: At least one.

    Returns:
        Position of the copy that counts.
    """

    def rank(position: int) -> tuple[int, int, int]:
        """Order copies of one kind of storage."""
        copy = copies[position]
        return (copy.recorded_until, copy.generation, copy.content_hash)

    with_parts = [at for at, copy in enumerate(copies) if copy.generation < Generation.SESSION_MESSAGE_ROWS]
    without = [at for at, copy in enumerate(copies) if copy.generation == Generation.SESSION_MESSAGE_ROWS]
    if without:
        finished = [at for at in with_parts if copies[at].is_finished]
        return max(finished or without, key=rank)
    return max(with_parts, key=rank)


def best_parse(candidates: Sequence[ParsedMessage]) -> ParsedMessage:
    """Choose between parsed copies of one message; one that could be read comes before one that could not.

    Args:
        candidates: At least one, newest generation first.
    """
    readable = [(parsed, parsed.message) for parsed in candidates if parsed.message is not None]
    if not readable:
        return candidates[0]
    best, message = readable[newest_message([MessageCopy.of(row) for _, row in readable])]
    seq = next((row.seq for _, row in readable if row.seq is not None), None)
    if message.seq == seq:
        return best
    return replace(best, message=replace(message, seq=seq))  # its place among the rows of the newest generation


def is_newer(row: ProjectRow | SessionRow, updated_at: int, generation: int, content_hash: int) -> bool:
    """Tell whether a project or session comes before another copy: by its own `updated`, then by generation.

    Args:
        row: One copy.
        updated_at: Of the other copy, in ms; -1 if unknown.
        generation: Of the other copy.
        content_hash: Of the other copy; it only breaks ties.
    """
    own = (-1 if row.updated_at is None else row.updated_at, int(row.generation), row.content_hash)
    return own > (updated_at, generation, content_hash)
