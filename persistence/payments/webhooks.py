"""Events of Stripe, taken once each."""

import logging

import msgspec

from meter.ledger.types import StorageUnavailable
from meter.payments import EventOutcome, decode_event
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.payments.provider import check_signature
from persistence.statements import statement

logger = logging.getLogger(__name__)


class StripeEvents:
    """Takes events that are signed with a secret. Made at once; connects when first used."""

    def __init__(self, database_url: str, secret: str, *, max_connections: int = 2) -> None:
        self._secret = secret
        self._database = Database(
            database_url, name="minute-meter webhooks", max_connections=max_connections
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()

    async def take(self, payload: bytes, signature: str | None) -> EventOutcome:
        """Take an event with all that follows from it, in one transaction.

        Raises `SignatureRefused`, `EventMalformed`, and `StorageUnavailable`, after which the
        provider sends it again.
        """
        check_signature(payload, signature, self._secret)
        event = decode_event(payload)
        try:
            async with self._database.connection() as connection, connection.transaction():
                row = await connection.fetchrow(
                    statement("take_stripe_event"),
                    event.id,
                    event.type,
                    event.created,
                    msgspec.json.encode(event.object).decode(),
                    msgspec.json.encode(event.previous).decode(),
                )
        except RowsRefused as error:
            # An operator set the same customer in this moment: it is there the next time.
            logger.warning("event %r waits: %s", event.id, error)
            raise StorageUnavailable(str(error)) from error
        assert row is not None  # the function always gives one
        return EventOutcome(row["outcome"])
