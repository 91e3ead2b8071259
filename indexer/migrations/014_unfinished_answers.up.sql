-- Answers whose request never came to an end are on neither side of an error rate.

ALTER TABLE usage_slices ADD COLUMN unfinished_answers BIGINT;
UPDATE usage_slices SET unfinished_answers = 0;

-- The next start derives anew every session that lacks its slices: here those with an answer that may be one.
DELETE FROM usage_slices WHERE session_id IN (
    SELECT session_id FROM messages
    WHERE role = 'assistant' AND has_usage AND error_name IS NULL AND finish IS NULL
      AND (completed_at IS NULL OR total_tokens = 0)
);
