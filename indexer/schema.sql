-- The index: the contract between the indexer (writes) and the dashboard (reads).
-- The newest version in one piece: every change of it is also a migration (migrations/), and a test compares the two.
-- Meanings are in docs/metrics.md. Times are naive UTC; tokens are counts as OpenCode recorded them; costs are USD,
-- exact to 12 decimals. The order of columns means nothing: migrations append.

-- One row per migration that the index went through, with the version it led to.
CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL,
    checksum   VARCHAR NOT NULL             -- SHA-256 of the migration's text
);

-- One row: what the indexer is doing.
CREATE TABLE sync_state (
    revision           BIGINT NOT NULL,     -- number of the last written batch
    phase              VARCHAR NOT NULL,    -- bulk, real-time, stopped, failed
    phase_since        TIMESTAMP NOT NULL,
    documents_total    BIGINT,              -- messages the running pass has to look at; NULL before it is known
    documents_done     BIGINT NOT NULL,
    last_full_pass_at  TIMESTAMP,           -- end of the last complete pass; NULL while the first one runs
    updated_at         TIMESTAMP NOT NULL,
    is_sample          BOOLEAN NOT NULL,    -- the bundled sample data, not the user's
    last_reconciled_at TIMESTAMP,           -- end of the last comparison of everything with the sources
    texts_deleted_at   TIMESTAMP            -- since when deleted texts wait to be wiped out of the file; NULL: none do
);

-- One row per change of the phase, with what was said about it.
CREATE TABLE sync_events (
    occurred_at TIMESTAMP NOT NULL,
    phase   VARCHAR NOT NULL,
    message VARCHAR NOT NULL
);

-- One row per storage that was looked at.
CREATE TABLE sources (
    source_id  INTEGER PRIMARY KEY,
    data_dir   VARCHAR NOT NULL,
    kind       VARCHAR NOT NULL,            -- json_tree, sqlite_v1, sqlite_v2
    path       VARCHAR NOT NULL,
    state      VARCHAR NOT NULL,            -- ok, empty, unreadable
    reason     VARCHAR,                     -- why it is not ok, and what to do
    sessions   BIGINT NOT NULL,
    messages   BIGINT NOT NULL,
    parts      BIGINT NOT NULL,
    newest_at  TIMESTAMP,                   -- newest recorded time seen in it
    indexed_at TIMESTAMP NOT NULL,
    file_stamp VARCHAR                      -- of the database file at the last complete pass, and how it was read
);

-- What every document of a source looked like when it was last read, without its content: size and times of files,
-- update times of rows. What still looks the same is not read again.
CREATE TABLE read_stamps (
    source_id     INTEGER NOT NULL,
    document_kind VARCHAR NOT NULL,         -- project, session, message (with its parts), orphan (parts without one)
    document_id   VARCHAR NOT NULL,
    stamp         BIGINT,                   -- NULL: changed too recently to tell, look at it again
    parts         INTEGER                   -- part documents of a message or orphan
);

-- Ledger of the documents that could not be read, or only in part.
CREATE TABLE documents (
    source_id     INTEGER NOT NULL,
    key           VARCHAR NOT NULL,         -- path inside the data folder, or database:table:id
    owner_id      VARCHAR NOT NULL,         -- project, session or message it belongs to
    document_kind VARCHAR NOT NULL,         -- project, session, message, part, database
    state         VARCHAR NOT NULL,         -- unreadable (no row), partial (a row without some values)
    reason        VARCHAR NOT NULL,
    size_bytes    BIGINT,
    first_seen_at TIMESTAMP NOT NULL,
    last_seen_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (source_id, key)
);

-- One row per project.
CREATE TABLE projects (
    project_id   VARCHAR PRIMARY KEY,
    name         VARCHAR,                   -- only where the user gave one
    worktree     VARCHAR,
    vcs          VARCHAR,
    worktrees    VARCHAR[],                 -- other git worktrees of the repository
    clones       VARCHAR[],                 -- other clones of it
    created_at   TIMESTAMP,
    updated_at   TIMESTAMP,
    source_id    INTEGER,                   -- NULL: only named by a session
    generation   TINYINT NOT NULL,
    content_hash BIGINT NOT NULL,
    deleted_at   TIMESTAMP
);

-- One row per session; its numbers are in session_stats.
CREATE TABLE sessions (
    session_id         VARCHAR PRIMARY KEY,
    project_id         VARCHAR,
    parent_id          VARCHAR,             -- the session that delegated to this one
    fork_session_id    VARCHAR,             -- where OpenCode names the origin (2.0)
    title              VARCHAR,
    slug               VARCHAR,
    directory          VARCHAR,
    client_version     VARCHAR,             -- client that created the session
    created_at         TIMESTAMP,
    updated_at         TIMESTAMP,
    archived_at        TIMESTAMP,
    additions          BIGINT,
    deletions          BIGINT,
    files_changed      BIGINT,
    stored_cost_usd    DECIMAL(18, 12),     -- OpenCode's own session columns: a check, never a source
    stored_input_tokens       BIGINT,
    stored_output_tokens      BIGINT,
    stored_reasoning_tokens   BIGINT,
    stored_cache_read_tokens  BIGINT,
    stored_cache_write_tokens BIGINT,
    is_placeholder     BOOLEAN NOT NULL,    -- no session document exists, only its messages
    is_missing_in_newer BOOLEAN NOT NULL,   -- only in an older generation beside a newer one
    source_id          INTEGER,
    generation         TINYINT NOT NULL,    -- 1 JSON tree, 2 message and part rows, 3 session_message rows, 0 none
    content_hash       BIGINT NOT NULL,
    deleted_at         TIMESTAMP
);

-- One row per message, with its tokens and cost. Their sum counts fork copies twice: see spend.
CREATE TABLE messages (
    message_id          VARCHAR PRIMARY KEY,
    session_id          VARCHAR NOT NULL,
    role                VARCHAR NOT NULL,   -- user, assistant, or a row type of the third generation
    user_message_id     VARCHAR,            -- the user message an assistant answers
    seq                 BIGINT,             -- order inside the session, third generation only
    agent               VARCHAR,
    provider_id         VARCHAR,
    model_id            VARCHAR,
    created_at          TIMESTAMP,
    completed_at        TIMESTAMP,
    finish              VARCHAR,
    is_summary          BOOLEAN NOT NULL,   -- a compaction's summary
    error_name          VARCHAR,
    error_data          JSON,               -- OpenCode's error object as it is
    error_category      VARCHAR,            -- its cause: docs/errors.md; NULL: no error
    has_usage           BOOLEAN NOT NULL,   -- a row that can carry usage: every assistant, and others with tokens
    input_tokens        BIGINT NOT NULL,    -- without cached
    output_tokens       BIGINT NOT NULL,    -- as recorded: may contain reasoning
    reasoning_tokens    BIGINT NOT NULL,
    cache_read_tokens   BIGINT NOT NULL,
    cache_write_tokens  BIGINT NOT NULL,
    reasoning_in_output_tokens BIGINT NOT NULL, -- the share of reasoning_tokens that output_tokens contains
    total_tokens        BIGINT NOT NULL,    -- every token once
    root_tokens         BIGINT NOT NULL,    -- input + output
    step_count          INTEGER NOT NULL,   -- step-finish parts the tokens were summed from; 0: the message's own
    is_usage_missing    BOOLEAN NOT NULL,   -- a request ended and no usage was stored: unknown, not free
    is_total_mismatch   BOOLEAN NOT NULL,   -- the recorded total fits neither way of counting reasoning
    cost_recorded_usd   DECIMAL(18, 12),    -- NULL: not recorded
    cost_steps_usd      DECIMAL(18, 12),    -- sum of the step-finish parts: a check, never a source
    fork_key            BIGINT,             -- hash of what a fork copies unchanged; NULL where nothing was used
    is_fork_copy        BOOLEAN NOT NULL,   -- the same request is counted in an older session
    is_missing_in_newer BOOLEAN NOT NULL,
    source_id           INTEGER NOT NULL,
    generation          TINYINT NOT NULL,
    recorded_until      TIMESTAMP,          -- latest time recorded inside the message and its parts
    content_hash        BIGINT NOT NULL,    -- of the message and its parts
    cost_list_usd       DECIMAL(38, 12),    -- what its requests cost at list prices; NULL: no known price, or no usage
    additions           BIGINT,             -- user messages: lines and files that changed while they were answered
    deletions           BIGINT,             -- NULL: not recorded
    files_changed       BIGINT,
    deleted_at          TIMESTAMP
);

-- One row per part of a message: text, reasoning, tool call, step, file.
CREATE TABLE parts (
    part_id          VARCHAR PRIMARY KEY,
    message_id       VARCHAR NOT NULL,
    session_id       VARCHAR,
    position         INTEGER NOT NULL,      -- order inside the message, from 0
    part_type        VARCHAR NOT NULL,      -- as OpenCode names it
    tool_name        VARCHAR,
    call_id          VARCHAR,
    tool_status      VARCHAR,               -- pending, running, completed, error
    title            VARCHAR,               -- one line: tool title, file name, agent name
    started_at       TIMESTAMP,
    ended_at         TIMESTAMP,
    child_session_id VARCHAR,               -- session that a task call runs
    error_data       JSON,                  -- failed tool call: {status, exit, message}
    error_category   VARCHAR,               -- its cause: docs/errors.md; NULL: not failed
    target           VARCHAR,               -- tool call: program of a shell command; files, one a line
    output_bytes     BIGINT,                -- tool call: true size of its output or error
    is_failed        BOOLEAN NOT NULL,
    is_unfinished    BOOLEAN NOT NULL,      -- a tool call that never ended
    is_synthetic     BOOLEAN NOT NULL,      -- text that no person typed
    is_shell_notice  BOOLEAN NOT NULL,      -- the synthetic text that stands for a user's own shell command
    is_orphan        BOOLEAN NOT NULL,      -- its message does not exist, or not any more: no trace
    input_tokens       BIGINT,              -- step-finish only, as recorded; NULL elsewhere
    output_tokens      BIGINT,
    reasoning_tokens   BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    reasoning_in_output_tokens BIGINT,      -- the share of reasoning_tokens that output_tokens contains
    cost_recorded_usd  DECIMAL(18, 12),     -- step-finish only: already inside the message's cost
    size_bytes       BIGINT NOT NULL,       -- of the stored document
    deleted_at       TIMESTAMP
);

-- What was said: apart from parts, so that pages read narrow rows. Each text is cut at 64 KB.
CREATE TABLE part_bodies (
    part_id     VARCHAR PRIMARY KEY,
    message_id  VARCHAR NOT NULL,
    session_id  VARCHAR,
    text        VARCHAR,                    -- text and reasoning
    input       VARCHAR,                    -- tool arguments, JSON text
    output      VARCHAR,                    -- tool output or error
    text_bytes   BIGINT NOT NULL,           -- true sizes
    input_bytes  BIGINT NOT NULL,
    output_bytes BIGINT NOT NULL,
    searched_text VARCHAR,                  -- lower(text) of prompts and answers: what the text filter looks in
    long_searched_text VARCHAR              -- instead of that, where it has 4,096 bytes or more
);

-- One row per agent that a message names.
CREATE TABLE agents (name VARCHAR PRIMARY KEY);
-- One row per model that a message names.
CREATE TABLE models (
    vendor   VARCHAR NOT NULL,              -- OpenCode's providerID
    model_id VARCHAR NOT NULL,
    PRIMARY KEY (vendor, model_id)
);
-- One row per tool that was called.
CREATE TABLE tools (tool_name VARCHAR PRIMARY KEY);

-- List prices of the models that are used, USD a token. Of the rows of a model one at most holds for a request: by its time
-- and by the tokens that it sent (input and cache). Open ends are NULL. Without prices: looked for, and none is known.
CREATE TABLE prices (
    vendor          VARCHAR NOT NULL,
    model_id        VARCHAR NOT NULL,
    source          VARCHAR NOT NULL,       -- where the price comes from
    from_at         TIMESTAMP,              -- first moment
    until_at        TIMESTAMP,              -- first moment after
    from_minute     INTEGER,                -- first minute of the day, UTC, where prices change in the day
    until_minute    INTEGER,                -- first minute after
    over_tokens     BIGINT,                 -- only requests that send more than this
    upto_tokens     BIGINT,                 -- and at most this
    input_usd       DECIMAL(18, 15),
    output_usd      DECIMAL(18, 15),
    reasoning_usd   DECIMAL(18, 15),
    cache_read_usd  DECIMAL(18, 15),
    cache_write_usd DECIMAL(18, 15),
    request_usd     DECIMAL(18, 15)         -- for each request, whatever its tokens
);

-- Derived, one row per session. Own numbers leave fork copies out; `inherited` are those copies;
-- `subtree` is the session and all its child sessions.
CREATE TABLE session_stats (
    session_id                VARCHAR PRIMARY KEY,
    root_tokens               BIGINT NOT NULL,
    input_tokens              BIGINT NOT NULL,
    output_tokens             BIGINT NOT NULL,
    reasoning_tokens          BIGINT NOT NULL,
    cache_read_tokens         BIGINT NOT NULL,
    cache_write_tokens        BIGINT NOT NULL,
    total_tokens              BIGINT NOT NULL,
    cost_recorded_usd         DECIMAL(38, 12), -- NULL: nothing recorded
    cost_list_usd             DECIMAL(38, 12), -- NULL: nothing has a known price
    unrecorded_messages       BIGINT NOT NULL, -- messages with usage whose cost is not recorded
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
    subtree_sessions          BIGINT NOT NULL, -- this one included
    subtree_root_tokens       BIGINT NOT NULL,
    subtree_input_tokens      BIGINT NOT NULL,
    subtree_output_tokens     BIGINT NOT NULL,
    subtree_reasoning_tokens  BIGINT NOT NULL,
    subtree_cache_read_tokens BIGINT NOT NULL,
    subtree_cache_write_tokens BIGINT NOT NULL,
    subtree_total_tokens      BIGINT NOT NULL,
    subtree_cost_recorded_usd DECIMAL(38, 12),
    child_sessions            BIGINT NOT NULL, -- direct children
    exchange_count            BIGINT NOT NULL,
    user_messages             BIGINT NOT NULL,
    assistant_messages        BIGINT NOT NULL,
    part_count                BIGINT NOT NULL,
    tool_calls                BIGINT NOT NULL,
    failed_tool_calls         BIGINT NOT NULL,
    message_errors            BIGINT NOT NULL,
    first_message_at          TIMESTAMP,
    last_message_at           TIMESTAMP,
    active_ms                 BIGINT NOT NULL, -- time from each prompt to the end of its exchange; what two cover, once
    last_agent                VARCHAR,
    last_provider_id          VARCHAR,
    last_model_id             VARCHAR
);

-- Derived. One row per user message, with all messages that answer it; numbered from 1 inside the session.
CREATE TABLE exchanges (
    exchange_id       VARCHAR PRIMARY KEY,   -- id of the user message; session id + ':start' without one
    session_id        VARCHAR NOT NULL,
    number            INTEGER NOT NULL,
    kind              VARCHAR NOT NULL,      -- prompt, command, shell, compaction, continuation; none: no user message
    status            VARCHAR NOT NULL,      -- answered, failed, aborted, unfinished, unanswered: docs/metrics.md
    user_message_id   VARCHAR,
    started_at        TIMESTAMP,
    ended_at          TIMESTAMP,             -- latest time recorded in it
    agent             VARCHAR,               -- of the last answer
    provider_id       VARCHAR,
    model_id          VARCHAR,
    message_count     INTEGER NOT NULL,
    trace_count       INTEGER NOT NULL,
    error_name        VARCHAR,               -- of the message error that ended it
    input_tokens       BIGINT NOT NULL,      -- fork copies left out, as everywhere
    output_tokens      BIGINT NOT NULL,
    reasoning_tokens   BIGINT NOT NULL,
    cache_read_tokens  BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    total_tokens       BIGINT NOT NULL,
    cost_recorded_usd DECIMAL(38, 12),       -- NULL: nothing recorded
    is_fork_copy      BOOLEAN NOT NULL       -- every request in it is a fork's copy
);

-- Derived. One row per event of an exchange, in order.
CREATE TABLE exchange_traces (
    trace_id         VARCHAR PRIMARY KEY,    -- the part's id; a step has that of its start; ':error', ':step' see docs
    exchange_id      VARCHAR NOT NULL,
    session_id       VARCHAR NOT NULL,
    message_id       VARCHAR NOT NULL,
    position         INTEGER NOT NULL,       -- order inside the session, from 1
    kind             VARCHAR NOT NULL,       -- prompt, reasoning, text, tool, delegation, step, retry, error, compaction, file, patch, other
    name             VARCHAR NOT NULL,       -- tool name, error name, or the type as OpenCode names it
    title            VARCHAR,
    started_at       TIMESTAMP,
    ended_at         TIMESTAMP,
    status           VARCHAR,                -- tool status; a step's: finished, unfinished
    is_failed        BOOLEAN NOT NULL,
    is_unfinished    BOOLEAN NOT NULL,
    child_session_id VARCHAR,                -- delegations
    input_tokens       BIGINT,               -- steps only, as recorded
    output_tokens      BIGINT,
    reasoning_tokens   BIGINT,
    cache_read_tokens  BIGINT,
    cache_write_tokens BIGINT,
    cost_recorded_usd  DECIMAL(18, 12)
);

-- Derived. One row per root session and session of its tree, itself included.
CREATE TABLE session_traces (
    root_session_id    VARCHAR NOT NULL,
    session_id         VARCHAR NOT NULL,
    depth              INTEGER NOT NULL,     -- 0: the root itself
    parent_session_id  VARCHAR,
    delegating_part_id VARCHAR,              -- the task call that runs it; NULL where none is recorded
    PRIMARY KEY (root_session_id, session_id)
);

-- Derived, and small: what the reports add up. One row per session, quarter of an hour, agent and model; every offset of a
-- time zone is a multiple of a quarter, so local days are sums of whole rows. What a filter of text or project leaves is a
-- set of sessions.
CREATE TABLE usage_slices (
    session_id            VARCHAR NOT NULL,
    kind                  VARCHAR NOT NULL,   -- counted (as in `spend`), copy (as in `fork_copies`), other: carries no usage
    quarter_at            TIMESTAMP,          -- its beginning; NULL: the time of the messages is not known
    agent                 VARCHAR,            -- as recorded
    provider_id           VARCHAR,
    model_id              VARCHAR,
    messages              BIGINT NOT NULL,
    input_tokens          BIGINT NOT NULL,
    output_tokens         BIGINT NOT NULL,
    reasoning_tokens      BIGINT NOT NULL,
    cache_read_tokens     BIGINT NOT NULL,
    cache_write_tokens    BIGINT NOT NULL,
    total_tokens          BIGINT NOT NULL,
    cost_recorded_usd     DECIMAL(38, 12),    -- NULL: nothing recorded
    unrecorded_messages   BIGINT NOT NULL,    -- messages whose cost is not recorded
    unrecorded_tokens     BIGINT NOT NULL,    -- total_tokens of those
    missing_usage_messages BIGINT NOT NULL,
    cost_list_usd         DECIMAL(38, 12),    -- NULL: no model of it has a known price
    unpriced_messages     BIGINT NOT NULL,    -- messages with tokens, and no known price
    unpriced_tokens       BIGINT NOT NULL,    -- total_tokens of those
    free_list_usd         DECIMAL(38, 12),    -- the share of cost_list_usd whose recorded cost is 0
    failed_answers        BIGINT NOT NULL,    -- ended in an error, those that the user cut short left out
    aborted_answers       BIGINT NOT NULL,    -- the user cut them short
    unfinished_answers    BIGINT,             -- never came to an end, without an error
    calls                 BIGINT NOT NULL,    -- tool calls that ended
    failed_calls          BIGINT NOT NULL,
    unfinished_calls      BIGINT NOT NULL,
    first_at              TIMESTAMP,          -- of its messages
    last_at               TIMESTAMP
);

-- Derived. What `usage_slices` will hold of messages when everything is read, told from them and the ends of their steps
-- alone: rows only while the first pass over a large storage runs. Our readers find them in `usage_slices` then
-- (published.py).
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

-- Derived. One row per tool call of a message, with what reports on tools group and sort by.
CREATE TABLE tool_calls (
    part_id       VARCHAR PRIMARY KEY,
    session_id    VARCHAR NOT NULL,
    exchange_id   VARCHAR NOT NULL,
    tool_name     VARCHAR NOT NULL,
    message_at    TIMESTAMP,                  -- time of its message: what periods go by
    agent         VARCHAR,
    provider_id   VARCHAR,
    model_id      VARCHAR,
    started_at    TIMESTAMP,
    duration_ms   BIGINT,                     -- NULL: not ended, not recorded, or the clock went backwards
    is_failed     BOOLEAN NOT NULL,
    is_unfinished BOOLEAN NOT NULL,
    is_counted    BOOLEAN NOT NULL,           -- of a message in `spend`, not of a fork's copy
    target        VARCHAR,                    -- as in `parts`
    output_bytes  BIGINT,
    enters_at     INTEGER                     -- number in `request_chain` that first sends its output; NULL: it has none
);

-- Derived. One row per request that sent anything that is known, fork copies included: where it stands among those of its
-- session, and what the outputs of tool calls take of what it sent.
CREATE TABLE request_chain (
    request_id     VARCHAR PRIMARY KEY,       -- as in the view `requests`
    session_id     VARCHAR NOT NULL,
    number         INTEGER NOT NULL,          -- from 1
    prior_id       VARCHAR,                   -- the request before it
    stretch        INTEGER NOT NULL,          -- collapses and compactions of the session so far
    is_compacted   BOOLEAN NOT NULL,          -- it summarised the session, or a summary lies before it
    is_collapsed   BOOLEAN NOT NULL,          -- it read less than half of what the one before had left in the cache
    entered_bytes  BIGINT NOT NULL,           -- outputs that it is the first to send
    entered_tokens BIGINT NOT NULL,           -- estimate of the same
    held_tokens    BIGINT NOT NULL            -- estimate of the outputs that earlier ones of the stretch brought
);

-- Derived. One row per error of a message and per failed tool call.
CREATE TABLE failures (
    failure_id    VARCHAR PRIMARY KEY,        -- id of its trace
    session_id    VARCHAR NOT NULL,
    exchange_id   VARCHAR NOT NULL,
    message_id    VARCHAR NOT NULL,
    is_call       BOOLEAN NOT NULL,           -- a tool call, not an answer
    category      VARCHAR NOT NULL,           -- its cause: docs/errors.md
    name          VARCHAR NOT NULL,           -- the tool, or the error's name
    is_aborted    BOOLEAN NOT NULL,           -- an answer that the user cut short
    message_at    TIMESTAMP,                  -- time of its message: what periods go by
    failed_at     TIMESTAMP,                  -- latest time that is known of it
    agent         VARCHAR,
    provider_id   VARCHAR,
    model_id      VARCHAR,
    is_counted    BOOLEAN NOT NULL,           -- of a message in `spend`, not of a fork's copy
    is_ending     BOOLEAN NOT NULL,           -- its exchange ended with it: its spend is charged to it
    is_deleted    BOOLEAN NOT NULL            -- OpenCode deleted it: its text is gone
);

-- What `python -m indexer benchmark` measured.
CREATE TABLE benchmark_runs (
    run_id         VARCHAR PRIMARY KEY,
    started_at     TIMESTAMP NOT NULL,
    ended_at       TIMESTAMP NOT NULL,
    data           VARCHAR NOT NULL,          -- own, or generated
    parts          BIGINT NOT NULL,
    messages       BIGINT NOT NULL,
    sessions       BIGINT NOT NULL,
    database_bytes BIGINT NOT NULL,
    machine        VARCHAR NOT NULL,          -- processor and number of cores
    versions       VARCHAR NOT NULL,          -- Python, DuckDB, schema
    runs           INTEGER NOT NULL           -- warm runs of a query at most: slow ones have fewer
);

-- One row per run, query and variant.
CREATE TABLE benchmark_results (
    run_id      VARCHAR NOT NULL,
    query       VARCHAR NOT NULL,
    variant     VARCHAR NOT NULL,             -- current; no_index: the same file, index scans off; story: its plain schema
    page        VARCHAR NOT NULL,             -- where it is run
    runs        INTEGER NOT NULL,             -- warm ones
    statements  INTEGER NOT NULL,             -- that the page's call runs
    rows        BIGINT NOT NULL,              -- of all their results
    cold_ms     DOUBLE NOT NULL,              -- first run on a fresh connection
    median_ms   DOUBLE NOT NULL,
    p95_ms      DOUBLE NOT NULL,
    slowest_ms  DOUBLE NOT NULL,              -- its slowest statement, median
    is_index_used BOOLEAN NOT NULL,           -- the plan holds an index scan
    sql         VARCHAR NOT NULL,
    plan        VARCHAR NOT NULL,             -- EXPLAIN ANALYZE
    PRIMARY KEY (run_id, query, variant)
);

-- What counts as spend: every message that can carry usage, each request once. Rows deleted in
-- OpenCode stay: money spent stays spent.
CREATE VIEW spend AS
SELECT m.message_id, m.session_id, s.project_id, m.created_at,
       m.agent, m.provider_id, m.model_id,
       coalesce(m.provider_id, 'unknown') || '/' || coalesce(m.model_id, 'unknown') AS model,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.cache_read_tokens, m.cache_write_tokens,
       m.total_tokens, m.root_tokens, m.cost_recorded_usd, m.cost_list_usd,
       m.is_usage_missing, m.is_total_mismatch, m.error_name, m.deleted_at
FROM messages m JOIN sessions s USING (session_id)
WHERE m.has_usage AND NOT m.is_fork_copy;

-- The copies that forks made of counted requests.
CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;

-- One row per request to a model: each step that recorded its usage, else the message itself. Fork copies included.
CREATE VIEW requests AS
SELECT p.part_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       p.input_tokens, p.output_tokens, p.reasoning_tokens, p.reasoning_in_output_tokens, p.cache_read_tokens,
       p.cache_write_tokens, p.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m JOIN parts p USING (message_id)
WHERE m.has_usage AND m.step_count > 0 AND p.part_type = 'step-finish'  -- of an undone message, too
  AND (p.deleted_at IS NULL OR p.deleted_at >= m.deleted_at)  -- not what a rewritten message no longer has
UNION ALL
SELECT m.message_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.reasoning_in_output_tokens, m.cache_read_tokens,
       m.cache_write_tokens, m.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m
WHERE m.has_usage AND m.step_count = 0;

-- The same with the price that holds for each, and what it cost at that price; NULL: none is known, also where no
-- tokens were used: a sum of unknowns and nothing else is unknown.
CREATE VIEW priced_requests AS
SELECT r.*, p.source AS price_source, p.input_usd, p.output_usd, p.reasoning_usd, p.cache_read_usd, p.cache_write_usd,
       CASE WHEN r.input_tokens = 0 AND r.output_tokens = 0 AND r.reasoning_tokens = 0 AND r.cache_read_tokens = 0
             AND r.cache_write_tokens = 0 THEN 0 * p.input_usd
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

-- DuckDB uses an index only where the one filter is `=` or IN on that column and few rows match.
CREATE INDEX idx_agents_name ON agents (name);
CREATE INDEX idx_models_vendor ON models (vendor);
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);
CREATE INDEX idx_tools_name ON tools (tool_name);
CREATE INDEX idx_messages_session ON messages (session_id);
CREATE INDEX idx_exchanges_session ON exchanges (session_id);
CREATE INDEX idx_traces_exchange ON exchange_traces (exchange_id);
