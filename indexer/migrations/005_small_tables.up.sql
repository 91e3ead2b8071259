-- Small tables for what pages add up, and columns with what they group by. The tables are filled by a backfill, the columns
-- when the documents are read again.

DROP VIEW fork_copies;  -- it remembers the columns of its table
ALTER TABLE messages ADD COLUMN error_category VARCHAR;
CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;
ALTER TABLE parts ADD COLUMN error_category VARCHAR;
ALTER TABLE parts ADD COLUMN target VARCHAR;
ALTER TABLE parts ADD COLUMN output_bytes BIGINT;

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

CREATE TABLE tool_calls (
    part_id       VARCHAR PRIMARY KEY,
    session_id    VARCHAR NOT NULL,
    exchange_id   VARCHAR NOT NULL,
    tool_name     VARCHAR NOT NULL,
    message_at    TIMESTAMP,
    agent         VARCHAR,
    provider_id   VARCHAR,
    model_id      VARCHAR,
    started_at    TIMESTAMP,
    duration_ms   BIGINT,
    is_failed     BOOLEAN NOT NULL,
    is_unfinished BOOLEAN NOT NULL,
    is_counted    BOOLEAN NOT NULL,
    target        VARCHAR,
    output_bytes  BIGINT
);

CREATE TABLE failures (
    failure_id    VARCHAR PRIMARY KEY,
    session_id    VARCHAR NOT NULL,
    exchange_id   VARCHAR NOT NULL,
    message_id    VARCHAR NOT NULL,
    is_call       BOOLEAN NOT NULL,
    category      VARCHAR NOT NULL,
    name          VARCHAR NOT NULL,
    is_aborted    BOOLEAN NOT NULL,
    message_at    TIMESTAMP,
    failed_at     TIMESTAMP,
    agent         VARCHAR,
    provider_id   VARCHAR,
    model_id      VARCHAR,
    is_counted    BOOLEAN NOT NULL,
    is_ending     BOOLEAN NOT NULL,
    is_deleted    BOOLEAN NOT NULL
);

CREATE TABLE benchmark_runs (
    run_id         VARCHAR PRIMARY KEY,
    started_at     TIMESTAMP NOT NULL,
    ended_at       TIMESTAMP NOT NULL,
    data           VARCHAR NOT NULL,
    parts          BIGINT NOT NULL,
    messages       BIGINT NOT NULL,
    sessions       BIGINT NOT NULL,
    database_bytes BIGINT NOT NULL,
    machine        VARCHAR NOT NULL,
    versions       VARCHAR NOT NULL,
    runs           INTEGER NOT NULL
);

CREATE TABLE benchmark_results (
    run_id      VARCHAR NOT NULL,
    query       VARCHAR NOT NULL,
    variant     VARCHAR NOT NULL,
    page        VARCHAR NOT NULL,
    runs        INTEGER NOT NULL,
    statements  INTEGER NOT NULL,
    rows        BIGINT NOT NULL,
    cold_ms     DOUBLE NOT NULL,
    median_ms   DOUBLE NOT NULL,
    p95_ms      DOUBLE NOT NULL,
    slowest_ms  DOUBLE NOT NULL,
    is_index_used BOOLEAN NOT NULL,
    sql         VARCHAR NOT NULL,
    plan        VARCHAR NOT NULL,
    PRIMARY KEY (run_id, query, variant)
);
