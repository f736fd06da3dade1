-- Whether nobody else is at this key; it is held until the transaction's end.
--   $1 text  organization, user, route and key in one
SELECT pg_try_advisory_xact_lock(hashtextextended($1, 5064320022)) AS free
