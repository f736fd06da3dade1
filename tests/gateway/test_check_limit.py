"""`GET /api/usage/check-limit` on a real socket, with a real Valkey."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from command.embedded import EmbeddedValkey
from gateway.check_limit import Levels, limit_check
from meter.ledger.driver import Ledger
from meter.ledger.types import UNLIMITED, LedgerUnavailable, Look, LookItem, Standing
from meter.periods import month_of
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import Served, begun_before, recording, serving, token

PATH = "/api/usage/check-limit"
MONTH = month_of(1_800_000_000)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def gateway(valkey_server: EmbeddedValkey, storage: MemoryStorage) -> AsyncIterator[Served]:
    async with serving(Ledger.connect(valkey_server.url), storage) as served:
        yield served


@pytest.fixture
def organization() -> str:
    return f"org-{uuid4()}"


async def get(gateway: Served, bearer: str | None) -> httpx.Response:
    headers = {} if bearer is None else {"authorization": bearer}
    async with httpx.AsyncClient() as client:
        return await client.get(gateway.url(PATH, "http"), headers=headers)


async def check(gateway: Served, organization: str, user: str = "alice") -> dict[str, Any]:
    response = await get(gateway, f"Bearer {token(organization, user)}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.integration
async def test_a_cold_account_is_answered_from_postgres(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    storage.limits[organization] = 600
    async with recording(gateway, organization) as recorder:
        begun_before(storage, recorder, 100, recorded=61)
        answer = await check(gateway, organization, "bob")
    period = answer.pop("period_start"), answer.pop("period_end")
    assert period[0] < period[1]
    assert answer == {
        "can_record": True,
        "minutes_used": 2,
        "minutes_limit": 10,
        "minutes_remaining": 8,
        "percentage_used": 10.1,
        "used_seconds": 61,
        "limit_seconds": 600,
        "remaining_seconds": 539,
        "unlimited": False,
        "scope": "organization",
        "overage_seconds": 0,
        "overage_minutes": 0,
    }
    assert storage.loads == ["account"]
    await check(gateway, organization, "bob")
    assert storage.loads == ["account"]
    await check(gateway, organization, "carol")
    assert storage.loads == ["account", "account"]


@pytest.mark.integration
async def test_it_is_never_behind_a_live_session(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    storage.limits[organization] = 100
    async with recording(gateway, organization) as recorder:
        begun_before(storage, recorder, 200)
        await recorder.start()
        await recorder.hear(0, 98)
        await recorder.acked(98)
        answer = await check(gateway, organization)
        assert (answer["used_seconds"], answer["can_record"]) == (99, True)
        await recorder.hear(99, 150)
        await recorder.acked(150)
        answer = await check(gateway, organization, "bob")
        assert (answer["used_seconds"], answer["can_record"]) == (100, False)
        assert (answer["percentage_used"], answer["minutes_remaining"]) == (100.0, 0)


@pytest.mark.integration
async def test_an_organization_is_told_of_its_own_and_ids_may_be_of_any_script(
    gateway: Served, storage: MemoryStorage
) -> None:
    ours, user = f"órg|{uuid4()}:ß{{0}}", "Ünal 🎙"
    storage.limits[ours] = 60
    assert (await check(gateway, ours, user))["limit_seconds"] == 60
    other = await check(gateway, f"{ours}x", user)
    assert (other["can_record"], other["unlimited"]) == (True, True)
    assert [other[name] for name in ("minutes_limit", "minutes_remaining")] == [None, None]
    assert other["percentage_used"] is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("bearer", "status", "code", "challenge"),
    [
        (None, 401, "token_missing", 'Bearer realm="minute-meter"'),
        ("Basic abc", 401, "token_missing", 'Bearer realm="minute-meter"'),
        ("Bearer", 401, "token_missing", 'Bearer realm="minute-meter"'),
        ("Bearer x.y.z", 401, "token_refused", 'error="invalid_token"'),
        (f"Bearer {token('o', exp=1)}", 401, "token_expired", 'error="invalid_token"'),
        (
            f"bearer {token('o', scope='admin', exp=4e9)}",
            403,
            "not_allowed",
            'scope="usage record"',
        ),
    ],
    ids=["none", "basic", "empty", "no token", "expired", "scope"],
)
async def test_who_may_not_ask_is_refused(
    gateway: Served, bearer: str | None, status: int, code: str, challenge: str
) -> None:
    response = await get(gateway, bearer)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert challenge in response.headers["www-authenticate"]
    problem = response.json()
    assert problem["code"] == code
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["title"] in ("Unauthorized", "Forbidden")
    if bearer is not None and len(bearer) > 20:
        assert bearer[7:] not in response.text


@pytest.mark.integration
@pytest.mark.parametrize("scope", ["usage", "record", "admin usage"])
async def test_either_scope_will_do(gateway: Served, organization: str, scope: str) -> None:
    response = await get(gateway, f"Bearer {token(organization, scope=scope)}")
    assert response.status_code == 200


async def assert_unavailable(gateway: Served, organization: str) -> None:
    response = await get(gateway, f"Bearer {token(organization)}")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "storage_unavailable"


@pytest.mark.integration
async def test_without_postgres_a_cold_account_is_unavailable_and_a_known_one_is_not(
    gateway: Served, organization: str, storage: MemoryStorage
) -> None:
    await check(gateway, organization)
    storage.down = True
    await check(gateway, organization)
    await assert_unavailable(gateway, f"{organization}-cold")


async def test_without_redis_it_is_unavailable(organization: str, storage: MemoryStorage) -> None:
    ledger = Ledger.connect("redis://127.0.0.1:1/0", timeout_seconds=0.5)
    async with serving(ledger, storage) as gateway:
        await assert_unavailable(gateway, organization)


@pytest.mark.parametrize(
    ("used", "limit", "minutes", "percentage", "can_record"),
    [
        (0, 600, (0, 10, 10), 0.0, True),
        (1, 600, (1, 10, 9), 0.1, True),
        (599, 600, (10, 10, 0), 99.8, True),
        (600, 600, (10, 10, 0), 100.0, False),
        (660, 600, (11, 10, 0), 110.0, False),
        (10, 90, (1, 1, 1), 11.1, True),
        (0, 0, (0, 0, 0), 100.0, False),
        (61, UNLIMITED, (2, None, None), None, True),
    ],
)
def test_minutes_round_up_when_used_and_down_when_left(
    used: int,
    limit: int,
    minutes: tuple[int, int | None, int | None],
    percentage: float | None,
    can_record: bool,
) -> None:
    answer = limit_check(Standing(MONTH, used, limit, 0, UNLIMITED))
    assert (answer.minutes_used, answer.minutes_limit, answer.minutes_remaining) == minutes
    assert (answer.percentage_used, answer.can_record) == (percentage, can_record)


def test_the_most_restrictive_limit_holds() -> None:
    answer = limit_check(Standing(MONTH, 100, 36_000, 90, 120))
    assert (answer.scope, answer.used_seconds, answer.remaining_seconds) == ("member", 90, 30)
    assert limit_check(Standing(MONTH, 100, 36_000, 120, 120)).can_record is False
    assert limit_check(Standing(MONTH, 36_000, 36_000, 0, 120)).can_record is False


class SlowLedger:
    """Answers when the test lets it: with what is `used` at the moment of asking."""

    def __init__(self) -> None:
        self.asked: list[list[LookItem]] = []
        self.used = 0
        self.down = False
        self.go = asyncio.Semaphore(0)

    async def look(self, items: list[LookItem]) -> list[Look]:
        self.asked.append(items)
        used = self.used
        await self.go.acquire()
        if self.down:
            raise LedgerUnavailable("the test took it down")
        if any(item.organization_id == "broken" for item in items):
            raise RuntimeError("a bug in one account")
        standing = Standing(MONTH, used, UNLIMITED, 0, UNLIMITED)
        return [Look(0, (), (standing,) * len(item.user_ids)) for item in items]


async def used_of(levels: Levels, organization: str, user: str = "alice") -> int:
    level = await levels.of((organization, user))
    assert isinstance(level, Standing)
    return level.used


async def test_all_who_ask_while_an_answer_is_under_way_share_the_next_round_trip() -> None:
    ledger = SlowLedger()
    levels = Levels(ledger)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(used_of(levels, "org-0", "user-0"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(ledger.asked) == 1
        ledger.used = 5
        later = [
            group.create_task(used_of(levels, f"org-{number % 10}", f"user-{number % 20}"))
            for number in range(100)
        ]
        await asyncio.sleep(0)
        ledger.go.release()
        ledger.go.release()
    assert len(ledger.asked) == 2
    # One organization is one question, and one user of it is asked for once.
    assert [len(item.user_ids) for item in ledger.asked[1]] == [2] * 10
    # The one under way began before the five were counted: it isn't theirs who asked after.
    assert first.result() == 0
    assert {task.result() for task in later} == {5}


async def test_one_who_no_longer_waits_takes_the_answer_from_nobody() -> None:
    ledger = SlowLedger()
    levels = Levels(ledger)
    tasks = [asyncio.create_task(used_of(levels, "org")) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    ledger.go.release()
    assert await tasks[1] == 0
    assert tasks[0].cancelled()


async def test_an_outage_is_told_to_all_who_asked_and_is_over_when_it_is_over() -> None:
    ledger = SlowLedger()
    levels = Levels(ledger)
    ledger.down = True
    ledger.go.release()
    answers = [used_of(levels, f"org-{number}") for number in range(3)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * 3
    assert len(ledger.asked) == 1
    ledger.down = False
    ledger.go.release()
    assert await used_of(levels, "org-0") == 0


async def test_one_accounts_trouble_is_no_others() -> None:
    ledger = SlowLedger()
    levels = Levels(ledger)
    for _ in range(10):
        ledger.go.release()
    answers = [used_of(levels, organization) for organization in ("org-0", "broken", "org-1")]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, RuntimeError, int]
