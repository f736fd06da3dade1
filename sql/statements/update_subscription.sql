-- Changes the columns that are given, of one that hasn't ended.
--   $1 bigint  subscription      $2 jsonb  columns
UPDATE user_subscriptions AS kept
SET
    plan_id = given.plan_id,
    status = given.status,
    billing_cycle = given.billing_cycle,
    ended_at = CASE
        WHEN given.status IN ('canceled', 'expired') THEN greatest(now(), kept.started_at)
    END
FROM user_subscriptions AS old
CROSS JOIN LATERAL jsonb_populate_record(old, $2::jsonb) AS given
WHERE old.id = $1 AND kept.id = old.id AND kept.ended_at IS NULL
RETURNING kept.id
