"""The ledger: which seconds are counted, in Redis. Types, keys, calls and the server functions.

`caller` calls the functions; it and its parts (`clients`, `fence`, `loading`) alone import redis.
`driver` is what is asked of the ledger by such calls; `auditing`, `live` and `whole` ask more, by
way of the driver. All else is pure.
"""
