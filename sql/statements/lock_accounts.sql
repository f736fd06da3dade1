-- Waits until no other writer is at the same accounts, to the transaction's end. Writers of the same
-- rows would otherwise meet at several tables, and could deadlock for all the order within each.
--   $1 int[]  the accounts' partitions in the ledger
SELECT pg_advisory_xact_lock(hashtext('usage_tracking'), partition)
FROM unnest($1::int[]) AS taken (partition)
ORDER BY partition
