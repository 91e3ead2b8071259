-- Prompts and answers once more, in small letters: a search reads nothing else.

ALTER TABLE part_bodies ADD COLUMN searched_text VARCHAR;
UPDATE part_bodies SET searched_text = lower(text)
WHERE part_id IN (SELECT part_id FROM parts WHERE part_type = 'text' AND NOT is_synthetic AND NOT is_orphan);
