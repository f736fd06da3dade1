-- Whether nobody else reports overage to Stripe. Held until it is unlocked, or the connection ends.
SELECT pg_try_advisory_lock(hashtext('stripe_meter_events'))
