-- Lets others report overage to Stripe.
SELECT pg_advisory_unlock(hashtext('stripe_meter_events'))
