"""`meter gateway` as the Procfile runs it, with the settings of an identity provider."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from command.embedded import EmbeddedPostgres, EmbeddedValkey
from command.embedded.files import free_port
from tests.gateway.provider import ec_key, jwk, providing, rsa_key, signed
from tests.gateway.serving import Address, recording
from tests.persistence.conftest import migrate_at, run_sql, url_of

RSA, EC = rsa_key("first"), ec_key("first")


@contextmanager
def process(log: Path, **variables: str) -> Iterator[Address]:
    """A gateway's process, until the end of the block."""
    port = free_port()
    others = {name: value for name, value in os.environ.items() if not name.startswith("METER_")}
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "command.main", "gateway"],
            env={**others, "PORT": str(port), **variables},
            stdout=output,
            stderr=output,
        )
    try:
        yield Address(port)
    finally:
        running.terminate()
        assert running.wait(20) == 0


async def get(gateway: Address, path: str, token: str = "none") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        headers = {"authorization": f"Bearer {token}"}
        return await client.get(gateway.url(path, "http"), headers=headers)


async def check_limit(gateway: Address, token: str) -> httpx.Response:
    return await get(gateway, "/api/usage/check-limit", token)


async def ready(gateway: Address) -> None:
    deadline = time.monotonic() + 20
    while True:
        with suppress(httpx.TransportError):  # nobody listens yet
            if (await get(gateway, "/readyz")).status_code == 200:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_a_process_of_the_procfile_with_settings_of_a_provider(
    valkey_server: EmbeddedValkey,
    postgres_server: EmbeddedPostgres,
    tmp_path: Path,
) -> None:
    name, log = f"jwks_{uuid4().hex}", tmp_path / "gateway.log"
    organization = f"org-{uuid4()}"
    await run_sql(postgres_server.url, f"CREATE DATABASE {name}")
    url = url_of(postgres_server, name)
    await migrate_at(url)
    variables = {
        "DATABASE_URL": url,
        "REDIS_URL": valkey_server.url,
        "METER_JWT_ISSUER": "https://issuer.example/",
        "METER_JWT_AUDIENCE": "https://meter.example",
        "METER_JWT_ORG_CLAIM": "app_metadata.org_id",
    }
    claims = {
        "iss": "https://issuer.example/",
        "aud": ["https://meter.example", "other"],
        "app_metadata": {"org_id": organization},
    }
    good = signed(RSA, "r1", **claims)
    with (
        providing(jwk(RSA, "r1"), jwk(EC, "e1")) as provider,
        process(log, METER_JWKS_URL=provider.url, **variables) as gateway,
    ):
        await ready(gateway)
        async with recording(gateway, organization) as recorder:
            await recorder.start(token=good)
            await recorder.hear(0, 1)
            await recorder.acked(1)
            answer = await check_limit(gateway, signed(EC, "e1", **claims))
            assert answer.json()["used_seconds"] == 2
        for change in ({"aud": "other"}, {"iss": "https://issuer.example"}, {"exp": 1}):
            answer = await check_limit(gateway, signed(EC, "e1", **{**claims, **change}))
            assert answer.status_code == 401
    text = log.read_text()
    assert not [line for line in text.splitlines() if "ERROR" in line or "Traceback" in line]
    for secret in (*good.split("."), provider.url):
        assert secret not in text
    await run_sql(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")
