-- What is kept of each member of organizations in a period: in a UTC month, or in one of their own;
-- `at` is the place in the arrays, from 1.
--   $1 text[]  organization
--   $2 date[]  the UTC month's first day, or null: then
--   $3 timestamptz[]  the period's start
SELECT asked.at, kept.user_id, kept.seconds_used AS seconds
FROM unnest($1::text[], $2::date[], $3::timestamptz[])
    WITH ORDINALITY AS asked (organization_id, month, start_at, at)
JOIN monthly_usage_cache AS kept
    ON kept.organization_id = asked.organization_id AND kept.month = asked.month
UNION ALL
SELECT asked.at, kept.user_id, kept.seconds_used
FROM unnest($1::text[], $2::date[], $3::timestamptz[])
    WITH ORDINALITY AS asked (organization_id, month, start_at, at)
JOIN period_usage AS kept
    ON kept.organization_id = asked.organization_id AND kept.period_start = asked.start_at
WHERE asked.month IS NULL
