-- Subscriptions, the last one first.
--   $1 integer  how many      $2 bigint  the last one of the page before      $3 bigint  only this one
--   $4 text  only of this organization
SELECT
    id, organization_id, plan_id, status, billing_cycle, started_at, ended_at,
    stripe_subscription_id, created_at
FROM user_subscriptions
WHERE
    ($2::bigint IS NULL OR id < $2)
    AND ($3::bigint IS NULL OR id = $3)
    AND ($4::text IS NULL OR organization_id = $4)
ORDER BY id DESC
LIMIT $1
