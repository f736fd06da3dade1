"""A ledger whose clock is behind, and that calls early what it had counted, or what is past."""

import asyncio

import pytest

from meter.messages import Ack, Error, Stopped
from tests.gateway.counting import Peer, World, until

FAR = 7200
TEN = set(range(10))


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("keeper.HURRIED_SECONDS", "keeper.LOOK_SECONDS", "session.LOOK_SECONDS"):
        monkeypatch.setattr(f"gateway.{pause}", 0.01)
    monkeypatch.setattr("gateway.roster.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("gateway.counter.LOOK_TICK_SECONDS", 0.01)
    monkeypatch.setattr("gateway.kept.FIRST_WAIT_SECONDS", 0.01)


async def emptied_and_set_back(world: World) -> Peer:
    """A session whose seconds the ledger lost, and calls early."""
    peer = await world.session()
    world.ledger.flush(world.storage)  # its row
    peer.hear(0, 9)
    await until(lambda: world.seconds() == TEN)
    world.ledger_ahead = -FAR
    world.ledger.wipe()
    return peer


async def test_what_it_lost_is_given_to_it_once_its_clock_is_right(world: World) -> None:
    peer = await emptied_and_set_back(world)
    peer.hear(10, 10)
    await asyncio.sleep(0.1)
    assert (world.seconds(), peer.closed) == (set(), None)
    world.ledger_ahead = 0
    await until(lambda: world.seconds() == set(range(11)))


async def test_until_then_none_of_it_is_called_durable(world: World) -> None:
    peer = await emptied_and_set_back(world)
    await until(lambda: peer.session_id in world.ledger.entries and peer.session.tally.doubted)
    peer.sent.clear()
    entry = world.ledger.entries[peer.session_id]
    entry.seconds, entry.durable = {20}, {20}
    peer.hear(20, 20)
    await until(lambda: any(isinstance(each, Ack) for each in peer.sent))
    acks = [each for each in peer.sent if isinstance(each, Ack)]
    assert {ack.durable_through for ack in acks} == {-1}


async def test_a_recorder_that_stops_is_told_so_and_the_session_ends_then(world: World) -> None:
    peer = await emptied_and_set_back(world)
    await until(lambda: peer.session_id in world.ledger.entries and peer.session.tally.doubted)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert isinstance(peer.sent[-1], Stopped)
    assert peer.sent[-1].durable_through == -1
    entry = world.ledger.entries[peer.session_id]
    assert entry.state.ended_at is None
    world.ledger_ahead = 0
    await until(lambda: entry.state.end_reason == "stopped")
    assert world.seconds() == TEN


@pytest.mark.parametrize("stops", [False, True], ids=["vanished", "stopped"])
async def test_what_a_recorder_left_is_kept_until_then(
    world: World, slow: pytest.MonkeyPatch, stops: bool
) -> None:
    peer = await world.session()
    world.ledger.flush(world.storage)
    peer.hear(0, 9)
    if stops:
        peer.stop()
        await until(lambda: peer.closed == 1000)
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.ledger_ahead = -FAR
    world.ledger.wipe()
    slow.undo()
    await asyncio.sleep(0.1)
    assert world.counter.undurable_seconds() == 10
    world.ledger_ahead = 0
    await until(lambda: world.seconds() == TEN)


async def test_what_is_past_and_new_to_it_is_kept_too(world: World) -> None:
    peer = await world.session()
    world.ledger_ahead = -FAR
    peer.hear(0, 9)
    await until(lambda: peer.session.tally.doubted)
    peer.leave()
    assert world.seconds() == set()
    world.ledger_ahead = 0
    await until(lambda: world.seconds() == TEN)


async def test_a_recorder_whose_seconds_are_kept_is_not_told_that_they_are_early(
    world: World,
) -> None:
    peer = await world.session()
    world.ledger_ahead = -FAR
    peer.hear(0, 9)
    await until(lambda: peer.session.tally.doubted)
    peer.hear(3600, 3600)  # which is under way
    await until(lambda: len(peer.session.tally.undurable) == 11)
    assert not [each for each in peer.sent if isinstance(each, Error)]
    world.ledger_ahead = 0
    await until(lambda: world.seconds() == {*TEN, 3600})
    peer.hear(3610, 3610)
    await until(lambda: any(isinstance(each, Error) for each in peer.sent))


async def test_a_gateway_whose_own_clock_is_behind_forgets_nothing_that_the_ledger_takes(
    world: World,
) -> None:
    peer = await world.session()
    peer.hear(0, 9)
    await until(lambda: world.seconds() == TEN)
    world.now -= FAR
    world.ledger_ahead = FAR
    peer.hear(3610, 3610)  # of a recorder whose clock is fast
    await until(lambda: any(isinstance(each, Error) for each in peer.sent))
    assert peer.session.tally.undurable.ranges() == ((0, 9),)


@pytest.mark.parametrize(("behind", "code"), [(59, None), (60, 4004)])
async def test_a_recorder_is_not_told_a_time_that_its_session_has_passed(
    world: World, behind: int, code: int | None
) -> None:
    peer = await world.session()
    peer.hear(3599, 3599)
    await until(lambda: world.seconds() == {3599})
    world.ledger_ahead = -behind
    again = await world.session()
    assert again.closed == code
    new = await world.session(2)
    assert new.closed is None
    world.ledger_ahead = 0
    assert (await world.session()).closed is None


@pytest.mark.parametrize("ahead", [0, 3, 60])
async def test_what_is_early_in_truth_is_refused_and_not_kept(world: World, ahead: int) -> None:
    peer = await world.session()
    present = 3600 + ahead
    peer.hear(present - 1, present + 10)
    taken = set(range(3599, 3603)) if ahead == 0 else set()
    await until(lambda: not peer.session.tally.waiting)
    peer.leave()
    world.now += 600
    await asyncio.sleep(0.1)
    assert world.seconds() == ({3602} if ahead == 3 else taken)


async def test_what_a_clock_that_was_ahead_numbered_holds_up_nothing(world: World) -> None:
    peer = await world.session()
    world.ledger_ahead = FAR
    peer.hear(3600 + FAR, 3600 + FAR)
    await until(lambda: world.seconds() == {3600 + FAR})
    world.ledger_ahead = 0
    world.ledger.wipe()
    peer.hear(0, 9)
    await until(lambda: world.seconds() == TEN)
    peer.stop()
    await until(lambda: peer.closed == 1000)
    assert world.ledger.entries[peer.session_id].state.end_reason == "stopped"
    world.ledger.flush(world.storage)
    await until(lambda: world.counter.undurable_seconds() == 0)


async def test_of_a_recorder_that_left_it_is_not_kept(
    world: World, slow: pytest.MonkeyPatch
) -> None:
    peer = await world.session()
    world.ledger_ahead = FAR
    peer.hear(3600 + FAR, 3600 + FAR)
    await until(lambda: world.seconds() == {3600 + FAR})
    peer.leave()
    world.ledger_ahead = 0
    world.ledger.wipe()
    slow.undo()
    await until(lambda: world.counter.undurable_seconds() == 0)
    assert world.seconds() == set()
