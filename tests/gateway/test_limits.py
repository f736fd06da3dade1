"""Limits set in Postgres, over a teller, a real Valkey and two gateways' counters: the cap is exact
and reaches live sessions at once."""

import asyncio
import time

import pytest

from meter.messages import Ack, Started
from tests.gateway.counting import Peer
from tests.gateway.limited import (
    SEEN_WITHIN_SECONDS,
    USER,
    Gateways,
    seen,
    send_again,
    stops,
)

pytestmark = pytest.mark.integration


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
    await gateways.told()
    (again,) = await gateways.start(1)
    assert isinstance(again.sent[0], Started)
    assert again.sent[0].usage.unlimited
    again.hear(0, 1)
    await gateways.quiet()
    assert gateways.counted() == 11


async def test_sessions_that_say_nothing_are_stopped_with_the_one_that_reaches_the_limit(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.session.LOOK_SECONDS", 60.0)  # none looks by itself
    await gateways.limit(3)
    peers = await gateways.start(20)
    for number in (0, 1):  # on either gateway one
        peers[number].hear(0, 2)
    await seen(lambda: all(stops(peer) for peer in peers))
    assert gateways.counted() == 3


async def test_a_new_limit_is_told_to_live_sessions_also_to_those_that_say_nothing(
    gateways: Gateways,
) -> None:
    await gateways.limit(1000)
    talking, silent = await gateways.start(2)
    talking.hear(0, 0)
    await seen(lambda: told_limit(talking) == told_limit(silent) == 1000)
    for peer in (talking, silent):
        peer.session._ack_due_seconds = 600.0  # no ack but for the news
    await gateways.limit(2000)
    for second in range(1, 4):
        talking.hear(second - 1, second - 1)
        await asyncio.sleep(0.5)
    await seen(lambda: told_limit(talking) == told_limit(silent) == 2000)


def told_limit(peer: Peer) -> int | None:
    """The limit that the session's last ack told."""
    acks = [message for message in peer.sent if isinstance(message, Ack)]
    return acks[-1].usage.limit_seconds if acks else None
