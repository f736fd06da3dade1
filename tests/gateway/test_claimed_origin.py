"""A session that nobody but its recorder knows any more goes on from where it began."""

import asyncio

import pytest

from meter.codes import EndReason
from meter.messages import Started
from tests.gateway.counting import Peer, World, until


async def test_a_recorder_brings_back_a_session_that_nobody_else_knows(world: World) -> None:
    old = await world.session()
    old.hear(0, 9)
    await until(lambda: len(world.seconds()) == 10)
    origin = world.ledger.entries[old.session_id].state.origin
    world.ledger.wipe()
    other_gateway = world.another()
    new = Peer(other_gateway, 1, next(world.owners))
    new.start(origin)
    await until(lambda: new.session.state is not None)
    started = next(message for message in new.sent if isinstance(message, Started))
    assert (started.origin, started.resumed) == (origin, True)
    new.hear(0, 9)
    await other_gateway.flush()
    assert world.seconds() == set(range(10))


async def test_what_a_recorder_claims_gets_past_no_limit(world: World) -> None:
    await world.session(1)
    world.ledger.limit = 0
    new = Peer(world.counter, 2, next(world.owners))
    new.start(int(world.now) - 600)
    await until(lambda: new.closed is not None)
    assert new.closed == 4500


async def test_a_claim_says_nothing_where_postgres_knows_the_session(world: World) -> None:
    old = await world.session()
    old.hear(0, 9)
    await until(lambda: not old.session.tally.waiting)
    origin = world.ledger.entries[old.session_id].state.origin
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    new = Peer(world.another(), 1, next(world.owners))
    new.start(origin - 500)
    await until(lambda: new.session.state is not None)
    assert new.session.state is not None
    assert new.session.state.origin == origin


async def test_a_recorder_learns_that_its_session_has_ended_once_that_is_durable(
    world: World,
) -> None:
    old = await world.session()
    other_gateway = world.another(stop_wait_seconds=30.0)
    old.hear(0, 9)
    await until(lambda: not old.session.tally.waiting)
    world.ledger.flush(world.storage)
    world.ledger.entries[old.session_id].durable = {0}
    world.ledger.end(old.session_id, EndReason.STOPPED)
    again = Peer(other_gateway, 1, next(world.owners))
    again.start()
    await asyncio.sleep(0.3)
    assert again.closed is None
    world.ledger.flush(world.storage)
    await until(lambda: again.closed == 4501)


async def test_a_session_that_the_ledger_lost_with_its_end_goes_on(world: World) -> None:
    old = await world.session()
    world.ledger.flush(world.storage)
    old.hear(0, 9)
    await until(lambda: not old.session.tally.waiting)
    world.ledger.end(old.session_id, EndReason.STOPPED)
    other_gateway = world.another(stop_wait_seconds=30.0)
    again = Peer(other_gateway, 1, next(world.owners))
    again.start()
    await asyncio.sleep(0.1)
    world.ledger.wipe()
    await until(lambda: again.session.state is not None)
    again.hear(0, 9)
    await other_gateway.flush()
    assert world.seconds() == set(range(10))


async def test_what_another_gateway_has_of_a_former_beginning_is_not_counted_in_the_new_one(
    world: World,
) -> None:
    old = await world.session()
    async with world.counter._flushing:
        old.hear(0, 9)
        world.ledger.wipe()
        new = Peer(world.another(), 1, next(world.owners))
        new.start()
        await until(lambda: new.session.state is not None)
    await until(lambda: old.closed is not None)
    assert old.closed == 4502
    assert world.seconds() == set()


@pytest.mark.parametrize("ahead", [-600, 60], ids=["past", "of a clock that was ahead"])
async def test_one_that_says_it_began_before_does_not_begin_anew_while_postgres_is_away(
    world: World, ahead: int
) -> None:
    await world.session(2)  # the account is known
    world.storage.down = True
    peer = Peer(world.counter, 1, next(world.owners))
    peer.start(int(world.now) + ahead)
    await until(lambda: peer.closed is not None)
    assert peer.closed == 4004
    new = Peer(world.counter, 3, next(world.owners))
    new.start()
    await until(lambda: new.session.state is not None)
    assert new.closed is None


async def test_an_origin_in_the_future_or_longer_ago_than_any_second_may_be_is_not_taken(
    world: World,
) -> None:
    for number, origin in enumerate((int(world.now) + 60, int(world.now) - 86_500), 1):
        peer = Peer(world.counter, number, next(world.owners))
        peer.start(origin)
        await until(lambda peer=peer: peer.session.state is not None)  # type: ignore[misc]
        assert peer.session.state is not None
        assert peer.session.state.origin == int(world.now)
