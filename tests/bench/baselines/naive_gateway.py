"""The naive gateway: Starlette, one `INCR` a heartbeat, one ack a heartbeat.

What one would write first, with nothing held against it: no token, no limit, no check of the
second, no Postgres. It counts a resent second twice. Its pool makes callers wait when all
connections are taken; redis-py's default pool raises instead, and loses most acks at 2,000
sessions.
"""

from itertools import count

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.bench.baselines.uvicorn_serve import baseline_arguments, serve

POOL_CONNECTIONS = 16


def naive_gateway(redis_url: str) -> Starlette:
    """Return the application that does one `INCR` a heartbeat at `redis_url`."""
    pool = BlockingConnectionPool.from_url(
        redis_url, max_connections=POOL_CONNECTIONS, timeout=None
    )
    redis = Redis(connection_pool=pool)
    numbers = count()

    async def record(websocket: WebSocket) -> None:
        await websocket.accept()
        key = f"naive:{next(numbers)}"
        async for text in websocket.iter_text():
            second = orjson.loads(text)["second"]
            seconds = await redis.incr(key)
            await websocket.send_text(
                f'{{"type":"ack","counted_through":{second},"session_seconds":{seconds}}}'
            )

    return Starlette(routes=[WebSocketRoute("/", record)])


def main() -> None:
    """Serve the naive gateway on the port, with the Redis, that the command line names."""
    parser = baseline_arguments(__doc__)
    parser.add_argument("--redis-url", required=True)
    arguments = parser.parse_args()
    serve(naive_gateway(arguments.redis_url), arguments.port)


if __name__ == "__main__":
    main()
