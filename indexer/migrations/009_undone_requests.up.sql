-- What an undone answer of the JSON tree used are requests still: its message is gone, and its steps lie there without one.

CREATE OR REPLACE VIEW requests AS
SELECT p.part_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       p.input_tokens, p.output_tokens, p.reasoning_tokens, p.reasoning_in_output_tokens, p.cache_read_tokens,
       p.cache_write_tokens, p.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m JOIN parts p USING (message_id)
WHERE m.has_usage AND m.step_count > 0 AND p.part_type = 'step-finish'
  AND (p.deleted_at IS NULL OR p.deleted_at >= m.deleted_at)
UNION ALL
SELECT m.message_id AS request_id, m.message_id, m.session_id, m.created_at, m.agent, m.provider_id, m.model_id,
       m.input_tokens, m.output_tokens, m.reasoning_tokens, m.reasoning_in_output_tokens, m.cache_read_tokens,
       m.cache_write_tokens, m.cost_recorded_usd, m.is_fork_copy, m.is_usage_missing
FROM messages m
WHERE m.has_usage AND m.step_count = 0;

-- The next start prices and derives anew every session that lacks its slices.
DELETE FROM usage_slices WHERE session_id IN (
    SELECT m.session_id FROM messages m JOIN parts p USING (message_id)
    WHERE m.has_usage AND m.step_count > 0 AND p.part_type = 'step-finish' AND p.is_orphan
);
