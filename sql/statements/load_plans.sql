-- All plans, with what they include and how many accounts have them; the cheapest first.
SELECT
    plans.*,
    included.usage_types,
    included.limit_values,
    (
        SELECT count(*) FROM user_subscriptions WHERE plan_id = plans.id AND ended_at IS NULL
    ) AS accounts
FROM plans
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(usage_type ORDER BY usage_type), '{}') AS usage_types,
        coalesce(array_agg(limit_value ORDER BY usage_type), '{}') AS limit_values
    FROM plan_limits
    WHERE plan_id = plans.id
) AS included
ORDER BY plans.price_cents, plans.id
