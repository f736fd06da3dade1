"""May this user record on? Out of the ledger, so never behind the live sessions."""

import asyncio
from itertools import islice

from gateway.opener import MAX_STEPS, Opener
from gateway.watchers import LookingLedger
from meter.billing import remaining_minutes, used_minutes
from meter.ledger.types import (
    Coldness,
    LedgerUnavailable,
    LookItem,
    Standing,
)
from meter.usage import is_exhausted, usage_of
from meter.usage_messages import LimitCheck

MAX_ACCOUNTS_A_CALL = 500
# With the other callers below the ledger's connections.
SEEDING_AT_ONCE = 2

Account = tuple[str, str]  # organization, user
Level = Standing | Coldness


class Levels:
    """Asks the ledger how accounts stand. Whoever asks while an answer is under way waits for the
    next one, which is asked for all of them in one round trip: so an answer is never older than
    its question, and many at once cost little more than one."""

    def __init__(self, ledger: LookingLedger) -> None:
        self._ledger = ledger
        self._asked: dict[Account, asyncio.Future[Level]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def of(self, account: Account) -> Level:
        """How this account stands now. Raises `LedgerUnavailable`."""
        answer = self._asked.get(account)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._asked[account] = loop.create_future()
            if self._asking is None:
                self._asking = loop.create_task(self._ask_all())
        return await asyncio.shield(answer)  # others may wait for it too

    async def _ask_all(self) -> None:
        try:
            while batch := list(islice(self._asked, MAX_ACCOUNTS_A_CALL)):
                await self._ask([(account, self._asked.pop(account)) for account in batch])
        finally:
            self._asking = None

    async def _ask(self, batch: list[tuple[Account, asyncio.Future[Level]]]) -> None:
        users: dict[str, list[tuple[str, asyncio.Future[Level]]]] = {}
        for (organization_id, user_id), answer in batch:
            users.setdefault(organization_id, []).append((user_id, answer))
        items = [
            LookItem(organization_id, tuple(user_id for user_id, _ in each))
            for organization_id, each in users.items()
        ]
        try:
            looks = await self._ledger.look(items)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, LedgerUnavailable):
                for one in batch:  # no outage: it is one account's trouble, and no other's
                    await self._ask([one])
                return
            for _, answer in batch:
                answer.set_exception(error)
            return
        for look, each in zip(looks, users.values(), strict=True):
            for level, (_, answer) in zip(look.standings, each, strict=True):
                answer.set_result(level)


class LimitChecker:
    """Asks the ledger; an account that is cold there is seeded first."""

    def __init__(self, ledger: LookingLedger, opener: Opener) -> None:
        self._levels = Levels(ledger)
        self._opener = opener
        self._seed_slots = asyncio.Semaphore(SEEDING_AT_ONCE)

    async def standing(self, organization_id: str, user_id: str) -> Standing:
        """Where the account stands now. Raises `LedgerUnavailable` and `StorageUnavailable`."""
        for _ in range(MAX_STEPS):
            level = await self._levels.of((organization_id, user_id))
            if isinstance(level, Standing):
                return level
            async with self._seed_slots:
                await self._opener.seed_account(
                    organization_id, user_id, with_live=level is Coldness.ACCOUNT_COLD
                )
        raise LedgerUnavailable("the ledger keeps losing what it is given")


def limit_check(standing: Standing) -> LimitCheck:
    """A standing as the answer. Pure."""
    usage = usage_of(standing)
    used, limit, remaining = usage.used_seconds, usage.limit_seconds, usage.remaining_seconds
    past = usage.overage_seconds if usage.scope == "organization" else 0
    return LimitCheck(
        can_record=not is_exhausted(standing),
        minutes_used=used_minutes(used),
        minutes_limit=None if limit is None else remaining_minutes(limit),
        minutes_remaining=None if remaining is None else remaining_minutes(remaining),
        percentage_used=None if limit is None else _percentage(used + past, limit),
        used_seconds=used,
        limit_seconds=limit,
        remaining_seconds=remaining,
        unlimited=usage.unlimited,
        period_start=usage.period_start,
        period_end=usage.period_end,
        scope=usage.scope,
        overage_seconds=usage.overage_seconds,
        overage_minutes=used_minutes(usage.overage_seconds),
    )


def _percentage(used: int, limit: int) -> float:
    return 1000 * max(used, 0) // limit / 10 if limit else 100.0
