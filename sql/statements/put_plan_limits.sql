-- Sets limits of a plan.
--   $1 text  plan      $2 jsonb  limits by usage type
INSERT INTO plan_limits AS kept (plan_id, usage_type, limit_value)
SELECT $1, given.key, given.value::bigint
FROM jsonb_each($2::jsonb) AS given
WHERE given.value <> 'null'
ORDER BY given.key
ON CONFLICT (plan_id, usage_type) DO UPDATE SET limit_value = excluded.limit_value
