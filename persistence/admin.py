"""What operators ask of Postgres (`gateway.http.books.AdminBooks`)."""

from datetime import date, datetime

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
from persistence.rows import Rows
from persistence.statements import statement


class AdminBooks(Rows):
    """On one connection. Lists go on from after a position; `columns` are JSON objects."""

    async def organizations(
        self, most: int, after: str | None = None, only: str | None = None
    ) -> list[Organization]:
        """Organizations by id."""
        return await self.all(Organization, "list_organizations", most, after, only)

    async def add_organization(self, columns: bytes) -> None:
        """A new organization."""
        await self.do("insert_organization", columns.decode())

    async def make_known(self, organization_id: str) -> None:
        """Make the organization, if something was used on it."""
        await self.do("make_known_organization", organization_id)

    async def change_organization(self, organization_id: str, columns: bytes) -> bool:
        """Set the columns that are given; whether it is there."""
        return await self.has("update_organization", organization_id, columns.decode())

    async def members(
        self, organization_id: str, most: int, after: str | None = None, only: str | None = None
    ) -> list[Member]:
        """Members by user."""
        return await self.all(Member, "list_members", organization_id, most, after, only)

    async def put_member(self, organization_id: str, user_id: str, columns: bytes) -> None:
        """Make a member, or set the limit of one."""
        await self.do("put_member", organization_id, user_id, columns.decode())

    async def remove_member(self, organization_id: str, user_id: str) -> bool:
        """Whether there was one to remove."""
        return await self.has("delete_member", organization_id, user_id)

    async def account_limit(self, organization_id: str, user_id: str | None) -> AccountLimit:
        """A limit and what was used of it."""
        return await self.one(AccountLimit, "ask_account_limit", organization_id, user_id)

    async def set_limit(
        self, organization_id: str, user_id: str | None, seconds: int | None
    ) -> None:
        """Set a limit; a member that is missing is made."""
        if user_id is None:
            await self.do("set_organization_limit", organization_id, seconds)
        else:
            await self.do("set_member_limit", organization_id, user_id, seconds)

    async def plans(
        self, most: int, after: str | None = None, only: str | None = None
    ) -> list[Plan]:
        """Plans by id."""
        return await self.all(Plan, "list_plans", most, after, only)

    async def add_plan(self, plan_id: str, name: str) -> None:
        """A new plan."""
        await self.do("insert_plan", plan_id, name)

    async def change_plan(self, plan_id: str, columns: bytes, is_default: bool) -> bool:
        """Set the columns that are given; whether it is there. A new default takes the place of
        the one before."""
        if is_default:
            await self.do("lock_plans")
            await self.do("clear_default_plan", plan_id)
        return await self.has("update_plan", plan_id, columns.decode())

    async def set_plan_limits(self, plan_id: str, limits: bytes) -> None:
        """Set limits by usage type; null takes one away."""
        await self.do("remove_plan_limits", plan_id, limits.decode())
        await self.do("put_plan_limits", plan_id, limits.decode())

    async def subscriptions(
        self,
        most: int,
        after: int | None = None,
        only: int | None = None,
        organization_id: str | None = None,
    ) -> list[PlanSubscription]:
        """Subscriptions, the last one first."""
        return await self.all(
            PlanSubscription, "list_subscriptions", most, after, only, organization_id
        )

    async def subscribe(
        self, organization_id: str, plan_id: str, status: str, billing_cycle: str
    ) -> int:
        """A new subscription in place of the one there is; its id."""
        await self.do("end_subscription", organization_id)
        made = await self._connection.fetchval(
            statement("insert_subscription"), organization_id, plan_id, status, billing_cycle
        )
        return int(made)

    async def change_subscription(self, subscription_id: int, columns: bytes) -> bool:
        """Set the columns that are given; whether there is one that hasn't ended."""
        return await self.has("update_subscription", subscription_id, columns.decode())

    async def adjustments(
        self,
        most: int,
        after: int | None,
        organization_id: str | None,
        user_id: str | None,
        first: date | None,
        last: date | None,
    ) -> list[Adjustment]:
        """Adjustments, the last one first; those with a moment from one day to another, of UTC."""
        return await self.all(
            Adjustment, "list_adjustments", most, after, organization_id, user_id, first, last
        )

    async def adjust(
        self,
        organization_id: str,
        user_id: str | None,
        seconds: int,
        effective_at: datetime | None,
        reason: str,
        author: str,
    ) -> Adjustment:
        """A new adjustment."""
        return await self.one(
            Adjustment,
            "insert_adjustment",
            organization_id,
            user_id,
            seconds,
            effective_at,
            reason,
            author,
        )

    async def has_user(self, organization_id: str, user_id: str) -> bool:
        """Whether somebody is a member of the organization, or has recorded on it."""
        return await self.has("has_user", organization_id, user_id)

    async def power_users(
        self,
        first: date,
        last: date,
        most: int,
        after: tuple[int, str] | None,
        organization_id: str | None,
    ) -> list[PowerUser]:
        """Who recorded from one day to another, those who did most first."""
        place = after or (None, None)
        return await self.all(
            PowerUser, "list_power_users", most, *place, first, last, organization_id
        )

    async def dropped_off_users(
        self, idle_days: int, within_days: int, most: int, after: tuple[int, str] | None
    ) -> list[DroppedOffUser]:
        """Who recorded nothing for so many days, those first who had most within more days."""
        place = after or (None, None)
        return await self.all(
            DroppedOffUser, "list_dropped_off_users", most, *place, idle_days, within_days
        )

    async def feature_adoption(
        self, first: date, last: date, most: int, after: tuple[date, str, str] | None
    ) -> list[Adoption]:
        """What was used from one month to another, by tier; the last month first."""
        place = after or (None, None, None)
        return await self.all(Adoption, "list_feature_adoption", most, *place, first, last)

    async def analytics(self, first: date, last: date, organization_id: str | None) -> Analytics:
        """What was used from one day to another."""
        return await self.one(Analytics, "ask_analytics", first, last, organization_id)
