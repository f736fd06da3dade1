-- Makes periods, with their figures as the rows have them; those of a UTC month are kept already, so
-- that an account of any size may leave those months. Needs the lock of lock_periods.
--   $1 text[]  organization      $2 bigint[]  start      $3 bigint[]  end, exclusive
-- All of one length; times in epoch seconds.
WITH made AS (
    INSERT INTO billing_periods (organization_id, period_start, period_end)
    SELECT organization_id, to_timestamp(period_start), to_timestamp(period_end)
    FROM unnest($1::text[], $2::bigint[], $3::bigint[])
        AS given (organization_id, period_start, period_end)
    RETURNING
        organization_id,
        period_start,
        period_end,
        (period_start AT TIME ZONE 'UTC')::date AS first_day
), of_kind AS (
    SELECT
        made.*,
        (period_start AT TIME ZONE 'UTC', period_end AT TIME ZONE 'UTC') = (
            date_trunc('month', first_day), date_trunc('month', first_day) + interval '1 month'
        ) AS is_month
    FROM made
)
INSERT INTO period_usage (organization_id, user_id, period_start, seconds_used)
SELECT of_kind.organization_id, used.user_id, of_kind.period_start, used.seconds
FROM of_kind
CROSS JOIN LATERAL (
    SELECT user_id, seconds_used AS seconds
    FROM monthly_usage_cache
    WHERE
        of_kind.is_month
        AND organization_id = of_kind.organization_id
        AND month = of_kind.first_day
    UNION ALL
    SELECT user_id, sum(seconds_recorded)
    FROM usage_tracking
    WHERE
        NOT of_kind.is_month
        AND organization_id = of_kind.organization_id
        AND minute_timestamp >= of_kind.period_start
        AND minute_timestamp < of_kind.period_end
    GROUP BY user_id
) AS used
