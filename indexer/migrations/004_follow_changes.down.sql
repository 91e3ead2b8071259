ALTER TABLE sources DROP COLUMN file_stamp;
ALTER TABLE sync_state DROP COLUMN texts_deleted_at;
ALTER TABLE sync_state DROP COLUMN last_reconciled_at;
DROP TABLE read_stamps;
