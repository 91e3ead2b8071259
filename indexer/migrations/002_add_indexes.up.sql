-- What pages look up by name, session or exchange. DuckDB uses an index only for `=` or IN on that one column.
CREATE INDEX idx_agents_name ON agents (name);
CREATE INDEX idx_models_vendor ON models (vendor);
CREATE INDEX idx_parts_type ON parts (part_type);
CREATE INDEX idx_parts_session ON parts (session_id);
CREATE INDEX idx_tools_name ON tools (tool_name);
CREATE INDEX idx_messages_session ON messages (session_id);
CREATE INDEX idx_exchanges_session ON exchanges (session_id);
CREATE INDEX idx_traces_exchange ON exchange_traces (exchange_id);
