"""The function library on a clock that tests turn: it reads a key instead of asking the server."""

from meter.ledger.driver import LIBRARY

CLOCK_KEY = "mm:clock"

_TIME = "local t = call('TIME')"


def library_on_test_clock() -> str:
    """The library's text with `clock()` reading CLOCK_KEY, a hash of seconds and microseconds."""
    assert LIBRARY.count(_TIME) == 1
    return LIBRARY.replace(_TIME, f"local t = call('HMGET', '{CLOCK_KEY}', 's', 'u')")
