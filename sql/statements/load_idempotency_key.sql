-- What was answered to a caller's key on a route.
--   $1 text  organization      $2 text  user      $3 text  route      $4 text  key
SELECT request_hash, status, answer
FROM idempotency_keys
WHERE
    (organization_id, user_id, route, idempotency_key) = ($1, $2, $3, $4)
    AND created_at > now() - interval '24 hours'
