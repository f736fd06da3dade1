-- A new subscription.
--   $1 text  organization      $2 text  plan      $3 text  status      $4 text  billing cycle
INSERT INTO user_subscriptions
    (organization_id, user_uuid, plan_id, status, billing_cycle, started_at)
VALUES ($1, (SELECT id FROM users WHERE clerk_id = $1), $2, $3, $4, clock_timestamp())
RETURNING id
