-- Gives an organization a plan. The subscription that holds goes on with it, as its billing cycle and
-- its user do; without one there is a new one.
--   $1 text  organization      $2 text  plan
WITH changed AS (
    UPDATE user_subscriptions
    SET plan_id = $2
    WHERE organization_id = $1 AND ended_at IS NULL
    RETURNING id
)
INSERT INTO user_subscriptions (organization_id, plan_id)
SELECT $1, $2
WHERE NOT EXISTS (SELECT FROM changed)
