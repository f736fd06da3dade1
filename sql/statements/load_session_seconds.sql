-- Exact seconds of each session of an organization in a period, and before it: of a session that
-- began in the period before, which is a day earlier at most.
--   $1 text  organization      $2 timestamptz  period's start    $3 timestamptz  its end (exclusive)
SELECT
    coalesce(sum(seconds_recorded) FILTER (WHERE minute_timestamp >= $2), 0)::bigint AS seconds,
    coalesce(sum(seconds_recorded) FILTER (WHERE minute_timestamp < $2), 0)::bigint AS earlier
FROM usage_tracking
WHERE
    organization_id = $1
    AND minute_timestamp >= $2::timestamptz - interval '1 day'
    AND minute_timestamp < $3
GROUP BY session_id
HAVING bool_or(minute_timestamp >= $2)
