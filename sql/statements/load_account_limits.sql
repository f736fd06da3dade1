-- An account's limits in seconds (null: unlimited), and their version; always one row.
--   $1 text  organization      $2 text  user
SELECT version, organization_limit, member_limit FROM account_limits($1, $2)
