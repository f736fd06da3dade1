"""Keeps a gateway from counting on a server that may have gone back in time.

A replica that takes over can lack the last writes, and so can a server that starts anew from its
file. Accounts' figures are too low then, and whoever counts on them passes a limit. So the server's
run that all figures were compared on is kept beside them, by whoever compares them; a connection to
another run is refused until that was done there, too.
"""

import time
from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from meter.ledger.keys import COMPARED_RUN

# With Postgres or all flushers away nobody compares, and recording goes on after this long.
PATIENCE_SECONDS = 5.0


class Fence:
    """Of one client. `connected` is redis-py's `redis_connect_func`."""

    def __init__(
        self, patience_seconds: float = PATIENCE_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_seconds = patience_seconds
        self._now = now
        self._run = ""
        self._passed = False
        self._since = 0.0
        # Goes up with each other run that was met.
        self.generation = 0

    async def connected(self, connection: AbstractConnection) -> int:
        """Greet the server, and refuse the connection while its figures aren't compared. Gives the
        generation that it is of. Raises redis-py's `ConnectionError`."""
        await connection.on_connect_check_health(check_health=True)
        run = _run_of(await _ask(connection, "INFO", "server"))
        if run != self._run:
            self._run, self._passed, self._since = run, False, self._now()
            self.generation += 1
        generation = self.generation
        if self._passed:
            return generation
        passed = (
            await self._is_compared(connection)
            or self._now() - self._since >= self._patience_seconds
        )
        self._passed = self._passed or (passed and generation == self.generation)
        if not self._passed:
            raise RedisConnectionError(
                "the server is another one, or was started anew: its figures are being compared"
            )
        return generation

    async def _is_compared(self, connection: AbstractConnection) -> bool:
        try:
            run = await _ask(connection, "GET", COMPARED_RUN)
        except ResponseError:  # a cluster's node that hasn't the key: not fenced
            return True
        # A server that lost all of it has no figures that could be too low.
        return run is None or run == self._run.encode()


async def _ask(connection: AbstractConnection, *command: str) -> bytes | None:
    await connection.send_command(*command, check_health=False)
    reply: bytes | None = await connection.read_response()
    return reply


def _run_of(info: bytes | None) -> str:
    for line in (info or b"").splitlines():
        name, _, value = line.partition(b":")
        if name == b"run_id":
            return value.decode()
    return ""
