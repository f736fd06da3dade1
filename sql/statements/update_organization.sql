-- Changes the columns that are given.
--   $1 text  organization      $2 jsonb  columns
UPDATE organizations AS kept
SET
    name = given.name,
    monthly_audio_hours_limit = given.monthly_audio_hours_limit,
    time_zone = given.time_zone,
    stripe_customer_id = given.stripe_customer_id
FROM organizations AS old
CROSS JOIN LATERAL jsonb_populate_record(old, $2::jsonb) AS given
WHERE old.id = $1 AND kept.id = old.id
RETURNING kept.id
