"""The uvicorn settings that all baselines on uvicorn share: the cheapest ones there are.

uvloop and httptools, websockets' sans-IO core, no compression, no server pings, no access log, no
`server` header.
Nothing is left on that would make a baseline look dearer than it has to be.
"""

import argparse

import uvicorn
from starlette.applications import Starlette

HOST = "127.0.0.1"


def baseline_arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that every baseline takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    return parser


def serve(app: Starlette, port: int) -> None:
    """Serve `app` on the loopback until the process is told to stop."""
    uvicorn.run(
        app,
        host=HOST,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
        backlog=4096,
    )
