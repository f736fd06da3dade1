"""Stripe, as tests have it: a server that answers as it does, and events as it signs them."""
