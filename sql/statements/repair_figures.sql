-- Puts right what audit_figures finds. (Uses before minutes, in the order in which a call writes both.)
--   $1 timestamptz  from       $2 timestamptz  to (exclusive)
SELECT features.repaired + minutes.repaired
FROM repair_features($1, $2) AS features (repaired)
CROSS JOIN LATERAL (SELECT repair_usage($1, $2) WHERE features.repaired IS NOT NULL)
    AS minutes (repaired)
