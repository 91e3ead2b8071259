-- Long prompts and answers are searched in a column of their own: where there is one of 16 KB, DuckDB does not compress
-- the others beside it.

ALTER TABLE part_bodies ADD COLUMN long_searched_text VARCHAR;
UPDATE part_bodies SET long_searched_text = searched_text, searched_text = NULL WHERE strlen(searched_text) >= 4096;
