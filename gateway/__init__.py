"""Sockets and HTTP: turns frames into seconds, and the ledger's replies into acks and stops."""
