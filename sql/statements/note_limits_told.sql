-- Notes which versions of organizations' limits the ledger was told. One that somebody is changing
-- right now is left for the next time, instead of waiting for their commit.
--   $1 text[]  organization      $2 bigint[]  version; both of one length
WITH told AS (
    SELECT kept.organization_id, given.version
    FROM limit_changes AS kept
    JOIN unnest($1::text[], $2::bigint[]) AS given (organization_id, version)
        USING (organization_id)
    WHERE kept.told_version < given.version
    ORDER BY kept.organization_id
    FOR UPDATE OF kept SKIP LOCKED
)
UPDATE limit_changes AS kept
SET told_version = told.version
FROM told
WHERE kept.organization_id = told.organization_id
