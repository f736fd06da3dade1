-- Makes a member, or sets the limit of one.
--   $1 text  organization      $2 text  user      $3 jsonb  columns
INSERT INTO organization_members AS kept (organization_id, user_id, monthly_audio_hours_limit)
SELECT $1, $2, monthly_audio_hours_limit
FROM jsonb_populate_record(NULL::organization_members, $3::jsonb)
ON CONFLICT (organization_id, user_id) DO UPDATE
SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit
RETURNING user_id
