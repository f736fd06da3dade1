-- A new response in a user's chat; no row where there is no such chat.
--   $1 text  user      $2 uuid  chat
INSERT INTO chat_responses (chat_instance_id, profile_id)
SELECT chat.id, chat.profile_id
FROM chat_instances AS chat
JOIN users ON users.id = chat.profile_id
WHERE users.clerk_id = $1 AND chat.id = $2
RETURNING id, chat_instance_id, session_start, session_end, total_minutes, completion_status
