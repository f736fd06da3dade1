"""What a fuzzer is let loose on: functions of bytes that raise when something doesn't hold.

Each takes what comes from outside the way the program does, and allows only the answers that it
promises: a value that keeps its word, or its own kind of error.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress

from gateway import claims
from gateway.identity import TokenRefused
from gateway.tokens import Verifier
from meter import messages, ops_messages, usage_messages
from meter.billing import BadIncrement, Increment
from meter.ledger.listing import position
from meter.limits import BadLimit, limit_seconds
from meter.messages import Heartbeat, MessageError
from meter.periods import BillingCycle, UnknownTimeZone, period_after, period_before, period_of
from meter.seconds import SecondSet
from meter.terms import Terms, parse_terms
from meter.thresholds import Threshold, ThresholdKind
from tests.fuzz import session
from tests.fuzz.source import Source

SECRET = "a secret of the tests, long enough"
LONGEST_ANSWER = 300
ZONES = ("UTC", "Pacific/Auckland", "Asia/Kathmandu", "America/New_York", "Africa/Cairo")


def recorder_frames(data: bytes) -> None:
    """The recorder's frames, as bytes and as text."""
    for frame in (data, _text(data)):
        try:
            message = messages.decode(frame)
        except MessageError as error:
            _is_short(error.detail)
            continue
        assert isinstance(message, messages.ClientMessage)
        bounds = message.bounds() if isinstance(message, Heartbeat) else None
        if bounds is not None:
            assert -(2**53) <= bounds[0] <= bounds[1] <= 2**53


def _is_short(answer: str) -> None:
    assert len(answer) < LONGEST_ANSWER, answer


def _text(data: bytes) -> str:
    """As a frame's text would be, lone surrogates and all."""
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def watchers_frames(data: bytes) -> None:
    """The frames of dashboards and operators."""
    text = _text(data)
    for decode in (usage_messages.decode, ops_messages.decode):
        try:
            message = decode(text)
            if isinstance(message, ops_messages.Subscribe):
                message.page()
        except MessageError as error:
            _is_short(error.detail)


def tokens(data: bytes) -> None:
    """Tokens, rightly signed around anything, and anything."""
    source = Source(data)
    kind = source.byte() % 3
    if kind == 0:
        token = source.rest().decode("latin-1")
    else:
        header, payload = b'{"alg":"HS256","typ":"JWT"}', source.rest()
        if kind == 2:
            header, _, payload = payload.partition(b"\n")
        token = _signed(header, payload)
    try:
        identity = _VERIFIER.verify(token)
    except TokenRefused as error:
        _is_short(str(error))
        return
    for name in (identity.user_id, identity.organization_id):
        assert 0 < len(name) <= claims.MAX_ID_CHARACTERS
        assert "\0" not in name
        name.encode()
    assert identity.expires_in > 0
    assert all(isinstance(scope, str) for scope in identity.scopes)


_VERIFIER = Verifier(
    SECRET,
    issuer=None,
    audience=None,
    claims=claims.ClaimNames(organization=("org_id", "o.id", "a.b.c"), scope=("scope", "s.c")),
)


def _signed(header: bytes, payload: bytes) -> str:
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload)]
    signature = hmac.digest(SECRET.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def notations(data: bytes) -> None:
    """What people and other programs write: limits, billing increments, zones, cursors, claims."""
    text = _text(data)
    with suppress(BadIncrement):
        increment = Increment.parse(text)
        assert Increment.parse(str(increment)) == increment
        assert increment.billed_seconds(61) >= 61
    for unit in (60, 3600):
        with suppress(BadLimit):
            assert -1 <= limit_seconds(text, unit) <= 10**9 * 3600
    with suppress(UnknownTimeZone):
        assert BillingCycle(text).zone == text
    with suppress(ValueError):
        place = position(text)
        assert position(f"{place.origin}.{place.session_id}") == place
    with suppress(ValueError):
        assert all(claims.names(text))


def periods(data: bytes) -> None:
    """Any second of any cycle is in one period, between the one before and the one after."""
    source = Source(data)
    cycle = BillingCycle(source.choose(ZONES), source.byte() % 31 + 1)
    second = int.from_bytes(source.some()[:5], "big") % 2**33
    period = period_of(cycle, second)
    assert second in period
    assert period.start % 60 == 0 or second < 2**30
    assert period_before(cycle, period).end == period.start
    assert period_after(cycle, period).start == period.end
    assert 27 * 86_400 < period.end - period.start < 33 * 86_400


def terms(data: bytes) -> None:
    """A plan's terms are what they were after the way through the ledger."""
    source = Source(data)
    made = Terms(
        overage_seconds=abs(source.number()) - 1,
        most_sessions=abs(source.number()) - 1,
        longest_seconds=abs(source.number()) - 1,
        grace_seconds=source.choose((None, 0, 1, source.byte())),
        grace_is_overage=bool(source.byte() % 2),
        thresholds=tuple(
            Threshold(source.choose(tuple(ThresholdKind)), source.byte() + 1)
            for _ in range(source.byte() % 4)
        ),
    )
    assert parse_terms(made.text) == made


def second_sets(data: bytes) -> None:
    """A set of seconds does what a set of integers does."""
    source, subject, expected = Source(data), SecondSet(), set[int]()
    while source:
        first, length, step = source.byte() * 3, source.byte(), source.byte() % 5
        if step < 2:
            subject.add(first, first + length)
            expected |= set(range(first, first + length + 1))
        elif step == 2:
            subject.discard_through(first)
            expected = {second for second in expected if second > first}
        elif step == 3:
            taken = {n for a, b in subject.take(length % 4 + 1) for n in range(a, b + 1)}
            assert taken <= expected
            expected -= taken
            assert not expected or not taken or max(taken) < min(expected)
        else:
            other = SecondSet()
            other.add(first, first)
            other.add(first + length, first + length)
            subject.merge(other)
            expected |= {first, first + length}
        assert len(subject) == len(expected)
        assert subject.highest() == max(expected, default=-1)
    assert [n for a, b in subject.ranges() for n in range(a, b + 1)] == sorted(expected)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "session": session.run,
    "recorder_frames": recorder_frames,
    "watchers_frames": watchers_frames,
    "tokens": tokens,
    "notations": notations,
    "periods": periods,
    "terms": terms,
    "second_sets": second_sets,
}

_SESSION = b'"session_id":"00000000-0000-0000-0000-000000000001"'
_NESTED = b'{"type":"start","token":"t",%s,"metadata":{"a":' + b"[" * 40 + b"]" * 40 + b"}}"

# Where a fuzzer begins; and what once went wrong, so that it never does again.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "session": (
        bytes(range(200)),
        # Unlimited. Started with a token that is good, 10 seconds, counted, stopped, ended.
        bytes(
            (0, 0, *(0, 0, 4, 1), 12, 1, 0, 12, 1, *(0, 0, 1, 0, 3, 1), 10, 7, 8, 9, *(0, 0, 2, 1))
        ),
        # Metadata so deep that it could be read, and then not be written.
        bytes((0, 0, *(0, 31, 3, 223), 12, 1, 0, 12, 1)),
    ),
    "recorder_frames": (
        b'{"type":"heartbeat","from":0,"to":9}',
        b'{"type":"start","token":"t",%s,"kind":"k","origin":7}' % _SESSION,
        _NESTED % _SESSION,
        b'{"type":"refresh","token":"\\ud800"}',
        b'{"type":"refresh","token":"\xed\xa0\x80"}',
    ),
    "watchers_frames": (
        b'{"type":"subscribe","token":"t","organization_id":"o","limit":5,"cursor":"1.%s"}'
        % (b"0" * 36),
        b'{"type":"stop",%s}' % _SESSION,
        b'{"type":"refresh","token":"t"}',
    ),
    "tokens": (
        b'\x01{"sub":"a","exp":99999999999,"o":{"id":"b"}}',
        b'\x01{"sub":"a","exp":1e308,"scope":["record"],"a":{"b.c":"x"}}',
        b'\x02{"alg":"none"}\n{"sub":"a","exp":99999999999}',
        b"\x00a.b.c",
    ),
    "notations": (b"60/60", b"1.25", b"Europe/Paris", b"org_id,o.id", b"1e-999999999"),
    "periods": (b"\x01\x1e\x05\x00\x6a\x00\x00\x00",),
    "terms": (b"\x05\x06\x07\x02\x01\x03\x01\x0a\x00\x5a",),
    "second_sets": (b"\x00\x05\x00\x05\x02\x03\x01\xff\x04\x09\x00\x02",),
}
