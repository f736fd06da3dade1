-- A user's last months on an account, the present one first.
--   $1 text  organization      $2 text  user      $3 integer  how many
SELECT
    month,
    seconds_used,
    (
        SELECT coalesce(sum(adjusted.seconds), 0)::bigint
        FROM usage_adjustments AS adjusted
        WHERE
            adjusted.organization_id = $1
            AND adjusted.user_id = $2
            -- (No time zone is a day away from UTC.)
            AND adjusted.effective_at >= (month - 1)::timestamp AT TIME ZONE 'UTC'
            AND adjusted.effective_at < (month + interval '1 month 1 day') AT TIME ZONE 'UTC'
            AND date_trunc(
                'month', adjusted.effective_at AT TIME ZONE zone_at($1, adjusted.effective_at)
            ) = month
    ) AS adjusted_seconds,
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
