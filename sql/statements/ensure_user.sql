-- Makes the user and their personal account, with the default plan, where they are not known yet.
--   $1 text  user
SELECT ensure_user_exists($1)
WHERE NOT EXISTS (SELECT FROM users WHERE clerk_id = $1)
