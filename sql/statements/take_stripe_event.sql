-- Takes an event of Stripe once; what became of it, and why it is unmatched.
--   $1 text  event      $2 text  its type      $3 bigint  when, in epoch seconds
--   $4 jsonb  its object      $5 jsonb  what had been otherwise before
SELECT outcome, reason FROM take_stripe_event($1, $2, to_timestamp($3::bigint), $4, $5)
