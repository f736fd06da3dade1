-- Makes a member, or sets the limit of one, if it is given.
--   $1 text  organization      $2 text  user      $3 jsonb  columns
INSERT INTO organization_members AS kept (organization_id, user_id, monthly_audio_hours_limit)
SELECT $1, $2, monthly_audio_hours_limit
FROM jsonb_populate_record(NULL::organization_members, $3::jsonb)
ON CONFLICT (organization_id, user_id) DO UPDATE
SET monthly_audio_hours_limit = CASE
    WHEN $3::jsonb ? 'monthly_audio_hours_limit' THEN excluded.monthly_audio_hours_limit
    ELSE kept.monthly_audio_hours_limit
END
RETURNING user_id
