ALTER TABLE part_bodies DROP COLUMN searched_text;
