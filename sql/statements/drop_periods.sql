-- Removes periods, with their figures.
--   $1 text[]  organization      $2 bigint[]  start, in epoch seconds; both of one length
DELETE FROM billing_periods AS made
USING unnest($1::text[], $2::bigint[]) AS given (organization_id, period_start)
WHERE
    made.organization_id = given.organization_id
    AND made.period_start = to_timestamp(given.period_start)
