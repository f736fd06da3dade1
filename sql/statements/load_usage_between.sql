-- Seconds used from one time to another, by an organization and by one member of it.
--   $1 text  organization      $2 text  user
--   $3 timestamptz  from       $4 timestamptz  to (exclusive); both at whole minutes
SELECT
    coalesce(sum(seconds_recorded), 0)::bigint AS organization_used,
    coalesce(sum(seconds_recorded) FILTER (WHERE user_id = $2), 0)::bigint AS member_used
FROM usage_tracking
WHERE organization_id = $1 AND minute_timestamp >= $3 AND minute_timestamp < $4
