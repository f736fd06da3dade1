"""The embedded servers: real ones, started, stopped and killed."""

import os
import socket
import stat
from pathlib import Path

import asyncpg
import pytest
import redis

from command.embedded import (
    AlreadyRunning,
    DirectoryUnusable,
    DiskFull,
    EmbeddedPostgres,
    EmbeddedServerError,
    EmbeddedValkey,
    PortInUse,
    StartFailed,
)
from command.embedded.cluster import failure
from tests.command.processes import alive, within

pytestmark = pytest.mark.integration


def increment(server: EmbeddedValkey) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.incr("starts"))


async def add_row(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz)")
        await connection.execute("INSERT INTO starts VALUES (now())")
        return int(await connection.fetchval("SELECT count(*) FROM starts"))
    finally:
        await connection.close()


def test_valkey_keeps_its_data_over_restarts(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.start()
    assert increment(server) == 1
    server.stop()
    assert not server.running
    server = EmbeddedValkey(data)
    server.start()
    assert increment(server) == 2
    server.stop()


def test_valkey_keeps_synced_data_and_its_address_over_a_crash(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.start()
    url, pid = server.url, server.pid
    increment(server)
    server.kill()
    assert not alive(pid)
    server.restart()
    assert server.url == url
    assert increment(server) == 2
    server.stop()


def test_valkey_is_set_up_as_a_ledger_needs_it(valkey_server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey_server.url) as client:
        config = client.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"


def test_valkey_refuses_clients_without_the_password(valkey_server: EmbeddedValkey) -> None:
    with (
        redis.Redis(port=valkey_server.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


async def test_postgres_keeps_its_data_over_restarts_and_crashes(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.start()
    assert server.is_new
    assert await add_row(server) == 1
    server.stop()
    server.start()
    assert not server.is_new
    assert await add_row(server) == 2
    server.kill()
    server.restart()
    assert await add_row(server) == 3
    server.stop()


async def test_postgres_gets_a_new_password_when_the_old_is_lost(data: Path) -> None:
    server = EmbeddedPostgres(data, durable=False)
    server.start()
    await add_row(server)
    server.stop()
    (data / "postgres-password").unlink()
    server.start()
    assert await add_row(server) == 2
    server.stop()


async def test_postgres_refuses_clients_without_the_password(
    postgres_server: EmbeddedPostgres,
) -> None:
    url = f"postgresql://minute_meter:wrong@127.0.0.1:{postgres_server.port}/minute_meter"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)


async def test_postgres_counts_in_utc_and_utf8(postgres_server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_server.url)
    assert await connection.fetchval("SHOW timezone") == "UTC"
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    await connection.close()


def test_secrets_are_readable_by_their_owner_only(
    valkey_server: EmbeddedValkey, postgres_server: EmbeddedPostgres
) -> None:
    secrets = (
        valkey_server.directory / "password",
        valkey_server.directory / "valkey.conf",
        postgres_server.data / "postgres-password",
    )
    assert [stat.S_IMODE(secret.stat().st_mode) for secret in secrets] == [0o600] * 3


@pytest.mark.parametrize("kind", [EmbeddedValkey, EmbeddedPostgres])
def test_a_port_in_use_is_said(
    kind: type[EmbeddedValkey | EmbeddedPostgres], data: Path, used_port: int
) -> None:
    with pytest.raises(PortInUse, match=f"port {used_port} is in use"):
        kind(data, used_port, durable=False).start()


def test_a_free_port_taken_meanwhile_is_replaced(
    data: Path, used_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    ports = iter([used_port, free])
    monkeypatch.setattr("command.embedded.server.free_port", lambda: next(ports))
    server = EmbeddedValkey(data)
    server.start()
    assert server.port == free
    server.stop()


def test_two_owners_of_one_directory_are_refused(data: Path) -> None:
    first = EmbeddedValkey(data)
    first.start()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        EmbeddedValkey(data).start()
    assert first.running
    first.stop()


def test_a_file_in_the_directorys_place_is_said(data: Path) -> None:
    data.write_text("not a directory")
    with pytest.raises(DirectoryUnusable, match=str(data)):
        EmbeddedValkey(data).start()


def test_a_broken_log_of_valkey_is_said_with_its_reason(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.start()
    increment(server)
    server.stop()
    manifest = next((data / "valkey" / "appendonlydir").glob("*.manifest"))
    manifest.write_text("nonsense\n")
    with pytest.raises(StartFailed, match=r"did not start: .*AOF.*its log"):
        server.start()


def test_a_full_disk_is_said(data: Path) -> None:
    output = 'FATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device'
    error = failure(output, data, data / "log")
    assert isinstance(error, DiskFull)
    assert str(data) in str(error)


def test_errors_share_a_root_and_can_be_changed_by_the_interpreter() -> None:
    error = PortInUse("Valkey", 1)
    error.__traceback__ = None
    assert isinstance(error, EmbeddedServerError)


def test_a_log_that_grows_is_cut(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("command.embedded.kept.LOG_BYTES", 100)
    server = EmbeddedValkey(data)
    server.start()
    log = data / "valkey" / "valkey.log"
    assert within(60, lambda: (data / "valkey" / "valkey.log.1").exists())
    assert log.stat().st_size <= 100
    server.stop()
