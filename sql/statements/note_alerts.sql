-- Notes thresholds that were passed; those that are noted already stay as they are.
--   $1 text[]    organization   $2 text[]    user, or null: the organization's own limit
--   $3 bigint[]  period's start $4 bigint[]  period's end, in epoch seconds
--   $5 text[]    kind           $6 int[]     value
--   $7 bigint[]  used           $8 bigint[]  limit, in seconds; all of one length
INSERT INTO usage_alerts
    (organization_id, user_id, period_start, period_end, kind, value, used_seconds, limit_seconds)
SELECT
    organization_id, user_id, to_timestamp(period_start), to_timestamp(period_end), kind, value,
    used_seconds, limit_seconds
FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::integer[], $7::bigint[],
    $8::bigint[]
) AS passed (
    organization_id, user_id, period_start, period_end, kind, value, used_seconds, limit_seconds
)
-- In one order, so that two who note the same wait for each other instead of deadlocking.
ORDER BY organization_id, period_start, user_id, kind, value
ON CONFLICT ON CONSTRAINT usage_alerts_once DO NOTHING
