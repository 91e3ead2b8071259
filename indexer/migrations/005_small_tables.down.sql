DROP TABLE benchmark_results;
DROP TABLE benchmark_runs;
DROP TABLE failures;
DROP TABLE tool_calls;
DROP TABLE usage_slices;

-- A column cannot be dropped while its table has an index.
DROP VIEW fork_copies;
DROP INDEX idx_messages_session;
ALTER TABLE messages DROP COLUMN error_category;
CREATE INDEX idx_messages_session ON messages (session_id);
CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;
DROP INDEX idx_parts_type;
DROP INDEX idx_parts_session;
ALTER TABLE parts DROP COLUMN output_bytes;
ALTER TABLE parts DROP COLUMN target;
ALTER TABLE parts DROP COLUMN error_category;
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);
