-- An organization's sessions that go on.
--   $1 text  organization
SELECT session_id
FROM interview_sessions
WHERE organization_id = $1 AND ended_at IS NULL AND revision > 0
