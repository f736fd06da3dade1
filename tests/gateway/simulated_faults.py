"""What breaks in a simulation, and when."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from meter.codes import EndReason
from meter.ledger.types import LedgerUnavailable, SessionKey
from tests.gateway.simulated_house import HISTORY_SECONDS, Gateway, House
from tests.gateway.simulated_recorder import Recorder
from tests.gateway.simulated_servers import LedgerClient, Stage, Step

CALLS = ("open", "count", "count", "close", "close", "recall", "restore")


class Nemesis:
    """Breaks things; in each history of another choice of kinds."""

    def __init__(self, house: House, *, forgetful: bool) -> None:
        self._house = house
        self._forgetful = forgetful
        self._random = house.random
        kinds = [
            self.cut,
            self.cut,
            self.stop,
            self.vanish,
            self.kill,
            self.drain,
            self.wipe,
            self.fail_over,
            self.take_ledger_away,
            self.stall,
            self.make_flaky,
            self.take_storage_away,
            self.slow_storage,
            self.stop_by_operator,
            self.step_clock,
            self.lie_in_wait,
            self.lie_in_wait,
        ]
        self._kinds = self._random.sample(kinds, self._random.randint(3, 8))
        self._pace = self._random.choice((1.0, 3.0, 8.0))

    async def rage(self) -> None:
        """For a while; then nothing breaks any more."""
        house, until = self._house, self._house.clock.monotonic() + HISTORY_SECONDS
        house.say(f"kinds: {', '.join(sorted({kind.__name__ for kind in self._kinds}))}")
        await asyncio.sleep(self._random.uniform(1, 10))
        while house.clock.monotonic() < until:
            self._random.choice(self._kinds)()
            await asyncio.sleep(self._random.expovariate(1 / self._pace))
        house.ledger.traps.clear()
        await asyncio.sleep(8)

    def _someone(self) -> Recorder | None:
        there = [recorder for recorder in self._house.recorders if recorder.holds]
        return self._random.choice(there) if there else None

    def cut(self) -> None:
        """A connection breaks."""
        recorder = self._someone()
        if recorder is not None and recorder.line is not None:
            pauses = (0.0, 0.02, self._random.uniform(0, 5))
            noticed, client = self._random.choice(pauses), self._random.choice(pauses)
            late = self._random.choice((0.0, 0.0, 2.0))
            self._house.say(f"recorder {recorder.number} is cut: {noticed} {client} {late}")
            recorder.line.cut(noticed, client, late)

    def stop(self) -> None:
        """A recorder stops, and another one starts."""
        recorder = self._someone()
        if recorder is not None:
            recorder.stop()
            self._house.spawn(self._house.start_recorder, self._random.uniform(0, 5))

    def vanish(self) -> None:
        """A recorder vanishes, and another one starts."""
        recorder = self._someone()
        if recorder is not None:
            recorder.vanish()
            self._house.spawn(self._house.start_recorder, self._random.uniform(0, 5))

    def kill(self, which: Gateway | None = None) -> None:
        """A gateway is killed, and another one starts."""
        gateway = which or self._house.gate()
        if gateway is not None:
            self._house.say(f"gateway {gateway.number} is killed")
            gateway.kill()
            self._house.excuse()
            self._house.spawn(self._house.start_gateway, self._random.uniform(0, 4))

    def drain(self) -> None:
        """A gateway sends its connections elsewhere."""
        gateway = self._house.gate()
        if gateway is not None:
            self._house.say(f"gateway {gateway.number} drains")
            for speaker in gateway.counter.speakers():
                speaker.session.drain(int(self._random.uniform(0, 1000)))
                speaker.perform()

    def wipe(self) -> None:
        """The ledger is empty."""
        anew = not self._forgetful
        self._house.say(f"the ledger is emptied{' and started anew' if anew else ''}")
        self._house.ledger.wipe(anew)
        self._house.excuse()

    def fail_over(self) -> None:
        """A replica takes over that gets nothing from now on."""
        replica, lag = self._house.ledger.replica(), self._random.choice((0.05, 1.0, 5.0))

        def promote() -> None:
            self._house.say(f"a replica takes over, {lag} s behind")
            self._house.ledger.promote(replica)
            self._house.excuse()

        self._house.spawn(promote, lag)

    def lie_in_wait(self) -> None:
        """With the next call of a kind, on its way or done, something breaks."""
        house, ledger = self._house, self._house.ledger
        call = self._random.choice(CALLS)
        step = Step(call, self._random.choice(list(Stage)))
        replica = ledger.replica()

        def fail_over(_: LedgerClient) -> None:
            house.say(f"a replica takes over, at {step}")
            ledger.promote(replica)
            house.excuse()

        def wipe(_: LedgerClient) -> None:
            house.say(f"at {step}:")
            self.wipe()

        def kill(client: LedgerClient) -> None:
            for gateway in house.gateways:
                if gateway.alive and gateway.client is client:
                    house.say(f"at {step}:")
                    self.kill(gateway)

        act = self._random.choice((fail_over, fail_over, wipe, kill))
        ledger.traps.append((step, act))
        if call == "close":
            house.spawn(self.stop, self._random.uniform(0.5, 3))

    def _for_a_while(self, what: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
        seconds = self._random.uniform(0.1, 6)
        self._house.say(f"{what} for {seconds:.3f} s")
        begin()
        self._house.spawn(end, seconds)

    def take_ledger_away(self) -> None:
        """It refuses connections."""
        ledger = self._house.ledger
        self._for_a_while(
            "the ledger is away",
            lambda: setattr(ledger, "away", True),
            lambda: setattr(ledger, "away", False),
        )

    def stall(self) -> None:
        """It does nothing for a while, and then all it was asked for."""
        until = self._house.clock.monotonic() + self._random.uniform(0.1, 5)
        self._house.say(f"the ledger stalls until {until:.3f}")
        self._house.ledger.stalled_until = until

    def make_flaky(self) -> None:
        """Calls get lost, and answers."""
        ledger, share = self._house.ledger, self._random.uniform(0.05, 0.6)
        self._for_a_while(
            "the ledger is flaky",
            lambda: setattr(ledger, "flakiness", share),
            lambda: setattr(ledger, "flakiness", 0.0),
        )

    def take_storage_away(self) -> None:
        """Postgres is away."""
        rows = self._house.rows
        self._for_a_while(
            "Postgres is away",
            lambda: setattr(rows, "away", True),
            lambda: setattr(rows, "away", False),
        )

    def slow_storage(self) -> None:
        """Postgres commits late."""
        rows, most = self._house.rows, self._random.uniform(0.5, 8)
        self._for_a_while(
            "Postgres is slow",
            lambda: setattr(rows, "slowness", most),
            lambda: setattr(rows, "slowness", 0.0),
        )

    def step_clock(self) -> None:
        """The ledger's clock is set."""
        ledger, step = self._house.ledger, self._random.choice((-3600, -60, -3, 3, 60, 3600))
        self._for_a_while(
            f"the ledger's clock is {step} s ahead",
            lambda: ledger.set_clock(step),
            lambda: ledger.set_clock(0),
        )

    def stop_by_operator(self) -> None:
        """An operator stops a session."""
        recorder, gateway = self._someone(), self._house.gate()
        if recorder is not None and gateway is not None:
            self._house.say(f"recorder {recorder.number} is stopped by an operator")
            recorder.ended_by_operator = True
            gateway.counter.spawn(_stop(gateway.client, recorder.key))


async def _stop(client: LedgerClient, key: SessionKey) -> None:
    with suppress(LedgerUnavailable):
        await client.close(key, EndReason.ADMIN)
