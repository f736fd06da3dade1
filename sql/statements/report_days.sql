-- A row an organization, user and day.
--   $1 date  first      $2 date  last      $3 text  organization, or null
SELECT
    organization_id,
    user_id,
    day,
    time_zone,
    seconds_used AS seconds,
    minutes_used AS minutes
FROM daily_usage
WHERE
    day BETWEEN $1 AND $2
    AND seconds_used > 0
    AND ($3::text IS NULL OR organization_id = $3)
ORDER BY organization_id, day, user_id, time_zone
