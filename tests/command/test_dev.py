"""`meter dev`, with real servers and stand-ins for the gateway, the flusher and the migrations."""

import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import asyncpg
import jwt
import pytest

from command.embedded import EmbeddedPostgres, EmbeddedValkey
from command.embedded.files import free_port
from gateway.settings import GatewaySettings
from tests.command.devrun import DevRun, meter
from tests.command.processes import alive, mentioning, within

pytestmark = pytest.mark.integration


async def count_starts(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM starts"))
    finally:
        await connection.close()


def ended_in_order(dev: DevRun) -> bool:
    ends = [note for note in dev.notes if note.endswith(" end")]
    return ends == ["gateway end", "flusher end"]


def test_it_says_when_it_is_ready_and_what_to_open(dev: DevRun) -> None:
    lines = dev.start().ready().output.splitlines()
    assert f"ready http://127.0.0.1:{dev.port}" in lines
    links = [line.strip() for line in lines if "#token=" in line]
    scopes = {}
    for page, _, token in (link.partition("#token=") for link in links):
        claims = jwt.decode(token, dev.state["jwt_secret"], ["HS256"])
        assert claims["org_id"] == "demo"
        scopes[page.removeprefix(f"http://127.0.0.1:{dev.port}")] = claims["scope"]
    operators = {"/ops": "admin", "/analytics": "admin"}
    assert scopes == {"/recorder": "record usage", "/usage": "usage", **operators}


def test_it_tells_other_programs_where_things_are(dev: DevRun) -> None:
    dev.start().ready()
    state = dev.state
    assert set(state) == {"http_url", "database_url", "redis_url", "jwt_secret", "pids"}
    assert state["http_url"] == f"http://127.0.0.1:{dev.port}"
    assert set(state["pids"]) == {"gateway", "flusher", "redis", "postgres"}
    assert all(alive(pid) for pid in state["pids"].values())
    assert len(state["jwt_secret"]) >= 32
    assert stat.S_IMODE((dev.data / "dev.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_everything_in_order(number: signal.Signals, dev: DevRun) -> None:
    dev.start().ready()
    pids = dev.state["pids"]
    assert dev.stop(number) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert dev.notes[0] == "migrate"
    assert ended_in_order(dev)
    assert not (dev.data / "dev.json").exists()


async def test_a_second_start_goes_on_with_what_was_recorded(dev: DevRun) -> None:
    secret = dev.start().ready().state["jwt_secret"]
    assert await count_starts(dev.state["database_url"]) == 0
    dev.stop()
    dev.output_file.unlink()
    dev.start().ready()
    assert dev.state["jwt_secret"] == secret
    assert await count_starts(dev.state["database_url"]) == 1  # the flusher's last word


@pytest.mark.parametrize("name", ["gateway", "flusher"])
def test_what_dies_is_started_again(name: str, dev: DevRun) -> None:
    dev.start().ready()
    first = dev.state["pids"][name]
    os.kill(first, signal.SIGKILL)
    assert within(60, lambda: dev.state["pids"][name] not in (first, None))
    assert alive(dev.state["pids"][name])
    assert f"{name} ended (exit code 137); it is started again" in dev.output


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_server_that_dies_is_started_again_at_its_address(name: str, dev: DevRun) -> None:
    before = dev.start().ready().state
    os.kill(before["pids"][name], signal.SIGKILL)
    assert within(60, lambda: dev.state["pids"][name] not in (before["pids"][name], None))
    after = dev.state
    urls = ("redis_url", "database_url")
    assert [after[url] for url in urls] == [before[url] for url in urls]


def test_no_process_outlives_a_kill(dev: DevRun) -> None:
    pids = dev.start().ready().state["pids"]
    dev.stop(signal.SIGKILL)
    assert within(60, lambda: not any(alive(pid) for pid in pids.values()))
    assert within(30, lambda: not mentioning(str(dev.data)))
    # Even then the flusher had Postgres until it was done.
    assert ended_in_order(dev)


async def test_a_start_right_after_a_kill_works(dev: DevRun) -> None:
    dev.start().ready()
    dev.stop(signal.SIGKILL)
    dev.output_file.unlink()
    dev.start().ready()
    assert await count_starts(dev.state["database_url"]) == 1


def test_a_second_one_on_the_same_data_is_refused(dev: DevRun) -> None:
    dev.start().ready()
    second = DevRun(dev.data, free_port()).start()
    assert second.wait() == 1
    assert dev.process is not None
    assert f"a dev server (process {dev.process.pid}) already runs on" in second.output
    assert dev.state["http_url"].endswith(str(dev.port))


def test_a_port_in_use_is_said_before_anything_is_started(data: Path, used_port: int) -> None:
    run = DevRun(data, used_port).start()
    assert run.wait() == 1
    assert f"port {used_port} is in use" in run.output
    assert "--port" in run.output
    assert not (data / "valkey").exists()
    assert not (data / "postgres").exists()


def test_a_directory_that_cannot_be_used_is_said(data: Path) -> None:
    data.write_text("a file")
    run = DevRun(data, free_port()).start()
    assert run.wait() == 1
    assert f"{data} cannot be used for data" in run.output
    assert "Traceback" not in run.output


def test_failing_migrations_end_it(dev: DevRun) -> None:
    assert dev.start(STANDIN_MIGRATE_FAILS="1").wait() == 1
    assert "`meter migrate` failed: a migration went wrong" in dev.output
    assert not mentioning(str(dev.data))


def test_a_gateway_that_never_starts_ends_it(dev: DevRun) -> None:
    assert dev.start(STANDIN_GATEWAY_FAILS="1").wait() == 1
    assert "the gateway keeps ending: the gateway can't" in dev.output
    assert not mentioning(str(dev.data))


def test_only_problems_of_the_children_are_shown(dev: DevRun) -> None:
    dev.start().ready()
    assert within(30, lambda: "gateway | " in dev.output)
    assert "something is wrong" in dev.output
    assert "routine" not in dev.output
    assert "routine" in (dev.data / "logs" / "gateway.log").read_text()


def test_servers_named_by_environment_are_used_and_left_alone(
    dev: DevRun, valkey_server: EmbeddedValkey, postgres_server: EmbeddedPostgres
) -> None:
    dev.start(REDIS_URL=valkey_server.url, DATABASE_URL=postgres_server.url).ready()
    state = dev.state
    assert state["redis_url"] == valkey_server.url
    assert state["database_url"] == postgres_server.url
    assert (state["pids"]["redis"], state["pids"]["postgres"]) == (None, None)
    assert not (dev.data / "postgres").exists()
    assert dev.stop() == 0
    assert valkey_server.running
    assert postgres_server.running


def test_how_tokens_are_signed_elsewhere_is_nothing_to_its_gateway(dev: DevRun) -> None:
    names = [str(field.alias) for field in GatewaySettings.model_fields.values()]
    exported = {name: "x" for name in names if name.startswith(("METER_JWT_", "METER_JWKS_"))}
    assert len(exported) >= 8
    dev.start(**exported).ready()
    assert [note for note in dev.notes if "has" in note] == ["gateway has METER_JWT_SECRET"]
    assert len(dev.state["jwt_secret"]) >= 32


def test_a_second_start_is_quick(dev: DevRun) -> None:
    dev.start().ready()
    dev.stop()
    dev.output_file.unlink()
    began = time.monotonic()
    dev.start().ready()
    assert time.monotonic() - began < 30  # 2 s on an idle machine; this one may be busy
    assert re.search(r"all up after \d+\.\d s", dev.output)


def test_a_token_is_for_the_running_server(dev: DevRun) -> None:
    dev.start().ready()
    command = [*meter(), "token", "--data", str(dev.data), "--org", "acme", "--user", "ada"]
    printed = subprocess.run(
        [*command, "--scope", "usage admin", "--expires-in", "60"],
        env=dev.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    claims = jwt.decode(printed.strip(), dev.state["jwt_secret"], ["HS256"])
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == {"sub": "ada", "org_id": "acme", "scope": "usage admin"}
