"""The JSON API: one table of operations, which serves requests and describes itself."""
