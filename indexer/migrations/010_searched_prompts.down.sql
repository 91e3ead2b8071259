UPDATE part_bodies SET searched_text = NULL
WHERE part_id = message_id AND message_id IN (SELECT message_id FROM messages WHERE generation = 3 AND role = 'user');
