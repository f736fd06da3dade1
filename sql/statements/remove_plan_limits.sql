-- Takes usage types from a plan: those with a null.
--   $1 text  plan      $2 jsonb  limits by usage type
DELETE FROM plan_limits
USING jsonb_each($2::jsonb) AS given
WHERE plan_id = $1 AND usage_type = given.key AND given.value = 'null'
