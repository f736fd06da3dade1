-- A user's e-mail.
--   $1 text  user
SELECT email FROM users WHERE clerk_id = $1
