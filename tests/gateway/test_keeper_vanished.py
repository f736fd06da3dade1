"""The last seconds of recorders that vanished, which only the ledger and their gateway have."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from command.embedded import EmbeddedPostgres
from gateway import keeper
from gateway.counter import Counter
from gateway.metrics import Metrics
from gateway.opener import Opener
from gateway.tally import Tally
from meter.codes import EndReason
from meter.ledger.driver import Ledger
from meter.ledger.types import Rules, SessionState
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.gateway.counting import Peer, World, until
from tests.ledger.servers import Valkey
from tests.persistence.conftest import cloned, migrate_at

LOST_AFTER_SECONDS = 1


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.02)


class House:
    """Two gateways' counters and a flusher, between a real Valkey and a real Postgres."""

    def __init__(self, valkey: Valkey, url: str, ledger: Ledger, storage: PostgresStorage) -> None:
        self.valkey, self.url, self.ledger = valkey, url, ledger
        self.counters = [
            Counter(ledger, Opener(ledger, storage), storage, Metrics(), 0.01) for _ in range(2)
        ]
        self.database = Database(url, name="test", max_connections=2)
        self.flusher = Flusher(ledger, Writer(self.database))

    async def session(self, gateway: int = 0, owner: int = 1) -> Peer:
        peer = Peer(self.counters[gateway], 1, owner)
        peer.start()
        await until(lambda: bool(peer.sent))
        return peer

    async def vanish(self, peer: Peer) -> None:
        """The recorder is gone once all it sent is counted."""
        await until(lambda: not peer.session.tally.waiting)
        peer.leave()

    def empty(self) -> None:
        with self.valkey.client() as client:
            client.flushall()

    async def find(self, peer: Peer) -> SessionState | None:
        assert peer.session.request is not None
        return (await self.ledger.recall([peer.session.request.key]))[0]

    async def has(self, peer: Peer, seconds: int) -> bool:
        state = await self.find(peer)
        return state is not None and state.seconds == seconds

    async def flush(self) -> tuple[int, str | None]:
        """What Postgres then has of the session: seconds, and why it ended."""
        await self.flusher.flush()
        connection = await asyncpg.connect(self.url)
        try:
            row = await connection.fetchrow("SELECT * FROM interview_sessions")
        finally:
            await connection.close()
        return (row["seconds_recorded"], row["end_reason"]) if row else (0, None)


@pytest.fixture
async def house(
    postgres_server: EmbeddedPostgres, tmp_path: Path, quick_retries: None
) -> AsyncIterator[House]:
    with Valkey(tmp_path / "valkey") as valkey:
        async with cloned(postgres_server, "template0") as url:
            await migrate_at(url)
            # Sessions begin now; so that they can count, seconds ahead of the clock are allowed.
            rules = Rules(future_seconds=100, lost_after_seconds=LOST_AFTER_SECONDS)
            ledger, storage = Ledger.connect(valkey.url, rules), PostgresStorage(url)
            made = House(valkey, url, ledger, storage)
            tasks = [asyncio.create_task(counter.run()) for counter in made.counters]
            yield made
            for task in tasks:
                task.cancel()
            for part in (made.database, ledger, storage):
                await part.aclose()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110  # by another process
            await asyncio.sleep(0.02)


@pytest.mark.integration
@pytest.mark.parametrize("is_in_postgres", [False, True])
async def test_an_emptied_ledger_gets_the_seconds_of_a_vanished_recorder_back(
    house: House, is_in_postgres: bool
) -> None:
    peer = await house.session()
    peer.hear(0, 69)
    await house.vanish(peer)
    if is_in_postgres:
        await house.flush()
    house.empty()
    await eventually(lambda: house.has(peer, 70))
    await asyncio.sleep(LOST_AFTER_SECONDS + 1.1)
    assert await house.flush() == (70, EndReason.LOST)
    await until(lambda: len(house.counters[0].keeper) == 0)


@pytest.mark.integration
async def test_looking_after_them_is_no_sign_of_life(house: House) -> None:
    peer = await house.session()
    peer.hear(0, 69)
    await house.vanish(peer)
    await asyncio.sleep(LOST_AFTER_SECONDS + 1.1)
    assert len(house.counters[0].keeper) == 1
    assert await house.flush() == (70, EndReason.LOST)
    await until(lambda: len(house.counters[0].keeper) == 0)


@pytest.mark.integration
async def test_a_session_that_ended_as_lost_before_the_ledger_was_emptied_gets_them_too(
    house: House, slow: pytest.MonkeyPatch
) -> None:
    peer = await house.session()
    peer.hear(0, 9)
    await house.vanish(peer)
    await house.flush()
    house.empty()
    other = await house.session(gateway=1, owner=2)
    other.leave()
    await asyncio.sleep(LOST_AFTER_SECONDS + 1.1)
    assert await house.flush() == (0, EndReason.LOST)
    slow.undo()
    await eventually(lambda: house.has(peer, 10))


@pytest.mark.integration
async def test_a_session_that_goes_on_elsewhere_stays_with_who_speaks_for_it(house: House) -> None:
    old = await house.session()
    old.hear(0, 9)
    await house.vanish(old)
    new = await house.session(gateway=1, owner=2)
    new.hear(10, 19)
    await until(lambda: not new.session.tally.waiting)
    house.empty()
    await eventually(lambda: house.has(old, 20))
    new.hear(20, 20)
    await eventually(lambda: house.has(old, 21))
    assert new.closed is None


async def test_what_is_durable_is_let_go_of(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    assert world.counter.undurable_seconds() == 10
    world.ledger.flush(world.storage)
    await until(lambda: world.counter.undurable_seconds() == 0)
    world.ledger.wipe()
    await asyncio.sleep(0.05)
    assert world.seconds() == set()


async def test_a_session_that_came_back_with_what_postgres_has_gets_the_rest(world: World) -> None:
    other, peer = await world.session(2), await world.session(1)
    peer.hear(0, 4)
    await until(lambda: not peer.session.tally.waiting)
    world.ledger.flush(world.storage)
    peer.hear(5, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    request = other.session.request
    assert request is not None
    figures = await world.storage.load_account(
        request.key.organization_id, request.user_id, int(world.now)
    )
    world.ledger.wipe()
    await world.ledger.seed_account(figures)
    await until(lambda: world.seconds() == set(range(10)))


async def test_what_the_ledger_refuses_is_not_given_again_and_again(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger.wipe()
    world.ledger.limit = 7
    await until(lambda: len(world.seconds()) == 7)
    world.ledger.batches.clear()
    await asyncio.sleep(0.1)
    assert world.ledger.batches == []


async def test_what_the_ledger_lacks_is_kept_for_as_long_as_it_may_be_counted(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer, other = await world.session(1), await world.session(2)
    for each in (peer, other):
        each.hear(0, 9)
        await until(lambda each=each: not each.session.tally.waiting)  # type: ignore[misc]
        each.leave()
    peer.session.tally.doubt()
    now = time.monotonic()
    world.counter.keeper.prune(now + 1000)
    assert world.counter.undurable_seconds() == 10
    world.counter.keeper.prune(now + 86_500)
    assert world.counter.undurable_seconds() == 0


async def test_what_is_kept_of_two_connections_ends_as_one_of_them_did(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    session, tally = peer.session, Tally()
    tally.undurable.add(20, 29)
    session.tally.doubt()
    assert session.request is not None
    assert session.state is not None
    kept = world.counter.keeper.keep(session.request, session.state, tally, time.monotonic())
    assert kept is not None
    assert (kept.end, kept.tally.doubted) == (EndReason.STOPPED, True)
    assert kept.tally.undurable.ranges() == ((0, 9), (20, 29))


async def test_an_outage_is_waited_for(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger.down = world.storage.down = True
    await asyncio.sleep(0.05)
    world.ledger.wipe()
    world.ledger.down = False
    await asyncio.sleep(0.05)
    assert world.seconds() == set()
    world.storage.down = False
    await until(lambda: world.seconds() == set(range(10)))


@pytest.mark.parametrize("is_set", [True, False], ids=["by the ledger's clock", "in truth"])
async def test_one_that_was_lost_too_long_ago_to_be_resumed_gets_its_seconds(
    world: World, slow: pytest.MonkeyPatch, is_set: bool
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger.end(peer.session_id, EndReason.LOST)
    world.ledger.entries[peer.session_id].seconds -= {3, 9}
    if is_set:
        world.ledger_ahead = 3600
    else:
        world.now += 3600
    slow.undo()
    await until(lambda: world.seconds() == set(range(10)))
    assert world.ledger.entries[peer.session_id].state.end_reason == "lost"  # it isn't live again


async def test_a_session_that_began_anew_elsewhere_is_not_given_other_moments(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger.wipe()
    world.now += 500
    await world.session(1, world.another())
    slow.undo()
    await until(lambda: len(world.counter.keeper) == 0)
    assert world.seconds() == set()


async def test_so_many_are_kept_at_the_most_and_the_first_are_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MAX_SESSIONS", 3)
    for number in range(1, 6):
        peer = await world.session(number)
        peer.hear(0, 9)
        await until(lambda peer=peer: not peer.session.tally.waiting)  # type: ignore[misc]
        peer.leave()
    assert len(world.counter.keeper) == 3
    world.ledger.wipe()
    await until(lambda: all(world.seconds(number) for number in (3, 4, 5)))
    assert not world.seconds(1)


async def test_a_replica_is_not_believed_before_it_got_back_what_the_former_server_counted(
    world: World,
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    # Others' seconds of the session make up for the number of those that the replica lacks.
    world.ledger.fail_over((peer.session_id, {4, 5}))
    entry = world.ledger.entries[peer.session_id]
    entry.seconds |= {20, 21}
    entry.durable |= entry.seconds
    await until(lambda: {4, 5} < world.seconds())
    assert world.seconds() == {*range(10), 20, 21}


async def test_an_account_that_the_ledger_no_longer_knows_is_given_to_it(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger.fail_over((peer.session_id, {9}))
    world.ledger.warm.clear()
    await until(lambda: world.seconds() == set(range(10)))
