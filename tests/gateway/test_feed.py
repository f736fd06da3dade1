"""What a dashboard is told of the views of its account. No sockets, and a clock that tests move."""

import json

from gateway.feed import Feed, View
from meter.ledger.types import UNLIMITED, Standing
from meter.periods import Period, month_of
from meter.usage import usage_of
from meter.usage_messages import UsageState, encode

MONTH = month_of(1_800_000_000)
NEXT = month_of(MONTH.end)


def view(used: int, limit: int = UNLIMITED, period: Period = MONTH) -> View:
    standing = Standing(period, used, limit, 0, UNLIMITED)
    usage = usage_of(standing)
    frame = encode(UsageState(usage, 0, ()))
    return View(standing, frame)


class Fed:
    """A feed, and the types of what it says."""

    def __init__(self) -> None:
        self.feed = Feed(10)
        self.now = 0.0

    def see(self, used: int, limit: int = UNLIMITED, period: Period = MONTH) -> list[str]:
        self.now += 1
        frames = self.feed.frames(view(used, limit, period), self.now)
        return [_name(json.loads(frame)) for frame in frames]


def _name(message: dict[str, object]) -> str:
    if message["type"] == "warning":
        return f"{message['kind']} {message['value']}"
    return str(message["type"])


def test_what_is_as_it_was_is_not_said_again() -> None:
    fed = Fed()
    assert fed.see(0) == ["usage"]
    assert fed.see(0) == []
    assert fed.see(1) == ["usage"]
    assert fed.see(0) == ["usage"]


def test_a_view_soon_after_another_waits_and_the_next_reading_does_not() -> None:
    feed = Feed(10)
    assert not feed.waits(0.0)
    feed.frames(view(0), 0.0)
    assert feed.waits(0.5)
    assert not feed.waits(0.8)
    feed.frames(view(0), 0.8)  # says nothing, so it delays nothing
    assert not feed.waits(1.0)


def test_only_the_most_advanced_threshold_is_told_and_each_once() -> None:
    fed = Fed()
    assert fed.see(39, 100) == ["usage"]
    assert fed.see(40, 100) == ["usage", "remaining_minutes 1"]
    assert fed.see(69, 100) == ["usage"]
    assert fed.see(70, 100) == ["usage", "percent 70"]
    assert fed.see(71, 100) == ["usage"]
    assert fed.see(95, 100) == ["usage", "percent 90"]
    assert fed.see(71, 100) == ["usage"]


def test_a_limit_that_is_reached_is_told_once_and_again_after_it_was_raised() -> None:
    fed = Fed()
    assert fed.see(100, 100) == ["usage", "percent 100", "stop"]
    assert fed.see(101, 101) == ["usage"]
    assert fed.see(101, 1000) == ["usage"]
    assert fed.see(1000, 1000)[-1] == "stop"


def test_who_comes_late_is_told_how_things_are() -> None:
    assert Fed().see(0, 0) == ["usage", "stop"]
    assert Fed().see(95, 100) == ["usage", "percent 90"]


def test_a_new_period_begins_anew() -> None:
    fed = Fed()
    fed.see(100, 100)
    assert fed.see(0, 100, NEXT) == ["usage"]
    assert fed.see(70, 100, NEXT) == ["usage", "percent 70"]
