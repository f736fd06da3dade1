-- Sets an organization's own limit, which holds before its plan's; makes the organization where it is
-- missing.
--   $1 text  organization      $2 bigint  seconds, or null: unlimited
INSERT INTO organizations AS kept (id, monthly_audio_hours_limit)
VALUES ($1, coalesce(trim_scale($2::bigint / 3600.0), -1))
ON CONFLICT (id) DO UPDATE SET monthly_audio_hours_limit = excluded.monthly_audio_hours_limit
