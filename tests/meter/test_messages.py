"""The recorder's wire messages: what decodes, what is refused, and how."""

import json
from contextlib import suppress
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter import messages
from meter.codes import ErrorCode
from meter.messages import MAX_FRAME_BYTES, Heartbeat, MessageError, Refresh, Start, Stop, decode

SESSION = "0f0c7a2e-8f3e-4a55-9d55-0a0c3c3f1b11"
USAGE = messages.Usage(60, 3600, 3540, False, 0, 2_678_400, "organization")


def _refusal(frame: str | bytes) -> MessageError:
    with pytest.raises(MessageError) as caught:
        decode(frame)
    return caught.value


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            {"type": "start", "token": "t", "session_id": SESSION},
            Start("t", UUID(SESSION), "recording", {}),
        ),
        (
            {
                "type": "start",
                "token": "t",
                "session_id": SESSION,
                "kind": "interview",
                "metadata": {"room": [1, {"a": None}]},
            },
            Start("t", UUID(SESSION), "interview", {"room": [1, {"a": None}]}),
        ),
        ({"type": "heartbeat", "second": 0}, Heartbeat(second=0)),
        ({"type": "heartbeat", "second": -(2**53)}, Heartbeat(second=-(2**53))),
        ({"type": "heartbeat", "from": 3, "to": 9}, Heartbeat(first=3, last=9)),
        ({"type": "stop"}, Stop()),
        ({"type": "refresh", "token": "t2"}, Refresh("t2")),
    ],
)
def test_every_message_of_a_client_decodes_as_text_and_as_bytes(
    frame: dict[str, object], message: messages.ClientMessage
) -> None:
    for unknown in ({}, {"later": {"version": [2]}}):
        text = json.dumps({**frame, **unknown})
        assert decode(text) == message
        assert decode(text.encode()) == message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (
            messages.Started(SESSION, 10, 10.5, False, -1, -1, 5, USAGE),
            {
                "type": "started",
                "session_id": SESSION,
                "origin": 10,
                "server_time": 10.5,
                "resumed": False,
                "counted_through": -1,
                "durable_through": -1,
                "ack_seconds": 5,
            },
        ),
        (
            messages.Ack(7, 3, 8, 9, USAGE),
            {"type": "ack", "counted_through": 7, "durable_through": 3, "session_seconds": 8},
        ),
        (
            messages.Warning("percent", 80, USAGE),
            {"type": "warning", "kind": "percent", "value": 80},
        ),
        (
            messages.StopNotice("limit_reached", 99, 10),
            {"type": "stop", "reason": "limit_reached", "last_second": 99, "grace_seconds": 10},
        ),
        (
            messages.Stopped("stopped", 100, 99),
            {"type": "stopped", "reason": "stopped", "session_seconds": 100, "durable_through": 99},
        ),
        (messages.Drain(1500), {"type": "drain", "reconnect_after_ms": 1500}),
        (
            messages.Error("bad_message", "no", True),
            {"type": "error", "code": "bad_message", "message": "no", "fatal": True},
        ),
    ],
)
def test_every_message_of_the_server_has_the_promised_fields(
    message: messages.ServerMessage, fields: dict[str, object]
) -> None:
    encoded = json.loads(messages.encode(message))
    assert {name: encoded[name] for name in fields} == fields
    if "usage" in encoded:
        assert encoded["usage"] == msgspec.to_builtins(USAGE)


def test_usage_without_a_limit_says_null() -> None:
    usage = messages.Usage(5, None, None, True, 0, 1, "organization")
    encoded = json.loads(messages.encode(messages.Ack(0, 0, 0, 0, usage)))["usage"]
    assert (encoded["limit_seconds"], encoded["remaining_seconds"]) == (None, None)
    assert encoded["unlimited"] is True


@pytest.mark.parametrize(
    ("heartbeat", "bounds"),
    [
        (Heartbeat(second=4), (4, 4)),
        (Heartbeat(first=4, last=4), (4, 4)),
        (Heartbeat(first=4, last=9), (4, 9)),
        (Heartbeat(first=9, last=4), None),
        (Heartbeat(first=4), None),
        (Heartbeat(last=4), None),
        (Heartbeat(), None),
        (Heartbeat(second=4, first=4, last=9), None),
    ],
)
def test_a_heartbeat_names_one_second_or_an_interval_and_nothing_between(
    heartbeat: Heartbeat, bounds: tuple[int, int] | None
) -> None:
    assert heartbeat.bounds() == bounds


@pytest.mark.parametrize("kind", ["pause", "", "START", "start ", "\x00"])
def test_a_type_nobody_knows_is_told_apart_from_a_malformed_frame(kind: str) -> None:
    assert _refusal(json.dumps({"type": kind})).code is ErrorCode.UNKNOWN_TYPE


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "null",
        "[]",
        '"start"',
        "{}",
        '{"type":null}',
        '{"type":["start"]}',
        '{"type":"stop"',
        '{"type":"stop"}{}',
        '{"type":"heartbeat","second":NaN}',
        '{"type":"heartbeat","second":Infinity}',
        '{"type":"heartbeat","second":1e400}',
        '{"type":"heartbeat","second":1.5}',
        '{"type":"heartbeat","second":true}',
        '{"type":"heartbeat","second":"5"}',
        '{"type":"heartbeat","second":9007199254740993}',
        f'{{"type":"heartbeat","second":{"9" * 4000}}}',
        f'{{"type":"heartbeat","second":-{"9" * 30}}}',
        '{"type":"heartbeat","from":true,"to":[1]}',
        '{"type":"start"}',
        f'{{"type":"start","token":"","session_id":"{SESSION}"}}',
        '{"type":"start","token":"t","session_id":"no-uuid"}',
        f'{{"type":"start","token":"t","session_id":"{SESSION}","metadata":[]}}',
        f'{{"type":"start","token":"t","session_id":"{SESSION}","kind":""}}',
        f'{{"type":"start","token":"t","session_id":"{SESSION}","kind":"{"k" * 65}"}}',
        '{"type":"refresh","token":7}',
        "\x00",
        '{"type":"stop"}\x00',
        '{"type":"refresh","token":"\x00"}',
    ],
)
def test_a_malformed_frame_is_a_bad_message(frame: str) -> None:
    assert _refusal(frame).code is ErrorCode.BAD_MESSAGE
    assert _refusal(frame.encode()).code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_a_bad_message_and_no_crash(opening: str) -> None:
    deep = opening * (3900 // len(opening))
    frames = [deep, f'{{"type":"stop","later":{deep}', f'{{"type":{deep}']
    for frame in frames:
        assert _refusal(frame).code is ErrorCode.BAD_MESSAGE


def test_deep_but_closed_nesting_is_refused_or_read_but_never_crashes() -> None:
    nested = "[" * 1900 + "]" * 1900
    for field in ("later", "metadata"):
        frame = f'{{"type":"start","token":"t","session_id":"{SESSION}","{field}":{nested}}}'
        assert _refusal(frame).code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("frame", ['{"type":"refresh","token":"\ud800"}', "\udfff"])
def test_a_lone_surrogate_in_the_text_is_a_bad_message(frame: str) -> None:
    assert _refusal(frame).code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("frame", [b'{"type":"refresh","token":"\xff"}', b"\xed\xa0\x80"])
def test_bytes_that_are_no_utf_8_are_a_bad_message(frame: bytes) -> None:
    assert _refusal(frame).code is ErrorCode.BAD_MESSAGE


def test_a_frame_holds_4096_bytes_and_no_more() -> None:
    frame = '{"type":"stop","later":"%s"}'
    fits = frame % ("x" * (MAX_FRAME_BYTES - len(frame) + 2))
    assert len(fits) == MAX_FRAME_BYTES
    assert decode(fits) == Stop()
    assert decode(fits.encode()) == Stop()
    assert _refusal(fits + " ").code is ErrorCode.BAD_MESSAGE
    assert _refusal(fits.encode() + b" ").code is ErrorCode.BAD_MESSAGE


def test_the_bytes_of_a_text_frame_are_what_is_limited_not_its_characters() -> None:
    frame = '{"type":"stop","later":"%s"}' % ("é" * 2040)
    assert len(frame) < MAX_FRAME_BYTES < len(frame.encode())
    assert _refusal(frame).code is ErrorCode.BAD_MESSAGE


def test_a_refusal_never_repeats_a_token() -> None:
    refusal = _refusal('{"type":"start","token":"s3cret","session_id":"s3cret"}')
    assert "s3cret" not in str(refusal)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from(("token", "session_id", "kind", "metadata", "second", "from", "to")), anything
)


@given(frame=st.one_of(st.binary(), st.text(st.characters(codec=None))))
def test_decoding_anything_gives_a_message_or_a_message_error(frame: str | bytes) -> None:
    _decode_or_refuse(frame)


@given(kind=st.sampled_from(("start", "heartbeat", "stop", "refresh", "other")), fields=fields)
def test_decoding_any_fields_gives_a_message_or_a_message_error(
    kind: str, fields: dict[str, object]
) -> None:
    _decode_or_refuse(json.dumps({"type": kind, **fields}))


def _decode_or_refuse(frame: str | bytes) -> None:
    with suppress(MessageError):
        assert isinstance(decode(frame), messages.ClientMessage)
