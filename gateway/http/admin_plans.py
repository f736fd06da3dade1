"""`/api/admin/plans` and `/subscriptions`, for operators."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from gateway.http.admin_accounts import find_organization
from gateway.http.operations import AnyOperation, Call, Group, Nothing, Tag
from gateway.http.paging import Listing, PageParams
from gateway.http.reading import check_new_id
from gateway.problems import Problem, ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import (
    NewPlan,
    NewSubscription,
    Page,
    Plan,
    PlanChange,
    PlanId,
    PlanSubscription,
    SubscriptionChange,
)

RowId = Annotated[int, Meta(ge=1, le=2**63 - 1)]

PLANS: Listing[Plan] = Listing("plans", str, lambda each: each.id)
SUBSCRIPTIONS: Listing[PlanSubscription] = Listing("subscriptions", RowId, lambda each: each.id)


class PlanParams(msgspec.Struct, frozen=True):
    """Which plan."""

    plan_id: PlanId


class SubscriptionParams(msgspec.Struct, frozen=True):
    """Which subscription."""

    subscription_id: RowId


class SubscriptionsParams(PageParams, frozen=True, kw_only=True):
    """Which part of the list, or of one organization's."""

    organization_id: Text | None = None


def operations() -> list[AnyOperation]:
    """The table's entries."""
    group = Group(Tag.PLANS, "admin")
    plans, subscriptions = "/api/admin/plans", "/api/admin/subscriptions"
    plan, subscription = plans + "/{plan_id}", subscriptions + "/{subscription_id}"
    conflict = (ProblemCode.CONFLICT,)
    return [
        group.get(plans, list_plans, "Plans by id"),
        group.create(plans, create_plan, "Make a plan", problems=conflict),
        group.get(plan, get_plan, "A plan"),
        group.patch(plan, change_plan, "Change a plan", problems=conflict),
        group.get(subscriptions, list_subscriptions, "Subscriptions, the last one first"),
        group.create(
            subscriptions, create_subscription, "Give an account a plan", problems=conflict
        ),
        group.get(subscription, get_subscription, "A subscription"),
        group.patch(
            subscription,
            change_subscription,
            "Change a subscription, or end it",
            problems=conflict,
        ),
    ]


async def list_plans(call: Call[PageParams, Nothing]) -> Page[Plan]:
    """With what they include."""
    params = call.params
    found = await call.books.plans(params.limit + 1, PLANS.after(params))
    return PLANS.page(params, found)


async def create_plan(call: Call[Nothing, NewPlan]) -> Plan:
    """One that is there, or another of its name, is a `conflict`."""
    check_new_id(call.body.id)
    await call.books.add_plan(call.body.id, call.body.name)
    return await _changed_plan(call, call.body.id, call.body)


async def get_plan(call: Call[PlanParams, Nothing]) -> Plan:
    """By its id."""
    found = await call.books.plans(1, only=call.params.plan_id)
    if not found:
        raise _missing("plan")
    return found[0]


async def change_plan(call: Call[PlanParams, PlanChange]) -> Plan:
    """Live sessions of all its accounts see it within 2 seconds; what was used stays."""
    return await _changed_plan(call, call.params.plan_id, call.body)


async def _changed_plan(call: Call[Any, Any], plan_id: str, change: PlanChange) -> Plan:
    columns = msgspec.json.encode(change)
    if not await call.books.change_plan(plan_id, columns, change.is_default is True):
        raise _missing("plan")
    if change.limits is not UNSET:
        await call.books.set_plan_limits(plan_id, msgspec.json.encode(change.limits))
    (plan,) = await call.books.plans(1, only=plan_id)
    return plan


async def list_subscriptions(
    call: Call[SubscriptionsParams, Nothing],
) -> Page[PlanSubscription]:
    """Those that ended too."""
    params = call.params
    found = await call.books.subscriptions(
        params.limit + 1, SUBSCRIPTIONS.after(params), organization_id=params.organization_id
    )
    return SUBSCRIPTIONS.page(params, found)


async def create_subscription(call: Call[Nothing, NewSubscription]) -> PlanSubscription:
    """In place of the one that the account has, which is canceled; what was used stays. Both the
    organization and the plan have to be there."""
    body = call.body
    if await find_organization(call, body.organization_id) is None:
        raise refuse(ProblemCode.INVALID_VALUE, "there is no such organization")
    if not await call.books.plans(1, only=body.plan_id):
        raise refuse(ProblemCode.INVALID_VALUE, "there is no such plan")
    call.changed.add(body.organization_id)
    made = await call.books.subscribe(
        body.organization_id, body.plan_id, body.status, body.billing_cycle
    )
    return await _subscription(call, made)


async def get_subscription(call: Call[SubscriptionParams, Nothing]) -> PlanSubscription:
    """By its id."""
    return await _subscription(call, call.params.subscription_id)


async def change_subscription(
    call: Call[SubscriptionParams, SubscriptionChange],
) -> PlanSubscription:
    """One that has ended stays as it is: a `conflict`."""
    subscription_id = call.params.subscription_id
    call.changed.add((await _subscription(call, subscription_id)).organization_id)
    columns = msgspec.json.encode(call.body)
    if not await call.books.change_subscription(subscription_id, columns):
        raise refuse(ProblemCode.CONFLICT, "the subscription has ended")
    return await _subscription(call, subscription_id)


async def _subscription(call: Call[Any, Any], subscription_id: int) -> PlanSubscription:
    found = await call.books.subscriptions(1, only=subscription_id)
    if not found:
        raise _missing("subscription")
    return found[0]


def _missing(what: str) -> Problem:
    return refuse(ProblemCode.NOT_FOUND, f"there is no such {what}")
