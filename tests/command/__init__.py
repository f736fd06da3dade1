"""Tests of the `meter` command and of the servers it embeds."""
