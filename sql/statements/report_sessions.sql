-- A row a session that began between two days (of UTC, both included).
--   $1 date  first      $2 date  last      $3 text  organization, or null
SELECT
    organization_id,
    user_id,
    session_id,
    kind,
    started_at,
    ended_at,
    end_reason,
    seconds_recorded AS seconds,
    duration_minutes AS minutes
FROM interview_sessions
WHERE
    started_at >= $1::date::timestamp AT TIME ZONE 'UTC'
    AND started_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND ($3::text IS NULL OR organization_id = $3)
ORDER BY organization_id, started_at, session_id
