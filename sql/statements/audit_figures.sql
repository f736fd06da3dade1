-- Kept figures that differ from what the rows of usage_tracking say, or feature_events, in a time. What is
-- kept and counted is in seconds, and of feature_usage in uses.
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
UNION ALL
SELECT 'feature_usage', organization_id, user_id, place, kept, counted FROM audit_features($1, $2)
ORDER BY figure, organization_id, user_id, place
