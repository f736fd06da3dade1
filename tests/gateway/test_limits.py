"""Limits set in Postgres, over a teller, a real Valkey and two gateways' counters: the cap is exact
and reaches live sessions at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import count
from pathlib import Path

import pytest

from command.embedded import EmbeddedPostgres
from gateway.counter import Counter
from gateway.metrics import Metrics
from meter.ledger.driver import Ledger
from meter.messages import Started, StopNotice
from persistence.database import Database
from persistence.limits import set_limit
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from tests.gateway.counting import Peer, until
from tests.gateway.driving import ALICE
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

pytestmark = pytest.mark.integration

ORGANIZATION, USER = ALICE.organization_id, ALICE.user_id
# "Live sessions see the new limit within 2 seconds."
SEEN_WITHIN_SECONDS = 2.0


class Gateways:
    """Two counters on one ledger and one database, and a teller beside them."""

    def __init__(self, database_url: str, ledger: Ledger, storage: PostgresStorage) -> None:
        self.database_url = database_url
        self.peers: list[Peer] = []
        self.counters = [Counter(ledger, storage, Metrics(), 0.01) for _ in range(2)]
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

    async def limit(self, seconds: int | None, user: str | None = None) -> None:
        await set_limit(self.database_url, ORGANIZATION, user, seconds)

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
    await until(condition, SEEN_WITHIN_SECONDS)


def send_again(peers: Iterable[Peer], last: int) -> None:
    for peer in peers:
        peer.hear(0, last)
        peer.hear(last, last)


@pytest.fixture
async def gateways(postgres_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Gateways]:
    with Valkey(tmp_path / "valkey") as valkey:
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


async def test_any_number_of_sessions_count_exactly_as_many_seconds_as_the_limit(
    gateways: Gateways,
) -> None:
    await gateways.limit(60)
    peers = await gateways.start(30)
    send_again(peers, 2)
    await seen(lambda: all(stops(peer) for peer in peers))
    await gateways.quiet()
    assert gateways.counted() == 60

    await gateways.limit(61)
    deadline = time.monotonic() + SEEN_WITHIN_SECONDS
    while time.monotonic() < deadline:
        send_again(peers, 2)
        await asyncio.sleep(0.1)
    await gateways.quiet()
    assert gateways.counted() == 61
    # Each was told the last of its own seconds that counted.
    assert all(stops(peer)[0].last_second <= 2 for peer in peers)


async def test_a_members_limit_binds_where_it_is_tighter(gateways: Gateways) -> None:
    await gateways.limit(100)
    await gateways.limit(7, USER)
    peers = await gateways.start(5)
    send_again(peers, 2)
    await seen(lambda: all(stops(peer) for peer in peers))
    await gateways.quiet()
    assert gateways.counted() == 7
    assert all(stops(peer)[0].reason == "limit_reached" for peer in peers)


async def test_a_limit_lowered_below_what_is_used_stops_every_session_and_lifted_lets_them_start(
    gateways: Gateways,
) -> None:
    peers = await gateways.start(6)
    for peer in peers[:3]:  # the others say nothing
        peer.hear(0, 2)
    await gateways.quiet()
    assert gateways.counted() == 9
    assert not any(stops(peer) for peer in peers)

    await gateways.limit(5)
    await seen(lambda: all(stops(peer) for peer in peers))
    assert {stops(peer)[0].last_second for peer in peers} == {2, -1}
    (refused,) = await gateways.start(1)
    assert refused.closed == 4500

    await gateways.limit(None)
    await asyncio.sleep(SEEN_WITHIN_SECONDS / 2)
    (again,) = await gateways.start(1)
    assert isinstance(again.sent[0], Started)
    assert again.sent[0].usage.unlimited
    again.hear(0, 1)
    await gateways.quiet()
    assert gateways.counted() == 11
