-- Kept figures that differ from what the rows of usage_tracking say, in a time.
--   $1 timestamptz  from       $2 timestamptz  to (exclusive)
SELECT 'monthly_usage_cache' AS figure, organization_id, user_id, place, kept, counted
FROM audit_months($1, $2)
UNION ALL
SELECT 'daily_usage', organization_id, user_id, place, kept, counted FROM audit_days($1, $2)
UNION ALL
SELECT 'daily_usage', organization_id, user_id, place, kept, counted FROM audit_moments($1, $2)
UNION ALL
SELECT 'period_usage', organization_id, user_id, place, kept, counted FROM audit_periods($1, $2)
UNION ALL
SELECT 'interview_sessions', organization_id, user_id, place, kept, counted
FROM audit_sessions($1, $2)
UNION ALL
SELECT 'organization_members', organization_id, user_id, place, kept, counted FROM audit_members()
ORDER BY figure, organization_id, user_id, place
