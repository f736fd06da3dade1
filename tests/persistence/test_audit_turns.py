"""Repairs of the ledger's figures by several at once, of many accounts, and of those in motion."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from meter.codes import EndReason
from meter.ledger.auditing import LedgerAudit
from meter.ledger.driver import Ledger
from meter.ledger.keys import partition_of
from meter.periods import month_of
from persistence import audit, ledger_audit
from persistence.audit import EVER, RepairUnderWay, audit_all
from persistence.auditor import Auditor
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.ledger_audit import audit_ledger, repair_ledger
from persistence.metrics import FlusherMetrics
from persistence.statements import statement
from persistence.storage import PostgresStorage
from persistence.writer import Writer
from tests.persistence.counted import ledger, quick_looks, record

__all__ = ["ledger", "quick_looks"]

pytestmark = pytest.mark.integration


async def know(ledger: Ledger, storage: PostgresStorage, organizations: Sequence[str]) -> None:
    """The ledger knows these, and nothing is counted of them."""
    figures = await storage.load_account("org_1", "user_1", int(time.time()))
    for name in organizations:
        await ledger.seed_account(replace(figures, organization_id=name))


async def be_off(ledger: Ledger, seconds: int, *organizations: str) -> None:
    period = month_of(int(time.time()))
    await LedgerAudit(ledger).correct_all(
        {(name, period): {None: seconds} for name in organizations}
    )


async def figure(ledger: Ledger, organization: str) -> int | None:
    account = await LedgerAudit(ledger).account(organization)
    assert account is not None
    now = month_of(int(time.time()))
    return next(each.organization for each in account.figures if each.period == now)


@asynccontextmanager
async def another_repairs(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        assert await connection.fetchval(statement("claim_ledger_repair"))
        yield


async def test_of_two_flushers_none_says_compared_while_a_figure_is_off(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    await record(ledger, storage, 10)
    await ledger.note_compared("a server before")
    await be_off(ledger, -4, "org_1")
    stop = asyncio.Event()
    auditors = [Auditor(ledger, database, FlusherMetrics()) for _ in range(2)]
    running = [asyncio.create_task(each.run(stop)) for each in auditors]
    async with asyncio.timeout(30):
        while await ledger.compared() == "a server before":  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    # Read right after it was said: it was put right before.
    assert await figure(ledger, "org_1") == 10
    stop.set()
    await asyncio.gather(*running)
    assert await figure(ledger, "org_1") == 10


async def test_what_was_asked_for_waits_for_another_ones_repair(
    database: Database, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    await record(ledger, storage, 10)
    await ledger.note_compared("a server before")
    await be_off(ledger, 4, "org_1")
    waiting = Auditor(ledger, database, FlusherMetrics())
    assert await waiting.notice_loss()
    waiting.ask(["org_1"])
    async with another_repairs(connection):
        assert (await waiting.look_at_asked(), await waiting.look()) == (0, 0)
        assert await ledger.compared() == "a server before"
    assert await waiting.look_at_asked() == 4
    assert await ledger.compared() == await ledger.incarnation()


async def test_who_was_late_doesnt_say_that_a_former_server_was_compared(
    database: Database,
    storage: PostgresStorage,
    ledger: Ledger,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await record(ledger, storage, 10)
    await ledger.note_compared("a server before")
    late = Auditor(ledger, database, FlusherMetrics())
    assert await late.notice_loss()
    async with another_repairs(connection):
        await late.look_at_asked()

        async def another() -> str:
            return "another server"

        monkeypatch.setattr(ledger, "incarnation", another)
        await ledger.note_compared("another server")
        assert await late.notice_loss()
    await late.look_at_asked()
    assert await ledger.compared() == "another server"


async def test_an_account_in_motion_is_looked_at_until_it_is_steady(
    database: Database, storage: PostgresStorage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await know(ledger, storage, ["org_1", "org_2"])
    await ledger.note_compared("a server before")
    await be_off(ledger, 4, "org_1", "org_2")
    ask_each, moves = ledger.ask_each, True

    async def move_between(function: str, asked: Any) -> list[Any]:
        replies = await ask_each(function, asked)
        if function == "pending_each" and moves:
            await be_off(ledger, 1, "org_2")
        return replies

    monkeypatch.setattr(ledger, "ask_each", move_between)
    looking = Auditor(ledger, database, FlusherMetrics())
    await looking.notice_loss()
    assert await looking.look_at_asked() == 4
    assert await ledger.compared() == "a server before"
    moves = False
    assert await looking.look_at_asked() > 4
    assert await ledger.compared() == await ledger.incarnation()
    assert [await figure(ledger, name) for name in ("org_1", "org_2")] == [0, 0]


async def test_a_figure_that_is_off_beside_a_corrupt_one_of_postgres_follows_the_rows(
    database: Database, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    key = await record(ledger, storage, 10)
    await ledger.close(key, EndReason.STOPPED)
    await Flusher(ledger, Writer(database)).flush()
    await connection.execute("UPDATE monthly_usage_cache SET seconds_used = 87")
    await connection.execute("UPDATE daily_usage SET seconds_used = 87")
    await be_off(ledger, -4, "org_1")
    assert await Auditor(ledger, database, FlusherMetrics()).look() == 4
    assert await figure(ledger, "org_1") == 10


async def test_a_comparison_may_take_longer_than_a_transaction_may_be_idle(
    database_url: str, storage: PostgresStorage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_audit, "LOOK_APART_SECONDS", 0.7)
    monkeypatch.setattr(ledger_audit, "LOOKS", 4)
    await know(ledger, storage, ["org_1"])
    await be_off(ledger, 4, "org_1")
    database = Database(database_url, name="test", max_connections=2, timeout_seconds=1.5)
    found = await repair_ledger(database, LedgerAudit(ledger), ["org_1"])
    await database.aclose()
    assert found is not None
    assert [each.seconds for each in found.drifts] == [4]
    assert await figure(ledger, "org_1") == 0


@pytest.mark.parametrize("by_rows", [True, False])
async def test_many_accounts_are_compared_and_put_right_in_few_round_trips(
    database: Database,
    storage: PostgresStorage,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    by_rows: bool,
) -> None:
    names = [f"org_{number:03}" for number in range(400)]
    await know(ledger, storage, names)
    await be_off(ledger, 4, *names[::2])
    trips = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal trips
            trips += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(ledger, "ask_each", counted(ledger.ask_each))
    monkeypatch.setattr(database, "connection", counted(database.connection))
    found = await repair_ledger(database, LedgerAudit(ledger), names, by_rows=by_rows)
    assert found is not None
    assert sorted(each.organization_id for each in found.drifts) == names[::2]
    assert found.accounts == 400
    assert trips < 100
    assert (await audit_ledger(database, LedgerAudit(ledger), names)).drifts == ()


async def test_accounts_of_one_partition_have_each_its_own_sessions(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    names = [f"org_{number}" for number in range(1000)]
    one, other, cold = [name for name in names if partition_of(name) == 7][:3]
    keys = [await record(ledger, storage, each, organization=one) for each in (10, 20)]
    keys.append(await record(ledger, storage, 40, organization=other))
    accounts = await LedgerAudit(ledger).accounts([one, cold, other])
    assert [account and len(account.pending) for account in accounts] == [2, None, 1]
    assert [account and account.organization_id for account in accounts] == [one, None, other]
    for _ in range(2):
        found = await audit_ledger(database, LedgerAudit(ledger), [one, cold, other])
        assert (found.accounts, found.drifts) == (2, ())
        for key in keys:
            await ledger.close(key, EndReason.STOPPED)
        await Flusher(ledger, Writer(database)).flush()


async def test_a_repair_by_hand_waits_for_another_ones(
    database: Database, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    await know(ledger, storage, ["org_1"])
    await be_off(ledger, 4, "org_1")
    waited: list[float] = []
    done = asyncio.Event()

    def waits(seconds: float) -> None:
        waited.append(seconds)
        done.set()

    async with another_repairs(connection):
        repairing = asyncio.create_task(audit_all(database, ledger, EVER, repair=True, waits=waits))
        await done.wait()
        assert await figure(ledger, "org_1") == 4
    report = await repairing
    assert (report.repaired, await figure(ledger, "org_1")) == (1, 0)
    assert 0 < waited[0] <= audit.PATIENCE_SECONDS


async def test_a_repair_by_hand_that_never_has_its_turn_says_so(
    database: Database,
    ledger: Ledger,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "PATIENCE_SECONDS", 0.1)
    async with another_repairs(connection):
        with pytest.raises(RepairUnderWay):
            await audit_all(database, ledger, EVER, repair=True)


async def test_of_one_month_the_ledgers_figures_of_that_month_are_compared(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    await know(ledger, storage, ["org_1"])
    await be_off(ledger, 4, "org_1")
    present = month_of(int(time.time()))
    long_ago = month_of(present.start - 100 * 86400)
    report = await audit_all(database, ledger, long_ago, repair=False)
    assert (report.accounts, report.drifts) == (0, ())
    report = await audit_all(database, ledger, present, repair=False)
    assert (report.accounts, [each.seconds for each in report.drifts]) == (1, [4])
