"""`/api/billing`: plans, features and what was used of them, of the token's account."""

from gateway.http.operations import AnyOperation, Call, Group, Nothing, Tag
from gateway.http.spending import MINUTES, Spender, check_whole
from gateway.identity import Identity
from gateway.problems import ProblemCode, refuse
from meter.account_messages import (
    InitializedUser,
    InitUser,
    SubscriptionInfo,
    TrackedUsage,
    TrackUsage,
    UsageAnswer,
    UsageQuestion,
    UsageSummary,
)


class BillingOperations:
    """What is asked of plans and features."""

    def __init__(self, spender: Spender) -> None:
        self._spender = spender

    def operations(self) -> list[AnyOperation]:
        """The table's entries. Both overviews may be asked with GET and with POST."""
        group, records = Group(Tag.BILLING, "usage", "record"), Group(Tag.BILLING, "record")
        summary = "/api/billing/usage-summary", usage_summary, "How every usage type stands"
        info = "/api/billing/subscription-info", subscription_info, "The account's subscription"
        return [
            group.post(
                "/api/billing/init-user",
                init_user,
                "Make the token's user known",
                may_lack_body=True,
            ),
            group.post(
                "/api/billing/usage-check",
                self.check_usage,
                "May so much of a usage type be used?",
                asks=True,
            ),
            records.post(
                "/api/billing/track-usage",
                self.track_usage,
                "Use features: all that is named, or none",
                problems=(ProblemCode.SESSION_TOO_LONG,),
            ),
            group.get(*summary, name="getUsageSummary"),
            group.post(*summary, name="postUsageSummary", asks=True),
            group.get(*info, name="getSubscriptionInfo"),
            group.post(*info, name="postSubscriptionInfo", asks=True),
        ]

    async def check_usage(self, call: Call[Nothing, UsageQuestion]) -> UsageAnswer:
        """Minutes are asked of the ledger, so they are never behind the live sessions."""
        identity, asked = call.identity, call.body
        _check_user(identity, asked.clerk_id)
        if asked.usage_type == MINUTES:
            return await self._spender.ask_minutes(identity, asked.amount)
        check_whole({asked.usage_type: asked.amount})
        answer = await call.books.usage_type(
            identity.organization_id, identity.user_id, asked.usage_type, asked.amount
        )
        if answer is None:
            raise refuse(ProblemCode.INVALID_VALUE, "there is no such usage type")
        return answer

    async def track_usage(self, call: Call[Nothing, TrackUsage]) -> TrackedUsage:
        """Takes all of what is named, or none where one has no room: `allowed` says which. Minutes,
        at most 1439 a call, become a session of so many that has just ended."""
        body = call.body
        _check_user(call.identity, body.clerk_id)
        if body.usages is not None and body.usage_type is None:
            usages = body.usages
        elif body.usage_type is not None and body.usages is None:
            usages = {body.usage_type: body.amount}
        else:
            raise refuse(
                ProblemCode.INVALID_BODY, "name either one `usage_type` or several `usages`"
            )
        return await self._spender.use(call.identity, call.books, usages, call.key)


async def init_user(call: Call[Nothing, InitUser]) -> InitializedUser:
    """The internal record of the user, made where it is missing, with a personal account on the
    plan of new users. Again: nothing changes, but for another e-mail."""
    _check_user(call.identity, call.body.clerk_id)
    user_id = call.identity.user_id
    user_uuid, email = await call.books.init_user(user_id, call.body.email)
    subscription = await call.books.subscription(user_id, user_id)
    return InitializedUser(user_uuid, user_id, email, subscription)


async def usage_summary(call: Call[Nothing, Nothing]) -> UsageSummary:
    """As far as it is durable."""
    identity = call.identity
    found = await call.books.usage_summary(identity.organization_id, identity.user_id)
    return UsageSummary(identity.organization_id, identity.user_id, tuple(found))


async def subscription_info(call: Call[Nothing, Nothing]) -> SubscriptionInfo:
    """The account's present plan and period."""
    identity = call.identity
    return SubscriptionInfo(
        await call.books.subscription(identity.organization_id, identity.user_id)
    )


def _check_user(identity: Identity, named: str | None) -> None:
    """The token says who it is: an id beside it may only say the same. Raises `Problem`."""
    if named not in (None, identity.user_id):
        raise refuse(ProblemCode.NOT_ALLOWED, "`clerk_id` is another user than the token's")
