-- Who recorded from one day to another, those who did most first: power_users(), or of one organization.
--   $1 integer  how many      $2 bigint, $3 text  seconds and user of the last one of the page before
--   $4 date  first      $5 date  last      $6 text  organization, or null
SELECT found.user_id, found.seconds, found.days_active, found.last_day
FROM (
    SELECT
        user_id,
        sum(seconds_used)::bigint AS seconds,
        count(DISTINCT day) AS days_active,
        max(day) AS last_day
    FROM daily_usage
    WHERE
        day BETWEEN $4 AND $5
        AND seconds_used > 0
        AND ($6::text IS NULL OR organization_id = $6)
    GROUP BY user_id
) AS found
WHERE
    $2::bigint IS NULL
    OR found.seconds < $2
    OR (found.seconds = $2 AND found.user_id > $3::text)
ORDER BY found.seconds DESC, found.user_id
LIMIT $1
