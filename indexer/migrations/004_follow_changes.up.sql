-- What following changes needs: what each document looked like when it was read, and what still has to be done.
CREATE TABLE read_stamps (
    source_id     INTEGER NOT NULL,
    document_kind VARCHAR NOT NULL,
    document_id   VARCHAR NOT NULL,
    stamp         BIGINT,
    parts         INTEGER
);
ALTER TABLE sync_state ADD COLUMN last_reconciled_at TIMESTAMP;
ALTER TABLE sync_state ADD COLUMN texts_deleted_at TIMESTAMP;
ALTER TABLE sources ADD COLUMN file_stamp VARCHAR;
