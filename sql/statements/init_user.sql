-- The internal record of a user, made where it is missing.
--   $1 text  user      $2 text  e-mail, or null
SELECT ensure_user_exists($1, $2)::text AS user_uuid
