"""What a second, a session, an account and a period are, and the ledger that counts them."""
