-- How an account stands with every usage type.
--   $1 text  organization      $2 text  user
SELECT
    usage_type,
    unit,
    period,
    CASE WHEN isfinite(period_start) THEN extract(epoch FROM period_start)::bigint END
        AS period_start,
    CASE WHEN isfinite(period_end) THEN extract(epoch FROM period_end)::bigint END AS period_end,
    limit_value AS limit,
    current_usage,
    remaining,
    unlimited,
    percentage_used
FROM get_user_usage_summary($2, $1)
