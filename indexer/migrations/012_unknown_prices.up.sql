-- What used no tokens has a list price only where its model has one: before, it was 0 for models without a price, too.

CREATE OR REPLACE VIEW priced_requests AS
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

-- The next start prices and derives anew every session that lacks its slices.
DELETE FROM usage_slices WHERE session_id IN (
    SELECT m.session_id FROM messages m JOIN priced_requests r USING (message_id)
    WHERE m.cost_list_usd = 0 AND r.cost_list_usd IS NULL
);
