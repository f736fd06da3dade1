-- A row a session and minute between two days (of UTC, both included).
--   $1 date  first      $2 date  last      $3 text  organization, or null
SELECT organization_id, user_id, session_id, minute_timestamp, seconds_recorded AS seconds
FROM usage_tracking
WHERE
    minute_timestamp >= $1::date::timestamp AT TIME ZONE 'UTC'
    AND minute_timestamp < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND ($3::text IS NULL OR organization_id = $3)
ORDER BY organization_id, minute_timestamp, session_id
