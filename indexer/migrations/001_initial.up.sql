-- The first version. What the tables and columns mean is in schema.sql.

CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL,
    checksum   VARCHAR NOT NULL
);

CREATE TABLE sync_state (
    revision           BIGINT NOT NULL,
    phase              VARCHAR NOT NULL,
    phase_since        TIMESTAMP NOT NULL,
    documents_total    BIGINT,
    documents_done     BIGINT NOT NULL,
    last_full_pass_at  TIMESTAMP,
    updated_at         TIMESTAMP NOT NULL,
    is_sample          BOOLEAN NOT NULL
);

CREATE TABLE sync_events (
    occurred_at TIMESTAMP NOT NULL,
    phase   VARCHAR NOT NULL,
    message VARCHAR NOT NULL
);

CREATE TABLE sources (
    source_id  INTEGER PRIMARY KEY,
    data_dir   VARCHAR NOT NULL,
    kind       VARCHAR NOT NULL,
    path       VARCHAR NOT NULL,
    state      VARCHAR NOT NULL,
    reason     VARCHAR,
    sessions   BIGINT NOT NULL,
    messages   BIGINT NOT NULL,
    parts      BIGINT NOT NULL,
    newest_at  TIMESTAMP,
    indexed_at TIMESTAMP NOT NULL
);

CREATE TABLE documents (
    source_id     INTEGER NOT NULL,
    key           VARCHAR NOT NULL,
    owner_id      VARCHAR NOT NULL,
    document_kind VARCHAR NOT NULL,
    state         VARCHAR NOT NULL,
    reason        VARCHAR NOT NULL,
    size_bytes    BIGINT,
    first_seen_at TIMESTAMP NOT NULL,
    last_seen_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (source_id, key)
);

CREATE TABLE projects (
    project_id   VARCHAR PRIMARY KEY,
    name         VARCHAR,
    worktree     VARCHAR,
    vcs          VARCHAR,
    created_at   TIMESTAMP,
    updated_at   TIMESTAMP,
    source_id    INTEGER,
    generation   TINYINT NOT NULL,
    content_hash BIGINT NOT NULL,
    deleted_at   TIMESTAMP
);

CREATE TABLE sessions (
    session_id         VARCHAR PRIMARY KEY,
    project_id         VARCHAR,
    parent_id          VARCHAR,
    fork_session_id    VARCHAR,
    title              VARCHAR,
    slug               VARCHAR,
    directory          VARCHAR,
    client_version     VARCHAR,
    created_at         TIMESTAMP,
    updated_at         TIMESTAMP,
    archived_at        TIMESTAMP,
    additions          BIGINT,
    deletions          BIGINT,
    files_changed      BIGINT,
    stored_cost_usd    DECIMAL(18, 12),
    stored_input_tokens       BIGINT,
    stored_output_tokens      BIGINT,
    stored_reasoning_tokens   BIGINT,
    stored_cache_read_tokens  BIGINT,
    stored_cache_write_tokens BIGINT,
    is_placeholder     BOOLEAN NOT NULL,
    is_missing_in_newer BOOLEAN NOT NULL,
    source_id          INTEGER,
    generation         TINYINT NOT NULL,
    content_hash       BIGINT NOT NULL,
    deleted_at         TIMESTAMP
);

CREATE TABLE messages (
    message_id          VARCHAR PRIMARY KEY,
    session_id          VARCHAR NOT NULL,
    role                VARCHAR NOT NULL,
    user_message_id     VARCHAR,
    seq                 BIGINT,
    agent               VARCHAR,
    provider_id         VARCHAR,
    model_id            VARCHAR,
    created_at          TIMESTAMP,
    completed_at        TIMESTAMP,
    finish              VARCHAR,
    is_summary          BOOLEAN NOT NULL,
    error_name          VARCHAR,
    error_data          VARCHAR,
    has_usage           BOOLEAN NOT NULL,
    input_tokens        BIGINT NOT NULL,
    output_tokens       BIGINT NOT NULL,
    reasoning_tokens    BIGINT NOT NULL,
    cache_read_tokens   BIGINT NOT NULL,
    cache_write_tokens  BIGINT NOT NULL,
    reasoning_in_output_tokens BIGINT NOT NULL,
    total_tokens        BIGINT NOT NULL,
    root_tokens         BIGINT NOT NULL,
    step_count          INTEGER NOT NULL,
    is_usage_missing    BOOLEAN NOT NULL,
    is_total_mismatch   BOOLEAN NOT NULL,
    cost_recorded_usd   DECIMAL(18, 12),
    cost_steps_usd      DECIMAL(18, 12),
    fork_key            BIGINT,
    is_fork_copy        BOOLEAN NOT NULL,
    is_missing_in_newer BOOLEAN NOT NULL,
    source_id           INTEGER NOT NULL,
    generation          TINYINT NOT NULL,
    recorded_until      TIMESTAMP,
    content_hash        BIGINT NOT NULL,
    deleted_at          TIMESTAMP
);

CREATE TABLE parts (
    part_id          VARCHAR PRIMARY KEY,
    message_id       VARCHAR NOT NULL,
    session_id       VARCHAR,
    position         INTEGER NOT NULL,
    part_type        VARCHAR NOT NULL,
    tool_name        VARCHAR,
    call_id          VARCHAR,
    tool_status      VARCHAR,
    title            VARCHAR,
    started_at       TIMESTAMP,
    ended_at         TIMESTAMP,
    child_session_id VARCHAR,
    error_data       VARCHAR,
    is_failed        BOOLEAN NOT NULL,
    is_unfinished    BOOLEAN NOT NULL,
    is_synthetic     BOOLEAN NOT NULL,
    is_shell_notice  BOOLEAN NOT NULL,
    is_orphan        BOOLEAN NOT NULL,
    input_tokens       BIGINT,
    output_tokens      BIGINT,
    reasoning_tokens   BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    cost_recorded_usd  DECIMAL(18, 12),
    size_bytes       BIGINT NOT NULL,
    deleted_at       TIMESTAMP
);

CREATE TABLE part_bodies (
    part_id     VARCHAR PRIMARY KEY,
    message_id  VARCHAR NOT NULL,
    session_id  VARCHAR,
    text        VARCHAR,
    input       VARCHAR,
    output      VARCHAR,
    text_bytes   BIGINT NOT NULL,
    input_bytes  BIGINT NOT NULL,
    output_bytes BIGINT NOT NULL
);

CREATE TABLE agents (name VARCHAR PRIMARY KEY);
CREATE TABLE models (
    vendor   VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    PRIMARY KEY (vendor, model_id)
);
CREATE TABLE tools (tool_name VARCHAR PRIMARY KEY);

CREATE TABLE session_stats (
    session_id                VARCHAR PRIMARY KEY,
    root_tokens               BIGINT NOT NULL,
    input_tokens              BIGINT NOT NULL,
    output_tokens             BIGINT NOT NULL,
    reasoning_tokens          BIGINT NOT NULL,
    cache_read_tokens         BIGINT NOT NULL,
    cache_write_tokens        BIGINT NOT NULL,
    total_tokens              BIGINT NOT NULL,
    cost_recorded_usd         DECIMAL(38, 12),
    unrecorded_messages       BIGINT NOT NULL,
    missing_usage_messages    BIGINT NOT NULL,
    inherited_root_tokens        BIGINT NOT NULL,
    inherited_input_tokens       BIGINT NOT NULL,
    inherited_output_tokens      BIGINT NOT NULL,
    inherited_reasoning_tokens   BIGINT NOT NULL,
    inherited_cache_read_tokens  BIGINT NOT NULL,
    inherited_cache_write_tokens BIGINT NOT NULL,
    inherited_total_tokens       BIGINT NOT NULL,
    inherited_cost_recorded_usd  DECIMAL(38, 12),
    fork_copies               BIGINT NOT NULL,
    subtree_sessions          BIGINT NOT NULL,
    subtree_root_tokens       BIGINT NOT NULL,
    subtree_input_tokens      BIGINT NOT NULL,
    subtree_output_tokens     BIGINT NOT NULL,
    subtree_reasoning_tokens  BIGINT NOT NULL,
    subtree_cache_read_tokens BIGINT NOT NULL,
    subtree_cache_write_tokens BIGINT NOT NULL,
    subtree_total_tokens      BIGINT NOT NULL,
    subtree_cost_recorded_usd DECIMAL(38, 12),
    child_sessions            BIGINT NOT NULL,
    exchange_count            BIGINT NOT NULL,
    user_messages             BIGINT NOT NULL,
    assistant_messages        BIGINT NOT NULL,
    part_count                BIGINT NOT NULL,
    tool_calls                BIGINT NOT NULL,
    failed_tool_calls         BIGINT NOT NULL,
    message_errors            BIGINT NOT NULL,
    first_message_at          TIMESTAMP,
    last_message_at           TIMESTAMP,
    active_ms                 BIGINT NOT NULL,
    last_agent                VARCHAR,
    last_provider_id          VARCHAR,
    last_model_id             VARCHAR
);

CREATE TABLE exchanges (
    exchange_id       VARCHAR PRIMARY KEY,
    session_id        VARCHAR NOT NULL,
    number            INTEGER NOT NULL,
    kind              VARCHAR NOT NULL,
    status            VARCHAR NOT NULL,
    user_message_id   VARCHAR,
    started_at        TIMESTAMP,
    ended_at          TIMESTAMP,
    agent             VARCHAR,
    provider_id       VARCHAR,
    model_id          VARCHAR,
    message_count     INTEGER NOT NULL,
    trace_count       INTEGER NOT NULL,
    error_name        VARCHAR,
    input_tokens       BIGINT NOT NULL,
    output_tokens      BIGINT NOT NULL,
    reasoning_tokens   BIGINT NOT NULL,
    cache_read_tokens  BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    total_tokens       BIGINT NOT NULL,
    cost_recorded_usd DECIMAL(38, 12),
    is_fork_copy      BOOLEAN NOT NULL
);

CREATE TABLE exchange_traces (
    trace_id         VARCHAR PRIMARY KEY,
    exchange_id      VARCHAR NOT NULL,
    session_id       VARCHAR NOT NULL,
    message_id       VARCHAR NOT NULL,
    position         INTEGER NOT NULL,
    kind             VARCHAR NOT NULL,
    name             VARCHAR NOT NULL,
    title            VARCHAR,
    started_at       TIMESTAMP,
    ended_at         TIMESTAMP,
    status           VARCHAR,
    is_failed        BOOLEAN NOT NULL,
    is_unfinished    BOOLEAN NOT NULL,
    child_session_id VARCHAR,
    input_tokens       BIGINT,
    output_tokens      BIGINT,
    reasoning_tokens   BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    cost_recorded_usd  DECIMAL(18, 12)
);

CREATE TABLE session_traces (
    root_session_id    VARCHAR NOT NULL,
    session_id         VARCHAR NOT NULL,
    depth              INTEGER NOT NULL,
    parent_session_id  VARCHAR,
    delegating_part_id VARCHAR,
    PRIMARY KEY (root_session_id, session_id)
);

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
