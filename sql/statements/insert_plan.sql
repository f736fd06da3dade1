-- A new plan, with the defaults.
--   $1 text  plan      $2 text  name
INSERT INTO plans (id, name) VALUES ($1, $2) RETURNING id
