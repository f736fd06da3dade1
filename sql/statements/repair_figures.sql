-- Puts right what audit_figures finds.
--   $1 timestamptz  from       $2 timestamptz  to (exclusive)
SELECT repair_usage($1, $2)
