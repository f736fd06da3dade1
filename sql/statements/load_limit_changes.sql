-- What holds now for organizations whose changes the ledger was not told: the organization's limit in
-- seconds (null: unlimited), those of the members that have one, and the terms of its plan.
--   $1 integer  most organizations      $2 text[]  only of these, or null: of all
SELECT
    change.organization_id,
    limited.user_ids,
    limited.member_limits,
    resolved.*
FROM limit_changes AS change
CROSS JOIN LATERAL account_terms(change.organization_id, NULL) AS resolved
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(user_id), '{}') AS user_ids,
        coalesce(array_agg(monthly_limit_seconds), '{}') AS member_limits
    FROM organization_members
    WHERE organization_id = change.organization_id AND monthly_limit_seconds IS NOT NULL
) AS limited
WHERE
    change.told_version < change.version
    AND ($2::text[] IS NULL OR change.organization_id = ANY ($2))
ORDER BY change.organization_id
LIMIT $1
