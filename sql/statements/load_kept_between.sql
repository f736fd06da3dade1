-- What is kept of each member of an organization in a period: in a UTC month, or in one of its own.
--   $1 text  organization
--   $2 date  the UTC month's first day         $3 timestamptz  or the period's start
SELECT user_id, seconds_used AS seconds
FROM monthly_usage_cache
WHERE organization_id = $1 AND month = $2
UNION ALL
SELECT user_id, seconds_used
FROM period_usage
WHERE organization_id = $1 AND period_start = $3
