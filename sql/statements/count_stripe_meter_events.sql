-- How many events wait, in how many seconds the first of them is due (null: none), and how many wait
-- for an operator.
SELECT
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    extract(
        epoch FROM min(next_attempt_at) FILTER (WHERE status = 'waiting') - now()
    )::float8 AS due_in_seconds,
    count(*) FILTER (WHERE status <> 'waiting') AS unsettled
FROM stripe_meter_events
WHERE status <> 'sent'
