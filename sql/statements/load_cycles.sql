-- The cycles that were set for organizations; no row for one whose periods always were UTC months.
--   $1 text[]  organizations
SELECT organization_id, floor(extract(epoch FROM set_at))::bigint AS set_at, time_zone, anchor_day
FROM billing_cycles
WHERE organization_id = ANY ($1::text[])
ORDER BY organization_id, billing_cycles.set_at
