"""What the API asks of Postgres; `persistence.books` implements it.

All raise `StorageUnavailable` when Postgres cannot be asked now, and `meter.books.Refused` for what
can't be done. Lists are given from after a position, one row more than fits on a page.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

from meter.account_messages import (
    Subscription,
    TrackedUsage,
    TypeSummary,
    UsageAnswer,
)
from meter.admin_messages import (
    AccountLimit,
    Adjustment,
    Adoption,
    Analytics,
    DroppedOffUser,
    Member,
    Organization,
    Plan,
    PlanSubscription,
    PowerUser,
)
from meter.books import Claim, KeptAnswer, Offers, ReportKind, UsageDays
from meter.ledger.auditing import AuditedLedger
from meter.ledger.types import AccountLimits
from meter.profile_messages import (
    Chat,
    Credits,
    Lifetime,
    Milestone,
    Month,
    Overview,
    Response,
)

Json = bytes
# A place in a list by time: the moment and the id of a row.
Place = tuple[datetime, UUID]
# In a list of users by what they recorded: the seconds and the user.
ByAmount = tuple[int, str]
# In the list of what was used: the month, the tier and the usage type.
ByFeature = tuple[date, str, str]


class Row(Protocol):
    """A row of a report, by its columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class Claims(Protocol):
    """Writes that are made once; in a transaction."""

    async def claim(self, claim: Claim) -> KeptAnswer | None:
        """What was answered before; None: go on, and nobody else will meanwhile."""

    async def keep(self, claim: Claim, status: int, body: bytes) -> None:
        """What is answered to the claim from now on."""


class AccountBooks(Protocol):
    """What people ask of their own account."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """All that is read in the block is as of one moment."""

    async def untold_limits(self, organization_ids: Collection[str]) -> list[AccountLimits]:
        """What holds for those of the organizations whose last change the ledger wasn't told."""

    async def usage_days(self, organization_id: str, user_id: str, *, own: bool) -> UsageDays: ...

    async def offers(self, organization_id: str, user_id: str) -> Offers: ...

    async def lifetime(self, user_id: str) -> Lifetime: ...

    async def months(self, organization_id: str, user_id: str, most: int) -> list[Month]: ...

    async def milestones(self, user_id: str) -> list[Milestone]: ...

    async def init_user(self, user_id: str, email: str | None) -> tuple[str, str | None]:
        """The internal id and the e-mail."""

    async def subscription(self, organization_id: str, user_id: str) -> Subscription | None: ...

    async def usage_type(
        self, organization_id: str, user_id: str, usage_type: str, amount: float
    ) -> UsageAnswer | None: ...

    async def hold_usages(self, organization_id: str) -> None:
        """Nobody else uses something of the account before the transaction's end."""

    async def came_by_sql(self, organization_id: str) -> bool:
        """Whether minutes of the account came by another way than through the ledger of late."""

    def attempt(self) -> AbstractAsyncContextManager[None]:
        """What the block writes is taken back where it raises, and the transaction goes on."""

    async def use(self, organization_id: str, user_id: str, usages: Json) -> TrackedUsage: ...

    async def usage_summary(self, organization_id: str, user_id: str) -> list[TypeSummary]: ...


class ProfileBooks(Protocol):
    """A person's profile; `init_user` makes it."""

    async def credits(self, user_id: str) -> Credits | None: ...

    async def overview(self, user_id: str) -> Overview | None: ...

    async def chats(self, user_id: str, most: int, after: Place | None) -> list[Chat]: ...

    async def add_chat(self, user_id: str, title: str) -> Chat: ...

    async def has_chat(self, user_id: str, chat_id: UUID) -> bool: ...

    async def responses(
        self, user_id: str, chat_id: UUID, most: int, after: Place | None
    ) -> list[Response]: ...

    async def add_response(self, user_id: str, chat_id: UUID) -> Response | None: ...

    async def end_response(self, user_id: str, response_id: UUID, status: str) -> Response | None:
        """The response, unless it has ended otherwise: `status` is what it ended with first."""


class AdminBooks(Protocol):
    """What operators ask. `columns` are JSON objects of what is to be set."""

    async def organizations(
        self, most: int, after: str | None = None, only: str | None = None
    ) -> list[Organization]: ...

    async def add_organization(self, columns: Json) -> None: ...

    async def make_known(self, organization_id: str) -> None:
        """Makes the organization, if something was used on it."""

    async def change_organization(self, organization_id: str, columns: Json) -> bool: ...

    async def members(
        self, organization_id: str, most: int, after: str | None = None, only: str | None = None
    ) -> list[Member]: ...

    async def put_member(self, organization_id: str, user_id: str, columns: Json) -> None: ...

    async def remove_member(self, organization_id: str, user_id: str) -> bool: ...

    async def account_limit(self, organization_id: str, user_id: str | None) -> AccountLimit: ...

    async def set_limit(
        self, organization_id: str, user_id: str | None, seconds: int | None
    ) -> None: ...

    async def plans(
        self, most: int, after: str | None = None, only: str | None = None
    ) -> list[Plan]: ...

    async def add_plan(self, plan_id: str, name: str) -> None: ...

    async def change_plan(self, plan_id: str, columns: Json, is_default: bool) -> bool: ...

    async def set_plan_limits(self, plan_id: str, limits: Json) -> None: ...

    async def subscriptions(
        self,
        most: int,
        after: int | None = None,
        only: int | None = None,
        organization_id: str | None = None,
    ) -> list[PlanSubscription]: ...

    async def subscribe(
        self, organization_id: str, plan_id: str, status: str, billing_cycle: str
    ) -> int: ...

    async def change_subscription(self, subscription_id: int, columns: Json) -> bool: ...

    async def adjustments(
        self,
        most: int,
        after: int | None,
        organization_id: str | None,
        user_id: str | None,
        first: date | None,
        last: date | None,
    ) -> list[Adjustment]: ...

    async def adjust(
        self,
        organization_id: str,
        user_id: str | None,
        seconds: int,
        effective_at: datetime | None,
        reason: str,
        author: str,
    ) -> Adjustment: ...

    async def has_user(self, organization_id: str, user_id: str) -> bool:
        """Whether somebody is a member of the organization, or has recorded on it."""

    async def power_users(
        self,
        first: date,
        last: date,
        most: int,
        after: ByAmount | None,
        organization_id: str | None,
    ) -> list[PowerUser]: ...

    async def dropped_off_users(
        self, idle_days: int, within_days: int, most: int, after: ByAmount | None
    ) -> list[DroppedOffUser]: ...

    async def feature_adoption(
        self, first: date, last: date, most: int, after: ByFeature | None
    ) -> list[Adoption]: ...

    async def analytics(
        self, first: date, last: date, organization_id: str | None
    ) -> Analytics: ...


class Books(Claims, AccountBooks, ProfileBooks, AdminBooks, Protocol):
    """All of it, on one connection."""


class Store(Protocol):
    """Opens the books."""

    def reading(self) -> AbstractAsyncContextManager[Books]:
        """On a connection."""

    def writing(self) -> AbstractAsyncContextManager[Books]:
        """In a transaction, committed at the end of the block unless that raises."""

    async def catch_up(self, ledger: AuditedLedger, organization_id: str) -> None:
        """The ledger's figures of the account are what Postgres has, and what it counted itself.
        Also raises `LedgerUnavailable`."""

    def report(
        self, kind: ReportKind, first: date, last: date, organization_id: str | None
    ) -> AsyncGenerator[Sequence[Row], None]:
        """A report's rows, some hundreds at a time, as of one moment. The driver's errors come out
        as `StorageUnavailable`, at any time."""
