"""Sessions under limits in Postgres: a teller, a real Valkey and two gateways' counters."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg

from command.embedded import EmbeddedPostgres
from gateway.counter import Counter
from gateway.metrics import Metrics
from gateway.opener import Opener
from meter.ledger.driver import Ledger
from meter.messages import StopNotice
from persistence.database import Database
from persistence.limits import set_limit
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from tests.gateway.counting import Peer, until
from tests.gateway.driving import ALICE
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

ORGANIZATION, USER = ALICE.organization_id, ALICE.user_id
# "Live sessions see the new limit within 2 seconds."
SEEN_WITHIN_SECONDS = 2.0
# Besides, for a machine that is busy with other tests.
BUSY_SECONDS = 8.0
UNTOLD = "SELECT count(*) FROM limit_changes WHERE told_version < version"


class Gateways:
    """Two counters on one ledger and one database, and a teller beside them."""

    def __init__(self, database_url: str, ledger: Ledger, storage: PostgresStorage) -> None:
        self.database_url = database_url
        self.peers: list[Peer] = []
        self.counters = [
            Counter(ledger, Opener(ledger, storage), storage, Metrics(), 0.01) for _ in range(2)
        ]
        self._numbers = count(1)

    async def start(self, sessions: int) -> list[Peer]:
        """New sessions, over both counters in turn."""
        numbers = [next(self._numbers) for _ in range(sessions)]
        peers = [Peer(self.counters[number % 2], number, number) for number in numbers]
        for peer in peers:
            peer.start()
        await until(lambda: all(peer.sent or peer.closed for peer in peers))
        self.peers += peers
        return peers

    async def move(self, number: int) -> Peer:
        """The session of a number goes on over the other counter."""
        peer = Peer(self.counters[1 - number % 2], number, 1000 + number)
        peer.start()
        await until(lambda: bool(peer.sent or peer.closed))
        self.peers.append(peer)
        return peer

    async def limit(self, seconds: int | None, user: str | None = None) -> None:
        await set_limit(self.database_url, ORGANIZATION, user, seconds)

    async def told(self) -> None:
        """The ledger knows of all changes that are committed."""
        connection = await asyncpg.connect(self.database_url)
        try:
            async with asyncio.timeout(SEEN_WITHIN_SECONDS + BUSY_SECONDS):
                while await connection.fetchval(UNTOLD):  # noqa: ASYNC110  # by the teller
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()

    def counted(self) -> int:
        """Seconds of all sessions, as the ledger told them."""
        return sum(peer.session.tally.seconds for peer in self.peers)

    async def quiet(self) -> None:
        """All that was heard is counted or refused."""
        await until(lambda: not any(peer.session.tally.waiting for peer in self.peers))


def stops(peer: Peer) -> list[StopNotice]:
    return [message for message in peer.sent if isinstance(message, StopNotice)]


async def seen(condition: Callable[[], bool]) -> None:
    """It comes to be so in time."""
    await until(condition, SEEN_WITHIN_SECONDS + BUSY_SECONDS)


def send_again(peers: Iterable[Peer], last: int) -> None:
    for peer in peers:
        peer.hear(0, last)
        peer.hear(last, last)


@asynccontextmanager
async def running_gateways(
    postgres_server: EmbeddedPostgres, directory: Path
) -> AsyncIterator[Gateways]:
    """Two counters and a teller at work, on a database and a Valkey of their own."""
    with Valkey(directory / "valkey") as valkey:
        async with cloned(postgres_server, "template0") as url:
            await migrate_at(url)
            ledger, storage = Ledger.connect(valkey.url), PostgresStorage(url)
            database, stop = Database(url, name="test", max_connections=1), asyncio.Event()
            made = Gateways(url, ledger, storage)
            tasks = [asyncio.create_task(counter.run()) for counter in made.counters]
            teller = asyncio.create_task(LimitsTeller(ledger, database).run(stop))
            yield made
            stop.set()
            await teller
            for task in tasks:
                task.cancel()
            for part in (database, ledger, storage):
                await part.aclose()
