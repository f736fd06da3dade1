"""A gateway with a real Valkey and a real Postgres, and callers of its JSON API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from command.embedded import EmbeddedPostgres
from gateway.http.books import Store
from meter.ledger.driver import Ledger
from persistence.database import Database
from persistence.flusher import Flusher
from persistence.storage import PostgresStorage
from persistence.teller import LimitsTeller
from persistence.writer import Writer
from tests.calm import calm_zone
from tests.gateway.conftest import empty_valkey, own_valkey
from tests.gateway.serving import Served, serving, token
from tests.ledger.servers import Valkey
from tests.payments.events import SECRET as WEBHOOK_SECRET
from tests.persistence.conftest import cloned, migrate_at, run_sql, url_of

__all__ = ["empty_valkey", "own_valkey"]


class Caller:
    """Calls as one user, with a token of these scopes."""

    def __init__(self, client: httpx.AsyncClient, organization: str, user: str, scope: str) -> None:
        self.client = client
        self.organization = organization
        self.user = user
        self.bearer = f"Bearer {token(organization, user, scope=scope)}"

    async def ask(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One request."""
        headers = {"authorization": self.bearer, **options.pop("headers", {})}
        if key is not None:
            headers["idempotency-key"] = key
        if json is not None:
            options["json"] = json
        return await self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str, **params: Any) -> Any:
        """The answer to a good GET."""
        response = await self.ask("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(
        self, path: str, json: object = None, *, status: int = 200, key: str | None = None
    ) -> Any:
        """The answer to a POST, with this status."""
        response = await self.ask("POST", path, json, key=key)
        assert response.status_code == status, response.text
        return response.json()


async def pages(caller: Caller, path: str, limit: int, **params: object) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    while True:
        page = await caller.get(path, limit=limit, **params)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]


class Service:
    """A gateway and its database; the flusher is run by hand."""

    def __init__(
        self, served: Served, redis_url: str, database_url: str, client: httpx.AsyncClient
    ) -> None:
        self.served = served
        self.redis_url = redis_url
        self.database_url = database_url
        self.client = client
        self.database = Database(database_url, name="test flusher", max_connections=2)
        self.flusher = Flusher(served.parts.ledger, Writer(self.database))

    def caller(
        self,
        organization: str | None = None,
        user: str | None = None,
        scope: str = "record usage",
    ) -> Caller:
        """Somebody; without an organization, a personal account."""
        user = user or f"user-{uuid4()}"
        return Caller(self.client, organization or user, user, scope)

    @property
    def store(self) -> Store:
        """The gateway's books."""
        return self.served.parts.api.store

    @property
    def operator(self) -> Caller:
        """One with the scope `admin`."""
        return self.caller("operators", "olga", "admin")

    async def organization(self, name: str, zone: str = "UTC") -> None:
        """There is an organization of this name; a new one has its months in this time zone."""
        made = {"id": name, "time_zone": zone}
        answer = await self.operator.ask("POST", "/api/admin/organizations", made)
        assert answer.status_code in (201, 409), answer.text

    async def calm(self, name: str) -> str:
        """An account that has recorded nothing yet has a month that doesn't turn in the next two
        hours, and didn't in the last two. Gives its time zone."""
        zone = calm_zone()
        await self.organization(name, zone)
        return zone

    async def limit(self, organization: str, seconds: int, user: str | None = None) -> None:
        """An organization with this limit, or with a member who has it; a new one is calm."""
        await self.calm(organization)
        path = f"/api/admin/organizations/{organization}/limits"
        body = {"limit_seconds": seconds, "user_id": user}
        answer = await self.operator.ask("PUT", path, body)
        assert answer.status_code == 200, answer.text

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """A flusher's teller of limits, until the end of the block."""
        stop, told = asyncio.Event(), Ledger.connect(self.redis_url)
        teller = asyncio.create_task(LimitsTeller(told, self.database).run(stop))
        try:
            yield
        finally:
            stop.set()
            await teller
            await told.aclose()

    async def flush(self) -> None:
        """All that is due is durable."""
        while await self.flusher.flush():
            pass

    async def sql(self, query: str, *values: object) -> list[asyncpg.Record]:
        """What Postgres has."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()


@asynccontextmanager
async def serving_api(
    valkey: Valkey, postgres: EmbeddedPostgres, template: str, **variables: object
) -> AsyncIterator[Service]:
    """A gateway with these settings, until the end of the block."""
    async with cloned(postgres, template) as url:
        ledger, storage = Ledger.connect(valkey.url), PostgresStorage(url)
        async with (
            serving(ledger, storage, DATABASE_URL=url, **variables) as served,
            httpx.AsyncClient(base_url=served.url("", "http"), timeout=30) as client,
        ):
            service = Service(served, valkey.url, url, client)
            try:
                yield service
            finally:
                await service.database.aclose()
                await storage.aclose()


_templates = count(1)


@pytest.fixture(scope="session")
def api_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with all migrations and no rows."""
    name = f"api_template_{next(_templates)}"  # other folders' tests have this fixture, too
    asyncio.run(run_sql(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0"))
    asyncio.run(migrate_at(url_of(postgres_server, name)))
    return name


@pytest.fixture
async def untold(
    empty_valkey: Valkey, postgres_server: EmbeddedPostgres, api_template: str
) -> AsyncIterator[Service]:
    """A gateway on a database and a Valkey of its own, and no flusher."""
    async with serving_api(empty_valkey, postgres_server, api_template) as made:
        yield made


@pytest.fixture
async def service(untold: Service) -> AsyncIterator[Service]:
    """A gateway, and a flusher's teller of limits."""
    async with untold.telling():
        yield untold


@pytest.fixture
async def paid_service(
    empty_valkey: Valkey, postgres_server: EmbeddedPostgres, api_template: str
) -> AsyncIterator[Service]:
    """One that takes Stripe's events, too."""
    settings = {"METER_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET}
    async with (
        serving_api(empty_valkey, postgres_server, api_template, **settings) as made,
        made.telling(),
    ):
        yield made
