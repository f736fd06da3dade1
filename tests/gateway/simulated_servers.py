"""The ledger's server for a simulation, and what gateways and flushers have of it. It counts by the
reference model of the function library; between a call, what it does and its answer, time passes,
and each may get lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Any, Generic, TypeVar

from meter.codes import EndReason
from meter.ledger.calls import Argument
from meter.ledger.keys import partition_of
from meter.ledger.model import Model
from meter.ledger.model_state import Moment
from meter.ledger.types import (
    AccountFigures,
    Backlog,
    Collected,
    Counted,
    CountItem,
    CountStatus,
    LedgerUnavailable,
    Opened,
    OpenRequest,
    Rules,
    SessionKey,
    SessionState,
    Settlement,
    StoredSession,
)
from tests.gateway.virtual_time import VirtualClock

Result = TypeVar("Result")

TIMEOUT_SECONDS = 2.0
# As `gateway.counter` waits for another server's figures to be compared, at the most.
PATIENCE_SECONDS = 5.0


class Stage(Enum):
    """Where a call is."""

    SENT = auto()
    ARRIVES = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a call."""

    call: str
    stage: Stage


class LedgerServer:
    """A Valkey. `run` is another number after each start and failover."""

    def __init__(
        self, rules: Rules, clock: VirtualClock, random: Random, tell: Callable[[str], None]
    ) -> None:
        self.tell = tell
        self.stopped: Callable[[SessionKey], None] = lambda key: None  # by an operator, just now
        self.refused: Callable[[SessionKey], None] = lambda key: None  # seconds, as early
        self.model = Model(rules)
        self.claims: dict[str, tuple[SessionKey, str]] = {}
        self.run = 1
        self.random = random
        self.clock = clock
        self.away = False
        self.stalled_until = 0.0
        self.compared_at = 0.0
        self.clock_ahead = 0.0  # of all others, in seconds; behind where below 0
        self.clock_was_set = False
        self.flakiness = 0.0  # how many of the calls get lost, or their answers
        self._micros = 0
        # What is done once with the next such step, told whose it is.
        self.traps: list[tuple[Step, Callable[[LedgerClient], None]]] = []
        self._kept_seconds = rules.resume_seconds + 60

    def set_clock(self, ahead: float) -> None:
        """Its clock is so far ahead of all others, or behind."""
        self.clock_ahead, self.clock_was_set = ahead, True

    def now(self) -> Moment:
        """The server's time; no two calls have the same."""
        self._micros = (self._micros + 1) % 1_000_000
        return int(self.clock.time() + self.clock_ahead), self._micros

    def counted(self, key: SessionKey) -> set[int]:
        """What it has of a session, as epoch seconds."""
        session = self.model.find(key)
        return {session.origin + second for second in session.counted} if session else set()

    def spring(self, step: Step, client: "LedgerClient") -> None:
        """A call has come so far."""
        sprung = [trap for trap in self.traps if trap[0] == step]
        self.traps = [trap for trap in self.traps if trap[0] != step]
        for _, act in sprung:
            act(client)

    def expire(self, now: int) -> None:
        """What the library lets expire: ended sessions that are durable, after a while."""
        for place, session in list(self.model.sessions.items()):
            ended_at = session.ended_at
            if session.expiring and ended_at is not None and now > ended_at + self._kept_seconds:
                del self.model.sessions[place]

    def wipe(self, started_anew: bool) -> None:
        """All its data is gone: it was started anew, or told to forget."""
        self.model = Model(self.model.rules)
        self.claims.clear()
        self.run += started_anew

    def replica(self) -> tuple[Model, dict[str, tuple[SessionKey, str]]]:
        """What a replica has now that gets nothing more."""
        return deepcopy(self.model), dict(self.claims)

    def promote(self, replica: tuple[Model, dict[str, tuple[SessionKey, str]]]) -> None:
        """The replica takes over. Its figures are compared before gateways count on them, unless
        that takes too long."""
        self.model, self.claims = replica
        self.model.leases.clear()
        self.run += 1
        self.compared_at = self.clock.monotonic() + self.random.choice((0.0, 0.0, 0.3, 2.0, 6.0))

    def pause(self) -> float:
        """How long something is under way."""
        if self.random.random() < 0.05:
            return self.random.uniform(0.01, 0.4)
        return self.random.uniform(0.0002, 0.005)


class LedgerClient:
    """What `meter.ledger.driver.Ledger` is to a gateway (`fenced`) or a flusher."""

    def __init__(self, server: LedgerServer, *, fenced: bool) -> None:
        self.generation = 0
        self.confirmed: dict[SessionKey, set[int]] = {}  # epoch seconds it was told are counted
        self._server = server
        self._fenced = fenced
        self._run = 0
        self._met_at = 0.0

    # The gateway's calls ----------------------------------------------------------------------

    async def open(self, request: OpenRequest) -> Opened:
        """As `Ledger` says."""
        return await self._call("open", lambda model, now: model.open(request, now), request)

    async def count(self, items: Sequence[CountItem]) -> list[Counted]:
        """As `Ledger` says."""
        found: list[tuple[SessionKey, set[int]]] = []

        def count(model: Model, now: Moment) -> list[Counted]:
            replies = model.count(items, now)
            for item, reply in zip(items, replies, strict=True):
                if reply.in_future:
                    self._server.refused(item.key)
                if reply.status is CountStatus.COUNTED:
                    asked = {n for first, last in item.ranges for n in range(first, last + 1)}
                    session = model.find(item.key)
                    assert session is not None
                    found.append((item.key, {session.origin + n for n in asked & session.counted}))
            return replies

        replies = await self._call("count", count, items)
        for key, moments in found:
            self.confirmed.setdefault(key, set()).update(moments)
        return replies

    async def give_back(self, item: CountItem) -> Counted:
        """As `Ledger` says."""
        return await self._call("give_back", lambda model, now: model.give_back(item, now), item)

    async def close(
        self, key: SessionKey, reason: EndReason, at_least: int = 0
    ) -> SessionState | None:
        """As `Ledger` says."""

        def close(model: Model, now: Moment) -> SessionState | None:
            if reason is EndReason.ADMIN:
                self._server.stopped(key)
            return model.close(key, reason, now, at_least)

        return await self._call("close", close, (key, reason, at_least))

    async def recall(self, keys: Sequence[SessionKey]) -> list[SessionState | None]:
        """As `Ledger` says."""

        def recall(model: Model, now: Moment) -> list[SessionState | None]:
            found = [model.find(key) for key in keys]
            return [session.state() if session else None for session in found]

        return await self._call("recall", recall)

    async def survey(
        self, function: str, partitions: Sequence[int], arguments: Sequence[Argument]
    ) -> list[Any]:
        """As `Ledger` says; all its sessions are in one partition."""
        assert function == "find"
        return await self._call(function, lambda model, now: [[] for _ in partitions])

    async def claim_id(self, key: SessionKey, user_id: str) -> bool:
        """As `Ledger` says."""
        claimant = (key, user_id)

        def claim(model: Model, now: Moment) -> bool:
            return self._server.claims.setdefault(key.session_id, claimant) == claimant

        return await self._call("claim_id", claim)

    async def note_told(self, told: Sequence[tuple[SessionKey, str]]) -> None:
        """As `Ledger` says."""
        for key, text in told:
            await self._call("note_told", partial(_note_told, key, text))

    async def seed_account(self, figures: AccountFigures) -> int:
        """As `Ledger` says."""
        return await self._call(
            "seed", lambda model, now: model.seed_account(figures, now), figures
        )

    async def restore_session(self, stored: StoredSession, metadata: str = "") -> bool:
        """As `Ledger` says."""
        return await self._call(
            "restore", lambda model, now: model.restore_session(stored, metadata, now), stored
        )

    # The flusher's calls ----------------------------------------------------------------------

    async def collect(
        self,
        partitions: Sequence[int],
        flusher_id: str,
        lease_seconds: float,
        limit: int,
        own_time: int | None = None,
    ) -> list[Collected]:
        """As `Ledger` says; now and then a lease is lost, and another flusher takes the same."""

        def collect(model: Model, now: Moment) -> list[Collected]:
            if self._server.random.random() < 0.2:
                model.leases.clear()
            self._server.expire(now[0])
            homes = {partition_of(key.organization_id) for key in self.known(model)}
            return [model.collect(home, flusher_id, limit, now, own_time) for home in sorted(homes)]

        return await self._call("collect", collect)

    @staticmethod
    def known(model: Model) -> list[SessionKey]:
        """All sessions there are."""
        return [session.key for session in model.sessions.values()]

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """As `Ledger` says."""
        await self._call("settle", lambda model, now: model.settle(settlements, now), settlements)

    async def set_aside(self, key: SessionKey, error: str) -> None:
        """As `Ledger` says."""
        await self._call("set_aside", lambda model, now: model.set_aside(key, error, now))

    async def backlog(self) -> Backlog:
        """As `Ledger` says."""
        return await self._call("backlog", lambda model, now: model.backlog(now))

    async def muster(self, flusher_id: str, lease_seconds: float) -> list[str]:
        """Each flusher takes itself for the only one, so that they meet."""
        return [flusher_id]

    async def release(self, partitions: Sequence[int], flusher_id: str) -> None:
        """As `Ledger` says."""

    # On its way -------------------------------------------------------------------------------

    async def _call(
        self, name: str, act: Callable[[Model, Moment], Result], detail: object = None
    ) -> Result:
        self._server.spring(Step(name, Stage.SENT), self)
        self._meet()
        return await _Flight(self, self._server, name, act, detail).send(self._is_fenced())

    def _meet(self) -> None:
        """As a connection greets a server that it wasn't connected to before."""
        if self._server.run != self._run and not self._server.away:
            self._run = self._server.run
            self._met_at = self._server.clock.monotonic()
            self.generation += self._fenced

    def _is_fenced(self) -> bool:
        """Whether the server isn't believed yet."""
        now = self._server.clock.monotonic()
        return self._fenced and now < min(self._server.compared_at, self._met_at + PATIENCE_SECONDS)


class _Flight(Generic[Result]):
    """A call on its way. Once it was sent it is done, whether or not anybody still waits for it."""

    def __init__(
        self,
        client: LedgerClient,
        server: LedgerServer,
        name: str,
        act: Callable[[Model, Moment], Result],
        detail: object,
    ) -> None:
        self._client = client
        self._server = server
        self._name = name
        self._act = act
        self._detail = detail
        self._run = server.run
        fate = server.random.random()
        self._is_lost = fate < server.flakiness / 2
        self._is_unheard = fate < server.flakiness
        self._is_late = self._is_unheard and server.random.random() < 0.3
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Result] = self._loop.create_future()

    async def send(self, is_refused: bool) -> Result:
        """Its answer. Raises `LedgerUnavailable`."""
        server, loop = self._server, self._loop
        if server.away or is_refused:
            loop.call_later(server.pause(), self._fail)
        elif not self._is_lost:
            late_seconds = server.random.uniform(0, 4) if self._is_late else 0.0
            at = max(loop.time() + server.pause() + late_seconds, server.stalled_until)
            loop.call_at(at, self._arrive)
        patience = server.random.choice((0.01, TIMEOUT_SECONDS))
        loop.call_later(patience if self._is_unheard else TIMEOUT_SECONDS, self._fail)
        return await self._answer

    def _arrive(self) -> None:
        server = self._server
        if not server.away and server.run == self._run:
            server.spring(Step(self._name, Stage.ARRIVES), self._client)
        if server.away or server.run != self._run:
            self._fail()
            return
        result = self._act(server.model, server.now())
        server.tell(f"{self._name} {self._detail or ''}: {result}")
        server.spring(Step(self._name, Stage.DONE), self._client)
        if not self._is_unheard:
            self._loop.call_later(server.pause(), self._tell, result)

    def _tell(self, result: Result) -> None:
        # What had left the former server may still come.
        if self._server.run != self._run and self._server.random.random() < 0.5:
            self._fail()
        elif not self._answer.done():
            self._answer.set_result(result)

    def _fail(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(LedgerUnavailable("the simulation cut it off"))


def _note_told(key: SessionKey, text: str, model: Model, _: Moment) -> None:
    model.note_told(key, text)
