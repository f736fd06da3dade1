-- Adjustments of organizations from a moment on.
--   $1 text[]  organizations   $2 timestamptz  from
SELECT
    organization_id,
    user_id,
    extract(epoch FROM effective_at)::bigint AS effective_at,
    seconds
FROM usage_adjustments
WHERE organization_id = ANY ($1::text[]) AND effective_at >= $2
