"""What the gateway's API asks of Postgres (`gateway.http.books`)."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec

from meter.account_messages import Subscription, TrackedUsage, TypeSummary, UsageAnswer
from meter.books import Claim, KeptAnswer, Offers, Reason, Refused, ReportKind, UsageDays
from meter.ledger.auditing import AuditedLedger
from meter.ledger.types import AccountLimits
from meter.profile_messages import Chat, Credits, Lifetime, Milestone, Month, Overview, Response
from persistence.admin import AdminBooks
from persistence.comparing import Comparing
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.statements import statement
from persistence.untold import load_untold

# Of a report, fetched by its cursor and held at once.
REPORT_ROWS = 500
REPORT_TIMEOUT_SECONDS = 60.0
REPORTS_AT_ONCE = 2

_UNIQUE_VIOLATION = "23505"
_FOREIGN_KEY_VIOLATION = "23503"
_LIMIT_CONSTRAINT = "usage_limit"
# What is refused as it has ended already.
_FINAL_CONSTRAINTS = frozenset({"chat_responses_final"})

Place = tuple[datetime, UUID]


class Books(AdminBooks):
    """All that is asked, on one connection."""

    # Idempotency keys ------------------------------------------------------------------------

    async def claim(self, claim: Claim) -> KeptAnswer | None:
        """What was answered before; None: go on, and nobody else will before the transaction's
        end. Raises `Refused` where somebody is at it, or the key stands for another request."""
        name = "\n".join((claim.organization_id, claim.user_id, claim.route, claim.key))
        if not await self._connection.fetchval(statement("lock_idempotency_key"), name):
            raise Refused(
                Reason.IDEMPOTENCY_KEY_IN_USE, "a request with this key is being answered"
            )
        row = await self._connection.fetchrow(statement("load_idempotency_key"), *_key_of(claim))
        if row is None:
            return None
        if row["request_hash"] != claim.request_hash:
            raise Refused(
                Reason.IDEMPOTENCY_KEY_REUSED, "this key was used for another request before"
            )
        return KeptAnswer(row["status"], row["answer"])

    async def keep(self, claim: Claim, status: int, body: bytes) -> None:
        """What is answered to the claim for 24 hours."""
        await self._connection.execute(
            statement("keep_idempotency_key"), *_key_of(claim), claim.request_hash, status, body
        )

    # Accounts --------------------------------------------------------------------------------

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """All that is read in the block is as of one moment."""
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            yield

    async def untold_limits(self, organization_ids: Collection[str]) -> list[AccountLimits]:
        """What holds for those of the organizations whose last change the ledger wasn't told."""
        limits, _ = await load_untold(self._connection, len(organization_ids), organization_ids)
        return limits

    async def usage_days(self, organization_id: str, user_id: str, *, own: bool) -> UsageDays:
        """The days of the present period for a member: their own, or those of all."""
        whose = user_id if own else None
        return await self.one(UsageDays, "ask_usage_days", organization_id, whose, user_id)

    async def lifetime(self, user_id: str) -> Lifetime:
        """A user's lifetime."""
        return await self.one(Lifetime, "ask_lifetime", user_id)

    async def months(self, organization_id: str, user_id: str, most: int) -> list[Month]:
        """A user's last months on an account, the present one first."""
        return await self.all(Month, "ask_months", organization_id, user_id, most)

    async def milestones(self, user_id: str) -> list[Milestone]:
        """A user's milestones, reached or not; none of somebody who isn't known."""
        return await self.all(Milestone, "ask_milestones", user_id)

    async def offers(self, organization_id: str, user_id: str) -> Offers:
        """What another plan would change."""
        return await self.one(Offers, "ask_offers", organization_id, user_id)

    async def init_user(self, user_id: str, email: str | None) -> tuple[str, str | None]:
        """The user's internal id and e-mail; made where they are missing, with their personal
        account and its plan."""
        made = await self._connection.fetchval(statement("init_user"), user_id, email)
        return str(made), await self._connection.fetchval(statement("ask_email"), user_id)

    async def subscription(self, organization_id: str, user_id: str) -> Subscription | None:
        """An account's present subscription."""
        return await self.first(Subscription, "ask_subscription", user_id, organization_id)

    async def usage_type(
        self, organization_id: str, user_id: str, usage_type: str, amount: float
    ) -> UsageAnswer | None:
        """How the account stands with a usage type; None: there is no such type."""
        return await self.first(
            UsageAnswer, "ask_usage_type", organization_id, user_id, usage_type, amount
        )

    async def hold_usages(self, organization_id: str) -> None:
        """Nobody else uses something of the account before the transaction's end."""
        await self.do("hold_usages", organization_id)

    async def came_by_sql(self, organization_id: str) -> bool:
        """Whether minutes of the account came by another way than through the ledger of late."""
        found = await self._connection.fetchval(statement("came_by_sql"), [organization_id])
        return found is not None

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """What the block writes is taken back where it raises, and the transaction goes on."""
        async with self._connection.transaction():
            yield

    async def use(self, organization_id: str, user_id: str, usages: bytes) -> TrackedUsage:
        """Use several types (a JSON object of amounts), all or none."""
        answer = await self._connection.fetchval(
            statement("use_usages"), organization_id, user_id, usages.decode()
        )
        return msgspec.json.decode(answer, type=TrackedUsage)

    async def usage_summary(self, organization_id: str, user_id: str) -> list[TypeSummary]:
        """How the account stands with every usage type."""
        return await self.all(TypeSummary, "ask_usage_summary", organization_id, user_id)

    # Profiles --------------------------------------------------------------------------------

    async def credits(self, user_id: str) -> Credits | None:
        """A profile's credits."""
        return await self.first(Credits, "ask_credits", user_id)

    async def overview(self, user_id: str) -> Overview | None:
        """A profile's membership and minutes."""
        return await self.first(Overview, "ask_overview", user_id)

    async def chats(self, user_id: str, most: int, after: Place | None) -> list[Chat]:
        """A profile's chats, the last one first."""
        return await self.all(Chat, "list_chats", user_id, most, *(after or (None, None)))

    async def add_chat(self, user_id: str, title: str) -> Chat:
        """A new chat."""
        return await self.one(Chat, "make_chat", user_id, title)

    async def has_chat(self, user_id: str, chat_id: UUID) -> bool:
        """Whether a chat is this user's."""
        return await self.has("has_chat", user_id, chat_id)

    async def responses(
        self, user_id: str, chat_id: UUID, most: int, after: Place | None
    ) -> list[Response]:
        """A chat's responses, the last one first."""
        place = after or (None, None)
        return await self.all(Response, "list_responses", user_id, chat_id, most, *place)

    async def add_response(self, user_id: str, chat_id: UUID) -> Response | None:
        """A new response; None: the user has no such chat."""
        return await self.first(Response, "make_response", user_id, chat_id)

    async def end_response(self, user_id: str, response_id: UUID, status: str) -> Response | None:
        """A response with its end, which is `status` unless it had another one before; None: the
        user has no such response."""
        changed = await self.first(Response, "end_response", user_id, response_id, status)
        return changed or await self.first(Response, "ask_response", user_id, response_id)


class PostgresStore:
    """Opens the books. Made at once; connects when first used, and again as needed."""

    def __init__(
        self, database_url: str, *, max_connections: int = 8, timeout_seconds: float = 5.0
    ) -> None:
        self._database = Database(
            database_url,
            name="minute-meter api",
            max_connections=max_connections,
            timeout_seconds=timeout_seconds,
        )
        self._reports = Database(
            database_url,
            name="minute-meter reports",
            max_connections=REPORTS_AT_ONCE,
            timeout_seconds=REPORT_TIMEOUT_SECONDS,
        )
        self._comparing = Comparing(database_url, timeout_seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()
        await self._reports.aclose()
        await self._comparing.aclose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Books]:
        """On a connection."""
        with _refusals():
            async with self._database.connection() as connection:
                yield Books(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Books]:
        """In a transaction."""
        with _refusals():
            async with self._database.connection() as connection, connection.transaction():
                yield Books(connection)

    async def catch_up(self, ledger: AuditedLedger, organization_id: str) -> None:
        """The ledger's figures of the account are what Postgres has, and what it counted itself."""
        await self._comparing.catch_up(ledger, organization_id)

    async def report(
        self, kind: ReportKind, first: date, last: date, organization_id: str | None
    ) -> AsyncGenerator[list[asyncpg.Record], None]:
        """A report's rows as of one moment, by a cursor on the server."""
        async with (
            self._reports.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            cursor = await connection.cursor(
                statement(f"report_{kind.value}"), first, last, organization_id
            )
            while rows := await cursor.fetch(REPORT_ROWS):
                yield rows


def _key_of(claim: Claim) -> tuple[str, str, str, str]:
    return claim.organization_id, claim.user_id, claim.route, claim.key


@contextmanager
def _refusals() -> Iterator[None]:
    """What Postgres refuses for good, as HTTP tells it."""
    try:
        yield
    except RowsRefused as error:
        raise _refused(error) from error


def _refused(error: RowsRefused) -> Refused:
    """What the schema's own functions say is told as it is, for the rest of it a text of ours."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None)
    constraint = getattr(cause, "constraint_name", None)
    text = str(error).partition(": ")[2]
    if constraint == _LIMIT_CONSTRAINT:
        return Refused(Reason.LIMIT_REACHED, text)
    if constraint in _FINAL_CONSTRAINTS:
        return Refused(Reason.CONFLICT, text)
    if state == _UNIQUE_VIOLATION:
        return Refused(Reason.CONFLICT, f"there is one already (`{constraint}`)")
    if state == _FOREIGN_KEY_VIOLATION and "violates" in text:
        return Refused(Reason.INVALID_VALUE, f"it names what isn't there (`{constraint}`)")
    if "violates" in text:
        return Refused(Reason.INVALID_VALUE, f"a value breaks a rule (`{constraint}`)")
    return Refused(Reason.INVALID_VALUE, text or "a value can't be taken")
