"""The last seconds of ended sessions, which for a while only the ledger and their gateway have."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway import keeper
from meter.codes import EndReason
from meter.ledger.types import SessionKey, SessionState, StoredSession
from meter.messages import Stopped
from tests.gateway.counting import Peer, World, until


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("HURRIED_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(keeper, pause, 0.01)


async def test_a_ledger_that_is_emptied_after_the_end_gets_the_seconds_back(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    peer.leave()
    world.ledger.wipe()
    await until(lambda: world.seconds() == set(range(10)))
    entry = world.ledger.entries[peer.session_id]
    await until(lambda: entry.state.ended_at is not None)
    assert (entry.state.end_reason, world.seconds()) == ("stopped", set(range(10)))


async def test_one_that_cant_be_given_back_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await world.session(1), await world.session(2)
    for peer in (bad, good):
        peer.hear(0, 9)
        peer.stop()
    await until(lambda: bad.closed == good.closed == 1000)
    load = world.storage.load_session

    async def load_the_good_one(session_id: str) -> StoredSession | None:
        if session_id == bad.session_id:
            raise RuntimeError("a bug in one session")
        return await load(session_id)

    monkeypatch.setattr(world.storage, "load_session", load_the_good_one)
    world.ledger.wipe()
    await until(lambda: good.session_id in world.ledger.entries)
    await until(lambda: world.ledger.entries[good.session_id].state.end_reason == "stopped")
    assert len(world.ledger.entries[good.session_id].seconds) == 10


async def test_a_ledger_that_is_away_meanwhile_gets_them_when_it_is_back(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    world.ledger.down = True
    await asyncio.sleep(0.05)
    world.ledger.wipe()
    world.ledger.down = False
    await until(lambda: world.seconds() == set(range(10)))
    entry = world.ledger.entries[peer.session_id]
    await until(lambda: entry.state.ended_at is not None)
    assert entry.state.end_reason == "stopped"


async def test_what_was_durable_in_part_is_not_counted_twice(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 4)
    await until(lambda: not peer.session.tally.waiting)
    world.ledger.flush(world.storage)
    peer.hear(5, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    world.ledger.wipe()
    await until(lambda: world.seconds() == set(range(10)))
    await until(lambda: world.ledger.entries[peer.session_id].state.end_reason == "stopped")
    assert world.ledger.used == 10


@pytest.mark.parametrize("lost_meanwhile", [False, True])
async def test_a_session_that_came_back_from_postgres_as_live_ends_with_all_its_seconds(
    world: World, lost_meanwhile: bool
) -> None:
    other, peer = await world.session(2), await world.session(1)
    peer.hear(0, 4)
    other.hear(0, 4)
    await until(lambda: not (peer.session.tally.waiting or other.session.tally.waiting))
    world.ledger.flush(world.storage)
    peer.hear(5, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    request = other.session.request
    assert request is not None
    figures = await world.storage.load_account(
        request.key.organization_id, request.user_id, int(world.now)
    )
    world.ledger.wipe()
    await world.ledger.seed_account(figures)  # as any other session of the account has it done
    if lost_meanwhile:
        world.ledger.end(peer.session_id, EndReason.LOST)
    await until(lambda: world.seconds() == set(range(10)))
    await until(lambda: world.ledger.entries[peer.session_id].state.end_reason == "stopped")


@pytest.mark.parametrize("older", [False, True])
async def test_a_replica_that_was_behind_gets_the_last_seconds_and_the_end(
    world: World, older: bool
) -> None:
    _, peer = await world.session(2), await world.session(1)
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    entry = world.ledger.entries[peer.session_id]
    assert entry.owner == peer.session.owner
    if older:  # it doesn't know yet who spoke for the session last
        entry.owner -= 1
    world.ledger.fail_over((peer.session_id, {7, 8, 9}))
    await until(lambda: world.seconds() == set(range(10)))
    await until(lambda: entry.state.end_reason == "stopped")


async def test_one_whose_recorder_came_back_after_a_loss_is_not_ended_again(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    entry = world.ledger.entries[peer.session_id]
    entry.owner += 1
    world.ledger.fail_over((peer.session_id, {7, 8, 9}))
    await until(lambda: world.seconds() == set(range(10)))
    await asyncio.sleep(0.05)
    assert entry.state.ended_at is None
    assert world.counter.keeper.ended == 0


async def test_telling_of_the_end_ends_no_session_that_came_back_without_its_last_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = world.another(stop_wait_seconds=0.2)
    running = asyncio.create_task(counter.run())
    peer = await world.session(1, counter)
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    monkeypatch.setattr(keeper, "HURRIED_SECONDS", 0.5)  # it is slow
    peer.stop()
    await until(lambda: counter.keeper.ended == 1)
    world.ledger.fail_over((peer.session_id, {7, 8, 9}))
    await until(lambda: peer.closed == 1000)
    stopped = peer.sent[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.durable_through == -1
    await until(lambda: world.seconds() == set(range(10)))
    await until(lambda: world.ledger.entries[peer.session_id].state.end_reason == "stopped")
    running.cancel()


async def test_a_lost_session_that_a_limit_keeps_closed_now_may_be_opened_later(
    world: World,
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    world.ledger.limit = 0
    world.ledger.fail_over((peer.session_id, {7, 8, 9}))
    world.ledger.end(peer.session_id, EndReason.LOST)
    await asyncio.sleep(0.1)
    assert world.counter.keeper.ended == 1
    world.ledger.limit = 100
    await until(lambda: world.seconds() == set(range(10)))


async def test_a_session_that_an_operator_ended_is_kept_too(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    world.ledger.end(peer.session_id, EndReason.ADMIN)
    peer.hear(10, 10)
    await until(lambda: peer.closed == 4503)
    world.ledger.wipe()
    await until(lambda: world.seconds() == set(range(10)))
    entry = world.ledger.entries[peer.session_id]
    await until(lambda: entry.state.ended_at is not None)
    assert entry.state.end_reason == "admin"


async def test_an_operators_stop_on_a_replica_that_was_behind_loses_nothing(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    world.ledger.fail_over((peer.session_id, {7, 8, 9}))
    world.ledger.end(peer.session_id, EndReason.ADMIN)
    peer.hear(10, 10)
    await until(lambda: peer.closed == 4503)
    stopped = peer.sent[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.durable_through == -1
    await until(lambda: world.seconds() == set(range(10)))


async def test_a_session_that_is_stopped_before_it_got_back_what_the_ledger_lost_gets_it_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: not peer.session.tally.waiting)
    find = world.ledger.recall

    async def find_and_stop(keys: Sequence[SessionKey]) -> list[SessionState | None]:
        found = await find(keys)
        if peer.closed is None:
            world.ledger.end(peer.session_id, EndReason.ADMIN)
        return found

    monkeypatch.setattr(world.ledger, "recall", find_and_stop)
    world.ledger.entries[peer.session_id].seconds -= {7, 8, 9}
    peer.hear(10, 10)
    await until(lambda: peer.closed == 4503)
    await until(lambda: world.seconds() == set(range(11)))
    assert world.ledger.entries[peer.session_id].state.end_reason == "admin"


async def test_what_was_early_when_an_operator_ended_the_session_holds_nothing_up(
    world: World,
) -> None:
    peer = await world.session()
    peer.hear(3590, 3602)  # of a recorder whose clock is 2 seconds ahead
    await until(lambda: len(world.seconds()) == 13)
    world.ledger.end(peer.session_id, EndReason.ADMIN)
    peer.hear(3603, 3603)
    await until(lambda: peer.closed == 4503)
    world.ledger.flush(world.storage)
    await until(lambda: world.counter.undurable_seconds() == 0)
    assert world.seconds() == set(range(3590, 3603))


async def stopped(world: World) -> Peer:
    """A session that Postgres has without its seconds."""
    peer = await world.session()
    world.ledger.flush(world.storage)
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    return peer


async def end_without_its_seconds(world: World, peer: Peer) -> None:
    """The ledger was emptied, has the session again as Postgres has it, and is told to end it."""
    world.ledger.wipe()
    stored = await world.storage.load_session(peer.session_id)
    assert stored is not None
    await world.ledger.restore_session(stored)
    world.ledger.end(peer.session_id, EndReason.ADMIN)


async def test_one_that_ends_without_its_seconds_while_they_are_given_back_gets_them(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer = await stopped(world)
    find, finds = world.ledger.recall, 0

    async def find_and_end(keys: Sequence[SessionKey]) -> list[SessionState | None]:
        nonlocal finds
        found, finds = await find(keys), finds + 1
        if finds == 1:
            await end_without_its_seconds(world, peer)
        return found

    world.ledger.wipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.ledger, "recall", find_and_end)
        slow.undo()
        await until(lambda: world.seconds() == set(range(10)))
    assert world.ledger.entries[peer.session_id].state.end_reason == "admin"


async def test_one_that_postgres_has_as_ended_without_its_seconds_gets_them(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer = await stopped(world)
    await end_without_its_seconds(world, peer)
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    slow.undo()
    await until(lambda: world.seconds() == set(range(10)))
    world.ledger.flush(world.storage)
    await until(lambda: world.counter.undurable_seconds() == 0)
    assert world.storage.seconds(peer.session_id) == set(range(10))
    assert world.ledger.entries[peer.session_id].state.end_reason == "admin"


async def test_a_recorder_is_told_of_the_end_once_all_is_durable_or_the_wait_is_over(
    world: World,
) -> None:
    patient_counter = world.another(stop_wait_seconds=0.3)
    running = asyncio.create_task(patient_counter.run())
    first, second = [await world.session(number, patient_counter) for number in (1, 2)]
    for peer in (first, second):
        peer.hear(0, 9)
    await until(lambda: not first.session.tally.waiting)
    first.stop()
    await asyncio.sleep(0.1)
    assert first.closed is None
    world.ledger.flush(world.storage)
    await until(lambda: first.closed == 1000)
    second.hear(10, 11)
    second.stop()
    await asyncio.sleep(0.1)
    assert second.closed is None
    await until(lambda: second.closed == 1000)
    running.cancel()


async def test_nothing_is_kept_once_it_is_durable(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert world.counter.keeper.ended == 1
    world.ledger.flush(world.storage)
    await until(lambda: world.counter.keeper.ended == 0)
    world.ledger.wipe()
    await asyncio.sleep(0.05)
    assert world.seconds() == set()


async def test_what_postgres_has_as_ended_is_not_opened_again(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    await until(lambda: world.counter.keeper.ended == 0)
    assert world.seconds() == set()


async def test_a_gateway_that_goes_away_stays_until_they_are_durable(world: World) -> None:
    counter = world.another(stop_wait_seconds=1.0)
    running = asyncio.create_task(counter.run())
    peer = await world.session(1, counter)
    peer.hear(0, 9)
    peer.stop()
    await until(lambda: counter.keeper.ended == 1)
    settling = asyncio.create_task(counter.settle(5.0))
    await asyncio.sleep(0.1)
    assert not settling.done()
    world.ledger.flush(world.storage)
    await until(settling.done)
    running.cancel()


async def test_what_was_counted_up_to_a_limit_is_given_back_and_what_it_refused_is_not(
    world: World,
) -> None:
    peer = await world.session()
    world.ledger.limit = 7
    peer.hear(0, 4)
    await until(lambda: not peer.session.tally.waiting)
    peer.hear(5, 9)
    await until(lambda: len(world.seconds()) == 7)
    peer.stop()
    await until(lambda: peer.closed is not None)
    world.ledger.wipe()
    world.ledger.limit = 100
    await until(lambda: world.seconds() == set(range(7)))
    await until(lambda: world.ledger.entries[peer.session_id].state.ended_at is not None)
    assert world.seconds() == set(range(7))
