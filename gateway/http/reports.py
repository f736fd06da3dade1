"""`/api/admin/usage`: analytics, and reports of any length as CSV and JSON."""

import csv
import io
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.http.books import Row, Store
from gateway.http.operations import AnyOperation, Call, Group, Needs, Nothing, Streamed, Tag
from gateway.http.paging import Listing, PageParams
from gateway.problems import ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import Adoption, Analytics, DroppedOffUser, Page, PowerUser
from meter.books import ReportKind

USAGE = "/api/admin/usage"
MAX_DAYS = 366
# Below what the store has connections for.
REPORTS_AT_ONCE = 2
RETRY_SECONDS = 10

Days = Annotated[int, Meta(ge=1, le=36_500)]
Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]

POWER_USERS: Listing[PowerUser] = Listing(
    "power-users", tuple[Seconds, str], lambda each: (each.seconds, each.user_id)
)
DROPPED_OFF: Listing[DroppedOffUser] = Listing(
    "dropped-off-users", tuple[Seconds, str], lambda each: (each.seconds, each.user_id)
)
ADOPTION: Listing[Adoption] = Listing(
    "feature-adoption",
    tuple[date, str, str],
    lambda each: (each.month, each.tier, each.usage_type),
)

_encode = msgspec.json.Encoder().encode

# What spreadsheets take for a formula: the first sign that is seen, in its full-width form too, or
# a tab or a carriage return before anything. (OWASP, "CSV Injection".)
_FORMULA = re.compile(
    r"[\t\r]"
    r"|[\s\x00-\x1f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"
    r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b\u2212]"
)


class Format(StrEnum):
    """What a report is written in."""

    CSV = "csv"
    JSON = "json"


def within_reach(day: date) -> date:
    """The day, if figures may be asked for from it on. Raises `Problem`."""
    if not 1970 <= day.year <= 9998:
        raise refuse(ProblemCode.BAD_REQUEST, "these days are out of reach")
    return day


def span_of(first_day: date | None, last_day: date | None) -> tuple[date, date]:
    """From one day to another, both included; by default this month's until today. Raises
    `Problem`."""
    last = last_day or datetime.now(UTC).date()
    first = first_day or last.replace(day=1)
    if not timedelta(0) <= last - first < timedelta(days=MAX_DAYS):
        raise refuse(
            ProblemCode.BAD_REQUEST,
            f"`last_day` is from 0 to {MAX_DAYS - 1} days after `first_day`",
        )
    return within_reach(first), within_reach(last)


class SpanParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which days, and of which organization."""

    first_day: date | None = None
    last_day: date | None = None
    organization_id: Text | None = None

    def span(self) -> tuple[date, date]:
        """The days. Raises `Problem`."""
        return span_of(self.first_day, self.last_day)


class SpanPageParams(PageParams, frozen=True, kw_only=True):
    """Which days, and which part of the list."""

    first_day: date | None = None
    last_day: date | None = None

    def span(self) -> tuple[date, date]:
        """The days. Raises `Problem`."""
        return span_of(self.first_day, self.last_day)


class PowerParams(SpanPageParams, frozen=True, kw_only=True):
    """Which days, of which organization, and which part of the list."""

    organization_id: Text | None = None


class ReportParams(SpanParams, frozen=True, kw_only=True):
    """What there is a row of, and how it is written."""

    rows: ReportKind = ReportKind.DAYS
    format: Format = Format.CSV


class IdleParams(PageParams, frozen=True, kw_only=True):
    """Idle for how many days, within how many, and which part of the list."""

    idle_days: Days = 30
    within_days: Days = 365


class ReportOperations:
    """Figures for operators. A report is made while it is sent: its length costs no memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running = 0

    def operations(self) -> list[AnyOperation]:
        """The table's entries."""
        group = Group(Tag.REPORTS, "admin")
        return [
            group.get(
                USAGE + "/analytics",
                analytics,
                "What was used: by day, organization, plan and feature",
                name="usageAnalytics",
            ),
            group.get(USAGE + "/power-users", power_users, "Who records most"),
            group.get(USAGE + "/dropped-off-users", dropped_off_users, "Who records no more"),
            group.get(USAGE + "/feature-adoption", feature_adoption, "Who uses what, by plan"),
            group.get(
                USAGE + "/report",
                self.report,
                "A report of any length",
                name="usageReport",
                needs=Needs.NOTHING,
                problems=(ProblemCode.TOO_MANY_REQUESTS,),
                streams={
                    "text/csv": {"type": "string"},
                    "application/json": {"type": "array", "items": {"type": "object"}},
                },
            ),
        ]

    async def report(self, call: Call[ReportParams, Nothing]) -> Streamed:
        """A row a day and user, a session, a minute or an adjustment, as of one moment, as far as
        it is durable. What was adjusted by hand is in the rows of adjustments alone. A report that
        breaks off is one that failed. Only a few are made at once: 429 says when to ask
        again."""
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
            beginning,
            parts,
            media_type,
            {"content-disposition": f'attachment; filename="{name}"'},
        )

    async def _parts(
        self, params: ReportParams, first: date, last: date
    ) -> AsyncGenerator[bytes, None]:
        self._running += 1
        write = _csv if params.format is Format.CSV else _json
        columns, begun = params.rows.columns, False
        found = self._store.report(params.rows, first, last, params.organization_id)
        try:
            async with aclosing(found) as rows:
                async for batch in rows:
                    yield write(columns, batch, not begun)
                    begun = True
            if not begun:
                yield write(columns, [], True)
            if params.format is Format.JSON:
                yield b"\n]\n"
        finally:
            self._running -= 1


async def analytics(call: Call[SpanParams, Nothing]) -> Analytics:
    """Days are by each account's time zone, sessions and adjustments by UTC; as far as it is
    durable."""
    first, last = call.params.span()
    return await call.books.analytics(first, last, call.params.organization_id)


async def power_users(call: Call[PowerParams, Nothing]) -> Page[PowerUser]:
    """Those who recorded most in these days, first; as far as it is durable. With an organization,
    on that alone."""
    params = call.params
    found = await call.books.power_users(
        *params.span(), params.limit + 1, POWER_USERS.after(params), params.organization_id
    )
    return POWER_USERS.page(params, found)


async def dropped_off_users(call: Call[IdleParams, Nothing]) -> Page[DroppedOffUser]:
    """Who recorded within some days, and in the last of them nothing, on any account; those first
    who recorded most."""
    params = call.params
    found = await call.books.dropped_off_users(
        params.idle_days,
        params.within_days,
        params.limit + 1,
        DROPPED_OFF.after(params),
    )
    return DROPPED_OFF.page(params, found)


async def feature_adoption(call: Call[SpanPageParams, Nothing]) -> Page[Adoption]:
    """In the whole months of these days, the last one first, by the plan that the accounts had at
    the time."""
    params = call.params
    found = await call.books.feature_adoption(
        *params.span(), params.limit + 1, ADOPTION.after(params)
    )
    return ADOPTION.page(params, found)


def _csv(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> bytes:
    """RFC 4180. Ids and reasons are whatever somebody chose: none of them is a formula to the
    spreadsheet of whoever opens the file."""
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return value.isoformat() if isinstance(value, datetime) else value


def _json(columns: Sequence[str], rows: Sequence[Row], is_first: bool) -> bytes:
    lines = [_encode({name: row[name] for name in columns}) for row in rows]
    opening = b"[\n" if is_first else b",\n" if lines else b""
    return opening + b",\n".join(lines)
