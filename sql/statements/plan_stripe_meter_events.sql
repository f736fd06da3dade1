-- Makes the next ranges of accounts whose overage isn't all reported. Gives the organizations that were
-- looked at, in order.
--   $1 text  the last one before      $2 integer  how many
SELECT account.organization_id, add_overage_ranges(account.organization_id, false)
FROM (
    SELECT DISTINCT organization_id
    FROM stripe_overage_periods
    WHERE organization_id > $1 AND period_end > now() - interval '34 days'
    ORDER BY organization_id
    LIMIT $2
) AS account
ORDER BY account.organization_id
