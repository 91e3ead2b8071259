-- What tokens cost at list prices. Messages get their list price when they are read again or filled; the slices are derived
-- anew, which the next start does for every session that lacks them.

CREATE TABLE prices (
    vendor          VARCHAR NOT NULL,
    model_id        VARCHAR NOT NULL,
    source          VARCHAR NOT NULL,
    from_at         TIMESTAMP,
    until_at        TIMESTAMP,
    from_minute     INTEGER,
    until_minute    INTEGER,
    over_tokens     BIGINT,
    upto_tokens     BIGINT,
    input_usd       DECIMAL(18, 15),
    output_usd      DECIMAL(18, 15),
    reasoning_usd   DECIMAL(18, 15),
    cache_read_usd  DECIMAL(18, 15),
    cache_write_usd DECIMAL(18, 15),
    request_usd     DECIMAL(18, 15)
);

DROP VIEW spend;  -- both remember the columns of their tables
DROP VIEW fork_copies;
ALTER TABLE messages ADD COLUMN cost_list_usd DECIMAL(38, 12);
ALTER TABLE parts ADD COLUMN reasoning_in_output_tokens BIGINT;
ALTER TABLE session_stats ADD COLUMN cost_list_usd DECIMAL(38, 12);

DROP TABLE usage_slices;
CREATE TABLE usage_slices (
    session_id            VARCHAR NOT NULL,
    kind                  VARCHAR NOT NULL,
    quarter_at            TIMESTAMP,
    agent                 VARCHAR,
    provider_id           VARCHAR,
    model_id              VARCHAR,
    messages              BIGINT NOT NULL,
    input_tokens          BIGINT NOT NULL,
    output_tokens         BIGINT NOT NULL,
    reasoning_tokens      BIGINT NOT NULL,
    cache_read_tokens     BIGINT NOT NULL,
    cache_write_tokens    BIGINT NOT NULL,
    total_tokens          BIGINT NOT NULL,
    cost_recorded_usd     DECIMAL(38, 12),
    unrecorded_messages   BIGINT NOT NULL,
    unrecorded_tokens     BIGINT NOT NULL,
    missing_usage_messages BIGINT NOT NULL,
    cost_list_usd         DECIMAL(38, 12),
    unpriced_messages     BIGINT NOT NULL,
    unpriced_tokens       BIGINT NOT NULL,
    free_list_usd         DECIMAL(38, 12),
    failed_answers        BIGINT NOT NULL,
    aborted_answers       BIGINT NOT NULL,
    calls                 BIGINT NOT NULL,
    failed_calls          BIGINT NOT NULL,
    unfinished_calls      BIGINT NOT NULL,
    first_at              TIMESTAMP,
    last_at               TIMESTAMP
);

CREATE VIEW spend AS
SELECT m.message_id, m.session_id, s.project_id, m.created_at,
       m.agent, m.provider_id, m.model_id,
       coalesce(m.provider_id, 'unknown') || '/' || coalesce(m.model_id, 'unknown') AS model,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.cache_read_tokens, m.cache_write_tokens,
       m.total_tokens, m.root_tokens, m.cost_recorded_usd, m.cost_list_usd,
       m.is_usage_missing, m.is_total_mismatch, m.error_name, m.deleted_at
FROM messages m JOIN sessions s USING (session_id)
WHERE m.has_usage AND NOT m.is_fork_copy;

CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;

CREATE VIEW requests AS
SELECT p.part_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       p.input_tokens, p.output_tokens, p.reasoning_tokens, p.reasoning_in_output_tokens, p.cache_read_tokens,
       p.cache_write_tokens, p.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m JOIN parts p USING (message_id)
WHERE m.has_usage AND m.step_count > 0 AND p.part_type = 'step-finish' AND NOT p.is_orphan
  AND (p.deleted_at IS NULL OR p.deleted_at >= m.deleted_at)
UNION ALL
SELECT m.message_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.reasoning_in_output_tokens, m.cache_read_tokens,
       m.cache_write_tokens, m.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m
WHERE m.has_usage AND m.step_count = 0;

CREATE VIEW priced_requests AS
SELECT r.*, p.source AS price_source, p.input_usd, p.output_usd, p.reasoning_usd, p.cache_read_usd, p.cache_write_usd,
       CASE WHEN r.input_tokens = 0 AND r.output_tokens = 0 AND r.reasoning_tokens = 0 AND r.cache_read_tokens = 0
             AND r.cache_write_tokens = 0 THEN 0
       ELSE r.input_tokens * p.input_usd + r.cache_read_tokens * p.cache_read_usd
            + r.cache_write_tokens * p.cache_write_usd
            + (r.output_tokens - r.reasoning_in_output_tokens) * p.output_usd
            + r.reasoning_tokens * p.reasoning_usd + p.request_usd
       END::DECIMAL(38, 12) AS cost_list_usd
FROM requests r LEFT JOIN prices p
  ON p.vendor = r.provider_id AND p.model_id = r.model_id
 AND (p.from_at IS NULL OR r.created_at >= p.from_at) AND (p.until_at IS NULL OR r.created_at < p.until_at)
 AND (p.from_minute IS NULL OR hour(r.created_at) * 60 + minute(r.created_at) >= p.from_minute)
 AND (p.until_minute IS NULL OR hour(r.created_at) * 60 + minute(r.created_at) < p.until_minute)
 AND (p.over_tokens IS NULL OR r.input_tokens + r.cache_read_tokens + r.cache_write_tokens > p.over_tokens)
 AND (p.upto_tokens IS NULL OR r.input_tokens + r.cache_read_tokens + r.cache_write_tokens <= p.upto_tokens);
