"""The ledger: which seconds are counted, in Redis. Types, keys, calls and the server functions.

Pure but for `meter.ledger.driver`, which alone talks to Redis, and `meter.ledger.live`, which asks
it.
"""
