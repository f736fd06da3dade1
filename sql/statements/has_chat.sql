-- A row where a chat is this user's.
--   $1 text  user      $2 uuid  chat
SELECT
FROM chat_instances AS chat
JOIN users ON users.id = chat.profile_id
WHERE users.clerk_id = $1 AND chat.id = $2
