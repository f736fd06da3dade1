-- The days of an account's present period, of a member or with a null user of all, and what was
-- adjusted by hand. (As get_usage_details() has them, whose sessions would have to be planned, too.)
--   $1 text  organization      $2 text  user, or null      $3 text  whose adjustments are told apart
SELECT
    period.time_zone,
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
        FROM seconds_by_day(
            $1,
            $2::text,
            (period.period_start AT TIME ZONE period.time_zone)::date,
            (period.period_end AT TIME ZONE period.time_zone)::date - 1
        ) AS days
    ) AS days
FROM account_period($1) AS period
CROSS JOIN LATERAL adjustments_in($1, $3, period.period_start, period.period_end) AS adjusted
