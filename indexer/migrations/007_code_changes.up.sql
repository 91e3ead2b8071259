-- What changed while each prompt was answered, and which other checkouts a project has. Filled by the next full pass, which
-- reads every document anew.

ALTER TABLE projects ADD COLUMN worktrees VARCHAR[];
ALTER TABLE projects ADD COLUMN clones VARCHAR[];

DROP VIEW fork_copies;  -- remembers the columns of its table
ALTER TABLE messages ADD COLUMN additions BIGINT;
ALTER TABLE messages ADD COLUMN deletions BIGINT;
ALTER TABLE messages ADD COLUMN files_changed BIGINT;

CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;
