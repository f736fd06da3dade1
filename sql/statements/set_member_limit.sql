-- Sets a member's limit; makes the organization and the member where they are missing.
--   $1 text  organization      $2 text  user      $3 bigint  seconds, or null: unlimited
WITH organization AS (
    INSERT INTO organizations (id) VALUES ($1) ON CONFLICT (id) DO NOTHING
)
INSERT INTO organization_members AS kept (organization_id, user_id, monthly_audio_hours_limit)
VALUES ($1, $2, trim_scale($3::bigint / 3600.0))
ON CONFLICT (organization_id, user_id) DO UPDATE
SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit
