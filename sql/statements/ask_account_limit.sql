-- A limit and what was used of it in the present period.
--   $1 text  organization      $2 text  user, or null: the organization's
SELECT
    $1 AS organization_id,
    $2 AS user_id,
    standing.plan_id,
    standing.time_zone,
    extract(epoch FROM standing.period_start)::bigint AS period_start,
    extract(epoch FROM standing.period_end)::bigint AS period_end,
    figures.most AS limit_seconds,
    figures.used AS used_seconds,
    -- (greatest() passes over nulls, and there is nothing left of no limit.)
    CASE WHEN figures.most IS NOT NULL THEN greatest(figures.most - figures.used, 0) END
        AS remaining_seconds,
    figures.adjusted AS adjusted_seconds
FROM account_standing($1, $2) AS standing
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN $2::text IS NULL THEN standing.organization_limit ELSE standing.member_limit END,
        CASE WHEN $2::text IS NULL THEN standing.organization_used ELSE standing.member_used END,
        CASE
            WHEN $2::text IS NULL THEN standing.organization_adjusted
            ELSE standing.member_adjusted
        END
) AS figures (most, used, adjusted)
