-- What was spent is shown before everything is read: rows only while the first pass over a large storage runs.

CREATE TABLE first_slices (
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
    first_at              TIMESTAMP,
    last_at               TIMESTAMP
);
