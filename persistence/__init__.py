"""Postgres: the flusher, what sessions and accounts are durable, migrations."""
