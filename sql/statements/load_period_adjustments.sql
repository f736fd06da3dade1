-- What was adjusted by hand in an organization's period, line by line.
--   $1 text  organization      $2 timestamptz  from      $3 timestamptz  to (exclusive)
SELECT user_id, seconds, effective_at, reason, author, created_at
FROM usage_adjustments
WHERE organization_id = $1 AND effective_at >= $2 AND effective_at < $3
ORDER BY effective_at, id
