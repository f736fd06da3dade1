-- Organizations that have less than two periods ahead, or had their cycle changed lately.
--   $1 bigint  now, in epoch seconds      $2 text  after this organization      $3 integer  at most
SELECT cycle.organization_id
FROM billing_cycles AS cycle
WHERE cycle.organization_id > $2
GROUP BY cycle.organization_id
HAVING
    max(cycle.set_at) > to_timestamp($1 - 86400)
    OR (
        SELECT count(*)
        FROM billing_periods AS made
        WHERE
            made.organization_id = cycle.organization_id AND made.period_start > to_timestamp($1)
    ) < 2
ORDER BY cycle.organization_id
LIMIT $3
