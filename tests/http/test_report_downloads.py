"""Downloads of large reports: left in the middle, and what they cost."""

import asyncio
import gc
import logging
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import psutil
import pytest

from gateway.http import reports
from meter.books import ReportKind
from meter.ledger.types import StorageUnavailable
from tests.http.conftest import Service

TODAY = datetime.now(UTC).date()
DAYS = 14
PATH = f"/api/admin/usage/report?rows=minutes&format=json&first_day={TODAY - timedelta(days=DAYS)}"
# So that rows are large, and more than what sockets hold for a reader.
NAME = "n" * 500
BUSY = (
    "SELECT pid, state FROM pg_stat_activity"
    " WHERE application_name = 'minute-meter reports' AND state <> 'idle'"
)


async def fill(service: Service) -> int:
    """A report of some tens of megabytes; how many rows it has."""
    await service.sql("SELECT ensure_usage_partitions(now() - make_interval(days => $1), 1)", DAYS)
    made = await service.sql(
        "INSERT INTO usage_tracking"
        " (session_id, organization_id, user_id, minute_timestamp, seconds_mask)"
        " SELECT $1, $2, $2, minute, 1 FROM generate_series("
        " date_trunc('day', now() - make_interval(days => $3)), now(), interval '1 minute')"
        " AS minute RETURNING 1",
        uuid4(),
        NAME,
        DAYS,
    )
    return len(made)


@asynccontextmanager
async def downloading(service: Service) -> AsyncIterator[socket.socket]:
    """A reader of little memory, who has asked for the report."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connection:
        await loop.sock_connect(connection, ("127.0.0.1", service.served.port))
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {service.operator.bearer}\r\n\r\n"
        )
        await loop.sock_sendall(connection, request.encode())
        yield connection


async def whole_again(service: Service) -> None:
    """No connection to Postgres is held by a report any more."""
    async with asyncio.timeout(30):
        while await service.sql(BUSY):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def reset(connection: socket.socket) -> None:
    """Cut it off as a process that is killed does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("read_bytes", [0, 1, 100_000])
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_reader_who_leaves_is_no_error_and_holds_nothing(
    service: Service, caplog: pytest.LogCaptureFixture, read_bytes: int, is_reset: bool
) -> None:
    await fill(service)
    loop = asyncio.get_running_loop()
    for _ in range(reports.REPORTS_AT_ONCE + 2):
        async with downloading(service) as connection:
            got = 0
            while got < read_bytes:
                part = await loop.sock_recv(connection, 2000)
                assert part
                got += len(part)
            if is_reset:
                reset(connection)
        await whole_again(service)
    gc.collect()
    await asyncio.sleep(0.05)
    response = await service.operator.ask("GET", PATH)
    async with asyncio.timeout(30):  # what was asked for just now may only begin
        while response.status_code == 429:
            await asyncio.sleep(0.05)
            response = await service.operator.ask("GET", PATH)
    assert response.status_code == 200
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_a_report_of_any_length_takes_the_same_memory(service: Service) -> None:
    rows = await fill(service)
    process, headers = psutil.Process(), {"authorization": service.operator.bearer}

    async def download(last_day: date) -> tuple[int, int]:
        """The bytes of a report, and by how many the memory grew meanwhile at most."""
        before, most, size = process.memory_info().rss, 0, 0
        params = {"last_day": str(last_day)}
        async with service.client.stream(
            "GET", f"{PATH}&{urlencode(params)}", headers=headers
        ) as response:
            async for part in response.aiter_raw():
                size += len(part)
                most = max(most, process.memory_info().rss - before)
        return size, most

    await download(TODAY - timedelta(days=DAYS - 2))  # what is needed once is there
    size, grown = await download(TODAY)
    assert size > rows * 1000 > 20_000_000
    assert grown < size / 4


async def test_one_too_many_at_once_is_told_when_to_ask_again(service: Service) -> None:
    await fill(service)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as readers:
        for _ in range(reports.REPORTS_AT_ONCE):
            reader = await readers.enter_async_context(downloading(service))
            assert await loop.sock_recv(reader, 2000)
        refused = await service.operator.ask("GET", PATH)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) > 0
    await whole_again(service)
    assert (await service.operator.ask("GET", PATH)).status_code == 200


async def test_its_head_alone_makes_no_rows_wait(service: Service) -> None:
    await fill(service)
    for _ in range(reports.REPORTS_AT_ONCE + 1):
        head = await service.operator.ask("HEAD", PATH)
        assert (head.status_code, head.content) == (200, b"")
        assert "attachment" in head.headers["content-disposition"]
        await whole_again(service)


async def test_a_report_that_fails_on_its_way_is_cut_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaking(*_: object) -> AsyncGenerator[list[dict[str, Any]], None]:
        row = dict.fromkeys(ReportKind.MINUTES.columns, 1)
        yield [row] * 1000
        raise StorageUnavailable("gone")

    monkeypatch.setattr(service.store, "report", breaking)
    with pytest.raises(httpx.RemoteProtocolError):
        await service.operator.ask("GET", PATH)
    monkeypatch.undo()
    assert (await service.operator.ask("GET", PATH)).status_code == 200
