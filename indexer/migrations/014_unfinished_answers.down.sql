ALTER TABLE usage_slices DROP COLUMN unfinished_answers;
