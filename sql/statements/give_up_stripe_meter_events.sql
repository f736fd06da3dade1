-- Sets apart what can't be sent any more without being counted twice, or taken at all: Stripe knows an
-- identifier again for 24 hours at least, and takes what happened 35 days ago at most. An hour, and
-- half a day, are for clocks and slow networks.
UPDATE stripe_meter_events
SET
    status = CASE
        WHEN doubt_since IS NOT NULL THEN 'uncertain'
        ELSE 'refused'
    END
WHERE
    status = 'waiting'
    AND (
        doubt_since < now() - interval '23 hours'
        OR occurred_at < now() - interval '34 days 12 hours'
    )
RETURNING identifier, status
