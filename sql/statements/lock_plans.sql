-- Whoever makes another plan the default one waits until this transaction's end, and sees what it did:
-- each takes the same rows in the same order.
SELECT id FROM plans ORDER BY id FOR NO KEY UPDATE
