-- A user's milestones, reached or not.
--   $1 text  user
SELECT kind, value, present_value, reached
FROM user_milestones
WHERE user_id = $1
ORDER BY kind, value
