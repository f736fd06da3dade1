"""`/api/admin/usage`: analytics, and reports of any length as CSV and JSON."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.http.books import Row, Store
from gateway.http.operations import AnyOperation, Call, Needs, Nothing, Operation, Streamed, Tag
from gateway.problems import ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import Activity, Analytics, PageSize
from meter.books import ReportKind

SCOPES = ("admin",)
MAX_DAYS = 366
# Below what the store has connections for.
REPORTS_AT_ONCE = 2
RETRY_SECONDS = 10

_encode = msgspec.json.Encoder().encode


class Format(StrEnum):
    """What a report is written in."""

    CSV = "csv"
    JSON = "json"


def within_reach(day: date) -> date:
    """The day, if figures may be asked for from it on. Raises `Problem`."""
    if not 1970 <= day.year <= 9998:
        raise refuse(ProblemCode.BAD_REQUEST, "these days are out of reach")
    return day


class SpanParams(msgspec.Struct, frozen=True, kw_only=True):
    """From one day to another, both included; by default this month's until today."""

    first_day: date | None = None
    last_day: date | None = None
    organization_id: Text | None = None

    def span(self) -> tuple[date, date]:
        """The days. Raises `Problem`."""
        last = self.last_day or datetime.now(UTC).date()
        first = self.first_day or last.replace(day=1)
        if not timedelta(0) <= last - first < timedelta(days=MAX_DAYS):
            raise refuse(
                ProblemCode.BAD_REQUEST,
                f"`last_day` is from 0 to {MAX_DAYS - 1} days after `first_day`",
            )
        return within_reach(first), within_reach(last)


class ReportParams(SpanParams, frozen=True, kw_only=True):
    """What there is a row of, and how it is written."""

    rows: ReportKind = ReportKind.DAYS
    format: Format = Format.CSV


class ActivityParams(msgspec.Struct, frozen=True, kw_only=True):
    """Since which day (by default this month's first), idle for how long, and how many of each."""

    since: date | None = None
    idle_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    limit: PageSize = 100


class ReportOperations:
    """Figures for operators. A report is made while it is sent: its length costs no memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running = 0

    def operations(self) -> list[AnyOperation]:
        """The table's entries."""
        return [
            Operation(
                method="GET",
                path="/api/admin/usage/analytics",
                name="usageAnalytics",
                tag=Tag.REPORTS,
                summary="What was used: by day, organization, plan and feature",
                scopes=SCOPES,
                handler=self.analytics,
                params=SpanParams,
                body=Nothing,
                answer=Analytics,
            ),
            Operation(
                method="GET",
                path="/api/admin/usage/activity",
                name="usageActivity",
                tag=Tag.REPORTS,
                summary="Who records most, and who no more",
                scopes=SCOPES,
                handler=self.activity,
                params=ActivityParams,
                body=Nothing,
                answer=Activity,
            ),
            Operation(
                method="GET",
                path="/api/admin/usage/report",
                name="usageReport",
                tag=Tag.REPORTS,
                summary="A report of any length",
                scopes=SCOPES,
                handler=self.report,
                params=ReportParams,
                body=Nothing,
                answer=Streamed,
                needs=Needs.NOTHING,
                problems=(ProblemCode.TOO_MANY_REQUESTS,),
                streams={
                    "text/csv": {"type": "string"},
                    "application/json": {"type": "array", "items": {"type": "object"}},
                },
            ),
        ]

    async def activity(self, call: Call[ActivityParams, Nothing]) -> Activity:
        """On whichever account; as far as it is durable."""
        params = call.params
        since = within_reach(params.since or datetime.now(UTC).date().replace(day=1))
        return await call.books.activity(since, params.idle_days, params.limit)

    async def analytics(self, call: Call[SpanParams, Nothing]) -> Analytics:
        """Days are by each account's time zone, sessions by UTC; as far as it is durable."""
        first, last = call.params.span()
        return await call.books.analytics(first, last, call.params.organization_id)

    async def report(self, call: Call[ReportParams, Nothing]) -> Streamed:
        """A row a day and user, a session or a minute, as of one moment, as far as it is durable.
        A report that breaks off is one that failed. Only a few are made at once: 429 says when to
        ask again."""
        params = call.params
        first, last = params.span()
        if self._running >= REPORTS_AT_ONCE:
            raise refuse(
                ProblemCode.TOO_MANY_REQUESTS,
                "other reports are being made",
                {"retry-after": str(RETRY_SECONDS)},
            )
        parts = self._parts(params, first, last)
        beginning = await anext(parts)  # so that what fails at once is told as a problem
        name = f"usage-{params.rows.value}-{first}-{last}.{params.format.value}"
        media_type = "text/csv" if params.format is Format.CSV else "application/json"
        return Streamed(
            _rejoined(beginning, parts),
            media_type,
            {"content-disposition": f'attachment; filename="{name}"'},
        )

    async def _parts(self, params: ReportParams, first: date, last: date) -> AsyncIterator[bytes]:
        self._running += 1
        try:
            rows = self._store.report(params.rows, first, last, params.organization_id)
            write = _csv if params.format is Format.CSV else _json
            columns = params.rows.columns
            begun = False
            async for batch in rows:
                yield write(columns, batch, not begun)
                begun = True
            if not begun:
                yield write(columns, [], True)
            if params.format is Format.JSON:
                yield b"\n]\n"
        finally:
            self._running -= 1


async def _rejoined(beginning: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(parts) as rest:  # type: ignore[type-var]  # it is a generator
        yield beginning
        async for part in rest:
            yield part


def _csv(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> bytes:
    """RFC 4180."""
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _json(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> bytes:
    lines = [_encode({name: row[name] for name in columns}) for row in rows]
    opening = b"[\n" if is_first else b",\n" if lines else b""
    return opening + b",\n".join(lines)
