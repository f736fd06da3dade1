-- What became of an event that was sent.
--   $1 bigint  event      $2 boolean  whether Stripe has it
--   $3 boolean  whether it may have it all the same      $4 text  what went wrong
--   $5 float  seconds until it is tried again
UPDATE stripe_meter_events
SET
    status = CASE WHEN $2 THEN 'sent' ELSE status END,
    sent_at = CASE WHEN $2 THEN clock_timestamp() END,
    doubt_since = CASE WHEN $2 OR NOT $3 THEN NULL ELSE doubt_since END,
    last_error = $4,
    next_attempt_at = clock_timestamp() + $5::float8 * interval '1 second'
WHERE id = $1 AND status = 'waiting'
