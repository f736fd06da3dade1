-- Calls of an account that use something come one after the other, as track_usages() has them.
--   $1 text  organization
SELECT pg_advisory_xact_lock(hashtext('track_usage'), hashtext($1))
