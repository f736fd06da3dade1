-- Removes a member; what they recorded stays.
--   $1 text  organization      $2 text  user
DELETE FROM organization_members
WHERE organization_id = $1 AND user_id = $2
RETURNING user_id
