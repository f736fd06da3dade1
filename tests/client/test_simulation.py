"""`meter simulate`'s sums, against a server that follows a script."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import jwt
import pytest

from command.simulation import Outcome, Plan, Probe, Quantiles, Simulation, quantiles
from meter.messages import Usage
from minute_meter import Ack, CloseCode, HeartbeatSent
from tests.client.harness import USAGE
from tests.client.server import Peer, running

SECRET = "s" * 32
EXACT = Outcome(
    sessions=1,
    sent=60,
    counted=60,
    durable=60,
    durable_after_seconds=1.0,
    reconnects=0,
    refusals=0,
    ends={"stopped": 1},
    failures={},
    ack_latency_ms=Quantiles(None, None),
    stop_ms=Quantiles(None, None),
)


def plan(url: str, *, sessions: int, organization: str | None = None) -> Plan:
    return Plan(url, SECRET, sessions, 1.2, organization, "run")


def users(plan: Plan) -> list[tuple[str, str]]:
    tokens = [plan.token(number) for number in range(plan.sessions)]
    claims = [jwt.decode(token, SECRET, algorithms=["HS256"]) for token in tokens]
    return [(claim["org_id"], claim["sub"]) for claim in claims]


async def session(peer: Peer) -> None:
    assert (await peer.start())["kind"] == "simulation"
    peer.seconds = set()  # its own, not the server's
    await peer.stopped()


async def test_sums_and_durable_rows() -> None:
    asked: list[Sequence[UUID]] = []

    async def read_durable(sessions: Sequence[UUID]) -> int:
        asked.append(sessions)
        return 0 if len(asked) == 1 else outcome_counted()

    async with running(session, session, session) as server:
        simulation = Simulation(plan(server.url, sessions=3), read_durable)

        def outcome_counted() -> int:
            return simulation.progress().counted

        outcome = await simulation.run()
    assert outcome.sent == outcome.counted == outcome.durable
    assert 3 <= outcome.sent <= 6
    assert outcome.exact
    assert outcome.ends == {"stopped": 3}
    assert len(set(asked[0])) == 3
    assert outcome.stop_ms.p50 is not None


async def test_a_session_that_fails_is_told_and_not_exact() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.hear()
        await peer.fail(CloseCode.TOO_MANY_SESSIONS, "too_many_sessions")

    async with running(session, refuse) as server:
        outcome = await Simulation(plan(server.url, sessions=2)).run()
    assert outcome.durable is None
    assert not outcome.exact
    ((failure, number),) = outcome.failures.items()
    assert "too_many_sessions" in failure
    assert number == 1


async def test_it_can_be_finished_early() -> None:
    async with running() as server:
        simulation = Simulation(plan(server.url, sessions=2))
        simulation.finish.set()
        outcome = await simulation.run()
    assert (outcome.sent, outcome.counted) == (0, 0)


@pytest.mark.parametrize(
    ("change", "exact"),
    [
        ({}, True),
        ({"durable": None}, True),
        ({"sent": 61}, False),
        ({"counted": 61}, False),
        ({"durable": 59}, False),
        ({"failures": {"UnavailableError": 1}}, False),
        ({"sent": 61, "ends": {"limit_reached": 1}}, True),
        ({"counted": 61, "ends": {"limit_reached": 1}}, False),
        ({"sent": 61, "durable": 59, "ends": {"limit_reached": 1}}, False),
    ],
)
def test_exact_means_all_the_same(change: dict[str, object], exact: bool) -> None:
    assert replace(EXACT, **change).exact is exact  # type: ignore[arg-type]


def test_ten_sessions_share_an_organization_and_no_two_a_user() -> None:
    accounts = users(plan("ws://host", sessions=25))
    assert len({organization for organization, _ in accounts}) == 3
    assert len({user for _, user in accounts}) == 25


def test_all_sessions_may_be_of_one_organization() -> None:
    accounts = users(plan("ws://host", sessions=25, organization="demo"))
    assert {organization for organization, _ in accounts} == {"demo"}
    assert len({user for _, user in accounts}) == 25


def test_a_probe_measures_each_heartbeat_once() -> None:
    def ack(heartbeats: int) -> Ack:
        return Ack(1, 1, 2, Usage(**USAGE), heartbeats)

    probe = Probe()
    for frame in (1, 2, 3):
        probe.heartbeat(HeartbeatSent(frame, frame, frame))
    probe.ack(ack(2))
    probe.ack(ack(2))
    assert len(probe.waits_ms) == 2
    probe.heartbeat(HeartbeatSent(1, 1, 3))  # on another connection
    probe.ack(ack(1))
    assert len(probe.waits_ms) == 3


def test_quantiles() -> None:
    assert quantiles([]) == Quantiles(None, None)
    assert quantiles([7.0]) == Quantiles(7.0, 7.0)
    assert quantiles([float(time) for time in range(100)]) == Quantiles(50.0, 99.0)
