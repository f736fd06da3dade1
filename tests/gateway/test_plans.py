"""Plans' policies on live sessions: two counters, a teller, a real Valkey and a real Postgres."""

import asyncio

import asyncpg
import pytest

from meter.messages import Error, Started, StopNotice, Stopped
from meter.messages import Warning as Threshold
from tests.gateway.counting import Peer, until
from tests.gateway.limited import ORGANIZATION, Gateways, seen, stops

pytestmark = pytest.mark.integration


async def plan(gateways: Gateways, minutes: int, **policies: object) -> None:
    """The organization gets a plan of its own with so many minutes, or its plan changes."""
    connection = await asyncpg.connect(gateways.database_url)
    try:
        await connection.execute(
            "INSERT INTO plans (id, name) VALUES ('own', 'Own') ON CONFLICT DO NOTHING"
        )
        await connection.execute(
            "INSERT INTO plan_limits VALUES ('own', 'minutes_per_month', $1) "
            "ON CONFLICT (plan_id, usage_type) DO UPDATE SET limit_value = $1",
            minutes,
        )
        for name, value in policies.items():
            await connection.execute(f"UPDATE plans SET {name} = $1 WHERE id = 'own'", value)
        await connection.execute(
            "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", ORGANIZATION
        )
        await connection.execute(
            "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ($1, 'own') "
            "ON CONFLICT DO NOTHING",
            ORGANIZATION,
        )
    finally:
        await connection.close()


def fast_forward(peers: list[Peer], seconds: int) -> None:
    """Lets sessions send seconds that their clocks don't have yet."""
    for peer in peers:
        peer.hear(0, seconds - 1)


async def test_a_soft_cap_counts_on_as_overage_and_stops_at_its_ceiling(
    gateways: Gateways,
) -> None:
    await plan(gateways, 0, soft_cap=True, overage_ceiling_seconds=20)
    peers = await gateways.start(10)
    assert all(isinstance(peer.sent[0], Started) for peer in peers)
    fast_forward(peers, 3)
    await seen(lambda: all(stops(peer) for peer in peers))
    await gateways.quiet()
    assert gateways.counted() == 20
    (refused,) = await gateways.start(1)
    assert refused.closed == 4500

    await plan(gateways, 0, overage_ceiling_seconds=None)
    await gateways.told()
    (again,) = await gateways.start(1)
    started = again.sent[0]
    assert isinstance(started, Started)
    assert (started.usage.used_seconds, started.usage.overage_seconds) == (0, 20)
    assert started.usage.remaining_seconds == 0


async def test_a_plans_grace_is_told_and_held_to(gateways: Gateways) -> None:
    await plan(gateways, 0, soft_cap=True, overage_ceiling_seconds=3, grace_seconds=1)
    (peer,) = await gateways.start(1)
    fast_forward([peer], 3)
    await seen(lambda: bool(stops(peer)))
    assert stops(peer)[0].grace_seconds == 1
    await until(lambda: peer.closed is not None)
    assert peer.closed == 4500
    assert any(isinstance(each, Stopped) and each.reason == "limit_reached" for each in peer.sent)


async def test_a_grace_that_is_overage_counts_what_is_recorded_in_it(gateways: Gateways) -> None:
    await plan(gateways, 0, soft_cap=True, overage_ceiling_seconds=1, grace_seconds=2)
    (plain,) = await gateways.start(1)
    fast_forward([plain], 3)
    await gateways.quiet()
    assert gateways.counted() == 1
    await plan(gateways, 0, overage_ceiling_seconds=2, grace_is_overage=True)
    await gateways.told()
    (graced,) = await gateways.start(1)
    await asyncio.sleep(2)  # so that five seconds are not in the future
    graced.hear(0, 4)
    await gateways.quiet()
    assert graced.session.tally.seconds == 3  # one within the ceiling, two of the grace


async def test_one_session_too_many_is_refused_with_4507_until_another_ends(
    gateways: Gateways,
) -> None:
    await plan(gateways, -1, max_concurrent_sessions=2)
    first, _ = await gateways.start(2)
    (refused,) = await gateways.start(1)
    assert refused.closed == 4507
    assert isinstance(refused.sent[-1], Error)
    assert refused.sent[-1].code == "too_many_sessions"
    first.stop()
    await until(lambda: first.closed is not None)
    (again,) = await gateways.start(1)
    assert isinstance(again.sent[0], Started)


async def test_of_many_that_start_at_once_exactly_as_many_are_let_in_as_allowed(
    gateways: Gateways,
) -> None:
    await plan(gateways, -1, max_concurrent_sessions=7)
    peers = await gateways.start(30)
    assert sum(isinstance(peer.sent[0], Started) for peer in peers) == 7
    assert sum(peer.closed == 4507 for peer in peers) == 23


async def test_a_plans_longest_session_is_stopped_also_when_it_gets_shorter(
    gateways: Gateways,
) -> None:
    await plan(gateways, -1, grace_seconds=0)
    (peer,) = await gateways.start(1)
    fast_forward([peer], 2)
    await gateways.quiet()
    assert not stops(peer)
    await plan(gateways, -1, max_session_seconds=1)
    await seen(lambda: bool(stops(peer)))
    notice: StopNotice = stops(peer)[0]
    assert (notice.reason, notice.grace_seconds) == ("max_duration", 0)


async def test_a_plans_thresholds_replace_the_usual_ones(gateways: Gateways) -> None:
    await plan(gateways, 1, warn_minutes_remaining=[], warn_percent_used=[5])
    (peer,) = await gateways.start(1)
    fast_forward([peer], 2)
    await gateways.quiet()
    assert not any(isinstance(each, Threshold) for each in peer.sent)
    await asyncio.sleep(1)
    fast_forward([peer], 3)
    await until(lambda: any(isinstance(each, Threshold) for each in peer.sent))
    (warning,) = (each for each in peer.sent if isinstance(each, Threshold))
    assert (warning.kind, warning.value) == ("percent", 5)


async def test_a_change_of_plan_keeps_what_was_used(gateways: Gateways) -> None:
    await plan(gateways, 1)
    (peer,) = await gateways.start(1)
    fast_forward([peer], 3)
    await gateways.quiet()
    connection = await asyncpg.connect(gateways.database_url)
    await connection.execute("UPDATE user_subscriptions SET status = 'canceled', ended_at = now()")
    await connection.execute(
        "INSERT INTO user_subscriptions (organization_id, plan_id) VALUES ($1, 'starter')",
        ORGANIZATION,
    )
    await connection.close()
    await gateways.told()
    (other,) = await gateways.start(1)
    started = other.sent[0]
    assert isinstance(started, Started)
    assert (started.usage.used_seconds, started.usage.limit_seconds) == (3, 300 * 60)
