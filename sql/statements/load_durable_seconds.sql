-- What is durable of some sessions, of those that have a row.
--   $1 uuid[]  session
SELECT session_id::text, seconds_recorded AS seconds
FROM interview_sessions
WHERE session_id = any($1::uuid[])
