-- Says what the periods of an organization's present subscription are; a row when it has one.
--   $1 text  organization      $2 text  calendar, or anniversary
UPDATE user_subscriptions
SET billing_cycle = $2
WHERE organization_id = $1 AND ended_at IS NULL
RETURNING started_at
