-- Makes an organization that is missing, if something was recorded or used on it.
--   $1 text  organization
INSERT INTO organizations (id)
SELECT $1
WHERE
    EXISTS (SELECT FROM interview_sessions WHERE organization_id = $1)
    OR EXISTS (SELECT FROM monthly_usage_cache WHERE organization_id = $1)
    OR EXISTS (SELECT FROM feature_events WHERE organization_id = $1)
ON CONFLICT (id) DO NOTHING
