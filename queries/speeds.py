"""How fast models answer: output tokens a second, of the requests whose duration says something about the model.

OpenCode records when an answer was begun and when it was completed, and not when its first token came. So the wait for
that is in the duration, as are retries, which leave no trace. What is not the model's is kept out: answers with tool
calls, whose time (approval too) is in the duration and cannot be taken out of it.
"""

from dataclasses import dataclass

import duckdb

from queries import narrow
from queries.period import Scope
from queries.rows import fetch_rows

FEW_ANSWERS = 20  # below this a single answer decides the percentiles


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """Output tokens a second of one model.

    Attributes:
        model: `provider/model`.
        answers: Its finished answers with output, whether or not they can be timed.
        timed_answers: Those that can. The speeds are of these, and None without any.
        p10: Tokens a second: one of ten answers was no faster.
        p50: Half of them were no faster.
        p90: Nine of ten were no faster.
        output_tokens: Of the timed answers: output and reasoning, each token once.
        duration_ms: Of the timed answers, added up.
    """

    model: str
    answers: int
    timed_answers: int
    p10: float | None
    p50: float | None
    p90: float | None
    output_tokens: int
    duration_ms: int

    @property
    def is_rare(self) -> bool:
        """Tell whether there are too few answers for the percentiles to mean much."""
        return self.timed_answers < FEW_ANSWERS


def model_speeds(con: duckdb.DuckDBPyConnection, scope: Scope) -> list[ModelSpeed]:
    """Measure the models.

    An answer can be timed if it is one request (one step; a row of the third generation is one), was completed without
    an error, made no tool call and took time. What forks copied is left out.

    Args:
        con: The index, open for reading.
        scope: What to look at.

    Returns:
        One row per model that answered: those with enough timed answers first, fastest first, then by name.
    """
    values = {**narrow.values(scope), "few": FEW_ANSWERS}
    return fetch_rows(con, narrow.narrowed(_SPEEDS, scope), values, ModelSpeed)


_ANSWERED = f"""
    FROM messages
    WHERE has_usage AND NOT is_fork_copy AND error_name IS NULL AND completed_at IS NOT NULL AND made_tokens > 0
      AND {narrow.in_period("created_at")} AND {narrow.BY_NAME} AND {narrow.IN_SESSION}
"""
_MADE = "output_tokens + reasoning_tokens - reasoning_in_output_tokens AS made_tokens"

# An answer that ended for a call has made one; the others are looked up, since some providers name another end. The few
# that may be timed are looked for among the many parts, not the other way round: that takes half the time.
_SPEEDS = f"""
    WITH {narrow.HITS},
    counted AS (SELECT provider_id, model_id, {_MADE} {_ANSWERED}),
    candidates AS MATERIALIZED (
        SELECT message_id, provider_id, model_id, {_MADE},
               date_diff('millisecond', created_at, completed_at) AS lasted_ms
        {_ANSWERED} AND (step_count = 1 OR generation = 3) AND lasted_ms > 0 AND finish IS DISTINCT FROM 'tool-calls'
    ),
    calling AS (
        SELECT DISTINCT message_id FROM parts
        WHERE part_type = 'tool' AND message_id IN (SELECT message_id FROM candidates)
    ),
    timed AS (
        SELECT {narrow.MODEL} AS model, count(*) AS timed_answers,
               quantile_cont(made_tokens * 1000.0 / lasted_ms, [0.1, 0.5, 0.9])::DOUBLE[] AS speeds,
               sum(made_tokens)::BIGINT AS output_tokens, sum(lasted_ms)::BIGINT AS duration_ms
        FROM candidates
        WHERE message_id NOT IN (SELECT message_id FROM calling)
        GROUP BY provider_id, model_id
    ),
    named AS (SELECT {narrow.MODEL} AS model, count(*) AS answers FROM counted GROUP BY provider_id, model_id)
    SELECT model, answers, coalesce(timed_answers, 0) AS timed_answers,
           speeds[1] AS p10, speeds[2] AS p50, speeds[3] AS p90,
           coalesce(output_tokens, 0) AS output_tokens, coalesce(duration_ms, 0) AS duration_ms
    FROM named LEFT JOIN timed USING (model)
    ORDER BY coalesce(timed_answers, 0) >= $few DESC, p50 DESC NULLS LAST, model
"""
