"""The load generator of stops: recorders of accounts that are about to reach their limits.

A process that takes its `StopOptions` as one JSON argument, runs each account into its limit, and
prints the `StopTotals` as JSON at the end. Of an account's sessions every fifth is paused: it is
live and sends nothing. The others send a heartbeat a second, spread evenly, until they are told
`stop`, as recorders do.
"""

import argparse
import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import uvloop

from tests.bench.load import Beat, LoadOptions, Session, connected_sessions, stopped_totals

PAUSED_ONE_IN = 5
STOPS_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class StopOptions:
    """Sessions are dealt to the accounts in turn, and an account's to the gateways at `urls`.

    `limit` is that of each account, in seconds.
    """

    urls: tuple[str, ...]
    organizations: tuple[str, ...]
    sessions_an_account: int
    limit: int
    secret: str
    origin: str


@dataclass(frozen=True)
class StopTotals:
    """What the recorders saw. Times are in milliseconds, from the moment in which an account's
    last second that counts was sent; `untold` sessions were never told."""

    stop_ms: list[float]
    paused_stop_ms: list[float]
    untold: int
    late_max_ms: float
    connect_seconds: float
    # By account: seconds that `stopped` named, of all its sessions.
    counted_seconds: list[int]
    disconnected_early: int
    errors: dict[str, int]


class Account:
    """How much was sent of an account, and when the last second that counts was."""

    def __init__(self, organization_id: str, limit: int) -> None:
        self.organization_id = organization_id
        self.limit = limit
        self.sent = 0
        self.exhausted_at: float | None = None

    def send(self) -> None:
        """A heartbeat goes out. No limit is reached before as many have gone."""
        self.sent += 1
        if self.sent == self.limit:
            self.exhausted_at = time.monotonic()


class LimitedSession(Session):
    """A recorder that heeds `stop`."""

    def __init__(self, number: int, options: LoadOptions, stops: "Stops") -> None:
        super().__init__(number, options)
        accounts, urls = stops.accounts, stops.options.urls
        own = number // len(accounts)
        self.account = accounts[number % len(accounts)]
        self.organization_id = self.account.organization_id
        self.url = urls[own % len(urls)]
        self.paused = is_paused(own)
        self.stopped_at: float | None = None
        self._stops = stops

    def send_heartbeat(self) -> bool:
        """Send the next second, unless it is paused or stopped."""
        second = self.next_second
        if self.paused or self.stopped_at is not None:
            self.next_second = second + 1
            return False
        self.account.send()
        return super().send_heartbeat()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "stop":
            self.stopped_at = time.monotonic()
            self._stops.told()
        elif message["type"] != "warning":
            super()._take(message)

    def stop_ms(self) -> float | None:
        """Return how long the stop took to come, if it came."""
        if self.stopped_at is None or self.account.exhausted_at is None:
            return None
        return (self.stopped_at - self.account.exhausted_at) * 1000


class Stops:
    """The accounts, and how many sessions still wait for their stop."""

    def __init__(self, options: StopOptions) -> None:
        self.options = options
        self.accounts = [Account(each, options.limit) for each in options.organizations]
        self.sessions = len(self.accounts) * options.sessions_an_account
        self.all_told = asyncio.Event()
        self._waiting = self.sessions

    def told(self) -> None:
        """One more session was told."""
        self._waiting -= 1
        if self._waiting == 0:
            self.all_told.set()

    def load_options(self) -> LoadOptions:
        """Return the same options as the other loads have them."""
        return LoadOptions(
            url=self.options.urls[0],
            heartbeats_per_reply=1,
            sessions=self.sessions,
            index=0,
            processes=1,
            recorder=True,
            secret=self.options.secret,
            origin=self.options.origin,
        )


def is_paused(number_in_account: int) -> bool:
    """Say whether this session of an account sends nothing."""
    return number_in_account % PAUSED_ONE_IN == PAUSED_ONE_IN - 1


def beating_sessions(sessions_an_account: int) -> int:
    """Return how many of an account's sessions send heartbeats."""
    return sum(not is_paused(number) for number in range(sessions_an_account))


async def run_stops(options: StopOptions) -> StopTotals:
    """Connect all, beat until the limits are reached, and wait for every stop."""
    stops = Stops(options)
    started = time.monotonic()
    sessions = await connected_sessions(
        stops.load_options(), lambda number, load: LimitedSession(number, load, stops)
    )
    connect_seconds = time.monotonic() - started
    beat = Beat(sessions)
    beat.start()
    with suppress(TimeoutError):  # the totals say how many weren't told
        await asyncio.wait_for(stops.all_told.wait(), STOPS_TIMEOUT_SECONDS)
    beat.stop()
    totals = await stopped_totals(sessions)
    return StopTotals(
        stop_ms=_times(sessions, paused=False),
        paused_stop_ms=_times(sessions, paused=True),
        untold=sum(session.stop_ms() is None for session in sessions),
        late_max_ms=beat.late_max_seconds * 1000,
        connect_seconds=connect_seconds,
        counted_seconds=[
            sum(each.counted_seconds or 0 for each in sessions if each.account is account)
            for account in stops.accounts
        ],
        disconnected_early=totals.disconnected_early,
        errors=totals.errors,
    )


def _times(sessions: list[LimitedSession], *, paused: bool) -> list[float]:
    times = [session.stop_ms() for session in sessions if session.paused is paused]
    return [each for each in times if each is not None]


def main() -> None:
    """Take the options from one JSON argument, and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("options", help="StopOptions as JSON")
    options = StopOptions(**orjson.loads(parser.parse_args().options))
    totals = uvloop.run(run_stops(options))
    sys.stdout.write(orjson.dumps(asdict(totals)).decode())


if __name__ == "__main__":
    main()
