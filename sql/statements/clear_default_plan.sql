-- There is at most one default plan.
--   $1 text  the plan that is to be it
UPDATE plans SET is_default = false WHERE is_default AND id <> $1
