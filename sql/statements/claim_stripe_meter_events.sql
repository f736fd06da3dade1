-- The oldest waiting event of each customer and meter, where it is due: it is in doubt from now on,
-- until it is said what became of it. `was_in_doubt`: whether it had been before.
--   $1 integer  how many
WITH oldest AS (
    SELECT DISTINCT ON (stripe_customer_id, event_name) id, next_attempt_at
    FROM stripe_meter_events
    WHERE status = 'waiting'
    ORDER BY stripe_customer_id, event_name, id
), due AS (
    SELECT kept.id, kept.doubt_since IS NOT NULL AS was_in_doubt
    FROM oldest
    JOIN stripe_meter_events AS kept USING (id)
    WHERE oldest.next_attempt_at <= now()
    ORDER BY kept.id
    LIMIT $1
)
UPDATE stripe_meter_events AS kept
SET attempts = kept.attempts + 1, doubt_since = coalesce(kept.doubt_since, clock_timestamp())
FROM due
WHERE kept.id = due.id
RETURNING
    kept.id,
    kept.identifier,
    kept.stripe_customer_id,
    kept.event_name,
    kept.minutes,
    extract(epoch FROM kept.occurred_at)::bigint AS occurred_at,
    kept.attempts,
    due.was_in_doubt
