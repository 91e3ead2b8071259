UPDATE part_bodies SET searched_text = long_searched_text WHERE long_searched_text IS NOT NULL;
ALTER TABLE part_bodies DROP COLUMN long_searched_text;
