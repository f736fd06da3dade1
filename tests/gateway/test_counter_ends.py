"""Openings, ends and bugs: one trouble is never another's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.client import Phase
from gateway.session import RecorderSession
from meter.codes import EndReason
from meter.ledger.types import (
    LedgerUnavailable,
    SessionKey,
    SessionState,
)
from meter.messages import Stopped
from tests.gateway.counting import Peer, World, until


async def test_a_stop_survives_the_client_and_an_outage(world: World) -> None:
    peer = await world.session()
    world.ledger.down = True
    peer.hear(0, 9)
    peer.stop()
    peer.leave()
    await asyncio.sleep(0.03)
    world.ledger.down = False
    await until(lambda: world.ledger.entries[peer.session_id].state.end_reason == "stopped")
    assert world.seconds() == set(range(10))
    await until(lambda: not world.counter.speakers())


Close = Callable[[], Awaitable[SessionState | None]]


def at_the_next_close(
    world: World, happens: Callable[[Close], Awaitable[SessionState | None]]
) -> None:
    """What the ledger does when it is next to end a session; after that it is its old self."""
    close = world.ledger.close

    async def once(key: SessionKey, reason: EndReason, at_least: int = 0) -> SessionState | None:
        world.ledger.close = close  # type: ignore[method-assign]
        return await happens(lambda: close(key, reason, at_least))

    world.ledger.close = once  # type: ignore[method-assign]


async def test_a_stop_of_a_session_that_the_ledger_lost_loses_nothing(world: World) -> None:
    peer = await world.recorded()

    async def be_emptied(close: Close) -> SessionState | None:
        world.ledger.wipe()
        return await close()

    at_the_next_close(world, be_emptied)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert world.seconds() == set(range(10))
    assert world.ledger.entries[peer.session_id].state.end_reason == "stopped"


async def test_a_stop_that_meets_a_replica_that_was_behind_loses_nothing(world: World) -> None:
    peer = await world.recorded()

    async def be_a_replica(close: Close) -> SessionState | None:
        world.ledger.fail_over((peer.session_id, {7, 8, 9}))
        return await close()

    at_the_next_close(world, be_a_replica)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert world.seconds() == set(range(10))
    assert world.ledger.entries[peer.session_id].state.end_reason == "stopped"


async def test_an_end_whose_answer_was_cut_off_is_told_once_it_is_durable(world: World) -> None:
    counter = world.another(stop_wait_seconds=5.0)
    running = asyncio.create_task(counter.run())
    peer = await world.recorded(1, counter)

    async def cut_off(close: Close) -> SessionState | None:
        await close()
        raise LedgerUnavailable("the test cut it off")

    at_the_next_close(world, cut_off)
    peer.stop()
    await until(lambda: counter.keeper.ended == 1)
    await asyncio.sleep(0.05)
    assert peer.closed is None
    world.ledger.flush(world.storage)
    await until(lambda: peer.closed == 1000)
    stopped = peer.sent[-1]
    assert isinstance(stopped, Stopped)
    assert (stopped.session_seconds, stopped.durable_through) == (10, 9)
    running.cancel()


@pytest.mark.parametrize("done", [False, True])
async def test_a_stop_that_meets_an_outage_loses_nothing(world: World, done: bool) -> None:
    peer = await world.recorded()

    async def cut_off(close: Close) -> SessionState | None:
        if done:
            await close()
        else:
            world.ledger.entries[peer.session_id].seconds.clear()
        raise LedgerUnavailable("the test cut it off")

    at_the_next_close(world, cut_off)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert world.seconds() == set(range(10))


async def test_one_sessions_bug_does_not_keep_the_others_from_being_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    peers = [await world.session(number) for number in range(1, 10)]
    world.ledger.poison = peers[4].session_id
    for peer in peers:
        peer.hear(0, 9)
    await until(lambda: world.ledger.used == 80)
    assert "can't be counted" in caplog.text
    world.ledger.poison = None
    await until(lambda: world.ledger.used == 90)


async def test_a_session_that_fails_on_its_answer_does_not_end_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, fine = await world.session(1), await world.session(2)

    def failing(name: str) -> None:
        act = getattr(RecorderSession, name)

        def fail_for_one(session: RecorderSession, *arguments: object) -> None:
            if session is broken.session:
                raise RuntimeError("a bug in one session")
            act(session, *arguments)

        monkeypatch.setattr(RecorderSession, name, fail_for_one)

    failing("counted")
    failing("tick")
    broken.hear(0, 9)
    fine.hear(0, 9)  # in the same batch
    await until(lambda: fine.session.tally.seconds == 10)
    fine.hear(10, 19)
    await until(lambda: fine.session.tally.seconds == 20)
    assert world.ledger.used == 30
    assert world.seconds(2) == set(range(20))


async def test_an_opening_that_fails_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.ledger, "open", fail)
    assert (await world.session()).closed == 4004


async def test_an_opening_in_an_outage_is_told(world: World) -> None:
    world.ledger.down = True
    assert (await world.session()).closed == 4004


async def test_a_cold_account_without_postgres_cannot_be_opened(world: World) -> None:
    world.storage.down = True
    assert (await world.session()).closed == 4004


async def test_a_warm_account_can_be_opened_without_postgres(world: World) -> None:
    await world.session(1)
    world.storage.down = True
    assert (await world.session(2)).closed is None


async def test_a_session_that_postgres_alone_knows_is_resumed_with_its_seconds(
    world: World,
) -> None:
    await world.recorded()
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    new = await world.session(1, world.another())
    assert new.session.state is not None
    assert (new.session.state.seconds, new.session.state.highest) == (10, 9)


@pytest.mark.parametrize(
    ("change", "close"),
    [({"user_id": "mallory"}, 4506), ({"end_reason": "stopped", "ended_at": 1}, 4501)],
)
async def test_postgres_says_whose_a_session_is_and_whether_it_ended(
    world: World, change: dict[str, object], close: int
) -> None:
    old = await world.session()
    old.leave()
    entry = world.ledger.entries[old.session_id]
    entry.state = replace(entry.state, **change)  # type: ignore[arg-type]
    world.ledger.flush(world.storage)
    world.ledger.wipe()
    assert (await world.session()).closed == close


async def test_after_the_last_second_is_counted_nothing_is_held(world: World) -> None:
    peers = [await world.session(number) for number in range(1, 20)]
    world.ledger.down = True
    for peer in peers:
        peer.hear(0, 9)
        peer.leave()
    assert len(world.counter.speakers()) == 19
    world.ledger.down = False
    await until(lambda: not world.counter.speakers())
    counter = world.counter
    assert not counter._queue
    assert not counter.recovery
    await until(lambda: not counter._tasks)
    assert len(counter.keeper) == 19
    counter.keeper.prune(1e12)
    assert len(counter.keeper) == 0


async def test_settling_beside_the_loop_counts_a_session_once_at_a_time(world: World) -> None:
    peer = await world.session()
    count = world.ledger.count
    running = 0

    async def slow_count(items):  # type: ignore[no-untyped-def]
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.01)
        running -= 1
        return await count(items)

    world.ledger.count = slow_count  # type: ignore[method-assign]
    settling = asyncio.create_task(world.counter.settle(0.3))
    for second in range(20):
        peer.hear(second, second)
        await asyncio.sleep(0.003)
    await settling
    await until(lambda: not peer.session.tally.waiting)
    assert world.seconds() == set(range(20))


async def test_settling_that_is_cut_short_puts_back_what_it_took(world: World) -> None:
    peer = await world.session()
    world.ledger.count = _never  # type: ignore[method-assign,assignment]
    counter = world.another()
    lonely = Peer(counter, 2, 5)
    lonely.start()
    await until(lambda: lonely.session.state is not None)
    lonely.hear(0, 9)
    await counter.settle(0.02)
    assert lonely.session.tally.pending.ranges() == ((0, 9),)
    assert lonely.session.phase is Phase.LIVE
    assert lonely in counter._queue
    assert peer.closed is None


async def _never(_: object) -> None:
    await asyncio.Event().wait()
