-- Prompts of the third generation are searched, too: each is the text of its row, and no part.

UPDATE part_bodies SET searched_text = lower(text)
WHERE part_id = message_id AND message_id IN (SELECT message_id FROM messages WHERE generation = 3 AND role = 'user');
