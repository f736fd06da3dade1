-- Plans by id.
--   $1 integer  how many      $2 text  the last one of the page before      $3 text  only this one
SELECT
    plans.*,
    (
        SELECT coalesce(jsonb_object_agg(usage_type, coalesce(limit_value, -1)), '{}')
        FROM plan_limits
        WHERE plan_id = plans.id
    ) AS limits,
    (
        SELECT count(*) FROM user_subscriptions WHERE plan_id = plans.id AND ended_at IS NULL
    ) AS accounts
FROM plans
WHERE ($2::text IS NULL OR plans.id > $2) AND ($3::text IS NULL OR plans.id = $3)
ORDER BY plans.id
LIMIT $1
