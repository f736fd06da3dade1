-- The days of an account's present period, of a member or with a null user of all, and what was
-- adjusted by hand.
--   $1 text  organization      $2 text  user, or null
SELECT
    details ->> 'time_zone' AS time_zone,
    (details -> 'adjusted_seconds')::bigint AS adjusted_seconds,
    details -> 'days' AS days
FROM get_usage_details($2, $1, most_sessions => 0) AS details
