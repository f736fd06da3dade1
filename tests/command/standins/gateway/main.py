"""Stands in for the gateway: answers /readyz, notes what it was told, ends on SIGTERM."""

import http.server
import os
import signal
import socketserver
import sys

from . import note


class Handler(http.server.BaseHTTPRequestHandler):
    """Ready at once."""

    def do_GET(self) -> None:
        """200 for everything."""
        self.send_response(200)
        self.end_headers()


class Server(socketserver.ThreadingTCPServer):
    """Unlike http.server's own it does not ask the resolver for its name."""

    allow_reuse_address = True
    daemon_threads = True


def run() -> None:
    """What `meter gateway` calls."""
    note("gateway start")
    for name in sorted(os.environ):
        if name.startswith(("METER_JWT_", "METER_JWKS_")):
            note(f"gateway has {name}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("2026-01-01 00:00:00,000 INFO gateway routine", file=sys.stderr)
    print("2026-01-01 00:00:00,000 ERROR gateway something is wrong", file=sys.stderr)
    if os.environ.get("STANDIN_GATEWAY_FAILS"):
        sys.exit("the gateway can't")
    try:
        address = (os.environ["HOST"], int(os.environ["PORT"]))
        Server(address, Handler).serve_forever()
    finally:
        note("gateway end")
