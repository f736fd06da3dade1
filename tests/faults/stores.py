"""Faults of Valkey and Postgres."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import asyncpg
import redis.asyncio

from command.embedded import EmbeddedValkey
from command.embedded.files import LOOPBACK
from meter.ledger.auditing import LedgerAccount, LedgerAudit
from meter.ledger.types import DueSession, LedgerUnavailable, SessionKey, SessionState
from persistence.writer import write
from tests.faults import processes
from tests.faults.house import House
from tests.faults.proxy import Direction, Tripwire
from tests.faults.stage import Stage

SYNC_SECONDS = 10.0
CATCH_UP_SECONDS = 15.0
# A flusher that is well looks once a second.
LAG_SECONDS = 2.0
TURN_SECONDS = 1.2
RECOVERY_SECONDS = 4.0
CLIENTS_AT_ONCE = 10
TAKE_SECONDS, ENOUGH_SESSIONS = 6.0, 25


# Valkey -------------------------------------------------------------------------------------------


async def command(valkey: EmbeddedValkey, *words: object) -> Any:
    """A command's reply, past the proxies."""
    client: Any = redis.asyncio.Redis.from_url(valkey.url)
    async with client:
        return await client.execute_command(*words)


async def kill_valkey(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGKILL, and a restart with its file."""
    await _restart_valkey(stage.house, seconds, lambda: None)


async def empty_valkey(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGKILL, and a restart with nothing."""
    await flushed(stage.house)
    await _empty(stage.house, seconds)
    await recovered(stage.house)


async def empty_and_kill(stage: Stage, chance: random.Random, seconds: float) -> None:
    """All data of Valkey and one gateway are gone at once."""
    await flushed(stage.house)
    await asyncio.gather(_empty(stage.house, 0.2), processes.kill_gateway(stage, chance, seconds))
    await recovered(stage.house)


async def empty_without_postgres(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Valkey loses all while Postgres is stopped: gateways and recorders hold it alone."""
    house = stage.house
    await flushed(house)
    before = seconds * chance.uniform(0.2, 0.5)
    await asyncio.to_thread(house.postgres.stop)
    await asyncio.sleep(before)
    await _empty(house, 0.2)
    await asyncio.sleep(seconds - before)
    await asyncio.to_thread(house.postgres.restart)
    # Nothing can be given back to accounts that Valkey doesn't know before Postgres is there.
    house.valkey_lost[-1] = (house.valkey_lost[-1][0], time.monotonic())
    await recovered(house)


async def _empty(house: House, seconds: float) -> None:
    began = time.monotonic()
    await _restart_valkey(house, seconds, lambda: _forget(house.valkey))
    house.valkey_lost.append((began, time.monotonic()))


async def flushed(house: House) -> None:
    """Wait until flushers have caught up with the fault before: what ended while Postgres was away
    has no holder but Valkey and a gateway, and those are about to go."""
    await asyncio.sleep(TURN_SECONDS)  # what a clock since set back made due is found by a flusher
    ledger = house.ledger()
    deadline = time.monotonic() + CATCH_UP_SECONDS
    try:
        while time.monotonic() < deadline:
            with suppress(LedgerUnavailable):
                oldest = (await ledger.backlog()).oldest_due_at
                if oldest is None or time.time() - oldest < LAG_SECONDS:
                    return
            await asyncio.sleep(0.2)
    finally:
        await ledger.aclose()


async def recovered(house: House) -> None:
    """After a loss: wait until gateways and recorders have given back what they hold, and that is
    durable. Until then nobody else may lose it."""
    await asyncio.sleep(RECOVERY_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while await asyncio.to_thread(_ended_kept, house):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    await flushed(house)


def _ended_kept(house: House) -> float:
    """How many ended sessions gateways alone may hold. One that doesn't answer holds none."""
    kept = 0.0
    for unit in house.gateways:
        with suppress(OSError):
            kept += unit.program.metric("meter_ended_sessions_kept")
    return kept


async def _restart_valkey(house: House, seconds: float, between: Callable[[], None]) -> None:
    await asyncio.to_thread(house.valkey.kill)
    await asyncio.to_thread(between)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(house.valkey.restart)


def _forget(valkey: EmbeddedValkey) -> None:
    shutil.rmtree(valkey.directory / "appendonlydir", ignore_errors=True)


async def stall_valkey(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """It keeps its connections and says nothing."""
    pid = stage.house.valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


async def fill_valkey(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """Its memory is full: it refuses to write."""
    await command(stage.house.valkey, "CONFIG SET", "maxmemory", "1mb")
    await asyncio.sleep(seconds)
    await command(stage.house.valkey, "CONFIG SET", "maxmemory", "0")


async def flush_functions(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """Somebody deletes the server functions."""
    await command(stage.house.valkey, "FUNCTION FLUSH")
    await asyncio.sleep(seconds)


async def fail_over_valkey(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """A replica takes over that lacks the last `seconds` of writes."""
    house = stage.house
    await flushed(house)
    former, replica = house.valkey, await asyncio.to_thread(_start_replica, house)
    await command(replica, "CONFIG SET", "masterauth", _password(former))
    await command(replica, "REPLICAOF", LOOPBACK, former.port)
    deadline = time.monotonic() + SYNC_SECONDS
    while (await command(replica, "INFO", "replication"))["master_link_status"] != "up":
        assert time.monotonic() < deadline, "the replica did not come up"
        await asyncio.sleep(0.05)
    began = time.monotonic()
    await command(replica, "REPLICAOF NO ONE")
    await asyncio.sleep(seconds)
    await asyncio.to_thread(former.kill)
    house.valkey = replica
    house.valkey_lost.append((began, time.monotonic()))
    former.stop()
    shutil.rmtree(former.directory.parent, ignore_errors=True)
    await recovered(house)


def _start_replica(house: House) -> EmbeddedValkey:
    house.valkeys += 1
    data = house.directory / f"valkey-{house.valkeys}"
    replica = EmbeddedValkey(data, durable=False)
    replica.directory.mkdir(parents=True)
    # The clients know the former's password.
    shutil.copy(house.valkey.directory / "password", replica.directory / "password")
    replica.start()
    return replica


def _password(valkey: EmbeddedValkey) -> str:
    return (valkey.directory / "password").read_text().strip()


# Postgres -----------------------------------------------------------------------------------------


async def stop_postgres(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """It is stopped in good order, and started again."""
    postgres = stage.house.postgres
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(postgres.restart)


async def kill_postgres(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """SIGKILL, and recovery from its log."""
    postgres = stage.house.postgres
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(postgres.restart)


async def exhaust_postgres(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """Others have taken all connections, and ours are gone."""
    taken: list[asyncpg.Connection] = []
    try:
        with suppress(asyncpg.PostgresError, OSError):
            while True:
                taken += await asyncio.gather(
                    *(stage.house.database() for _ in range(CLIENTS_AT_ONCE))
                )
        for _ in range(2):  # those that were free for a moment are taken, too
            await taken[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'minute-meter%'"
            )
            with suppress(asyncpg.PostgresError, OSError):
                while True:
                    taken.append(await stage.house.database())
        await asyncio.sleep(seconds)
    finally:
        await asyncio.gather(*(each.close() for each in taken), return_exceptions=True)


async def deafen(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Postgres commits what a flusher has written, and the answer is lost."""
    unit = chance.choice(stage.house.flushers)
    unit.postgres.tripwire = Tripwire(b"COMMIT", frozenset({Direction.DOWN}))
    await asyncio.sleep(seconds)
    unit.postgres.cut()
    unit.postgres.heal()


async def hold_back(stage: Stage, chance: random.Random, seconds: float) -> None:
    """What a flusher writes arrives when another one has long had its lease, and written more."""
    unit = chance.choice(stage.house.flushers)
    unit.postgres.stall(frozenset({Direction.UP}))
    await asyncio.sleep(seconds)
    unit.postgres.heal()


async def write_stale(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """A flusher that stood still for so long commits what it took then: less than is there now."""
    house = stage.house
    taken = await _take(house)
    await asyncio.sleep(seconds)
    connection = await house.database()
    try:
        await write(connection, taken)
    finally:
        await connection.close()


async def _take(house: House) -> list[DueSession]:
    """What is not durable, of all accounts; of some sessions at least, where they come in time."""
    ledger = house.ledger()
    deadline = time.monotonic() + TAKE_SECONDS
    try:
        audited = LedgerAudit(ledger)
        while True:
            accounts = [await audited.account(name) for name in await audited.organizations()]
            taken = [due for each in accounts if each for due in _taken(each)]
            if len(taken) >= ENOUGH_SESSIONS or time.monotonic() > deadline:
                return taken
            await asyncio.sleep(0.2)
    finally:
        await ledger.aclose()


def _taken(account: LedgerAccount) -> Iterator[DueSession]:
    """What a flusher would have taken of an account, had all been due."""
    for each in account.pending:
        key = SessionKey(account.organization_id, each.session_id)
        state = SessionState(key, each.user_id, "chaos", origin=0, revision=0)
        yield DueSession(state, False, "", each.minutes)


async def lock_postgres(stage: Stage, _chance: random.Random, seconds: float) -> None:
    """Somebody holds a lock on the table."""
    connection = await stage.house.database()
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE usage_tracking IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)
    finally:
        await connection.close()


# Serialization failure, deadlock, disk full, query cancelled, cannot connect now.
_STATES = ("40001", "40P01", "53100", "57014", "57P03")


async def refuse_transactions(stage: Stage, chance: random.Random, seconds: float) -> None:
    """Two in three writes fail, in ways that pass."""
    states = ", ".join(f"'{state}'" for state in _STATES)
    await _sql(
        stage.house,
        f"""
        CREATE OR REPLACE FUNCTION pg_temp_chaos() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF random() < 0.66 THEN
                RAISE EXCEPTION 'chaos' USING ERRCODE
                    = (ARRAY[{states}])[1 + floor(random() * {len(_STATES)})::integer];
            END IF;
            RETURN NULL;
        END
        $$;
        CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON {chance.choice(_TABLES)}
            FOR EACH STATEMENT EXECUTE FUNCTION pg_temp_chaos();
        """,
    )
    await asyncio.sleep(seconds)
    await _sql(
        stage.house,
        *(f"DROP TRIGGER IF EXISTS chaos ON {table}" for table in _TABLES),
        "DROP FUNCTION pg_temp_chaos()",
    )


_TABLES = ("usage_tracking", "interview_sessions", "monthly_usage_cache")


async def _sql(house: House, *statements: str) -> None:
    connection = await house.database()
    try:
        for sql in statements:
            await connection.execute(sql)
    finally:
        await connection.close()
