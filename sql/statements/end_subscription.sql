-- Ends an account's present subscription, if it has one.
--   $1 text  organization
UPDATE user_subscriptions
SET status = 'canceled', ended_at = greatest(clock_timestamp(), started_at)
WHERE organization_id = $1 AND ended_at IS NULL
