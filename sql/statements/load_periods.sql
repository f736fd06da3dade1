-- Periods of organizations that were made and end after some time.
--   $1 text[]  organizations      $2 bigint[]  ending after, in epoch seconds; both of one length
SELECT
    made.organization_id,
    extract(epoch FROM made.period_start)::bigint AS period_start,
    extract(epoch FROM made.period_end)::bigint AS period_end
FROM unnest($1::text[], $2::bigint[]) AS given (organization_id, since)
JOIN billing_periods AS made
    ON made.organization_id = given.organization_id AND made.period_end > to_timestamp(given.since)
