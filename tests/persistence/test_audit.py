"""Audits: every kept figure, and the ledger's, against the rows; and repairs of what differs."""

import asyncio
import time
from dataclasses import replace

import asyncpg
import pytest

from meter.codes import EndReason
from meter.ledger.auditing import LedgerAudit
from meter.ledger.driver import Ledger
from meter.ledger.types import LookItem, Standing
from meter.periods import Period, month_of
from persistence.audit import (
    EVER,
    SetAside,
    audit_all,
    audit_rows,
    repair_rows,
)
from persistence.auditor import Auditor
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.ledger_audit import audit_ledger
from persistence.metrics import FlusherMetrics
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from persistence.writer import Writer
from tests.calm import calm_zone
from tests.persistence.builders import (
    FULL,
    NOW,
    THIS_MINUTE,
    assert_figures_follow_rows,
    due,
    present_minute,
)
from tests.persistence.counted import ledger, quick_looks, record

__all__ = ["ledger", "quick_looks"]

pytestmark = pytest.mark.integration

MONTH = month_of(NOW)


async def test_what_was_written_in_the_usual_way_has_no_drift(
    database: Database, writer: Writer
) -> None:
    await writer.write([due((THIS_MINUTE, FULL), (THIS_MINUTE + 1, 5)), due((THIS_MINUTE, 3))])
    assert await audit_rows(database, EVER) == []


@pytest.mark.parametrize(
    ("breakage", "figure", "drift"),
    [
        ("UPDATE monthly_usage_cache SET seconds_used = seconds_used + 7",
         {"monthly_usage_cache"}, 7),
        ("UPDATE monthly_usage_cache SET seconds_used = 0", {"monthly_usage_cache"}, -60),
        ("DELETE FROM monthly_usage_cache",
         {"monthly_usage_cache"}, -60),
        ("UPDATE daily_usage SET seconds_used = 61", {"daily_usage"}, 1),
        ("UPDATE daily_usage SET last_second_at = last_second_at - interval '3 seconds'",
         {"daily_usage"}, -3),
        ("UPDATE interview_sessions SET seconds_recorded = 59", {"interview_sessions"}, -1),
        ("INSERT INTO daily_usage VALUES ('org_9', 'eve', '2020-01-01', 'UTC', 5)",
         {"daily_usage"}, 5),
    ],
)  # fmt: skip
async def test_a_kept_figure_that_is_off_is_found_and_put_right(
    database: Database,
    writer: Writer,
    connection: asyncpg.Connection,
    breakage: str,
    figure: set[str],
    drift: int,
) -> None:
    await writer.write([due((THIS_MINUTE, FULL))])
    await connection.execute(breakage)
    found = await audit_rows(database, EVER)
    assert {each.figure for each in found} == figure
    assert [each.seconds for each in found] == [drift]
    assert await repair_rows(database, EVER) == 1
    assert await audit_rows(database, EVER) == []
    await assert_figures_follow_rows(connection)


async def test_a_members_minutes_that_are_off_are_found_and_put_right(
    database: Database, writer: Writer, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
    await connection.execute("INSERT INTO organization_members VALUES ('org_1', 'user_1')")
    await writer.write([due((present_minute(), FULL))])
    assert await audit_rows(database, EVER) == []
    await connection.execute("UPDATE organization_members SET current_month_minutes_used = 9")
    (found,) = await audit_rows(database, EVER)
    assert (found.figure, found.seconds) == ("organization_members", 8 * 60)
    await repair_rows(database, EVER)
    assert await connection.fetchval(
        "SELECT current_month_minutes_used FROM organization_members"
    ) == 1  # fmt: skip


async def test_figures_of_a_period_that_are_off_are_found_and_put_right(
    database: Database, writer: Writer, storage: PostgresStorage, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO organizations (id) VALUES ('org_1')")
    await connection.execute("UPDATE organizations SET time_zone = 'Asia/Kathmandu'")
    await storage.load_account("org_1", "user_1", NOW)
    await writer.write([due((THIS_MINUTE, FULL))])
    assert await audit_rows(database, EVER) == []
    await connection.execute("UPDATE period_usage SET seconds_used = 1")
    (found,) = await audit_rows(database, EVER)
    assert (found.figure, found.seconds) == ("period_usage", -59)
    await repair_rows(database, EVER)
    assert await audit_rows(database, EVER) == []


async def test_one_month_alone_is_audited(
    database: Database, writer: Writer, connection: asyncpg.Connection
) -> None:
    await writer.write([due((THIS_MINUTE, FULL))])
    await connection.execute("UPDATE monthly_usage_cache SET seconds_used = 1")
    before = Period(month_of(MONTH.start - 1).start, MONTH.start)
    assert await audit_rows(database, before) == []
    assert len(await audit_rows(database, MONTH)) == 1


async def test_the_ledgers_figures_are_the_rows_and_what_is_not_in_them_yet(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    keys = [await record(ledger, storage, 70, user) for user in ("user_1", "user_2")]
    audited = LedgerAudit(ledger)
    assert await audited.organizations() == ["org_1"]
    assert (await audit_ledger(database, audited, ["org_1"])).drifts == ()
    flusher = Flusher(ledger, Writer(database))
    await ledger.close(keys[0], EndReason.STOPPED)
    await flusher.flush()
    for by_rows in (True, False):
        assert (await audit_ledger(database, audited, ["org_1"], by_rows=by_rows)).drifts == ()


async def test_a_ledgers_figure_that_is_off_is_found_and_put_right(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    await record(ledger, storage, 70)
    audited = LedgerAudit(ledger)
    period = month_of(int(time.time()))
    await audited.correct("org_1", period, {None: 5, "user_1": -3})
    report = await audit_all(database, ledger, EVER, repair=False)
    assert sorted((each.user_id or "", each.seconds) for each in report.drifts) == [
        ("", 5),
        ("user_1", -3),
    ]
    report = await audit_all(database, ledger, EVER, repair=True)
    assert (report.repaired, report.accounts) == (2, 1)
    assert (await audit_all(database, ledger, EVER, repair=False)).drifts == ()


async def test_what_postgres_refuses_is_told_and_no_drift(
    database: Database, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    ledger.rules = replace(ledger.rules, retry_refused_seconds=0)
    flusher = Flusher(ledger, Writer(database))
    keys = [await record(ledger, storage, 70, user) for user in ("user_1", "user_2", "user_3")]
    assert (await audit_all(database, ledger, EVER, repair=False)).set_aside == SetAside(0, 0)
    await connection.execute(
        "ALTER TABLE usage_tracking ADD CONSTRAINT broken CHECK (user_id = 'user_1')"
    )
    for key in keys:
        await ledger.close(key, EndReason.STOPPED)
    await flusher.flush()
    for repair in (False, True):
        report = await audit_all(database, ledger, EVER, repair=repair)
        assert (report.set_aside, report.drifts) == (SetAside(2, 140), ())
    await connection.execute("ALTER TABLE usage_tracking DROP CONSTRAINT broken")
    await flusher.flush()
    assert (await audit_all(database, ledger, EVER, repair=False)).set_aside == SetAside(0, 0)


async def test_the_flushers_rounds_put_right_what_is_off_and_say_so(
    database: Database,
    storage: PostgresStorage,
    ledger: Ledger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = FlusherMetrics()
    auditor = Auditor(ledger, database, metrics)
    await record(ledger, storage, 10)
    assert await auditor.look() == 0
    await LedgerAudit(ledger).correct("org_1", month_of(int(time.time())), {None: 4})
    assert await auditor.look() == 4
    assert metrics.registry.get_sample_value("meter_flusher_drift_seconds_total") == 4
    assert "'org_1' was off by +4 s" in caplog.text
    assert await auditor.look() == 0


async def test_a_corrupt_figure_of_postgres_is_said_and_not_spread_into_the_ledger(
    database: Database,
    storage: PostgresStorage,
    ledger: Ledger,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = await record(ledger, storage, 10)
    await ledger.close(key, EndReason.STOPPED)
    await Flusher(ledger, Writer(database)).flush()
    await connection.execute("UPDATE monthly_usage_cache SET seconds_used = seconds_used + 77")
    await connection.execute("UPDATE daily_usage SET seconds_used = seconds_used + 77")
    auditor = Auditor(ledger, database, FlusherMetrics())
    assert await auditor.look() == 0
    assert "what Postgres keeps of 'org_1' isn't what its rows say" in caplog.text
    report = await audit_all(database, ledger, EVER, repair=False)
    assert not [drift for drift in report.drifts if drift.figure == "ledger"]


async def test_several_who_repair_at_once_move_a_figure_once(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    await record(ledger, storage, 10)
    audited = LedgerAudit(ledger)
    await audited.correct("org_1", month_of(int(time.time())), {None: 4})
    auditors = [Auditor(ledger, database, FlusherMetrics()) for _ in range(2)]
    for auditor in auditors:
        auditor.ask(["org_1"])
    await asyncio.gather(*(auditor.look_at_asked() for auditor in auditors))
    assert (await audit_ledger(database, audited, ["org_1"])).drifts == ()


async def test_minutes_that_come_by_sql_are_soon_in_the_ledgers_figures(
    database: Database, storage: PostgresStorage, ledger: Ledger, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "INSERT INTO organizations (id, time_zone) VALUES ('org_1', $1)", calm_zone()
    )
    await record(ledger, storage, 10)
    await connection.execute("SELECT ensure_user_exists('user_1')")
    auditor = Auditor(ledger, database, FlusherMetrics())
    teller = LimitsTeller(ledger, database, auditor=auditor)
    await connection.execute("SELECT record_ended_session('org_1', 'user_1', 120, 'tracked')")
    await teller.tell()
    assert await auditor.look_at_asked() == 240  # the organization's and the member's
    look = (await ledger.look([LookItem("org_1", ("user_1",))]))[0]
    standing = look.standings[0]
    assert isinstance(standing, Standing)
    assert (standing.used, standing.member_used) == (130, 130)


async def test_a_ledger_that_came_back_older_is_put_right_at_once(
    database: Database, storage: PostgresStorage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(ledger, storage, 10)
    auditor = Auditor(ledger, database, FlusherMetrics())
    assert not await auditor.notice_loss()
    await auditor.look_at_asked()
    assert not await auditor.notice_loss()
    await LedgerAudit(ledger).correct("org_1", month_of(int(time.time())), {None: -4})

    async def another() -> str:
        return "another server"

    monkeypatch.setattr(ledger, "incarnation", another)
    assert await auditor.notice_loss()
    assert await ledger.compared() != "another server"  # no gateway counts on it
    assert await auditor.look_at_asked() == 4
    assert await ledger.compared() == "another server"
    assert not await auditor.notice_loss()


async def test_after_a_loss_accounts_are_looked_at_once_more(
    database: Database, storage: PostgresStorage, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(ledger, storage, 10)
    await ledger.note_compared("a server before")
    monkeypatch.setattr("persistence.auditor.TURN_SECONDS", 0.05)
    monkeypatch.setattr("persistence.auditor.AGAIN_SECONDS", (1.0,))
    metrics, stop = FlusherMetrics(), asyncio.Event()
    running = asyncio.create_task(Auditor(ledger, database, metrics).run(stop))
    async with asyncio.timeout(30):
        while await ledger.compared() == "a server before":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        # As a flusher leaves it that commits what it had taken before the loss.
        await LedgerAudit(ledger).correct("org_1", month_of(int(time.time())), {None: -4})
        drift = "meter_flusher_drift_seconds_total"
        while metrics.registry.get_sample_value(drift) != 4:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()
    await running


async def test_a_flusher_that_comes_after_a_failover_looks_at_all(
    database: Database, storage: PostgresStorage, ledger: Ledger
) -> None:
    await record(ledger, storage, 10)
    await ledger.note_compared("a server before")
    await LedgerAudit(ledger).correct("org_1", month_of(int(time.time())), {None: -4})
    auditor = Auditor(ledger, database, FlusherMetrics())
    assert await auditor.notice_loss()
    assert await auditor.look_at_asked() == 4
    assert await ledger.compared() == await ledger.incarnation()


async def test_writers_wait_for_a_repair_and_lose_nothing(
    database: Database, writer: Writer, connection: asyncpg.Connection
) -> None:
    await writer.write([due((THIS_MINUTE, FULL))])
    await connection.execute("UPDATE monthly_usage_cache SET seconds_used = 1")
    await asyncio.gather(
        repair_rows(database, EVER),
        *(writer.write([due((THIS_MINUTE + at, 1))]) for at in range(1, 5)),
    )
    assert await audit_rows(database, EVER) == []
    await assert_figures_follow_rows(connection)
