"""Short ways to record, and to look at what became of it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.http.conftest import Caller, Service

INTERVIEWS = "interviews_per_day"
ANALYSES = "detailed_analysis_per_month"


async def record(caller: Caller, seconds: int, ago: int = 2) -> str:
    """Seconds of a minute so many minutes ago, in a session of its own. Its id."""
    session = str(uuid4())
    body = {
        "session_id": session,
        "seconds_recorded": seconds,
        "minute_timestamp": int(time.time()) - 60 * ago,
    }
    await caller.post("/api/usage/track-minute", body)
    return session


def yesterday() -> str:
    """The day before this one, in UTC: since then is all that was recorded some minutes ago."""
    return str(datetime.now(UTC).date() - timedelta(days=1))


async def limit(service: Service, organization: str, seconds: int) -> None:
    """The organization's limit."""
    await service.limit(organization, seconds)


async def use(caller: Caller, **usages: float) -> dict[str, Any]:
    """The answer of `track-usage`."""
    answer: dict[str, Any] = await caller.post("/api/billing/track-usage", {"usages": usages})
    return answer


async def one(service: Service, query: str, *values: object) -> tuple[Any, ...]:
    """The one row of a query."""
    (row,) = await service.sql(query, *values)
    return tuple(row)
