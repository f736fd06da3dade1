-- Ends a user's response that has not ended; no row where there is none.
--   $1 text  user      $2 uuid  response      $3 text  status
UPDATE chat_responses AS response
SET
    completion_status = $3,
    session_end = CASE WHEN $3 <> 'in_progress' THEN greatest(now(), response.session_start) END
FROM users
WHERE
    users.id = response.profile_id
    AND users.clerk_id = $1
    AND response.id = $2
    AND response.completion_status = 'in_progress'
RETURNING
    response.id, response.chat_instance_id, response.session_start, response.session_end,
    response.total_minutes, response.completion_status
