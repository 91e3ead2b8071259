-- error_data from text to JSON, in four steps: a new column, filled, takes the place of the old one. Text that is no JSON
-- is kept, readable, as `{"_invalid": text}` behind one space. The space tells it from an error object that has such a
-- key of its own, and no JSON of OpenCode or of this program begins with it; what does is kept in the same way.
-- A column cannot be dropped while its table has an index.

DROP VIEW fork_copies;  -- it remembers the types of its columns
DROP INDEX idx_messages_session;
ALTER TABLE messages ADD COLUMN new_error_data JSON;
UPDATE messages SET new_error_data = CASE
    WHEN json_valid(error_data) AND NOT starts_with(error_data, ' {"_invalid":') THEN TRY_CAST(error_data AS JSON)
    ELSE (' ' || json_object('_invalid', error_data)::VARCHAR)::JSON
END
WHERE error_data IS NOT NULL;
ALTER TABLE messages DROP COLUMN error_data;
ALTER TABLE messages RENAME COLUMN new_error_data TO error_data;
CREATE INDEX idx_messages_session ON messages (session_id);
CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;

DROP INDEX idx_parts_type;
DROP INDEX idx_parts_session;
ALTER TABLE parts ADD COLUMN new_error_data JSON;
UPDATE parts SET new_error_data = CASE
    WHEN json_valid(error_data) AND NOT starts_with(error_data, ' {"_invalid":') THEN TRY_CAST(error_data AS JSON)
    ELSE (' ' || json_object('_invalid', error_data)::VARCHAR)::JSON
END
WHERE error_data IS NOT NULL;
ALTER TABLE parts DROP COLUMN error_data;
ALTER TABLE parts RENAME COLUMN new_error_data TO error_data;
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);
