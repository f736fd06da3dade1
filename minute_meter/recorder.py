"""The recorder: drives a session's state machine on an asyncio WebSocket.

```python
from minute_meter import Recorder

async with Recorder("wss://meter.example.com", token) as session:
    await record_something()
    print(session.session_seconds, session.usage)
```
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from meter.messages import Started, StopNotice, Usage, Warning
from meter.seconds import Range
from minute_meter import tokens
from minute_meter.connection import record_url
from minute_meter.core import Core
from minute_meter.driver import Driver
from minute_meter.ends import End, State
from minute_meter.errors import (
    MinuteMeterError,
    NotStartedError,
    SessionEndedError,
    StopTimeoutError,
    UnavailableError,
)
from minute_meter.events import Event, HeartbeatSent, Refused
from minute_meter.options import Timeouts
from minute_meter.wire import Ack

logger = logging.getLogger("minute_meter")


class Recorder:
    """One session, from `async with` (or `start`) to its end (or `stop`).

    Meanwhile it counts by itself: each second of which at least half was recorded is sent once it
    is over by the server's clock, and held until the server has it in its database. Lost
    connections come back by themselves, and all that is held is sent again; a second counts once,
    however often it is sent. On leaving, the rest is sent and the end awaited: the figure of
    `stopped` is exact. `stopped` ends the connection, so nothing waits for what was counted to
    become durable: that is the server's, some seconds later.

    Args:
        url: The server, `wss://host` (or `ws`, `https`, `http`); the path `/v1/record` is added
            where there is none.
        token: A JWT, or an async callable that gives a fresh one. With a callable, tokens are
            renewed before they expire.
        session_id: Kept over reconnects; give a former one to resume its session. Random by
            default.
        kind: What is recorded: `recording`, `interview`, ...
        metadata: JSON-able, kept with the session. `start` has to fit into 4 KiB with it.
        automatic: Without, nothing is sent by itself: call `heartbeat`.
        on_ack, on_warning, on_stop, on_refused: Called with what the server said, in the event
            loop. They must not block; what they raise is logged. `on_stop` means: finish your
            recording, nothing after `last_second` counts, the session closes after the grace.
        on_heartbeat: Called for each heartbeat frame as it is sent.
        timeouts: How long to wait for what.
    """

    def __init__(
        self,
        url: str,
        token: tokens.Token,
        *,
        session_id: UUID | str | None = None,
        kind: str = "recording",
        metadata: Mapping[str, Any] | None = None,
        automatic: bool = True,
        on_ack: Callable[[Ack], None] | None = None,
        on_warning: Callable[[Warning], None] | None = None,
        on_stop: Callable[[StopNotice], None] | None = None,
        on_refused: Callable[[Refused], None] | None = None,
        on_heartbeat: Callable[[HeartbeatSent], None] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._url = record_url(url)
        self._token = token
        self._timeouts = timeouts or Timeouts()
        self._callbacks: dict[type[Event], Callable[[Any], None] | None] = {
            Ack: on_ack,
            Warning: on_warning,
            StopNotice: on_stop,
            Refused: on_refused,
            HeartbeatSent: on_heartbeat,
        }
        self._core = Core(
            session_id if isinstance(session_id, UUID) else UUID(session_id or str(uuid4())),
            kind=kind,
            metadata=dict(metadata or {}),
            automatic=automatic,
            renewable=not isinstance(token, str),
            now=time.monotonic(),
            random=random.random,
            phase_seconds=random.uniform(0.0, 0.9),
        )
        self._driver: Driver | None = None
        self._task: asyncio.Task[None] | None = None

    # What is known -------------------------------------------------------------------------------

    @property
    def session_id(self) -> UUID:
        """The session's id."""
        return self._core.session_id

    @property
    def state(self) -> State:
        """What the recorder is doing."""
        return self._core.state

    @property
    def origin(self) -> int | None:
        """Second 0, in epoch seconds of the server; None before the session was started."""
        return self._core.origin

    @property
    def second(self) -> int | None:
        """The session's second under way, by the server's clock; None when that isn't known."""
        return self._core.second_under_way(time.monotonic())

    @property
    def counted_through(self) -> int:
        """Every second up to here that was sent is counted, or was refused; -1 when none."""
        return self._core.counted_through

    @property
    def durable_through(self) -> int:
        """Every second up to here that was sent is in the server's database; -1 when none."""
        return self._core.durable_through

    @property
    def session_seconds(self) -> int:
        """Seconds the session has counted, as the server last said."""
        return self._core.session_seconds

    @property
    def recorded_seconds(self) -> int:
        """Different seconds that this recorder has recorded, sent or about to be."""
        return self._core.held.recorded

    @property
    def sent_seconds(self) -> int:
        """Different seconds that were sent at least once."""
        return self._core.held.sent

    @property
    def held_seconds(self) -> int:
        """How many seconds the server hasn't called durable yet."""
        return len(self._core.held)

    @property
    def held(self) -> tuple[Range, ...]:
        """The seconds that the server hasn't called durable yet, as inclusive ranges."""
        return self._core.held.ranges()

    @property
    def usage(self) -> Usage | None:
        """The account's figures, as the server last said."""
        return self._core.usage

    @property
    def reconnects(self) -> int:
        """How often the session was resumed on another connection."""
        return max(self._core.connections - 1, 0)

    @property
    def end(self) -> End | None:
        """How the session ended; None until it has."""
        return self._core.end

    # What its user does --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the session, or resume it.

        Raises `SessionEndedError` when the server refuses it, `UnavailableError` when none could be
        reached in time, `TokenError` and `InvalidStartError`.
        """
        if self._task is not None:
            raise RuntimeError("a recorder starts once; make another, with the same session_id")
        driver = self._driver = Driver(
            self._core, self._url, self._token, self._timeouts, self._tell
        )
        self._task = asyncio.create_task(driver.run(), name=f"recorder {self.session_id}")
        begun = asyncio.create_task(driver.begun.wait())
        try:
            await asyncio.wait(
                {begun, self._task},
                timeout=self._timeouts.start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            await self._cancel()
            raise
        finally:
            begun.cancel()
        if driver.begun.is_set():
            return
        if self._task.done():
            self._task.result()
            self._raise_unless_announced()
        await self._cancel()
        raise UnavailableError(self._url, self._timeouts.start_seconds) from driver.failure

    async def stop(self) -> End:
        """Send the rest, end the session, and wait until the server confirms it.

        Raises `StopTimeoutError` when it didn't in time, and `SessionEndedError` when it had ended
        the session before without asking this recorder to stop. Calling it again does no harm.
        """
        task = self._running()
        self._core.stop(time.monotonic())
        self._wake_driver()
        done, _ = await asyncio.wait({task}, timeout=self._timeouts.stop_seconds)
        if not done:
            await self._cancel()
            raise StopTimeoutError(self._timeouts.stop_seconds, self.held)
        if not task.cancelled():
            task.result()
        return self._raise_unless_announced()

    async def wait_ended(self) -> End:
        """Wait until the session has ended, whoever ended it."""
        task = self._running()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return self._ended()

    def pause(self) -> None:
        """Record nothing from now on: those seconds don't count."""
        self._core.pause(time.monotonic())

    def resume(self) -> None:
        """Record again."""
        self._core.resume(time.monotonic())

    def heartbeat(self, first: int, last: int | None = None) -> None:
        """Count a second, or those from `first` to `last`, inclusive, any number of times.

        Raises `FutureSecondError` for one more than 1 ahead of the server's clock.
        """
        self._running()
        self._core.heartbeat(first, first if last is None else last, time.monotonic())
        self._wake_driver()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        except MinuteMeterError as error:
            if exception is None:
                raise
            # What went wrong in the program's own block is what it has to hear of.
            logger.error("the session didn't end well: %s", error)
        finally:
            await self._cancel()

    # Inside --------------------------------------------------------------------------------------

    def _running(self) -> asyncio.Task[None]:
        if self._task is None:
            raise NotStartedError
        return self._task

    def _wake_driver(self) -> None:
        if self._driver is not None:
            self._driver.wake()

    def _ended(self) -> End:
        if self._core.end is None:
            raise StopTimeoutError(self._timeouts.stop_seconds, self.held)
        return self._core.end

    def _raise_unless_announced(self) -> End:
        end = self._ended()
        if not (end.announced or end.confirmed):
            raise SessionEndedError(end, self.held)
        return end

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _tell(self, event: Event) -> None:
        if isinstance(event, Started):
            logger.info("session %s is live (resumed: %s)", event.session_id, event.resumed)
            return
        callback = self._callbacks[type(event)]
        if callback is None:
            return
        try:
            callback(event)
        except Exception:
            logger.exception("a callback of the recorder failed")
