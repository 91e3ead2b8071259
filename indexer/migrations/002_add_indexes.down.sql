DROP INDEX idx_agents_name;
DROP INDEX idx_models_vendor;
DROP INDEX idx_parts_type;
DROP INDEX idx_parts_session;
DROP INDEX idx_tools_name;
DROP INDEX idx_messages_session;
DROP INDEX idx_exchanges_session;
DROP INDEX idx_traces_exchange;
