-- Uses several types at once, all or none.
--   $1 text  organization      $2 text  user      $3 jsonb  amounts by type
SELECT track_usages($2, $3::jsonb, NULL, $1)::text AS answer
