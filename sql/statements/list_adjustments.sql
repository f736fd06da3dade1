-- Adjustments, the last one first.
--   $1 integer  how many      $2 bigint  the last one of the page before
--   $3 text  only of this organization      $4 text  only of this user
--   $5 date  only from this day (of UTC) on      $6 date  only until this one, which is included
SELECT id, organization_id, user_id, seconds, effective_at, reason, author, created_at
FROM usage_adjustments
WHERE
    ($2::bigint IS NULL OR id < $2)
    AND ($3::text IS NULL OR organization_id = $3)
    AND ($4::text IS NULL OR user_id = $4)
    AND ($5::date IS NULL OR effective_at >= $5::date::timestamp AT TIME ZONE 'UTC')
    AND ($6::date IS NULL OR effective_at < ($6::date + 1)::timestamp AT TIME ZONE 'UTC')
ORDER BY id DESC
LIMIT $1
