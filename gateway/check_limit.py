"""`GET /api/usage/check-limit`: may this user record on? Out of the ledger, so never behind the
live sessions."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.bearer import authenticate
from gateway.opener import MAX_STEPS, Opener
from gateway.problems import unavailable
from gateway.tokens import Verifier
from gateway.watchers import LookingLedger
from meter.billing import remaining_minutes, used_minutes
from meter.ledger.types import (
    Coldness,
    LedgerUnavailable,
    LookItem,
    Standing,
    StorageUnavailable,
)
from meter.usage import is_exhausted, usage_of
from meter.usage_messages import LimitCheck, encode_check

AT_ONCE = 4
SCOPES = ("usage", "record")


class LimitChecker:
    """Asks the ledger; an account that is cold there is seeded first."""

    def __init__(self, ledger: LookingLedger, opener: Opener, verifier: Verifier) -> None:
        self._ledger = ledger
        self._opener = opener
        self._verifier = verifier
        self._slots = asyncio.Semaphore(AT_ONCE)

    def route(self) -> Route:
        """Where it is asked."""
        return Route("/api/usage/check-limit", self._endpoint, methods=["GET"])

    async def _endpoint(self, request: Request) -> Response:
        identity = authenticate(request, self._verifier, SCOPES)
        try:
            standing = await self.standing(identity.organization_id, identity.user_id)
        except (LedgerUnavailable, StorageUnavailable):
            raise unavailable() from None
        body = encode_check(limit_check(standing))
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    async def standing(self, organization_id: str, user_id: str) -> Standing:
        """Where the account stands now. Raises `LedgerUnavailable` and `StorageUnavailable`."""
        async with self._slots:
            for _ in range(MAX_STEPS):
                (look,) = await self._ledger.look([LookItem(organization_id, (user_id,))])
                (level,) = look.standings
                if isinstance(level, Standing):
                    return level
                await self._opener.seed_account(
                    organization_id, user_id, with_live=level is Coldness.ACCOUNT_COLD
                )
        raise LedgerUnavailable("the ledger keeps losing what it is given")


def limit_check(standing: Standing) -> LimitCheck:
    """A standing as the answer. Pure."""
    usage = usage_of(standing)
    used, limit, remaining = usage.used_seconds, usage.limit_seconds, usage.remaining_seconds
    return LimitCheck(
        can_record=not is_exhausted(standing),
        minutes_used=used_minutes(used),
        minutes_limit=None if limit is None else remaining_minutes(limit),
        minutes_remaining=None if remaining is None else remaining_minutes(remaining),
        percentage_used=None if limit is None else _percentage(used, limit),
        used_seconds=used,
        limit_seconds=limit,
        remaining_seconds=remaining,
        unlimited=usage.unlimited,
        period_start=usage.period_start,
        period_end=usage.period_end,
        scope=usage.scope,
    )


def _percentage(used: int, limit: int) -> float:
    return 1000 * used // limit / 10 if limit else 100.0
