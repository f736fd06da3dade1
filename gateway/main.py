"""The gateway's composition root: settings in, a running server out."""

import asyncio
import logging
import signal
import sys
from types import FrameType

import uvicorn
from pydantic import ValidationError

from gateway.app import Parts, build_parts, server_config
from gateway.settings import GatewaySettings
from gateway.webhooks import PaymentEvents
from meter.ledger.driver import Ledger
from meter.ledger.fence import Fence
from persistence.books import PostgresStore
from persistence.settings import describe
from persistence.startup import outdated_schema
from persistence.storage import PostgresStorage

logger = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """On the first signal the sessions are sent away in good order, then the server stops."""

    def __init__(self, config: uvicorn.Config, parts: Parts, drain_seconds: float) -> None:
        super().__init__(config)
        self._parts = parts
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        await super().main_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal, or one before the start, stops at once."""
        if self._loop is None or self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        logger.info("draining: sessions reconnect elsewhere")
        try:
            await asyncio.gather(
                self._parts.recorders.drain(self._drain_seconds),
                self._parts.dashboards.drain(self._drain_seconds),
                self._parts.operator_sockets.drain(self._drain_seconds),
            )
            await self._parts.counter.settle(self._drain_seconds + 5.0)
        finally:
            self.should_exit = True


def run() -> None:
    """Run a gateway until SIGTERM or SIGINT. Exits with 2 on a bad setting, and with 1 when the
    database lacks a migration."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = GatewaySettings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        print(f"meter gateway: {describe(error)}", file=sys.stderr)
        sys.exit(2)
    problem = asyncio.run(outdated_schema(settings.database_url.get_secret_value()))
    if problem is not None:
        print(f"meter gateway: {problem}", file=sys.stderr)
        sys.exit(1)
    server = DrainingServer(*_server(settings), settings.drain_seconds)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    server.run()


def _server(settings: GatewaySettings) -> tuple[uvicorn.Config, Parts]:
    ledger = Ledger.connect(settings.redis_url.get_secret_value(), settings.rules, fence=Fence())
    database_url = settings.database_url.get_secret_value()
    parts = build_parts(
        settings,
        ledger,
        PostgresStorage(database_url),
        PostgresStore(database_url),
        payment_events(settings),
    )
    return server_config(parts, settings.host, settings.port), parts


def payment_events(settings: GatewaySettings) -> PaymentEvents | None:
    """What takes the payment provider's events, where there is a secret that they are signed by."""
    if settings.stripe_webhook_secret is None:
        return None
    # Takes a second to import, and most do without.
    from persistence.payments.webhooks import StripeEvents

    return StripeEvents(
        settings.database_url.get_secret_value(), settings.stripe_webhook_secret.get_secret_value()
    )
