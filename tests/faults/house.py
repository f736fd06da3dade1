"""All processes of a run, with proxies between them, on one Valkey and one Postgres of its own."""

import asyncio
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import asyncpg

from command.embedded import EmbeddedPostgres, EmbeddedValkey
from command.jwt import DEFAULT_SCOPE, TokenClaims, sign
from meter.ledger.driver import Ledger
from persistence.migrations import migrate
from tests.faults.programs import Flusher, Gateway, Program
from tests.faults.proxy import LOOPBACK, Proxy

TOKEN_SECONDS = 6 * 3600


class Unit:
    """A gateway or flusher with its own ways to the stores, so that one alone can be cut off."""

    def __init__(self, program: Program, redis: Proxy, postgres: Proxy) -> None:
        self.program = program
        self.redis = redis
        self.postgres = postgres


class House:
    """Starts all on entering, and stops all on leaving.

    `directory` is one that the user Postgres runs as can enter. Recorders connect to `record_url`,
    which spreads them over the gateways that run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        gateways: int = 2,
        flushers: int = 2,
        settings: dict[str, str] | None = None,
        seed: int = 0,
        token_seconds: int = TOKEN_SECONDS,
    ) -> None:
        self.directory = directory
        self.secret = secrets.token_hex(32)
        self.valkey = EmbeddedValkey(directory / "valkey-1", durable=False)
        # Durable, or a killed one forgets what it has just committed.
        self.postgres = EmbeddedPostgres(directory)
        self.gateways: list[Unit] = []
        self.flushers: list[Unit] = []
        self.front = Proxy(self._gateway_ports, seed)
        self._sizes = (gateways, flushers)
        self._settings = settings or {}
        self._seed = seed
        self._token_seconds = token_seconds
        self.valkeys = 1
        # From when to when Valkey lost what it had, in monotonic seconds.
        self.valkey_lost: list[tuple[float, float]] = []
        self._turn = 0

    # What is where --------------------------------------------------------------------------------

    @property
    def record_url(self) -> str:
        """Where recorders connect."""
        return f"ws://{LOOPBACK}:{self.front.port}/v1/record"

    @property
    def units(self) -> list[Unit]:
        """All gateways and flushers."""
        return [*self.gateways, *self.flushers]

    @property
    def proxies(self) -> list[Proxy]:
        """All ways on which something can go wrong."""
        return [self.front, *(way for unit in self.units for way in (unit.redis, unit.postgres))]

    @property
    def gateway_urls(self) -> list[str]:
        """Where recorders connect without a proxy."""
        ports = [unit.program.port for unit in self.gateways if isinstance(unit.program, Gateway)]
        return [f"ws://{LOOPBACK}:{port}/v1/record" for port in ports]

    def token(self, organization_id: str, user_id: str) -> str:
        """A token for a recorder."""
        claims = TokenClaims(user_id, organization_id, DEFAULT_SCOPE, self._token_seconds)
        return sign(claims, self.secret)

    def ledger(self) -> Ledger:
        """The ledger, past the proxies."""
        return Ledger.connect(self.valkey.url)

    async def database(self) -> asyncpg.Connection:
        """A connection past the proxies."""
        return await asyncpg.connect(self.postgres.url)

    def _gateway_ports(self) -> Sequence[int]:
        """The gateways' ports, beginning with another one each time."""
        self._turn += 1
        ports = [unit.program.port for unit in self.gateways if isinstance(unit.program, Gateway)]
        start = self._turn % len(ports)
        return ports[start:] + ports[:start]

    # Life -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        await asyncio.gather(
            asyncio.to_thread(self.valkey.start), asyncio.to_thread(self.postgres.start)
        )
        connection = await self.database()
        try:
            await migrate(connection)
        finally:
            await connection.close()
        await self.front.start()
        gateways, flushers = self._sizes
        self.gateways = [await self._unit("gateway", number) for number in range(gateways)]
        self.flushers = [await self._unit("flusher", number) for number in range(flushers)]
        for unit in self.units:
            await asyncio.to_thread(unit.program.start)
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Return once all gateways are ready."""
        for unit in self.gateways:
            assert isinstance(unit.program, Gateway)
            await unit.program.wait_ready()

    async def _unit(self, kind: str, number: int) -> Unit:
        seed = self._seed * 1000 + number * 10 + (5 if kind == "gateway" else 0)
        redis = Proxy(lambda: (self.valkey.port,), seed)
        postgres = Proxy(lambda: (self.postgres.port,), seed + 1)
        await redis.start()
        await postgres.start()
        environment = {
            "REDIS_URL": _through(self.valkey.url, redis.port),
            "DATABASE_URL": _through(self.postgres.url, postgres.port),
            "METER_JWT_SECRET": self.secret,
            **self._settings,
        }
        label = f"{kind}-{number}"
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        program = Gateway if kind == "gateway" else Flusher
        return Unit(program(label, logs, environment), redis, postgres)

    async def _stop(self) -> None:
        for proxy in self.proxies:
            proxy.heal()
        await asyncio.gather(*(asyncio.to_thread(unit.program.stop) for unit in self.units))
        for proxy in self.proxies:
            await proxy.stop()
        await asyncio.gather(
            asyncio.to_thread(self.valkey.stop), asyncio.to_thread(self.postgres.remove)
        )
        for data in self.directory.glob("valkey-*"):
            shutil.rmtree(data, ignore_errors=True)


def _through(url: str, port: int) -> str:
    """The same URL by another port of the loopback."""
    parts = urlsplit(url)
    credentials, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}@{LOOPBACK}:{port}").geturl()
