"""`/api/admin/plans`, `/subscriptions` and `/adjustments`, for operators."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from gateway.http.operations import AnyOperation, Call, Needs, Nothing, Operation, Tag
from gateway.http.paging import PageParams, page
from gateway.problems import Problem, ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import (
    Adjustment,
    NewAdjustment,
    NewPlan,
    NewSubscription,
    Page,
    Plan,
    PlanChange,
    PlanId,
    PlanSubscription,
    SubscriptionChange,
)

SCOPES = ("admin",)

RowId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class PlanParams(msgspec.Struct, frozen=True):
    """Which plan."""

    plan_id: PlanId


class SubscriptionParams(msgspec.Struct, frozen=True):
    """Which subscription."""

    subscription_id: RowId


class SubscriptionsParams(PageParams, frozen=True, kw_only=True):
    """Which part of the list, or of one organization's."""

    organization_id: Text | None = None


class AdjustmentsParams(PageParams, frozen=True, kw_only=True):
    """Which part of the list, or of one organization's or user's."""

    organization_id: Text | None = None
    user_id: Text | None = None


def operations() -> list[AnyOperation]:
    """The table's entries."""
    return [*_plans(), *_subscriptions(), *_adjustments()]


def _plans() -> list[AnyOperation]:
    path = "/api/admin/plans"
    common: dict[str, Any] = {"tag": Tag.PLANS, "scopes": SCOPES}
    return [
        Operation(
            method="GET",
            path=path,
            name="listPlans",
            summary="Plans by id",
            handler=list_plans,
            params=PageParams,
            body=Nothing,
            answer=Page[Plan],
            **common,
        ),
        Operation(
            method="POST",
            path=path,
            name="createPlan",
            summary="Make a plan",
            handler=create_plan,
            params=Nothing,
            body=NewPlan,
            answer=Plan,
            needs=Needs.WRITE,
            status=HTTPStatus.CREATED,
            problems=(ProblemCode.CONFLICT,),
            **common,
        ),
        Operation(
            method="GET",
            path=path + "/{plan_id}",
            name="getPlan",
            summary="A plan",
            handler=get_plan,
            params=PlanParams,
            body=Nothing,
            answer=Plan,
            **common,
        ),
        Operation(
            method="PATCH",
            path=path + "/{plan_id}",
            name="changePlan",
            summary="Change a plan",
            handler=change_plan,
            params=PlanParams,
            body=PlanChange,
            answer=Plan,
            needs=Needs.WRITE,
            problems=(ProblemCode.CONFLICT,),
            **common,
        ),
    ]


def _subscriptions() -> list[AnyOperation]:
    path = "/api/admin/subscriptions"
    common: dict[str, Any] = {"tag": Tag.PLANS, "scopes": SCOPES}
    return [
        Operation(
            method="GET",
            path=path,
            name="listSubscriptions",
            summary="Subscriptions, the last one first",
            handler=list_subscriptions,
            params=SubscriptionsParams,
            body=Nothing,
            answer=Page[PlanSubscription],
            **common,
        ),
        Operation(
            method="POST",
            path=path,
            name="createSubscription",
            summary="Give an account a plan",
            handler=create_subscription,
            params=Nothing,
            body=NewSubscription,
            answer=PlanSubscription,
            needs=Needs.WRITE,
            status=HTTPStatus.CREATED,
            problems=(ProblemCode.CONFLICT,),
            **common,
        ),
        Operation(
            method="GET",
            path=path + "/{subscription_id}",
            name="getSubscription",
            summary="A subscription",
            handler=get_subscription,
            params=SubscriptionParams,
            body=Nothing,
            answer=PlanSubscription,
            **common,
        ),
        Operation(
            method="PATCH",
            path=path + "/{subscription_id}",
            name="changeSubscription",
            summary="Change a subscription, or end it",
            handler=change_subscription,
            params=SubscriptionParams,
            body=SubscriptionChange,
            answer=PlanSubscription,
            needs=Needs.WRITE,
            problems=(ProblemCode.CONFLICT,),
            **common,
        ),
    ]


def _adjustments() -> list[AnyOperation]:
    path = "/api/admin/adjustments"
    common: dict[str, Any] = {"tag": Tag.ACCOUNTS, "scopes": SCOPES}
    return [
        Operation(
            method="GET",
            path=path,
            name="listAdjustments",
            summary="Adjustments, the last one first",
            handler=list_adjustments,
            params=AdjustmentsParams,
            body=Nothing,
            answer=Page[Adjustment],
            **common,
        ),
        Operation(
            method="POST",
            path=path,
            name="createAdjustment",
            summary="Add to what was used, or give back",
            handler=create_adjustment,
            params=Nothing,
            body=NewAdjustment,
            answer=Adjustment,
            needs=Needs.WRITE,
            status=HTTPStatus.CREATED,
            **common,
        ),
    ]


async def list_plans(call: Call[PageParams, Nothing]) -> Page[Plan]:
    """With what they include."""
    params = call.params
    found = await call.books.plans(params.limit + 1, params.after(str))
    return page(params, found, lambda plan: plan.id)


async def create_plan(call: Call[Nothing, NewPlan]) -> Plan:
    """One that is there, or another of its name, is a `conflict`."""
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
        params.limit + 1, params.after(RowId), organization_id=params.organization_id
    )
    return page(params, found, lambda subscription: subscription.id)


async def create_subscription(call: Call[Nothing, NewSubscription]) -> PlanSubscription:
    """In place of the one that the account has, which is canceled; what was used stays."""
    body = call.body
    if not await call.books.plans(1, only=body.plan_id):
        raise refuse(ProblemCode.INVALID_VALUE, "there is no such plan")
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
    await _subscription(call, subscription_id)
    columns = msgspec.json.encode(call.body)
    if not await call.books.change_subscription(subscription_id, columns):
        raise refuse(ProblemCode.CONFLICT, "the subscription has ended")
    return await _subscription(call, subscription_id)


async def _subscription(call: Call[Any, Any], subscription_id: int) -> PlanSubscription:
    found = await call.books.subscriptions(1, only=subscription_id)
    if not found:
        raise _missing("subscription")
    return found[0]


async def list_adjustments(call: Call[AdjustmentsParams, Nothing]) -> Page[Adjustment]:
    """With author, reason and time."""
    params = call.params
    found = await call.books.adjustments(
        params.limit + 1, params.after(RowId), params.organization_id, params.user_id
    )
    return page(params, found, lambda adjustment: adjustment.id)


async def create_adjustment(call: Call[Nothing, NewAdjustment]) -> Adjustment:
    """A row that stays: a mistake is put right by another one. It is in used and remaining at once,
    and live sessions see it within 2 seconds. The organization has to be there."""
    body = call.body
    at = body.effective_at
    return await call.books.adjust(
        body.organization_id,
        body.user_id,
        body.seconds,
        datetime.fromtimestamp(at, UTC) if isinstance(at, int) else at,
        body.reason,
        call.identity.user_id,
    )


def _missing(what: str) -> Problem:
    return refuse(ProblemCode.NOT_FOUND, f"there is no such {what}")
