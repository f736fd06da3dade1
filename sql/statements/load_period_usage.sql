-- Seconds used by an organization and one member of it, in those of some periods that were made.
--   $1 text  organization      $2 text  user      $3 timestamptz[]  the periods' starts
SELECT
    extract(epoch FROM period.period_start)::bigint AS period_start,
    extract(epoch FROM period.period_end)::bigint AS period_end,
    coalesce(sum(kept.seconds_used), 0)::bigint AS organization_used,
    coalesce(sum(kept.seconds_used) FILTER (WHERE kept.user_id = $2), 0)::bigint AS member_used
FROM billing_periods AS period
LEFT JOIN period_usage AS kept USING (organization_id, period_start)
WHERE period.organization_id = $1 AND period.period_start = ANY ($3::timestamptz[])
GROUP BY period.period_start, period.period_end
