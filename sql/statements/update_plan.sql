-- Changes the columns that are given.
--   $1 text  plan      $2 jsonb  columns
UPDATE plans AS kept
SET
    name = given.name,
    price_cents = given.price_cents,
    currency = given.currency,
    is_default = given.is_default,
    soft_cap = given.soft_cap,
    overage_ceiling_seconds = given.overage_ceiling_seconds,
    grace_seconds = given.grace_seconds,
    grace_is_overage = given.grace_is_overage,
    max_concurrent_sessions = given.max_concurrent_sessions,
    max_session_seconds = given.max_session_seconds,
    warn_minutes_remaining = given.warn_minutes_remaining,
    warn_percent_used = given.warn_percent_used,
    billing_increment = given.billing_increment,
    billing_rounding = given.billing_rounding,
    stripe_price_id = given.stripe_price_id,
    stripe_meter_event_name = given.stripe_meter_event_name
FROM plans AS old
CROSS JOIN LATERAL jsonb_populate_record(old, $2::jsonb) AS given
WHERE old.id = $1 AND kept.id = old.id
RETURNING kept.id
