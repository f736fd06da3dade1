-- A user's lifetime.
--   $1 text  user
SELECT
    lifetime.total_sessions,
    lifetime.total_seconds,
    (lifetime.total_seconds + 59) / 60 AS total_minutes,
    lifetime.features_used,
    lifetime.days_active,
    lifetime.current_streak,
    lifetime.longest_streak,
    lifetime.average_sessions_per_month,
    lifetime.first_activity,
    lifetime.last_activity,
    lifetime.months_subscribed,
    lifetime.highest_tier
FROM lifetime_of($1) AS lifetime
