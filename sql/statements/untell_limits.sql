-- Has the ledger told once more what it was told of limits, as it may have lost that: of the next
-- organizations after one, in their order. Gives the last of them, or null when there are none.
--   $1 text  organization      $2 integer  most organizations
WITH chosen AS (
    SELECT organization_id
    FROM limit_changes
    WHERE organization_id > $1
    ORDER BY organization_id
    LIMIT $2
    FOR UPDATE
),
untold AS (
    UPDATE limit_changes AS kept
    SET told_version = kept.version - 1
    FROM chosen
    WHERE kept.organization_id = chosen.organization_id AND kept.told_version = kept.version
)
SELECT max(organization_id) FROM chosen
