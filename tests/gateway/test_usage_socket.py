"""`/v1/usage` on a real socket, with a real Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from command.embedded import EmbeddedValkey
from meter.ledger.driver import Ledger
from meter.ledger.types import LedgerUnavailable, Look, LookItem
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import Served, begun_before, recording, serving, token, until
from tests.gateway.watching import CountedLooks, Dashboard, watching

pytestmark = pytest.mark.integration


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def gateway(valkey_server: EmbeddedValkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(
        Ledger.connect(valkey_server.url), storage, METER_ALLOWED_ORIGINS="https://good.example"
    ) as served:
        yield served


@pytest.fixture
async def hasty(valkey_server: EmbeddedValkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    """A gateway that waits for nobody."""
    async with serving(
        Ledger.connect(valkey_server.url),
        storage,
        METER_START_TIMEOUT_SECONDS=0.5,
        METER_TOKEN_GRACE_SECONDS=0,
    ) as served:
        yield served


@pytest.fixture
def organization() -> str:
    return f"org-{uuid4()}"


async def test_an_account_without_usage_is_shown_at_once(
    gateway: Served, organization: str
) -> None:
    async with watching(gateway, organization) as dashboard:
        asked = time.monotonic()
        state = await dashboard.subscribe()
        assert time.monotonic() - asked < 10
        assert state["active_sessions"] == []
        assert state["active_session_count"] == 0
        usage = state["usage"]
        assert (usage["used_seconds"], usage["limit_seconds"]) == (0, None)
        assert (usage["unlimited"], usage["scope"]) == (True, "organization")


async def test_a_live_session_and_its_seconds_are_shown_and_its_end(
    gateway: Served, organization: str
) -> None:
    async with (
        watching(gateway, organization) as dashboard,
        recording(gateway, organization) as recorder,
    ):
        await dashboard.subscribe("bob")
        started = await recorder.start(kind="interview")
        await until(lambda: dashboard.listed == [recorder.session_id])
        await recorder.hear(0, 1)
        await until(lambda: dashboard.used == 2)
        assert dashboard.states[-1]["active_sessions"] == [
            {
                "session_id": recorder.session_id,
                "user_id": "alice",
                "kind": "interview",
                "started_at": started["origin"],
                "session_seconds": 2,
            }
        ]
        await recorder.send(type="stop")
        await until(lambda: dashboard.listed == [])
        assert dashboard.used == 2


async def test_nothing_is_said_while_nothing_changes_and_at_most_once_a_second_else(
    gateway: Served, organization: str
) -> None:
    async with (
        watching(gateway, organization) as dashboard,
        recording(gateway, organization) as recorder,
    ):
        await dashboard.subscribe()
        await asyncio.sleep(2.2)
        assert len(dashboard.received) == 1
        started = time.monotonic()
        await recorder.start()
        while time.monotonic() - started < 3:
            second = int(time.monotonic() - started)
            await recorder.hear(0, second)
            await asyncio.sleep(0.1)
        assert 2 <= len(dashboard.states) <= time.monotonic() - started + 2


async def test_many_watchers_of_an_account_cost_one_read_a_second(
    gateway: Served, organization: str
) -> None:
    looks = CountedLooks(gateway.parts.ledger)
    async with AsyncExitStack() as stack:
        dashboards = [
            await stack.enter_async_context(watching(gateway, organization)) for _ in range(200)
        ]
        await asyncio.gather(*[each.subscribe() for each in dashboards])
        recorder = await stack.enter_async_context(recording(gateway, organization))
        await recorder.start()
        looks.calls.clear()
        began = time.monotonic()
        await recorder.hear(0, 1)
        await asyncio.sleep(3)
        assert 1 <= len(looks.calls) <= time.monotonic() - began + 1
        assert {len(items) for items in looks.calls} == {1}
        assert {each.used for each in dashboards} == {2}
        assert {item.user_ids for items in looks.calls for item in items} == {("alice",)}
    await until(lambda: not gateway.parts.dashboards.connections)
    looks.calls.clear()
    await asyncio.sleep(1.5)
    assert looks.calls == []


async def test_all_accounts_are_read_in_one_call(gateway: Served) -> None:
    looks = CountedLooks(gateway.parts.ledger)
    async with AsyncExitStack() as stack:
        for number in range(20):
            organization, user = f"org-{number % 10}-{uuid4()}", f"user-{number}"
            dashboard = await stack.enter_async_context(watching(gateway, organization))
            await dashboard.subscribe(user)
        looks.calls.clear()
        began = time.monotonic()
        await asyncio.sleep(2)
        assert {len(items) for items in looks.calls} == {20}
        assert len(looks.calls) <= time.monotonic() - began + 1


async def test_an_organization_sees_its_own_and_nothing_else(
    gateway: Served, storage: MemoryStorage
) -> None:
    ours, theirs = f"org-{uuid4()}", f"org-{uuid4()}"
    async with (
        watching(gateway, ours) as dashboard,
        watching(gateway, theirs) as other,
        recording(gateway, ours) as recorder,
    ):
        await recorder.start()
        await recorder.hear(0, 1)
        await recorder.acked(1)
        await dashboard.subscribe()
        await other.subscribe()
        await asyncio.sleep(1.5)
        assert (dashboard.used, dashboard.listed) == (2, [recorder.session_id])
        assert (other.used, other.listed) == (0, [])
        assert recorder.session_id not in str(other.received)


async def test_ids_of_any_script_are_shown_as_they_are(gateway: Served) -> None:
    organization, user = f"órg|{uuid4()}:ß{{0}}", "Ünal 🎙 م"
    async with (
        watching(gateway, organization) as dashboard,
        recording(gateway, organization) as recorder,
    ):
        await recorder.start(token=token(organization, user), kind="entrevista ñ")
        state = await dashboard.subscribe(user)
        (session,) = state["active_sessions"]
        assert (session["user_id"], session["kind"]) == (user, "entrevista ñ")


async def test_a_cold_account_comes_from_postgres_with_its_live_sessions(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    storage.limits[organization] = 600
    async with (
        watching(gateway, organization) as dashboard,
        recording(gateway, organization) as recorder,
    ):
        begun_before(storage, recorder, 100, recorded=90)
        state = await dashboard.subscribe("bob")
        assert state["usage"]["used_seconds"] == 90
        assert state["usage"]["remaining_seconds"] == 510
        assert dashboard.listed == [recorder.session_id]


async def test_a_warning_and_a_stop_are_shown_once(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    storage.limits[organization] = 100
    async with (
        watching(gateway, organization) as dashboard,
        recording(gateway, organization) as recorder,
    ):
        begun_before(storage, recorder, 200, recorded=80)
        await dashboard.subscribe()
        warning = await dashboard.one("warning")
        assert (warning["kind"], warning["value"]) == ("percent", 70)
        await recorder.start()
        await recorder.hear(80, 98)
        await dashboard.one("warning", value=90)
        await recorder.hear(99, 120)
        stop = await dashboard.one("stop")
        assert (stop["reason"], stop["grace_seconds"]) == ("limit_reached", 10)
        await until(lambda: recorder.received[-1]["type"] == "stop")
        await recorder.send(type="stop")
        await until(lambda: dashboard.listed == [])
        kinds = [each["type"] for each in dashboard.received]
        assert (kinds.count("warning"), kinds.count("stop")) == (3, 1)


@pytest.mark.parametrize(
    ("claims", "code", "close"),
    [
        ({"exp": 1}, "token_expired", 4001),
        ({"sub": ""}, "token_refused", 4505),
        ({"scope": "record admin"}, "not_allowed", 4506),
    ],
    ids=["expired", "no subject", "scope"],
)
async def test_bad_tokens_are_refused(
    gateway: Served, claims: dict[str, Any], code: str, close: int
) -> None:
    async with watching(gateway, "acme") as dashboard:
        await dashboard.ask(**claims)
        assert (await dashboard.one("error"))["code"] == code
        assert await dashboard.closed() == close
        assert dashboard.states == []


async def test_a_token_signed_by_another_is_refused(gateway: Served) -> None:
    async with watching(gateway, "acme") as dashboard:
        forged = token("acme")[:-4] + "AAAA"
        await dashboard.send(type="subscribe", token=forged)
        assert (await dashboard.one("error", code="token_refused"))["fatal"] is True
        assert forged not in str(dashboard.received)
        assert await dashboard.closed() == 4505


async def test_who_does_not_subscribe_in_time_is_sent_away(hasty: Served) -> None:
    async with watching(hasty, "acme") as dashboard:
        await dashboard.one("error", code="no_start", fatal=True)
        assert await dashboard.closed() == 4508


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_page_of_a_foreign_origin_may_not_watch(gateway: Served, origin: str) -> None:
    async with watching(gateway, "acme", origin=origin) as dashboard:
        await dashboard.one("error", code="not_allowed", fatal=True)
        assert await dashboard.closed() == 4506


async def test_the_gateways_own_page_may_watch(gateway: Served, organization: str) -> None:
    own = gateway.url("", "http")
    async with watching(gateway, organization, origin=own) as dashboard:
        assert (await dashboard.subscribe())["active_sessions"] == []


async def test_a_page_of_an_allowed_origin_may_watch(gateway: Served, organization: str) -> None:
    origin, offered = "https://good.example", ("minute-meter.v1",)
    async with watching(gateway, organization, origin=origin, subprotocols=offered) as dashboard:
        assert dashboard.socket.subprotocol == "minute-meter.v1"
        await dashboard.subscribe()


async def test_a_token_that_expires_ends_the_watch(hasty: Served, organization: str) -> None:
    async with watching(hasty, organization) as dashboard:
        await dashboard.subscribe(exp=time.time() + 1.5)
        await dashboard.one("error", code="token_expired", fatal=True)
        assert await dashboard.closed() == 4001


async def test_a_fresh_token_keeps_it_and_anothers_does_not_pass(
    hasty: Served, organization: str
) -> None:
    async with watching(hasty, organization) as dashboard:
        await dashboard.send(type="refresh", token=token(organization))
        await dashboard.one("error", code="not_started", fatal=False)
        await dashboard.subscribe(exp=time.time() + 1.5)
        await dashboard.send(type="refresh", token=token(organization, "mallory"))
        await dashboard.one("error", code="not_allowed", fatal=False)
        await dashboard.send(type="refresh", token=token(organization, exp=1))
        await dashboard.one("error", code="token_expired", fatal=False)
        await dashboard.send(type="refresh", token=token(organization))
        await asyncio.sleep(3)
        assert dashboard.socket.close_code is None


async def test_frames_that_are_no_messages_are_answered_and_in_the_end_too_many(
    gateway: Served, organization: str
) -> None:
    async with watching(gateway, organization) as dashboard:
        await dashboard.subscribe()
        await dashboard.socket.send(b"\x00")
        await dashboard.one("error", code="bad_message", fatal=False)
        await dashboard.send(type="heartbeat", second=1)
        await dashboard.one("error", code="unknown_type", fatal=False)
        await dashboard.ask()
        await dashboard.one("error", code="already_started", fatal=False)
        for _ in range(18):
            await dashboard.socket.send("{")
        assert await dashboard.closed() == 4504


async def test_more_dashboards_than_there_is_room_for_are_sent_away(
    valkey_server: EmbeddedValkey, storage: MemoryStorage, organization: str
) -> None:
    ledger = Ledger.connect(valkey_server.url)
    async with (
        serving(ledger, storage, METER_MAX_CONNECTIONS=1) as gateway,
        watching(gateway, organization) as first,
        watching(gateway, organization) as second,
    ):
        assert await second.closed() == 4002
        await first.subscribe()


async def test_a_gateway_that_goes_away_says_so(gateway: Served, organization: str) -> None:
    async with watching(gateway, organization) as dashboard:
        await dashboard.subscribe()
        await gateway.parts.dashboards.drain(0.1)
        assert (await dashboard.one("drain"))["reconnect_after_ms"] >= 0
        assert await dashboard.closed() == 4000
    async with watching(gateway, organization) as late:
        assert await late.closed() == 4000


async def test_while_the_ledger_is_away_nothing_is_said_and_then_what_is_new(
    gateway: Served, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = False
    look = gateway.parts.ledger.look

    async def maybe(items: list[LookItem]) -> list[Look]:
        if away:
            raise LedgerUnavailable("the test took it away")
        return await look(items)

    monkeypatch.setattr(gateway.parts.ledger, "look", maybe)
    async with (
        watching(gateway, organization) as dashboard,
        watching(gateway, organization) as late,
        recording(gateway, organization) as recorder,
    ):
        await dashboard.subscribe()
        away = True
        await asyncio.sleep(1.2)
        await recorder.start()
        await late.ask()
        await asyncio.sleep(1.2)
        assert (len(dashboard.received), late.received) == (1, [])
        away = False
        await until(lambda: dashboard.listed == [recorder.session_id])
        await late.one("usage")
        assert late.states == dashboard.states[1:]


async def test_while_postgres_is_away_a_cold_account_waits(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    storage.down = True
    async with watching(gateway, organization) as dashboard:
        await dashboard.ask()
        await asyncio.sleep(1.5)
        assert dashboard.received == []
        assert len(storage.loads) <= 4
        storage.down = False
        await dashboard.one("usage")


async def test_a_dashboard_that_does_not_read_holds_nobody_up(
    gateway: Served, organization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.watch_socket.SEND_SECONDS", 0.5)
    async with (
        watching(gateway, organization) as dashboard,
        watching(gateway, organization) as other,
        recording(gateway, organization) as recorder,
    ):
        await dashboard.subscribe()
        await other.subscribe()
        stuck, _ = sorted(gateway.parts.dashboards.connections, key=lambda each: id(each))
        blocked = asyncio.Event()

        async def send(_: str) -> None:
            blocked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(stuck._socket, "send_text", send)
        await recorder.start()
        await blocked.wait()
        await until(lambda: len(gateway.parts.dashboards.connections) == 1)
        reader = other if other.socket.close_code is None else dashboard
        assert isinstance(reader, Dashboard)
        await until(lambda: recorder.session_id in dashboard.listed + other.listed)
