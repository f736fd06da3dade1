-- A user's membership and minutes.
--   $1 text  user
SELECT
    profile_id,
    organization_id,
    membership,
    plan_id,
    total_minutes,
    monthly_minutes_allocation,
    minutes_used_this_month,
    minutes_remaining,
    unlimited,
    extract(epoch FROM period_start)::bigint AS period_start,
    extract(epoch FROM period_end)::bigint AS period_end
FROM account_overview
WHERE user_id = $1
