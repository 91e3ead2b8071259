DROP TABLE first_slices;
