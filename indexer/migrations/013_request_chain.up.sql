-- Where each request stands among those of its session, and which request sends the output of a call first: told when a
-- request is written, where Cache and context rent had put all of them in order for every question.

CREATE TABLE request_chain (
    request_id     VARCHAR PRIMARY KEY,
    session_id     VARCHAR NOT NULL,
    number         INTEGER NOT NULL,
    prior_id       VARCHAR,
    stretch        INTEGER NOT NULL,
    is_compacted   BOOLEAN NOT NULL,
    is_collapsed   BOOLEAN NOT NULL,
    entered_bytes  BIGINT NOT NULL,
    entered_tokens BIGINT NOT NULL,
    held_tokens    BIGINT NOT NULL
);
ALTER TABLE tool_calls ADD COLUMN enters_at INTEGER;

-- The messages that can send anything, each with its requests, in the order of the timeline; inside a message by id.
CREATE TEMP TABLE chain_events AS
WITH sent AS (
    SELECT request_id, message_id, input_tokens + cache_read_tokens + cache_write_tokens AS context_tokens,
           cache_read_tokens, cache_read_tokens + cache_write_tokens AS cached_tokens,
           output_tokens - reasoning_in_output_tokens AS answer_tokens
    FROM requests WHERE input_tokens + cache_read_tokens + cache_write_tokens > 0
),
answers AS (
    SELECT message_id, session_id, created_at, seq, is_summary, deleted_at,
           if(session_id IN (SELECT session_id FROM messages WHERE seq IS NULL), 0, seq) AS place
    FROM messages WHERE role <> 'user'
)
SELECT answers.*, sent.* EXCLUDE (message_id),
       lead(message_id) OVER in_order IS DISTINCT FROM message_id AS is_last,
       lag(request_id IGNORE NULLS) OVER in_order AS prior_id,
       count(request_id) OVER in_order AS number,
       count(*) FILTER (is_summary) OVER in_order AS summaries
FROM answers LEFT JOIN sent USING (message_id)
WINDOW in_order AS (
    PARTITION BY session_id ORDER BY place, created_at NULLS LAST, seq NULLS LAST, message_id, request_id
    ROWS UNBOUNDED PRECEDING
);

-- A call belongs to the request that made it: of several of one message, the first that ended after the call.
CREATE TEMP TABLE chain_outputs AS
WITH several AS (
    SELECT message_id, list(request_id) AS ends FROM chain_events
    WHERE message_id IN (SELECT message_id FROM chain_events WHERE NOT is_last) GROUP BY message_id
)
SELECT p.part_id, e.session_id, p.output_bytes,
       1 + number - greatest(coalesce(len(list_filter(ends, lambda id: id > p.part_id)), 0) - 1, 0) AS enters_at
FROM parts p JOIN chain_events e USING (message_id) LEFT JOIN several USING (message_id)
WHERE p.part_type = 'tool' AND NOT p.is_orphan AND p.output_bytes > 0 AND e.is_last
  AND (p.deleted_at IS NULL OR p.deleted_at >= e.deleted_at);

UPDATE tool_calls SET enters_at = o.enters_at FROM chain_outputs o WHERE o.part_id = tool_calls.part_id;

INSERT INTO request_chain
WITH linked AS (
    SELECT e.*,
           coalesce(e.summaries > p.summaries OR p.is_summary, false) AS is_compacted,
           coalesce(p.context_tokens >= 1024 AND 2 * e.cache_read_tokens < p.cached_tokens, false) AS is_collapsed,
           coalesce(e.context_tokens - p.context_tokens - p.answer_tokens, 0) AS grown_tokens
    FROM chain_events e LEFT JOIN chain_events p ON p.request_id = e.prior_id
    WHERE e.request_id IS NOT NULL
),
entering AS (
    SELECT session_id, enters_at AS number, sum(output_bytes)::BIGINT AS bytes FROM chain_outputs GROUP BY ALL
),
entered AS (
    SELECT linked.*, coalesce(bytes, 0) AS entered_bytes,
           least(greatest(grown_tokens, 0), entered_bytes // 2) AS entered_tokens,
           count(*) FILTER (is_collapsed OR is_compacted) OVER (
               PARTITION BY session_id ORDER BY number ROWS UNBOUNDED PRECEDING
           ) AS stretch
    FROM linked LEFT JOIN entering USING (session_id, number)
)
SELECT request_id, session_id, number, prior_id, stretch, is_compacted, is_collapsed, entered_bytes, entered_tokens,
       coalesce(sum(entered_tokens) OVER (
           PARTITION BY session_id, stretch ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
       ), 0)
FROM entered;

DROP TABLE chain_outputs;
DROP TABLE chain_events;
