-- What holds for a member of an organization: limits in seconds (null: unlimited), their version, and
-- the terms of the organization's plan (all null without one). Always one row.
--   $1 text  organization      $2 text  user
SELECT * FROM account_terms($1, $2)
