"""Stripe: subscriptions that its webhooks keep in step, and overage that is reported to it."""
