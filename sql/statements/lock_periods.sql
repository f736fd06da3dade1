-- Waits until nobody else makes periods and all who are changing usage_tracking have committed, and
-- holds both back to the transaction's end. It gives up soon, as they wait behind it meanwhile.
SET LOCAL lock_timeout = '1s';
SELECT pg_advisory_xact_lock(hashtext('billing_periods'))
