-- An organization's members by user.
--   $1 text  organization      $2 integer  how many      $3 text  the last one of the page before
--   $4 text  only this one
SELECT
    organization_id,
    user_id,
    monthly_audio_hours_limit,
    monthly_limit_seconds AS limit_seconds,
    current_month_start,
    current_month_minutes_used,
    created_at
FROM organization_members
WHERE
    organization_id = $1
    AND ($3::text IS NULL OR user_id > $3)
    AND ($4::text IS NULL OR user_id = $4)
ORDER BY user_id
LIMIT $2
