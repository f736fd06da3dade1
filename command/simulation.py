"""Many recorders at once against a running gateway, and what became of their seconds."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from command.jwt import DEFAULT_SCOPE, TokenClaims, sign
from meter.codes import EndReason
from minute_meter import Ack, HeartbeatSent, MinuteMeterError, Recorder, Timeouts

STARTS_AT_ONCE = 50
PROBES = 50
SESSIONS_AN_ORGANIZATION = 10
DURABLE_WITHIN_SECONDS = 5.0
DURABLE_POLL_SECONDS = 0.25
TOKEN_SPARE_SECONDS = 3600
TIMEOUTS = Timeouts(open_seconds=20.0, start_seconds=60.0, stop_seconds=60.0)

DurableReader = Callable[[Sequence[UUID]], Awaitable[int]]


@dataclass(frozen=True)
class Plan:
    """What to simulate. `organization`: all sessions in this one, each of its own user; without,
    ten sessions an organization. `run` sets this run's accounts apart from those of others."""

    url: str
    secret: str
    sessions: int
    seconds: float
    organization: str | None
    run: str

    def token(self, number: int) -> str:
        """The token of session `number`."""
        organization = (
            self.organization or f"simulated-{self.run}-{number // SESSIONS_AN_ORGANIZATION}"
        )
        claims = TokenClaims(
            user=f"simulated-{self.run}-user-{number}",
            organization=organization,
            scope=DEFAULT_SCOPE,
            expires_in_seconds=int(self.seconds) + TOKEN_SPARE_SECONDS,
        )
        return sign(claims, self.secret)


@dataclass(frozen=True)
class Progress:
    """Sums over all sessions, now. `durable` as the servers' acks say, which is a while late."""

    live: int
    ended: int
    sent: int
    counted: int
    durable: int
    reconnects: int
    failed: int


@dataclass(frozen=True)
class Quantiles:
    """Of some times in milliseconds; None without any."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Outcome:
    """What became of the seconds.

    `counted` adds up what the sessions' `stopped` said, `durable` what Postgres' rows say (None
    when there was no database to ask), at most 5 seconds after the last session ended.

    `ack_latency_ms`: from sending a heartbeat to the first ack that covers it, of some sessions.
    Acks are coalesced over some seconds, so this is mostly that wait and no measure of counting.
    `stop_ms`: from `stop` to the end of the connection, all seconds counted; the cost of a count is
    in there, undiluted.
    """

    sessions: int
    sent: int
    counted: int
    durable: int | None
    durable_after_seconds: float | None
    reconnects: int
    refusals: int
    ends: dict[str, int]
    failures: dict[str, int]
    ack_latency_ms: Quantiles
    stop_ms: Quantiles

    @property
    def exact(self) -> bool:
        """Whether every session ended well and all three sums are the same; where a limit
        stopped sessions, what was sent past it is in the first alone."""
        all_counted = self.sent == self.counted or (self.limited and self.sent > self.counted)
        return not self.failures and all_counted and self.durable in (None, self.counted)

    @property
    def limited(self) -> bool:
        """Whether a limit stopped sessions."""
        return EndReason.LIMIT_REACHED.value in self.ends


class Probe:
    """Measures how long a session's heartbeats wait for their ack."""

    def __init__(self) -> None:
        self.waits_ms: list[float] = []
        self._sent: deque[tuple[int, float]] = deque()

    def heartbeat(self, sent: HeartbeatSent) -> None:
        """A heartbeat goes out."""
        if sent.frame == 1:  # another connection: what was on its way on the last is lost
            self._sent.clear()
        self._sent.append((sent.frame, time.perf_counter()))

    def ack(self, ack: Ack) -> None:
        """An ack came."""
        now = time.perf_counter()
        while self._sent and ack.heartbeats is not None and self._sent[0][0] <= ack.heartbeats:
            self.waits_ms.append((now - self._sent.popleft()[1]) * 1000)


@dataclass
class Simulation:
    """One run. `progress` may be asked at any time; `finish` ends it early."""

    plan: Plan
    read_durable: DurableReader | None = None
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    _recorders: list[Recorder] = field(default_factory=list)
    _probes: list[Probe] = field(default_factory=list)
    _failures: Counter[str] = field(default_factory=Counter)
    _refusals: int = 0
    _stop_ms: list[float] = field(default_factory=list)

    def progress(self) -> Progress:
        """Where it stands."""
        recorders = self._recorders
        return Progress(
            live=sum(recorder.origin is not None and not recorder.end for recorder in recorders),
            ended=sum(recorder.end is not None for recorder in recorders),
            sent=sum(recorder.sent_seconds for recorder in recorders),
            counted=sum(recorder.session_seconds for recorder in recorders),
            durable=sum(
                recorder.recorded_seconds - recorder.held_seconds for recorder in recorders
            ),
            reconnects=sum(recorder.reconnects for recorder in recorders),
            failed=self._failures.total(),
        )

    async def run(self) -> Outcome:
        """Record with all sessions, end them, and add up."""
        gate = asyncio.Semaphore(STARTS_AT_ONCE)
        finish = asyncio.create_task(self.finish.wait())
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.plan.sessions):
                    group.create_task(self._record(number, gate, finish))
        finally:
            finish.cancel()
        ended = time.monotonic()
        durable = await self._durable(ended)
        return self._outcome(durable, time.monotonic() - ended)

    async def _record(
        self, number: int, gate: asyncio.Semaphore, finish: asyncio.Task[bool]
    ) -> None:
        async with gate:
            if finish.done():
                return
            recorder = self._recorder(number)
            try:
                await recorder.start()
            except MinuteMeterError as error:
                self._failures[f"{type(error).__name__}: {error}"] += 1
                return
        ended = asyncio.create_task(recorder.wait_ended())
        await asyncio.wait(
            {ended, finish}, timeout=self.plan.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        await self._stop(recorder)
        await asyncio.gather(ended, return_exceptions=True)

    async def _stop(self, recorder: Recorder) -> None:
        began = time.perf_counter()
        running = recorder.end is None
        try:
            await recorder.stop()
            if running:
                self._stop_ms.append((time.perf_counter() - began) * 1000)
        except MinuteMeterError as error:
            self._failures[f"{type(error).__name__}: {error}"] += 1

    def _recorder(self, number: int) -> Recorder:
        probe = None
        if number % max(self.plan.sessions // PROBES, 1) == 0:
            probe = Probe()
            self._probes.append(probe)
        recorder = Recorder(
            self.plan.url,
            self.plan.token(number),
            kind="simulation",
            on_ack=probe.ack if probe else None,
            on_heartbeat=probe.heartbeat if probe else None,
            on_refused=lambda _: self._count_refusal(),
            timeouts=TIMEOUTS,
        )
        self._recorders.append(recorder)
        return recorder

    def _count_refusal(self) -> None:
        self._refusals += 1

    async def _durable(self, ended: float) -> int | None:
        if self.read_durable is None:
            return None
        counted = self.progress().counted
        sessions = [recorder.session_id for recorder in self._recorders]
        while True:
            durable = await self.read_durable(sessions)
            if durable == counted or time.monotonic() - ended >= DURABLE_WITHIN_SECONDS:
                return durable
            await asyncio.sleep(DURABLE_POLL_SECONDS)

    def _outcome(self, durable: int | None, after_seconds: float) -> Outcome:
        progress = self.progress()
        ends = Counter(recorder.end.reason for recorder in self._recorders if recorder.end)
        return Outcome(
            sessions=self.plan.sessions,
            sent=progress.sent,
            counted=progress.counted,
            durable=durable,
            durable_after_seconds=None if durable is None else round(after_seconds, 2),
            reconnects=progress.reconnects,
            refusals=self._refusals,
            ends=dict(ends),
            failures=dict(self._failures),
            ack_latency_ms=quantiles([wait for probe in self._probes for wait in probe.waits_ms]),
            stop_ms=quantiles(self._stop_ms),
        )


def quantiles(times_ms: Sequence[float]) -> Quantiles:
    """The median and the 99th percentile (nearest rank)."""
    if not times_ms:
        return Quantiles(None, None)
    ordered = sorted(times_ms)

    def rank(share: float) -> float:
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)

    return Quantiles(rank(0.5), rank(0.99))
