"""Reads every message of an index of ours, and our totals."""

import json
from decimal import Decimal
from pathlib import Path

from indexer.exceptions import IndexMissing
from indexer.published import IndexReader
from queries.costs import cost_totals
from queries.period import Scope
from tests.comparison.usage import Message, Printed, add, usage_of

_MESSAGES = """
    WITH steps AS (
        SELECT message_id,
               list([input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
                     reasoning_tokens - reasoning_in_output_tokens] ORDER BY request_id) AS steps,
               list(reasoning_in_output_tokens ORDER BY request_id) AS inside
        FROM requests GROUP BY message_id
    ), contents AS (
        SELECT message_id, bool_or(part_type = 'tool' OR (part_type = 'reasoning' AND text <> '')
                                   OR (part_type = 'text' AND regexp_matches(text, '[^\\s]'))) AS has_content
        FROM parts LEFT JOIN part_bodies USING (part_id, message_id) WHERE deleted_at IS NULL GROUP BY message_id
    )
    SELECT message_id, session_id, model_id,
           [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
            reasoning_tokens - reasoning_in_output_tokens],
           coalesce(steps, []), coalesce(inside, []), cost_recorded_usd, is_fork_copy,
           coalesce(has_content, false), generation
    FROM messages LEFT JOIN steps USING (message_id) LEFT JOIN contents USING (message_id)
    ORDER BY message_id
"""


def read_messages(index: Path) -> list[Message]:
    """Read every message with what may make another tool count it otherwise.

    Args:
        index: What the indexer published.
    """
    reader = IndexReader(index)
    try:
        rows = reader.connection().execute(_MESSAGES).fetchall()
    finally:
        reader.close()
    return [
        Message(
            message_id=message_id,
            session_id=session_id,
            model_id=model_id,
            usage=usage_of(counters),
            steps=tuple(map(usage_of, steps)),
            reasoning_in_output=tuple(inside),
            cost_usd=cost_usd,
            is_fork_copy=is_copy,
            has_content=has_text,
            generation=generation,
        )
        for message_id, session_id, model_id, counters, steps, inside, cost_usd, is_copy, has_text, generation in rows
    ]


def read_session_ids(index: Path) -> frozenset[str]:
    """Read the ids of all sessions."""
    reader = IndexReader(index)
    try:
        rows = reader.connection().execute("SELECT session_id FROM sessions").fetchall()
    finally:
        reader.close()
    return frozenset(session_id for (session_id,) in rows)


def printed(messages: list[Message], session_ids: frozenset[str]) -> Printed:
    """Add up what we show: every request once, so copies that forks made are left out."""
    counted = [message for message in messages if not message.is_fork_copy]
    usage = add([message.usage for message in counted])
    cost_by_model: dict[str, Decimal] = {}
    for message in counted:
        model = message.model_id or "unknown"
        cost_by_model[model] = cost_by_model.get(model, Decimal(0)) + (message.cost_usd or 0)
    return Printed(
        usage, usage.total, sum(cost_by_model.values(), Decimal(0)), len(session_ids), len(messages), cost_by_model
    )


def read_report(output: str) -> Printed:
    """Read what `python -m queries costs --json` printed: a row for each day, month or session."""
    rows = json.loads(output)
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    four = [sum(row[name] for row in rows) for name in names]
    tokens = sum(row["total_tokens"] for row in rows)
    cost = sum((Decimal(row["cost_recorded_usd"] or 0) for row in rows), Decimal(0))
    return Printed(usage_of([*four, tokens - sum(four)]), tokens, cost, sessions=0, messages=None)


class Showing:
    """Tells whether a reader of the index sees some totals, by the Costs page's own query."""

    def __init__(self, index: Path, final: Printed) -> None:
        """Name the index, which may not exist yet, and what it is to show."""
        self._index = index
        self._final = final
        self._looked_at = -1

    def __call__(self) -> bool:
        """Look; only a revision that is new is opened."""
        reader = IndexReader(self._index)
        try:
            revision = reader.revision()
            if revision == self._looked_at:
                return False
            self._looked_at = revision
            totals = cost_totals(reader.connection(), Scope())
        except IndexMissing:
            return False
        finally:
            reader.close()
        return (totals.total_tokens, totals.cost_recorded_usd) == (self._final.tokens, self._final.cost_usd)
