-- A row an adjustment whose moment is between two days (of UTC, both included).
--   $1 date  first      $2 date  last      $3 text  organization, or null
SELECT organization_id, user_id, id, seconds, effective_at, reason, author, created_at
FROM usage_adjustments
WHERE
    effective_at >= $1::date::timestamp AT TIME ZONE 'UTC'
    AND effective_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND ($3::text IS NULL OR organization_id = $3)
ORDER BY organization_id, effective_at, id
