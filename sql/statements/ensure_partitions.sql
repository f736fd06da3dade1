-- Makes monthly partitions of usage_tracking where they are missing; gives how many.
--   $1 timestamptz  in the first month      $2 integer  how many months
SELECT ensure_usage_partitions($1, $2)
