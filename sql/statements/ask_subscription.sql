-- The present subscription of an account; no row without one.
--   $1 text  user      $2 text  organization
SELECT
    organization_id,
    plan_id,
    plan_name,
    price_cents,
    currency,
    status,
    billing_cycle,
    time_zone,
    started_at,
    extract(epoch FROM current_period_start)::bigint AS current_period_start,
    extract(epoch FROM current_period_end)::bigint AS current_period_end
FROM get_user_subscription_info($1, $2)
