-- error_data back to text, byte for byte: what was kept as ` {"_invalid": text}` is that text again.

DROP VIEW fork_copies;  -- it remembers the types of its columns
DROP INDEX idx_messages_session;
ALTER TABLE messages ADD COLUMN new_error_data VARCHAR;
UPDATE messages SET new_error_data = CASE
    WHEN starts_with(error_data::VARCHAR, ' {"_invalid":') THEN error_data ->> '$._invalid'
    ELSE error_data::VARCHAR
END
WHERE error_data IS NOT NULL;
ALTER TABLE messages DROP COLUMN error_data;
ALTER TABLE messages RENAME COLUMN new_error_data TO error_data;
CREATE INDEX idx_messages_session ON messages (session_id);
CREATE VIEW fork_copies AS
SELECT * FROM messages WHERE has_usage AND is_fork_copy;

DROP INDEX idx_parts_type;
DROP INDEX idx_parts_session;
ALTER TABLE parts ADD COLUMN new_error_data VARCHAR;
UPDATE parts SET new_error_data = CASE
    WHEN starts_with(error_data::VARCHAR, ' {"_invalid":') THEN error_data ->> '$._invalid'
    ELSE error_data::VARCHAR
END
WHERE error_data IS NOT NULL;
ALTER TABLE parts DROP COLUMN error_data;
ALTER TABLE parts RENAME COLUMN new_error_data TO error_data;
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);
