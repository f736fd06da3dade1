"""`/api/admin/adjustments`: seconds that operators add to what was used, or give back."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from msgspec import Meta

from gateway.http.admin_accounts import find_organization
from gateway.http.operations import AnyOperation, Call, Group, Nothing, Tag
from gateway.http.paging import Listing, PageParams
from gateway.http.reports import within_reach
from gateway.problems import ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import Adjustment, NewAdjustment, Page

ADJUSTMENTS = "/api/admin/adjustments"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# Periods that are still to come may be credited, but no slip of the pen.
MOST_AHEAD = timedelta(days=365)

RowId = Annotated[int, Meta(ge=1, le=2**63 - 1)]

LISTED: Listing[Adjustment] = Listing("adjustments", RowId, lambda each: each.id)


class AdjustmentsParams(PageParams, frozen=True, kw_only=True):
    """Which part of the list, or of one organization's or user's; those whose moment is on
    `first_day` or later, and on `last_day` or earlier, of UTC."""

    organization_id: Text | None = None
    user_id: Text | None = None
    first_day: date | None = None
    last_day: date | None = None


def operations() -> list[AnyOperation]:
    """The table's entries."""
    group = Group(Tag.ACCOUNTS, "admin")
    return [
        group.get(ADJUSTMENTS, list_adjustments, "Adjustments, the last one first"),
        group.create(ADJUSTMENTS, create_adjustment, "Add to what was used, or give back"),
    ]


async def list_adjustments(call: Call[AdjustmentsParams, Nothing]) -> Page[Adjustment]:
    """With author, reason and time."""
    params = call.params
    days = [day and within_reach(day) for day in (params.first_day, params.last_day)]
    found = await call.books.adjustments(
        params.limit + 1, LISTED.after(params), params.organization_id, params.user_id, *days
    )
    return LISTED.page(params, found)


async def create_adjustment(call: Call[Nothing, NewAdjustment]) -> Adjustment:
    """A row that stays: a mistake is put right by another one. It is in used and remaining when
    this is answered, and in what live sessions are told with their next second. The organization
    has to be there, and the user to be its member, or to have recorded on it."""
    body = call.body
    at = _moment(body.effective_at)
    if await find_organization(call, body.organization_id) is None:
        raise refuse(ProblemCode.INVALID_VALUE, "there is no such organization")
    if body.user_id is not None and not await call.books.has_user(
        body.organization_id, body.user_id
    ):
        raise refuse(ProblemCode.INVALID_VALUE, "the organization has no such user")
    call.changed.add(body.organization_id)
    return await call.books.adjust(
        body.organization_id, body.user_id, body.seconds, at, body.reason, call.identity.user_id
    )


def _moment(given: int | datetime | None) -> datetime | None:
    """What is adjusted at, if it was given. Raises `Problem` where that is out of reach."""
    if given is None:
        return None
    at = datetime.fromtimestamp(given, UTC) if isinstance(given, int) else given
    if not EARLIEST <= at <= datetime.now(UTC) + MOST_AHEAD:
        raise refuse(
            ProblemCode.INVALID_VALUE,
            f"`effective_at` is from 1970 on, and at most {MOST_AHEAD.days} days ahead",
        )
    return at
