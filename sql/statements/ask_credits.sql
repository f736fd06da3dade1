-- A user's credits.
--   $1 text  user
SELECT
    profile_id,
    organization_id,
    responses_used_total,
    responses_used_this_month,
    responses_available,
    monthly_responses_quota,
    chat_instances_used,
    chat_instances_available,
    chat_instances_quota,
    extract(epoch FROM period_start)::bigint AS period_start,
    extract(epoch FROM period_end)::bigint AS period_end
FROM profile_credits
WHERE user_id = $1
