"""The bare Starlette echo: what a heartbeat costs before anything has been done with it."""

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.bench.baselines.uvicorn_serve import baseline_arguments, serve


async def echo(websocket: WebSocket) -> None:
    """Send every text frame back as it came."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def echo_one_in_five(websocket: WebSocket) -> None:
    """Send every fifth text frame back: replies as rare as a gateway's acks."""
    await websocket.accept()
    unanswered = 0
    async for text in websocket.iter_text():
        unanswered += 1
        if unanswered == 5:
            unanswered = 0
            await websocket.send_text(text)


def main() -> None:
    """Serve the echo on the port that the command line names."""
    parser = baseline_arguments(__doc__)
    parser.add_argument("--one-in-five", action="store_true", help="Answer every fifth frame.")
    arguments = parser.parse_args()
    endpoint = echo_one_in_five if arguments.one_in_five else echo
    serve(Starlette(routes=[WebSocketRoute("/", endpoint)]), arguments.port)


if __name__ == "__main__":
    main()
