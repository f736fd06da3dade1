-- Seconds used in whole UTC months, by an organization and by one member of it.
--   $1 text  organization      $2 text  user      $3 date[]  months' first days
SELECT
    month,
    sum(seconds_used)::bigint AS organization_used,
    coalesce(sum(seconds_used) FILTER (WHERE user_id = $2), 0)::bigint AS member_used
FROM monthly_usage_cache
WHERE organization_id = $1 AND month = ANY ($3::date[])
GROUP BY month
