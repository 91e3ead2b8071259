DROP TABLE request_chain;
ALTER TABLE tool_calls DROP COLUMN enters_at;
