-- Whether this transaction may put the ledger's figures right: one at a time.
SELECT pg_try_advisory_xact_lock(hashtext('ledger_repair'))
