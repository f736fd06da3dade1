-- Those of the accounts to which minutes came by SQL of late, and so by another way than through the
-- ledger, which makes no session of revision 1.
--   $1 text[]  organizations
SELECT DISTINCT organization_id
FROM interview_sessions
WHERE
    organization_id = ANY ($1)
    AND ended_at > now() - interval '10 minutes'
    AND revision = 1
