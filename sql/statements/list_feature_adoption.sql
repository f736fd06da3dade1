-- What was used from the month of one day to that of another, by the plan that accounts had at the time
-- and by usage type; the last month first.
--   $1 integer  how many      $2 date, $3 text, $4 text  month, tier and type of the last one of the
--   page before      $5 date  first      $6 date  last
SELECT asked.month::date AS month, used.tier, used.usage_type, used.users, used.amount, used.accounts
FROM generate_series(
    date_trunc('month', $5::date::timestamp), $6::date::timestamp, interval '1 month'
) AS asked (month)
CROSS JOIN LATERAL feature_adoption_by_tier(
    asked.month::date,
    $1,
    CASE WHEN asked.month = $2::date THEN $3::text END,
    CASE WHEN asked.month = $2::date THEN $4::text END
) AS used
WHERE $2::date IS NULL OR asked.month <= $2
ORDER BY asked.month DESC, used.tier, used.usage_type
LIMIT $1
