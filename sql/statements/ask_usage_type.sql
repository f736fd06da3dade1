-- How an account stands with a usage type, and whether so much more may be used; no row for an
-- unknown type.
--   $1 text  organization      $2 text  user      $3 text  type      $4 float8  amount
SELECT
    has_room($1, $2, standing.usage_type, $4::float8::numeric) AS allowed,
    standing.usage_type,
    standing.used AS current_usage,
    standing.limit_value AS limit,
    standing.remaining,
    standing.limit_value IS NULL AS unlimited,
    standing.period,
    CASE WHEN isfinite(standing.period_start)
        THEN extract(epoch FROM standing.period_start)::bigint END AS period_start,
    CASE WHEN isfinite(standing.period_end)
        THEN extract(epoch FROM standing.period_end)::bigint END AS period_end
FROM usage_standing($1, $2, $3) AS standing
