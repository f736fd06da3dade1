-- An organization's limit and what it used in a period, then the same of each of its members who has
-- a row or has used something in it; no row for one that is unknown and never recorded.
--   $1 text    organization
--   $2 date    the UTC month's first day      $3 bigint  or the period's start, in epoch seconds
WITH used AS (
    SELECT user_id, seconds_used
    FROM monthly_usage_cache
    WHERE organization_id = $1 AND month = $2
    UNION ALL
    SELECT user_id, seconds_used
    FROM period_usage
    WHERE organization_id = $1 AND period_start = to_timestamp($3::bigint)
), member AS (
    SELECT user_id, monthly_limit_seconds
    FROM organization_members
    WHERE organization_id = $1
)
SELECT
    NULL AS user_id,
    (SELECT organization_limit FROM account_terms($1, NULL)) AS limit_seconds,
    (SELECT coalesce(sum(seconds_used), 0)::bigint FROM used) AS used_seconds
WHERE
    EXISTS (SELECT FROM organizations WHERE id = $1)
    OR EXISTS (SELECT FROM monthly_usage_cache WHERE organization_id = $1)
UNION ALL
SELECT user_id, monthly_limit_seconds, coalesce(seconds_used, 0)
FROM member
FULL JOIN used USING (user_id)
ORDER BY user_id NULLS FIRST
