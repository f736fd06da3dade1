-- A user's response.
--   $1 text  user      $2 uuid  response
SELECT
    response.id, response.chat_instance_id, response.session_start, response.session_end,
    response.total_minutes, response.completion_status
FROM chat_responses AS response
JOIN users ON users.id = response.profile_id
WHERE users.clerk_id = $1 AND response.id = $2
