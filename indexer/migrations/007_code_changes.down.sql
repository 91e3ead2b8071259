-- The older parser's rows lack what is dropped here: marked as written by it, they are read again where the newer one
-- comes back.
UPDATE messages SET content_hash = (content_hash & -256) | 3 WHERE source_id IS NOT NULL;
UPDATE sessions SET content_hash = (content_hash & -256) | 3 WHERE source_id IS NOT NULL;
UPDATE projects SET content_hash = (content_hash & -256) | 3 WHERE source_id IS NOT NULL;
UPDATE read_stamps SET stamp = (stamp & -256) | 3;

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
