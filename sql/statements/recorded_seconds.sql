-- The seconds recorded of some sessions, in all.
--   $1 uuid[]    sessions
SELECT coalesce(sum(seconds_recorded), 0)::bigint
FROM usage_tracking
WHERE session_id = ANY ($1::uuid[]);
