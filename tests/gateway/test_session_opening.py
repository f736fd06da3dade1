"""How a recorder's session starts, and how it is refused to start."""

import inspect
from dataclasses import replace

import pytest

from gateway.actions import Authenticate, Open
from gateway.client import MAX_BAD_FRAMES, Phase
from gateway.identity import Identity, TokenRefused
from meter.ledger.types import Opened, OpenStatus
from tests.gateway.driving import ALICE, OWNER, SESSION_ID, Driven
from tests.gateway.set_ledger import EPOCH

NESTED = b'{"type":"start","token":"t","session_id":"%s","metadata":{"a":%s}}'


def test_start_is_authenticated_then_opened_then_answered() -> None:
    driven = Driven()
    assert driven.say(type="start", token="secret", session_id=SESSION_ID, kind="interview") == []
    assert driven.asked == [Authenticate("secret")]
    assert driven.authenticate() == []
    (action,) = driven.asked
    assert isinstance(action, Open)
    assert (action.request.key.organization_id, action.request.key.session_id) == (
        "acme",
        SESSION_ID,
    )
    assert (action.request.user_id, action.request.kind) == ("alice", "interview")
    assert (action.request.owner, action.request.create) == (OWNER, False)
    (started,) = driven.open()
    assert started["type"] == "started"
    assert started["session_id"] == SESSION_ID
    assert started["origin"] == EPOCH
    assert started["server_time"] == EPOCH
    assert started["resumed"] is False
    assert (started["counted_through"], started["durable_through"]) == (-1, -1)
    assert started["ack_seconds"] == 6
    usage = started["usage"]
    assert isinstance(usage, dict)
    assert usage["unlimited"] is True
    assert usage["limit_seconds"] is usage["remaining_seconds"] is None


def test_a_resumed_session_tells_what_is_counted_already() -> None:
    first = Driven()
    first.start()
    first.hear(0)
    first.count()
    second = Driven(ledger=first.ledger, owner=8)
    (started,) = second.start()
    assert (started["resumed"], started["counted_through"]) == (True, 0)


@pytest.mark.parametrize(("depth", "is_kept"), [(31, True), (32, False), (1000, False)])
def test_metadata_may_be_nested_32_deep(depth: int, is_kept: bool) -> None:
    driven = Driven()
    lists = b"[" * depth + b"]" * depth
    driven.session.frame(NESTED % (SESSION_ID.encode(), lists))
    answers = [each["code"] for each in driven.perform()]
    assert (bool(driven.asked), answers) == (is_kept, [] if is_kept else ["bad_message"])


def test_what_could_be_read_of_metadata_can_be_written_however_deep_the_stack_is() -> None:
    def deeper(frames: int, driven: Driven) -> None:
        if frames:
            deeper(frames - 1, driven)
        else:
            driven.authenticate()

    written = []
    for depth in range(1, 1010):
        driven = Driven()
        lists = b"[" * depth + b"]" * depth
        driven.session.frame(NESTED % (SESSION_ID.encode(), lists))
        driven.perform()
        if driven.asked:
            deeper(20, driven)
            (action,) = driven.asked
            assert isinstance(action, Open)
            assert action.request.metadata == '{"a":' + lists.decode() + "}"
            written.append(depth)
    assert written == list(range(1, 32))


def test_metadata_goes_along_as_json() -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID, metadata={"room": "é", "n": [1]})
    driven.authenticate()
    (action,) = driven.asked
    assert isinstance(action, Open)
    assert action.request.metadata == '{"room":"é","n":[1]}'


@pytest.mark.parametrize("metadata", [{"a": "x\0"}, {"\0": 1}, {"a": [{"b": "\\\0"}]}])
def test_metadata_that_postgres_cannot_hold_is_a_bad_message(metadata: dict[str, object]) -> None:
    driven = Driven()
    (error,) = driven.say(type="start", token="t", session_id=SESSION_ID, metadata=metadata)
    assert (error["code"], error["fatal"]) == ("bad_message", False)
    assert driven.session.phase is Phase.WAITING
    assert driven.say(type="start", token="t", session_id=SESSION_ID) == []


def test_a_backslash_before_u0000_is_no_nul() -> None:
    driven = Driven()
    assert (
        driven.say(type="start", token="t", session_id=SESSION_ID, metadata={"a": r"\u0000"}) == []
    )
    assert driven.asked


@pytest.mark.parametrize("kind", ["a\0", "a\nb", "\x7f", ""])
def test_a_kind_is_printable(kind: str) -> None:
    driven = Driven()
    (error,) = driven.say(type="start", token="t", session_id=SESSION_ID, kind=kind)
    assert error["code"] == "bad_message"


@pytest.mark.parametrize("session_id", ["", "x", 5, None, SESSION_ID + "0"])
def test_a_session_id_is_a_uuid(session_id: object) -> None:
    driven = Driven()
    (error,) = driven.say(type="start", token="t", session_id=session_id)
    assert (error["code"], error["fatal"]) == ("bad_message", False)


@pytest.mark.parametrize(
    ("error", "code", "close"),
    [
        (TokenRefused("no"), "token_refused", 4505),
        (TokenRefused("old", expired=True), "token_expired", 4001),
    ],
)
def test_a_bad_token_closes(error: TokenRefused, code: str, close: int) -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    driven.session.refused(error)
    (sent,) = driven.perform()
    assert (sent["type"], sent["code"], sent["fatal"]) == ("error", code, True)
    assert driven.close_code == close


def test_a_token_without_the_scope_closes() -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    (sent,) = driven.authenticate(replace(ALICE, scopes=frozenset({"usage"})))
    assert (sent["code"], driven.close_code) == ("not_allowed", 4506)
    assert driven.asked == []


@pytest.mark.parametrize(
    ("status", "code", "close"),
    [
        (OpenStatus.FOREIGN, "not_allowed", 4506),
        (OpenStatus.ENDED, "session_ended", 4501),
        (OpenStatus.LIMIT_REACHED, "limit_reached", 4500),
    ],
)
def test_a_session_that_cannot_be_opened_says_why(
    status: OpenStatus, code: str, close: int
) -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    driven.authenticate()
    driven.session.opened(Opened(status, EPOCH), driven.now)
    (sent,) = driven.perform()
    assert (sent["code"], sent["fatal"], driven.close_code) == (code, True, close)


def test_an_unavailable_store_asks_to_come_back() -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    driven.authenticate()
    driven.session.unavailable()
    (sent,) = driven.perform()
    assert (sent["code"], driven.close_code) == ("storage_unavailable", 4004)


@pytest.mark.parametrize(
    ("refuse", "code", "close"),
    [("overloaded", "overloaded", 4002), ("too_slow", "too_slow", 4003)],
)
def test_a_gateway_may_turn_a_connection_away(refuse: str, code: str, close: int) -> None:
    driven = Driven()
    getattr(driven.session, refuse)()
    (sent,) = driven.perform()
    assert (sent["code"], sent["fatal"], driven.close_code) == (code, True, close)


def test_a_foreign_origin_is_not_allowed() -> None:
    driven = Driven()
    driven.session.forbidden("this origin may not record")
    (sent,) = driven.perform()
    assert (sent["code"], driven.close_code) == ("not_allowed", 4506)


def test_without_a_start_in_time_it_closes() -> None:
    driven = Driven()
    assert driven.tick(9.9) == []
    (sent,) = driven.tick(0.1)
    assert (sent["code"], sent["fatal"], driven.close_code) == ("no_start", True, 4508)


def test_a_start_that_is_looked_into_has_no_deadline() -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    assert driven.tick(60.0) == []
    assert driven.closed is None


@pytest.mark.parametrize("through", ["opening", "live"])
def test_a_second_start_is_an_error(through: str) -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    if through == "live":
        driven.authenticate()
        driven.open()
    (sent,) = driven.say(type="start", token="t", session_id=SESSION_ID)
    assert (sent["code"], sent["fatal"]) == ("already_started", False)


@pytest.mark.parametrize(
    "message",
    [{"type": "heartbeat", "second": 0}, {"type": "stop"}, {"type": "refresh", "token": "t"}],
)
@pytest.mark.parametrize("opening", [False, True])
def test_nothing_comes_before_started(message: dict[str, object], opening: bool) -> None:
    driven = Driven()
    if opening:
        driven.say(type="start", token="t", session_id=SESSION_ID)
    asked = list(driven.asked)
    (sent,) = driven.say(**message)
    assert (sent["code"], sent["fatal"]) == ("not_started", False)
    assert driven.asked == asked


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "bad_message"),
        (b"null", "bad_message"),
        (b"[]", "bad_message"),
        (b"{}", "bad_message"),
        (b'{"type":5}', "bad_message"),
        (b'{"type":"ack"}', "unknown_type"),
        (b'{"type":"start"}', "bad_message"),
        (b'{"type":"heartbeat","second":"1"}', "bad_message"),
        (b'{"type":"heartbeat","second":1.5}', "bad_message"),
        (b'{"type":"heartbeat","second":1e99}', "bad_message"),
        (b'{"type":"heartbeat","second":99999999999999999999999}', "bad_message"),
        (b'{"type":"heart\xff"}', "bad_message"),
        (b'{"type":"stop","x":"\\ud800"}', "bad_message"),
        (b"[" * 4000, "bad_message"),
        (b'{"type":"stop"}' + b" " * 4096, "bad_message"),
    ],
)
def test_what_is_no_message_is_an_error_and_not_the_end(frame: bytes, code: str) -> None:
    driven = Driven()
    driven.session.frame(frame)
    (sent,) = driven.perform()
    assert (sent["type"], sent["code"], sent["fatal"]) == ("error", code, False)


def test_unknown_fields_are_ignored() -> None:
    driven = Driven()
    assert driven.say(type="start", token="t", session_id=SESSION_ID, colour="red") == []


def test_too_many_bad_frames_close() -> None:
    driven = Driven()
    for _ in range(MAX_BAD_FRAMES):
        driven.session.frame(b"?")
        driven.perform()
    assert driven.closed is None
    driven.session.binary_frame()
    (sent,) = driven.perform()
    assert (sent["code"], sent["fatal"], driven.close_code) == ("bad_message", True, 4504)


def test_a_message_longer_than_any_may_be_closes() -> None:
    driven = Driven()
    driven.session.oversized_frame()
    (sent,) = driven.perform()
    assert (sent["code"], sent["fatal"], driven.close_code) == ("bad_message", True, 4504)


def test_nothing_is_answered_after_the_close() -> None:
    driven = Driven()
    driven.start()
    driven.hear(0)
    driven.session.superseded()
    driven.perform()
    driven.session.frame(b"?")
    driven.session.binary_frame()
    driven.session.oversized_frame()
    driven.session.forbidden("x")
    driven.session.drain(5)
    driven.session.refused(TokenRefused("no"))
    driven.session.authenticated(ALICE, driven.now)
    driven.count()
    driven.tick(10_000)
    driven.session.ended(None)
    assert driven.perform() == []
    assert driven.counted == {0}


def test_who_leaves_while_the_session_is_opened_is_told_nothing() -> None:
    driven = Driven()
    driven.say(type="start", token="t", session_id=SESSION_ID)
    driven.authenticate()
    driven.session.disconnected()
    assert driven.open() == []
    assert driven.session.state is None


class TestTokens:
    """A token runs out, and is refreshed in band."""

    def test_it_expires_after_the_grace(self) -> None:
        driven = Driven()
        driven.start(replace(ALICE, expires_in=30.0))
        driven.tick(89.9)
        assert driven.closed is None
        driven.tick(0.2)
        assert driven.sent[-1]["code"] == "token_expired"
        assert driven.close_code == 4001

    def test_a_refresh_in_time_keeps_it(self) -> None:
        driven = Driven()
        driven.start(replace(ALICE, expires_in=30.0))
        driven.tick(80.0)
        driven.say(type="refresh", token="t2")
        assert driven.asked == [Authenticate("t2")]
        driven.authenticate(replace(ALICE, expires_in=100.0))
        driven.tick(159.0)
        assert driven.closed is None
        driven.tick(2.0)
        assert driven.close_code == 4001

    @pytest.mark.parametrize(
        "other",
        [
            replace(ALICE, user_id="mallory"),
            replace(ALICE, organization_id="other"),
            replace(ALICE, scopes=frozenset({"usage"})),
        ],
    )
    def test_anothers_token_does_not_refresh(self, other: Identity) -> None:
        driven = Driven()
        driven.start(replace(ALICE, expires_in=30.0))
        driven.say(type="refresh", token="t2")
        (sent,) = driven.authenticate(other)
        assert (sent["code"], sent["fatal"]) == ("not_allowed", False)
        assert driven.session.identity is not None
        assert driven.session.identity.user_id == "alice"
        driven.tick(91.0)
        assert driven.close_code == 4001

    @pytest.mark.parametrize(
        ("expired", "code"), [(False, "token_refused"), (True, "token_expired")]
    )
    def test_a_refused_refresh_leaves_the_old_one_in_force(self, expired: bool, code: str) -> None:
        driven = Driven()
        driven.start()
        driven.say(type="refresh", token="t2")
        driven.session.refused(TokenRefused("no", expired=expired))
        (sent,) = driven.perform()
        assert (sent["code"], sent["fatal"], driven.closed) == (code, False, None)
        driven.hear(0)
        driven.count()
        assert driven.counted == {0}

    def test_the_tokens_are_not_kept(self) -> None:
        driven = Driven()
        driven.say(type="start", token="very-secret", session_id=SESSION_ID)
        driven.authenticate()
        driven.open()
        driven.say(type="refresh", token="very-secret")
        driven.authenticate()
        held = inspect.getmembers_static(driven.session)
        kept = [getattr(driven.session, name, None) for name, _ in held]
        assert "very-secret" not in repr(kept)
