"""Who speaks for a session, when several connections did."""

import asyncio
import time

import pytest

from gateway.keeper import Keeper
from meter.codes import EndReason
from meter.ledger.types import (
    OpenRequest,
)
from meter.messages import Ack
from tests.gateway.counting import Peer, World, until


async def test_a_session_that_came_to_no_row_yet_is_given_back_from_memory(world: World) -> None:
    peer = await world.session()
    assert peer.session.state is not None
    peer.hear(0, 9)
    await until(lambda: len(world.seconds()) == 10)
    origin = peer.session.state.origin
    world.ledger.wipe()
    peer.hear(10, 10)
    await until(lambda: world.seconds() == set(range(11)))
    assert world.ledger.entries[peer.session_id].state.origin == origin


async def test_a_reconnect_after_a_loss_finds_the_session_of_its_other_connection(
    world: World,
) -> None:
    old = await world.session()
    old.hear(0, 9)
    await until(lambda: len(world.seconds()) == 10)
    world.ledger.wipe()
    new = await world.session()
    assert new.session.state is not None
    assert old.session.state is not None
    assert new.session.state.origin == old.session.state.origin
    assert old.closed == 4502
    await until(lambda: world.seconds() == set(range(10)))


async def test_a_reconnect_after_a_loss_brings_what_the_gateway_kept(world: World) -> None:
    old = await world.recorded()
    world.ledger.flush(world.storage)
    old.hear(10, 19)
    await until(lambda: not old.session.tally.waiting)
    old.leave()
    assert world.counter.speakers() == []
    world.ledger.wipe()
    await world.session()
    await until(lambda: world.seconds() == set(range(20)))


async def test_recovering_claims_no_session_from_a_newer_connection(world: World) -> None:
    older_gateway = world.another()
    old = await world.session(1, older_gateway)
    old.hear(0, 4)
    old.leave()
    new = await world.session()
    world.ledger.end(old.session_id, EndReason.LOST)
    await older_gateway.settle(1.0)
    assert world.seconds() == set(range(5))
    new.hear(5, 9)
    await until(lambda: world.seconds() == set(range(10)))
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    new.hear(10, 10)
    await until(lambda: world.seconds() == set(range(11)))
    assert new.closed is None


async def test_who_left_with_nothing_to_count_is_not_given_back(world: World) -> None:
    other_gateway = world.another()
    peer = await world.session(1, other_gateway)
    peer.session.tick(time.monotonic() + 5.0)
    peer.perform()
    peer.leave()
    world.ledger.wipe()
    world.ledger.calls.clear()
    await other_gateway.settle(1.0)
    assert world.ledger.calls == ["count"]


async def test_of_two_connections_of_a_session_the_newer_speaks(world: World) -> None:
    old = await world.session()
    old.hear(0, 4)
    new = await world.session()
    assert old.closed == 4502
    await until(lambda: world.seconds() == set(range(5)))
    old.leave()
    assert world.counter.speakers() == [new]
    new.hear(5, 9)
    await until(lambda: world.seconds() == set(range(10)))
    assert new.closed is None


async def test_over_two_gateways_the_older_is_told_with_its_next_heartbeat(world: World) -> None:
    other_gateway = world.another()
    running = asyncio.create_task(other_gateway.run())
    old = await world.session()
    old.hear(0, 4)
    await until(lambda: world.seconds() == set(range(5)))
    new = await world.session(1, other_gateway)
    old.hear(3, 6)
    new.hear(5, 9)
    await until(lambda: old.closed == 4502)
    await until(lambda: world.seconds() == set(range(10)))
    assert new.closed is None
    running.cancel()


async def test_many_starts_of_a_session_at_once_leave_one_that_speaks(world: World) -> None:
    await world.session(2)
    open_now, delays = world.ledger.open, iter([0.02, 0.001, 0.01] * 10)

    async def late_answers(request: OpenRequest):  # type: ignore[no-untyped-def]
        answer = await open_now(request)
        await asyncio.sleep(next(delays))
        return answer

    world.ledger.open = late_answers  # type: ignore[method-assign]
    peers = [Peer(world.counter, 1, next(world.owners)) for _ in range(10)]
    for peer in peers:
        peer.start()
    await until(lambda: sum(peer.closed == 4502 for peer in peers) == 9)
    (left,) = [peer for peer in peers if peer.closed is None]
    await until(lambda: left.session.state is not None)
    assert world.ledger.entries[left.session_id].owner == left.session.owner
    world.now += 3600
    left.hear(0, 9)
    await until(lambda: world.seconds() == set(range(10)))
    await asyncio.sleep(0.05)
    assert left.closed is None


async def test_who_left_before_its_session_was_opened_claims_nothing(world: World) -> None:
    peer = await world.session()
    await until(lambda: len(peer.sent) == 2)  # its first ack; it asks no more for a second
    gate = asyncio.Event()
    open_now = world.ledger.open

    async def slow_open(request: OpenRequest):  # type: ignore[no-untyped-def]
        answer = await open_now(request)
        if request.owner not in (0, peer.session.owner):
            await gate.wait()
        return answer

    world.ledger.open = slow_open  # type: ignore[method-assign]
    other_gateway = world.another()
    gone = Peer(other_gateway, 1, 99)
    gone.start()
    await asyncio.sleep(0.01)
    gone.leave()
    gate.set()
    await until(lambda: world.ledger.entries[peer.session_id].owner == 0)
    peer.hear(0, 9)
    await until(lambda: world.seconds() == set(range(10)))
    assert peer.closed is None
    assert other_gateway.speakers() == []


async def test_a_connection_that_is_opened_late_takes_nothing_over_from_a_newer_one(
    world: World,
) -> None:
    other_gateway = world.another()
    given_up = [Peer(counter, 1, next(world.owners)) for counter in (world.counter, other_gateway)]
    new = await world.session()
    for late in given_up:
        late.start()
        await until(lambda late=late: late.session.state is not None)  # type: ignore[misc]
    new.hear(0, 4)
    await until(lambda: len(world.seconds()) == 5)
    assert new.closed is None
    assert given_up[0].closed == 4502


async def test_a_replica_gets_all_again_that_is_not_durable_before_it_is_believed(
    world: World,
) -> None:
    peer = await world.recorded()
    entry = world.ledger.entries[peer.session_id]
    # Others' seconds of the session make up for the number of those that the replica lacks.
    world.ledger.fail_over((peer.session_id, {4, 5}))
    entry.seconds |= {20, 21}
    entry.durable |= entry.seconds
    peer.hear(10, 10)
    await until(lambda: world.seconds() == {*range(11), 20, 21})
    acks = [each for each in peer.sent if isinstance(each, Ack)]
    assert max(ack.durable_through for ack in acks) < 4


async def test_a_session_that_its_gateway_still_knows_goes_on_from_its_beginning(
    world: World,
) -> None:
    peer = await world.recorded()
    peer.leave()
    world.ledger.wipe()
    again = await world.session()
    assert again.session.state is not None
    assert peer.session.state is not None
    assert again.session.state.origin == peer.session.state.origin
    await until(lambda: world.seconds() == set(range(10)))


@pytest.mark.parametrize(("is_newer", "code"), [(True, 4502), (False, 4004)])
async def test_seconds_are_not_counted_under_the_numbers_of_another_beginning(
    world: World, is_newer: bool, code: int
) -> None:
    older = next(world.owners)
    half_open, elsewhere = await world.session(), world.another()
    running = asyncio.create_task(elsewhere.run())
    half_open.hear(0, 9)
    await until(lambda: not half_open.session.tally.waiting)
    world.ledger.wipe()
    world.now -= 100
    anew = Peer(elsewhere, 1, next(world.owners) if is_newer else older)
    anew.start()
    await until(lambda: anew.session.state is not None)
    world.now += 100
    half_open.hear(10, 10)
    await until(lambda: half_open.closed == code)
    await asyncio.sleep(0.05)
    assert world.seconds() <= {10}
    assert len(world.counter.keeper) == 0
    running.cancel()


async def test_what_was_kept_of_another_beginning_is_not_taken_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "is_due", lambda *_: False)  # it is slow
    old, elsewhere = await world.session(), world.another()
    running = asyncio.create_task(elsewhere.run())
    old.hear(0, 9)
    await until(lambda: not old.session.tally.waiting)
    old.leave()
    world.ledger.wipe()
    world.now += 500
    anew = Peer(elsewhere, 1, next(world.owners))
    anew.start()
    await until(lambda: anew.session.state is not None)
    back = await world.session()
    await asyncio.sleep(0.05)
    assert back.session.tally.undurable.ranges() == ()
    assert world.seconds() == set()
    running.cancel()
