-- Overage minutes of a period that were reported to Stripe; no row where none are to be.
--   $1 text  organization      $2 timestamptz  period's start
SELECT coalesce(sum(event.minutes) FILTER (WHERE event.status = 'sent'), 0)::bigint AS minutes
FROM stripe_overage_periods AS period
LEFT JOIN stripe_meter_events AS event USING (organization_id, period_start)
WHERE period.organization_id = $1 AND period.period_start = $2
GROUP BY period.organization_id, period.period_start
