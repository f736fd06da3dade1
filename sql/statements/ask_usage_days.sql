-- The days of an account's present period, of a member or with a null user of all, and what was
-- adjusted by hand. (As get_usage_details() has them, whose sessions would have to be planned, too.)
--   $1 text  organization      $2 text  user, or null      $3 text  whose adjustments are told apart
WITH asked AS (
    SELECT
        period.*,
        (period.period_start AT TIME ZONE period.time_zone)::date AS first,
        (period.period_end AT TIME ZONE period.time_zone)::date - 1 AS last
    FROM account_period($1) AS period
), used AS (
    SELECT daily.day, daily.seconds_used
    FROM daily_usage AS daily, asked
    WHERE
        daily.user_id = $2::text
        AND daily.organization_id = $1
        AND daily.day BETWEEN asked.first AND asked.last
    UNION ALL
    SELECT daily.day, daily.seconds_used
    FROM daily_usage AS daily, asked
    WHERE
        $2::text IS NULL
        AND daily.organization_id = $1
        AND daily.day BETWEEN asked.first AND asked.last
), days AS (
    SELECT day, sum(seconds_used)::bigint AS seconds
    FROM used
    GROUP BY day
    HAVING sum(seconds_used) > 0
)
SELECT
    asked.time_zone,
    CASE
        WHEN $2::text IS NULL THEN adjusted.organization_seconds
        ELSE adjusted.member_seconds
    END AS adjusted_seconds,
    adjusted.member_seconds AS own_adjusted_seconds,
    (
        SELECT
            coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'day', day, 'seconds', seconds, 'minutes', (seconds + 59) / 60
                    )
                    ORDER BY day
                ),
                '[]'
            )
        FROM days
    ) AS days
FROM asked
CROSS JOIN LATERAL adjustments_in($1, $3, asked.period_start, asked.period_end) AS adjusted
