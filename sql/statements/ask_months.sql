-- A user's last months on an account, the present one first.
--   $1 text  organization      $2 text  user      $3 integer  how many
SELECT
    month,
    seconds_used,
    minutes_used,
    days_active,
    sessions,
    completed_sessions,
    average_session_seconds,
    longest_session_seconds,
    overage_seconds,
    features_used,
    coalesce(features_by_tier, '{}') AS features_by_tier,
    tier,
    last_activity
FROM user_monthly_stats
WHERE organization_id = $1 AND user_id = $2
ORDER BY month DESC
LIMIT $3
