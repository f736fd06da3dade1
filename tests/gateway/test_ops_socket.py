"""`/v1/ops` on real sockets, with a real Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from gateway.ops_socket import OperatorSocket
from meter.ledger.driver import Ledger
from meter.ledger.types import LedgerUnavailable
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.operating import CountedPages, Operator, begin, new_keys, operating
from tests.gateway.serving import Served, begun_before, recording, serving, token, until
from tests.ledger.servers import Valkey

pytestmark = pytest.mark.integration


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def gateway(empty_valkey: Valkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(
        Ledger.connect(empty_valkey.url), storage, METER_ALLOWED_ORIGINS="https://good.example"
    ) as served:
        yield served


@pytest.fixture
async def another(empty_valkey: Valkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    """A second gateway on the same Valkey."""
    async with serving(Ledger.connect(empty_valkey.url), storage) as served:
        yield served


@pytest.fixture
async def hasty(empty_valkey: Valkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    """A gateway that waits for nobody."""
    async with serving(
        Ledger.connect(empty_valkey.url),
        storage,
        METER_START_TIMEOUT_SECONDS=0.5,
        METER_TOKEN_GRACE_SECONDS=0,
    ) as served:
        yield served


# Pages


async def test_without_sessions_an_empty_page_comes_at_once(gateway: Served) -> None:
    async with operating(gateway) as operator:
        asked = time.monotonic()
        page = await operator.subscribe()
        assert time.monotonic() - asked < 10
        assert page == {
            "type": "sessions",
            "organization_id": None,
            "total": 0,
            "organizations": 0,
            "by_organization": {},
            "sessions": [],
            "limit": 100,
            "cursor": None,
            "next_cursor": None,
        }


async def test_a_session_is_shown_with_what_is_known_of_it_and_its_end(
    gateway: Served, another: Served
) -> None:
    organization, user = f"órg:ß{{0}} {uuid4()}", "Ünal 🎙"
    async with operating(gateway) as operator, recording(another, organization) as recorder:
        await operator.subscribe()
        started = await recorder.start(token=token(organization, user), kind="interview")
        await recorder.hear(0, 1)
        await until(lambda: operator.seconds == [2])
        page = operator.pages[-1]
        assert (page["total"], page["organizations"]) == (1, 1)
        assert page["by_organization"] == {organization: 1}
        (session,) = page["sessions"]
        assert abs(session.pop("last_seen") - time.time()) <= 10
        assert session == {
            "session_id": recorder.session_id,
            "organization_id": organization,
            "user_id": user,
            "kind": "interview",
            "started_at": started["origin"],
            "session_seconds": 2,
            "paused": False,
        }
        await recorder.send(type="stop")
        await until(lambda: operator.pages[-1]["total"] == 0)
        assert operator.pages[-1]["by_organization"] == {}


async def test_a_session_in_which_nothing_is_recorded_is_paused_and_shows_signs_of_life(
    gateway: Served, storage: MemoryStorage
) -> None:
    async with operating(gateway) as operator, recording(gateway) as recorder:
        origin = begun_before(storage, recorder, 60, recorded=10)
        await recorder.start()
        (session,) = (await operator.subscribe())["sessions"]
        assert (session["paused"], session["session_seconds"]) == (True, 10)
        assert session["last_seen"] - origin >= 59
        await recorder.hear(50, 61)
        await until(lambda: operator.pages[-1]["sessions"][0]["paused"] is False)


async def test_pages_lead_from_one_to_the_next_and_a_filter_leaves_others_out(
    gateway: Served, storage: MemoryStorage
) -> None:
    sizes = {f"org-{number}": number for number in range(1, 8)}
    everyone = [key for name, size in sizes.items() for key in new_keys(name, size)]
    await begin(gateway.parts.ledger, storage, *everyone)
    async with operating(gateway) as operator:
        page = await operator.subscribe(limit=10)
        seen = list(operator.listed)
        assert (page["total"], page["organizations"]) == (28, 7)
        assert list(page["by_organization"].items()) == sorted(
            sizes.items(), key=lambda each: -each[1]
        )
        while page["next_cursor"]:
            await operator.send(type="subscribe", limit=10, cursor=page["next_cursor"])
            page = await operator.one("sessions", cursor=page["next_cursor"])
            seen += operator.listed
        assert len(seen) == 28
        assert set(seen) == {key.session_id for key in everyone}

        await operator.send(type="subscribe", organization_id="org-5", limit=4)
        page = await operator.one("sessions", organization_id="org-5", cursor=None)
        assert (page["total"], page["organizations"]) == (5, 1)
        assert page["by_organization"] == {"org-5": 5}
        assert {each["organization_id"] for each in page["sessions"]} == {"org-5"}
        await operator.send(
            type="subscribe", organization_id="org-5", limit=4, cursor=page["next_cursor"]
        )
        last = await operator.one("sessions", organization_id="org-5", cursor=page["next_cursor"])
        assert len(last["sessions"]) == 1
        assert last["next_cursor"] is None
        assert last["sessions"][0] not in page["sessions"]


async def test_many_operators_on_a_page_cost_one_read_a_second(gateway: Served) -> None:
    reads = CountedPages(gateway)
    async with AsyncExitStack() as stack:
        operators = [await stack.enter_async_context(operating(gateway)) for _ in range(50)]
        await asyncio.gather(*[each.subscribe() for each in operators])
        narrow = await stack.enter_async_context(operating(gateway))
        await narrow.subscribe(organization_id="acme")
        recorder = await stack.enter_async_context(recording(gateway))
        await recorder.start()
        reads.clear()
        began = time.monotonic()
        await asyncio.sleep(3)
        slept_seconds = time.monotonic() - began
        assert 2 <= reads.censuses <= slept_seconds + 1
        assert len(reads.pages) <= 2 * (slept_seconds + 1)
        assert len(set(reads.pages)) == 2
        assert all(each.listed == [recorder.session_id] for each in operators)
        assert all(len(each.pages) <= slept_seconds + 3 for each in operators)
        assert len(narrow.pages) == 1  # nothing changed there
    await until(lambda: not gateway.parts.operator_sockets.connections)
    reads.clear()
    await asyncio.sleep(1.5)
    assert (reads.pages, reads.censuses) == ([], 0)


async def test_what_changes_all_the_time_is_told_at_most_once_a_second(
    gateway: Served, storage: MemoryStorage
) -> None:
    async with recording(gateway) as recorder, AsyncExitStack() as stack:
        begun_before(storage, recorder, 200)
        await recorder.start()
        operators = [await stack.enter_async_context(operating(gateway)) for _ in range(5)]
        told: list[list[float]] = [[] for _ in operators]
        for step in range(150):
            await recorder.hear(step, step)
            if step % 10 == 0 and step // 10 < len(operators):  # in all phases of the readings
                await operators[step // 10].ask()
            await asyncio.sleep(0.02)
            for operator, times in zip(operators, told, strict=True):
                times += [time.monotonic()] * (len(operator.pages) - len(times))
        for times in told:
            assert len(times) >= 2
            assert min(later - earlier for earlier, later in pairwise(times)) > 0.4


# Who may, and what is put up with


@pytest.mark.parametrize(
    ("claims", "code", "close"),
    [
        ({"scope": "record usage"}, "not_allowed", 4506),
        ({"scope": "administrator admins"}, "not_allowed", 4506),
        ({"exp": 1.0}, "token_expired", 4001),
    ],
    ids=["usual scopes", "similar scopes", "expired"],
)
async def test_only_an_admins_token_will_do(
    gateway: Served, claims: dict[str, Any], code: str, close: int
) -> None:
    async with operating(gateway) as operator:
        await operator.ask(claims)
        await operator.send(type="stop", session_id=str(uuid4()))
        assert (await operator.one("error", fatal=True))["code"] == code
        assert await operator.closed() == close
        assert operator.pages == []


async def test_nothing_is_stopped_before_the_token_is_known(
    gateway: Served, storage: MemoryStorage
) -> None:
    (key,) = new_keys("acme", 1)
    await begin(gateway.parts.ledger, storage, key)
    async with operating(gateway) as operator:
        await operator.send(type="stop", session_id=key.session_id)
        await operator.one("error", code="not_started", fatal=False)
        assert (await operator.subscribe())["total"] == 1


async def test_who_does_not_subscribe_in_time_is_sent_away(hasty: Served) -> None:
    async with operating(hasty) as operator:
        await operator.one("error", code="no_start", fatal=True)
        assert await operator.closed() == 4508


async def test_a_token_that_expires_ends_the_watch_unless_a_fresh_one_comes(
    hasty: Served,
) -> None:
    async with operating(hasty) as operator, operating(hasty) as other:
        await operator.subscribe({"exp": time.time() + 1.5})
        await other.subscribe({"exp": time.time() + 1.5})
        admins = token("operators", "olga", scope="usage")
        await other.send(type="refresh", token=admins)
        await other.one("error", code="not_allowed", fatal=False)
        await other.send(type="refresh", token=token("operators", "olga", scope="admin"))
        await operator.one("error", code="token_expired", fatal=True)
        assert await operator.closed() == 4001
        await asyncio.sleep(1)
        assert other.socket.close_code is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_page_of_a_foreign_origin_may_not_operate(gateway: Served, origin: str) -> None:
    async with operating(gateway, origin=origin) as operator:
        await operator.one("error", code="not_allowed", fatal=True)
        assert await operator.closed() == 4506


async def test_a_page_of_an_allowed_origin_may(gateway: Served) -> None:
    origin, offered = "https://good.example", ("minute-meter.v1",)
    async with operating(gateway, origin=origin, subprotocols=offered) as operator:
        assert operator.socket.subprotocol == "minute-meter.v1"
        await operator.subscribe()


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": 501},
        {"limit": "10"},
        {"organization_id": ""},
        {"organization_id": 5},
        {"organization_id": "x" * 513},
        {"cursor": "later"},
        {"cursor": "1.2"},
        {"cursor": "٣.00000000-0000-0000-0000-000000000000"},
    ],
    ids=lambda fields: str(fields)[:40],
)
async def test_a_page_that_cannot_be_is_refused_and_the_one_before_goes_on(
    gateway: Served, fields: dict[str, object]
) -> None:
    async with operating(gateway) as operator, recording(gateway) as recorder:
        await operator.send(type="subscribe", token=token("o", scope="admin"), **fields)
        await operator.one("error", code="bad_message", fatal=False)
        await operator.subscribe(limit=3)
        operator.received.clear()
        await operator.send(type="subscribe", **fields)
        await operator.one("error", code="bad_message", fatal=False)
        await recorder.start()
        await until(lambda: bool(operator.pages) and operator.listed == [recorder.session_id])
        assert operator.pages[-1]["limit"] == 3


async def test_frames_that_are_no_messages_are_answered_and_in_the_end_too_many(
    gateway: Served,
) -> None:
    async with operating(gateway) as operator:
        await operator.send(type="subscribe")
        await operator.one("error", code="bad_message", fatal=False)
        await operator.subscribe()
        await operator.ask()
        await operator.one("error", code="already_started", fatal=False)
        await operator.socket.send(b"\x00")
        await operator.send(type="stop", session_id="all")
        await operator.send(type="stop")
        await operator.send(type="heartbeat", second=1)
        await operator.one("error", code="unknown_type", fatal=False)
        for _ in range(16):
            await operator.socket.send("{")
        assert await operator.closed() == 4504


async def test_while_the_ledger_is_away_nothing_is_said_and_then_what_is_new(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = False
    survey = gateway.parts.ledger.survey

    async def maybe(*arguments: Any) -> list[Any]:
        if away:
            raise LedgerUnavailable("the test took it away")
        return await survey(*arguments)

    monkeypatch.setattr(gateway.parts.ledger, "survey", maybe)
    async with (
        operating(gateway) as operator,
        operating(gateway) as late,
        recording(gateway) as recorder,
    ):
        await operator.subscribe()
        away = True
        await asyncio.sleep(1.2)  # what it was told last is old
        await recorder.start()
        await operator.send(type="stop", session_id=recorder.session_id)
        assert (await operator.one("error"))["code"] == "storage_unavailable"
        await late.ask()
        await asyncio.sleep(1.5)
        assert (len(operator.pages), late.received) == (1, [])
        away = False
        await until(lambda: operator.listed == [recorder.session_id])
        assert (await late.one("sessions"))["total"] == 1


async def test_an_operator_who_never_reads_is_cut_off_and_holds_nobody_up(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.watch_socket.SEND_SECONDS", 0.5)
    async with (
        operating(gateway) as stuck,
        operating(gateway) as other,
        recording(gateway) as recorder,
    ):
        await stuck.subscribe()
        (connection,) = gateway.parts.operator_sockets.connections - {_of(gateway, other)}
        await other.subscribe()
        blocked = asyncio.Event()

        async def send(_: str) -> None:
            blocked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(connection._socket, "send_text", send)
        await recorder.start()
        await blocked.wait()
        await until(lambda: len(gateway.parts.operator_sockets.connections) == 1)
        await until(lambda: other.listed == [recorder.session_id])
        assert await stuck.closed() is not None


def _of(gateway: Served, operator: Operator) -> OperatorSocket:
    """A connection as the gateway has it."""
    port = operator.socket.local_address[1]
    (found,) = [
        each
        for each in gateway.parts.operator_sockets.connections
        if each._socket.client is not None and each._socket.client.port == port
    ]
    assert isinstance(found, OperatorSocket)
    return found


async def test_a_gateway_that_goes_away_says_so(gateway: Served) -> None:
    async with operating(gateway) as operator:
        await operator.subscribe()
        await gateway.parts.operator_sockets.drain(0.1)
        assert (await operator.one("drain"))["reconnect_after_ms"] >= 0
        assert await operator.closed() == 4000
