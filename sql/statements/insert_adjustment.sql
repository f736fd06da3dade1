-- A new adjustment.
--   $1 text  organization      $2 text  user, or null      $3 bigint  seconds
--   $4 timestamptz  the moment, or null: now      $5 text  reason      $6 text  author
INSERT INTO usage_adjustments (organization_id, user_id, seconds, effective_at, reason, author)
VALUES ($1, $2, $3, coalesce($4, now()), $5, $6)
RETURNING id, organization_id, user_id, seconds, effective_at, reason, author, created_at
