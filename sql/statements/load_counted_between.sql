-- What the rows say that each member of an organization has in a time, out of the masks themselves.
--   $1 text  organization      $2 timestamptz  from       $3 timestamptz  to (exclusive)
SELECT user_id, sum(bit_count(seconds_mask::bit(60)))::bigint AS seconds
FROM usage_tracking
WHERE organization_id = $1 AND minute_timestamp >= $2 AND minute_timestamp < $3
GROUP BY user_id
