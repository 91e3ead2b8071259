DROP VIEW fork_copies;
-- A column cannot be dropped while its table has an index.
DROP INDEX idx_messages_session;
ALTER TABLE messages DROP COLUMN additions;
ALTER TABLE messages DROP COLUMN deletions;
ALTER TABLE messages DROP COLUMN files_changed;
CREATE INDEX idx_messages_session ON messages (session_id);
ALTER TABLE projects DROP COLUMN worktrees;
ALTER TABLE projects DROP COLUMN clones;

CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;
