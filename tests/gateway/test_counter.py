"""The counting loop: batches, outages, and a ledger that comes back empty."""

import asyncio
from dataclasses import replace

import pytest

from meter.codes import EndReason
from tests.gateway.counting import Peer, World, until


async def test_all_that_is_heard_meanwhile_is_one_batch(world: World) -> None:
    peers = [await world.session(number) for number in range(1, 9)]
    await until(lambda: not world.counter._queue)
    world.ledger.batches.clear()
    for peer in peers:
        peer.hear(0, 3)
        peer.hear(4, 5)
    await until(lambda: world.ledger.used == 48)
    assert max(len(batch) for batch in world.ledger.batches) == 8


async def test_seconds_wait_out_an_outage(world: World) -> None:
    peer = await world.session()
    world.ledger.down = True
    for second in range(50):
        peer.hear(second, second)
        if second % 10 == 0:
            await asyncio.sleep(0.01)
    assert world.seconds() == set()
    assert len(world.counter._queue) <= 1
    world.ledger.down = False
    await until(lambda: world.seconds() == set(range(50)))


async def test_an_answer_that_is_cut_off_is_asked_for_again(world: World) -> None:
    peer = await world.session()
    world.ledger.down_after = True
    peer.hear(0, 9)
    await until(lambda: world.seconds() == set(range(10)))
    world.ledger.down_after = False
    await until(lambda: not peer.session.tally.waiting)
    assert world.ledger.used == 10
    assert peer.session.tally.seconds == 10


async def test_an_emptied_ledger_gets_everything_back(world: World) -> None:
    peers = [await world.session(number) for number in range(1, 41)]
    for peer in peers:
        peer.hear(0, 59)
    await until(lambda: world.ledger.used == 40 * 60)
    world.ledger.flush(world.storage)
    for peer in peers:
        peer.hear(60, 99)
    await until(lambda: world.ledger.used == 40 * 100)
    world.ledger.wipe()
    for peer in peers:
        peer.hear(100, 100)
    await until(lambda: world.ledger.used == 40 * 101)
    await until(lambda: not any(peer.session.tally.waiting for peer in peers))
    assert all(peer.closed is None for peer in peers)
    assert world.ledger.used == 40 * 101
    assert world.ledger.calls.count("seed") <= 2


async def test_while_postgres_is_away_a_lost_session_waits(world: World) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: len(world.seconds()) == 10)
    world.storage.down = True
    world.ledger.wipe()
    peer.hear(10, 10)
    await asyncio.sleep(0.05)
    assert world.seconds() == set()
    world.storage.down = False
    await until(lambda: world.seconds() == set(range(11)))


async def test_a_session_swept_as_lost_is_opened_again(world: World) -> None:
    peer = await world.session()
    world.ledger.end(peer.session_id, EndReason.LOST)
    peer.hear(0, 9)
    await until(lambda: world.seconds() == set(range(10)))
    assert world.ledger.entries[peer.session_id].state.ended_at is None
    assert peer.closed is None


async def test_a_lost_session_that_cannot_be_opened_again_is_told_so(world: World) -> None:
    peer = await world.session()
    world.ledger.end(peer.session_id, EndReason.LOST)
    world.ledger.limit = 0
    peer.hear(0, 9)
    await until(lambda: peer.closed == 4500)
    peer.leave()
    await until(lambda: not world.counter._queue and not world.counter.recovery)
    calls = len(world.ledger.calls)
    await asyncio.sleep(0.03)
    assert len(world.ledger.calls) == calls


async def test_one_that_was_lost_too_long_ago_is_told_so(world: World) -> None:
    peer = await world.session()
    world.ledger.end(peer.session_id, EndReason.LOST)
    peer.leave()
    world.now += world.ledger.rules.resume_seconds + 1
    assert (await world.session()).closed == 4501


@pytest.mark.parametrize("ahead", [60, 3600])
async def test_one_that_was_lost_just_now_is_asked_to_come_back_while_the_ledgers_clock_is_ahead(
    world: World, ahead: float
) -> None:
    world.ledger.rules = replace(world.ledger.rules, resume_seconds=59)
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: world.seconds() == set(range(10)))
    peer.leave()
    world.ledger.end(peer.session_id, EndReason.LOST)
    world.ledger_ahead = ahead
    assert (await world.session()).closed == 4004
    world.ledger_ahead = 0
    again = await world.session()
    again.hear(10, 19)
    await until(lambda: world.seconds() == set(range(20)))
    assert again.closed is None


async def test_one_that_is_swept_while_the_ledgers_clock_is_ahead_goes_on_once_that_is_put_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.recovery.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("gateway.recovery.MAX_RETRY_SECONDS", 0.01)
    peer = await world.session()
    world.ledger.end(peer.session_id, EndReason.LOST)
    world.ledger_ahead = 3600
    peer.hear(0, 9)
    await asyncio.sleep(0.05)
    assert (peer.closed, world.seconds()) == (None, set())
    world.ledger_ahead = 0
    await until(lambda: world.seconds() == set(range(10)))
    assert peer.closed is None


async def test_one_that_its_recorder_stopped_has_ended_by_any_clock(world: World) -> None:
    peer = await world.session()
    world.ledger.end(peer.session_id, EndReason.STOPPED)
    peer.leave()
    world.ledger_ahead = 3600
    assert (await world.session()).closed == 4501


async def test_who_would_wait_too_long_for_a_session_is_sent_away_and_may_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.openings.MOST_OPENING", 2)
    peers = [Peer(world.counter, number, number) for number in (1, 2, 3)]
    for peer in peers:
        peer.start()
    await until(lambda: all(peer.session.state or peer.closed for peer in peers))
    assert [peer.closed for peer in peers] == [None, None, 4002]
    again = Peer(world.counter, 3, 4)
    again.start()
    await until(lambda: again.session.state is not None)
    assert again.closed is None


async def test_seconds_that_were_counted_unheard_hide_none_that_the_ledger_lost(
    world: World,
) -> None:
    peer = await world.session()
    request = peer.session.request
    assert request is not None
    world.ledger.flush(world.storage)
    peer.hear(0, 1)
    await until(lambda: not peer.session.tally.waiting)
    figures = await world.storage.load_account(
        request.key.organization_id, request.user_id, int(world.now)
    )
    world.ledger.wipe()
    await world.ledger.seed_account(figures)  # as any other session of the account has it done
    world.ledger.down_after = True
    peer.hear(2, 3)
    await until(lambda: world.seconds() == {2, 3})
    world.ledger.down_after = False
    await until(lambda: world.seconds() == {0, 1, 2, 3}, 5.0)
