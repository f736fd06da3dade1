-- The responses of a user's chat, the last one first.
--   $1 text  user      $2 uuid  chat      $3 integer  how many
--   $4 timestamptz, $5 uuid  the last of the page before
SELECT
    response.id,
    response.chat_instance_id,
    response.session_start,
    response.session_end,
    response.total_minutes,
    response.completion_status
FROM chat_responses AS response
JOIN users ON users.id = response.profile_id
WHERE
    users.clerk_id = $1
    AND response.chat_instance_id = $2
    AND ($4::timestamptz IS NULL OR (response.session_start, response.id) < ($4, $5::uuid))
ORDER BY response.session_start DESC, response.id DESC
LIMIT $3
