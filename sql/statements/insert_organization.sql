-- A new organization.
--   $1 jsonb  its columns
INSERT INTO organizations (id, name, monthly_audio_hours_limit, time_zone, stripe_customer_id)
SELECT id, name, monthly_audio_hours_limit, time_zone, stripe_customer_id
FROM jsonb_populate_record(NULL::organizations, $1::jsonb)
RETURNING id
