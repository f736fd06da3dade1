-- A user's chats, the last one first.
--   $1 text  user      $2 integer  how many      $3 timestamptz, $4 uuid  the last of the page before
SELECT
    chat.id,
    chat.title,
    chat.created_at,
    (SELECT count(*) FROM chat_responses WHERE chat_instance_id = chat.id) AS responses
FROM chat_instances AS chat
JOIN users ON users.id = chat.profile_id
WHERE
    users.clerk_id = $1
    AND ($3::timestamptz IS NULL OR (chat.created_at, chat.id) < ($3, $4::uuid))
ORDER BY chat.created_at DESC, chat.id DESC
LIMIT $2
