-- Keeps an answer. Some of the keys that are over go at the same time.
--   $1 text  organization      $2 text  user      $3 text  route      $4 text  key
--   $5 bytea  the request's hash      $6 smallint  status      $7 bytea  answer
WITH over AS (
    SELECT organization_id, user_id, route, idempotency_key
    FROM idempotency_keys
    WHERE
        created_at <= now() - interval '24 hours'
        AND (organization_id, user_id, route, idempotency_key) <> ($1, $2, $3, $4)
    ORDER BY created_at
    LIMIT 20
    FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM idempotency_keys AS kept
    USING over
    WHERE
        (kept.organization_id, kept.user_id, kept.route, kept.idempotency_key)
        = (over.organization_id, over.user_id, over.route, over.idempotency_key)
)
INSERT INTO idempotency_keys
    (organization_id, user_id, route, idempotency_key, request_hash, status, answer)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (organization_id, user_id, route, idempotency_key) DO UPDATE
SET
    request_hash = excluded.request_hash,
    status = excluded.status,
    answer = excluded.answer,
    created_at = now()
