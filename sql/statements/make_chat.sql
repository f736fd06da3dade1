-- A new chat of a user's.
--   $1 text  user      $2 text  title
INSERT INTO chat_instances (profile_id, title)
SELECT id, $2 FROM users WHERE clerk_id = $1
RETURNING id, title, created_at, 0 AS responses
