"""What the gateway is measured against: each module is a server of its own process.

`python -m tests.bench.baselines.<name> --port N` serves a WebSocket at `/` until it is killed.
"""
