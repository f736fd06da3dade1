-- A row where somebody is a member of an organization, or has recorded on it.
--   $1 text  organization      $2 text  user
SELECT 1 WHERE is_member($1, $2)
