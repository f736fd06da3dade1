-- The present limits, in seconds, of organizations whose changes the ledger was not told: the
-- organization's (null: unlimited), and those of the members that have one.
--   $1 integer  most organizations
SELECT
    change.organization_id,
    change.version,
    resolved.organization_limit,
    limited.user_ids,
    limited.member_limits
FROM limit_changes AS change
CROSS JOIN LATERAL account_limits(change.organization_id, NULL) AS resolved
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(user_id), '{}') AS user_ids,
        coalesce(array_agg(monthly_limit_seconds), '{}') AS member_limits
    FROM organization_members
    WHERE organization_id = change.organization_id AND monthly_limit_seconds IS NOT NULL
) AS limited
WHERE change.told_version < change.version
ORDER BY change.organization_id
LIMIT $1
