DROP VIEW priced_requests;
DROP VIEW requests;
DROP VIEW spend;
DROP VIEW fork_copies;
DROP TABLE prices;

-- Derived anew by the next start.
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
    failed_answers        BIGINT NOT NULL,
    aborted_answers       BIGINT NOT NULL,
    calls                 BIGINT NOT NULL,
    failed_calls          BIGINT NOT NULL,
    unfinished_calls      BIGINT NOT NULL,
    first_at              TIMESTAMP,
    last_at               TIMESTAMP
);

ALTER TABLE session_stats DROP COLUMN cost_list_usd;
-- A column cannot be dropped while its table has an index.
DROP INDEX idx_messages_session;
ALTER TABLE messages DROP COLUMN cost_list_usd;
CREATE INDEX idx_messages_session ON messages (session_id);
DROP INDEX idx_parts_type;
DROP INDEX idx_parts_session;
ALTER TABLE parts DROP COLUMN reasoning_in_output_tokens;
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);

CREATE VIEW spend AS
SELECT m.message_id, m.session_id, s.project_id, m.created_at,
       m.agent, m.provider_id, m.model_id,
       coalesce(m.provider_id, 'unknown') || '/' || coalesce(m.model_id, 'unknown') AS model,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.cache_read_tokens, m.cache_write_tokens,
       m.total_tokens, m.root_tokens, m.cost_recorded_usd,
       m.is_usage_missing, m.is_total_mismatch, m.error_name, m.deleted_at
FROM messages m JOIN sessions s USING (session_id)
WHERE m.has_usage AND NOT m.is_fork_copy;

CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;
