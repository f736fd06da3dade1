"""The function library on a clock that tests turn: it reads a key instead of asking the server."""

from dataclasses import replace

from meter.ledger.functions import LIBRARY, Library

CLOCK_KEY = "mm:clock"

_TIME = "local t = call('TIME')"


def library_on_test_clock() -> Library:
    """The library with `clock()` reading CLOCK_KEY, a hash of seconds and microseconds."""
    assert LIBRARY.source.count(_TIME) == 1
    clock = f"local t = call('HMGET', '{CLOCK_KEY}', 's', 'u')"
    return replace(LIBRARY, source=LIBRARY.source.replace(_TIME, clock))
