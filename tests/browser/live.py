"""A real gateway and a real Valkey beside a browser: they run in a thread, as Playwright has a loop
of its own in the test's."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from command.embedded.files import free_port
from meter.ledger.driver import Ledger
from meter.ledger.types import SessionKey, SessionState
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import Address, Recorder, recording, serving, token

Result = TypeVar("Result")

BEGAN_BEFORE_SECONDS = 600


class LiveGateway:
    """One gateway at a time, at the same address."""

    def __init__(self, redis_url: str) -> None:
        self.storage = MemoryStorage()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._redis_url = redis_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._gateway = AsyncExitStack()
        self._recorders = AsyncExitStack()
        self.start()

    def start(self) -> None:
        """It serves, until `stop`."""
        served = serving(
            Ledger.connect(self._redis_url),
            self.storage,
            PORT=self.port,
            METER_DRAIN_SECONDS=0,
        )
        self.do(self._gateway.enter_async_context(served))

    def stop(self) -> None:
        """It goes away, as at a deploy."""
        self.do(self._gateway.aclose())

    def close(self) -> None:
        """Stop everything."""
        self.do(self._recorders.aclose())
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def link(self, page: str, organization: str, scope: str) -> str:
        """A page's address with a token for it."""
        return f"{self.url}/{page}#token={token(organization, 'alice', scope=scope)}"

    def record(
        self, organization: str, user: str = "alice", kind: str = "interview"
    ) -> "LiveRecorder":
        """A live session that began ten minutes ago, of which nothing is counted yet."""
        recorder = self.do(self._record(organization, user, kind))
        return LiveRecorder(self, recorder)

    async def _record(self, organization: str, user: str, kind: str) -> Recorder:
        recorder = await self._recorders.enter_async_context(
            recording(Address(self.port), organization)
        )
        key = SessionKey(organization, recorder.session_id)
        origin = int(time.time()) - BEGAN_BEFORE_SECONDS
        state = SessionState(key, user, kind, origin, revision=1_000_000)
        self.storage.write(state, set())
        await recorder.start(token=token(organization, user), kind=kind)
        return recorder

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something beside the gateway."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class LiveRecorder:
    """A recorder of a `LiveGateway`, driven from the test's thread."""

    def __init__(self, gateway: LiveGateway, recorder: Recorder) -> None:
        self._gateway = gateway
        self._recorder = recorder
        self.session_id = recorder.session_id

    def hear(self, first: int, last: int) -> None:
        """It sends a range of seconds."""
        self._gateway.do(self._recorder.hear(first, last))

    def stop(self) -> None:
        """It ends its session."""
        self._gateway.do(self._recorder.send(type="stop"))

    def closed(self) -> int | None:
        """The close code, once it is closed."""
        return self._gateway.do(self._recorder.closed())
