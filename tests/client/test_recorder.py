"""The recorder on a real socket, against a server that follows a script."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from uuid import uuid4

import jwt
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from meter.codes import CloseCode
from meter.messages import StopNotice, Warning
from minute_meter import (
    Ack,
    HandshakeRefusedError,
    InvalidStartError,
    InvalidUrlError,
    NotStartedError,
    Recorder,
    SessionEndedError,
    State,
    StopTimeoutError,
    Timeouts,
    TokenError,
    UnavailableError,
)
from minute_meter.connection import record_url
from tests.client.harness import USAGE
from tests.client.server import Peer, running

SHORT = Timeouts(open_seconds=2, start_seconds=1, stop_seconds=1)


async def plain(peer: Peer) -> None:
    """A session as it should be."""
    await peer.start()
    await peer.stopped()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it didn't come true")


async def test_it_counts_by_itself() -> None:
    async with running(plain) as server:
        async with Recorder(server.url, "token") as session:
            assert session.state is State.RECORDING
            began = time.monotonic()
            await asyncio.sleep(2.5)
            slept_seconds = time.monotonic() - began
        assert session.end is not None
        assert session.end.session_seconds == session.recorded_seconds == len(server.seconds)
        assert abs(len(server.seconds) - slept_seconds) < 1.5
        assert (session.state, session.end.reason) == (State.ENDED, "stopped")


async def test_start_says_who_and_what() -> None:
    session_id = uuid4()
    starts = []

    async def script(peer: Peer) -> None:
        starts.append(await peer.start())
        assert peer.socket.subprotocol == "minute-meter.v1"
        assert peer.socket.request is not None
        assert peer.socket.request.path == "/v1/record"
        assert "Sec-WebSocket-Extensions" not in peer.socket.request.headers
        await peer.stopped()

    async with (
        running(script) as server,
        Recorder(
            server.url,
            "secret",
            session_id=str(session_id),
            kind="interview",
            metadata={"title": "Prüfung"},
        ) as session,
    ):
        assert session.session_id == session_id
        assert session.origin is not None
    assert starts == [
        {
            "type": "start",
            "token": "secret",
            "session_id": str(session_id),
            "kind": "interview",
            "metadata": {"title": "Prüfung"},
        }
    ]


async def test_what_the_server_says_reaches_the_callbacks_and_attributes() -> None:
    async def script(peer: Peer) -> None:
        await peer.start()
        await peer.hear_heartbeats(1)
        await peer.ack()
        await peer.say("warning", kind="remaining_minutes", value=10, usage=USAGE)
        await peer.stopped()

    acks: list[Ack] = []
    warnings: list[Warning] = []
    async with (
        running(script) as server,
        Recorder(
            server.url, "t", automatic=False, on_ack=acks.append, on_warning=warnings.append
        ) as session,
    ):
        session.heartbeat(0, 1)
        await until(lambda: warnings != [])
        assert (session.counted_through, session.durable_through) == (1, 1)
        assert session.session_seconds == 2
        assert session.usage is not None
        assert session.held == ()
        assert (acks[0].heartbeats, warnings[0].value) == (1, 10)


async def test_a_callback_that_fails_does_not_harm_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.start()
        await peer.ack()
        await peer.stopped()

    def fail(ack: Ack) -> None:
        raise RuntimeError("in the program")

    async with (
        running(script) as server,
        Recorder(server.url, "t", automatic=False, on_ack=fail),
    ):
        await asyncio.sleep(0.05)
    assert "a callback of the recorder failed" in caplog.text


async def test_a_lost_connection_comes_back_and_sends_all_again() -> None:
    async def lost(peer: Peer) -> None:
        await peer.start()
        await peer.hear_heartbeats(1)
        peer.seconds.clear()  # it had not been counted
        peer.vanish()

    async with running(lost, plain) as server:
        async with Recorder(server.url, "t", automatic=False) as session:
            session.heartbeat(0)
            session.heartbeat(1)
            await until(lambda: session.reconnects == 1)
        assert server.seconds == {0, 1}


async def test_a_drained_recorder_moves() -> None:
    async def drained(peer: Peer) -> None:
        await peer.start(ack_seconds=600)  # silence alone is no reason to move
        await peer.say("drain", reconnect_after_ms=50)
        await peer.socket.wait_closed()

    async with running(drained, plain) as server:
        async with Recorder(server.url, "t", automatic=False) as session:
            session.heartbeat(0)
            await until(lambda: session.reconnects == 1)
            session.heartbeat(1)
        assert server.connections == 2
        assert server.seconds == {0, 1}


async def test_a_connection_that_breaks_before_stopped_is_made_again() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.start()
        await peer.hear_until("stop")
        peer.vanish()

    async with running(breaks, plain) as server:
        async with Recorder(server.url, "t", automatic=False) as session:
            session.heartbeat(0)
        assert server.seconds == {0}
        assert session.end is not None
        assert session.end.confirmed


async def test_a_stop_whose_answer_was_lost_is_a_good_end() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.start()
        await peer.hear_until("stop")
        peer.vanish()

    async def ended(peer: Peer) -> None:
        await peer.hear()
        await peer.fail(CloseCode.SESSION_ENDED, "session_ended")

    async with running(breaks, ended) as server:
        recorder = Recorder(server.url, "t")
        await recorder.start()
        end = await recorder.stop()
        assert (end.reason, end.confirmed) == ("stopped", False)
        assert await recorder.stop() is end


async def test_the_servers_stop_ends_the_session() -> None:
    async def limit(peer: Peer) -> None:
        await peer.start()
        await peer.hear_heartbeats(1)
        await peer.say("stop", reason="limit_reached", last_second=0, grace_seconds=1)
        await peer.say("stopped", reason="limit_reached", session_seconds=1)
        await peer.socket.close(CloseCode.LIMIT_REACHED)

    notices: list[StopNotice] = []
    async with running(limit) as server:
        async with Recorder(server.url, "t", automatic=False, on_stop=notices.append) as session:
            session.heartbeat(0)
            end = await session.wait_ended()
        assert [notice.last_second for notice in notices] == [0]
        assert (end.reason, end.session_seconds) == ("limit_reached", 1)


@pytest.mark.parametrize("code", [CloseCode.LIMIT_REACHED, CloseCode.TOKEN_REFUSED])
async def test_a_refused_start_is_an_error(code: CloseCode) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.hear()
        await peer.fail(code, "some_error")

    async with running(refuse) as server:
        with pytest.raises(SessionEndedError) as caught:
            async with Recorder(server.url, "t"):
                pytest.fail("there is no session")
        assert (caught.value.end.code, caught.value.end.reason) == (code, "some_error")
        assert "this is some_error" in str(caught.value)


async def test_an_end_that_nobody_asked_for_is_an_error_on_leaving() -> None:
    async def taken_over(peer: Peer) -> None:
        await peer.start()
        await peer.hear_heartbeats(1)
        await peer.fail(CloseCode.TAKEN_OVER, "taken_over")

    async with running(taken_over) as server:
        recorder = Recorder(server.url, "t", automatic=False)

        async def program() -> None:
            async with recorder as session:
                session.heartbeat(0)
                await session.wait_ended()

        with pytest.raises(SessionEndedError) as caught:
            await program()
        assert caught.value.held == ((0, 0),)


async def test_the_programs_own_error_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    async def taken_over(peer: Peer) -> None:
        await peer.start()
        await peer.fail(CloseCode.TAKEN_OVER, "taken_over")

    async with running(taken_over) as server:

        async def program() -> None:
            async with Recorder(server.url, "t") as session:
                await session.wait_ended()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await program()
    assert "taken_over" in caplog.text


async def test_an_end_that_is_not_confirmed_in_time_says_what_is_held() -> None:
    async def silent(peer: Peer) -> None:
        await peer.start()
        await peer.hear_until("stop")
        await peer.socket.wait_closed()

    async with running(silent) as server:
        with pytest.raises(StopTimeoutError) as caught:
            async with Recorder(server.url, "t", automatic=False, timeouts=SHORT) as session:
                session.heartbeat(0)
        assert caught.value.held == ((0, 0),)


async def test_a_server_that_cannot_be_reached_is_an_error_with_its_cause() -> None:
    async with running() as server:
        pass
    with pytest.raises(UnavailableError) as caught:
        async with Recorder(server.url, "t", timeouts=SHORT):
            pytest.fail("there is no session")
    assert isinstance(caught.value.__cause__, OSError)


async def test_another_kind_of_server_is_an_error_at_once() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "no recorder here")

    async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(HandshakeRefusedError, match="speak"):
            await Recorder(f"ws://127.0.0.1:{port}", "t").start()
    async with serve(
        lambda socket: socket.wait_closed(), "127.0.0.1", 0, process_request=refuse
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(HandshakeRefusedError, match="404"):
            await Recorder(f"http://127.0.0.1:{port}/elsewhere", "t").start()


async def test_what_cannot_be_started_is_said_before_the_server_does() -> None:
    async def nothing(peer: Peer) -> None:
        await peer.socket.wait_closed()

    for options in ({"kind": "x" * 65}, {"metadata": {"text": "x" * 5000}}):
        async with running(nothing) as server:
            with pytest.raises(InvalidStartError):
                await Recorder(server.url, "t", **options).start()


async def test_each_start_gets_a_fresh_token_and_a_live_session_a_newer_one() -> None:
    given: list[str] = []

    async def token() -> str:
        # The first lasts so short that it is renewed at once, which is after 5 seconds.
        expiry = datetime.now(UTC) + timedelta(seconds=2 if len(given) == 1 else 3600)
        claims = {"sub": "user", "n": len(given), "exp": expiry}
        given.append(jwt.encode(claims, "s" * 32, algorithm="HS256"))
        return given[-1]

    async def expired(peer: Peer) -> None:
        assert (await peer.start())["token"] == given[0]
        await peer.fail(CloseCode.TOKEN_EXPIRED, "token_expired")

    async def refreshed(peer: Peer) -> None:
        assert (await peer.start())["token"] == given[1]
        assert (await peer.hear_until("refresh"))[-1]["token"] == given[2]
        await peer.confirm()

    async with running(expired, refreshed) as server, Recorder(server.url, token) as session:
        await session.wait_ended()
    assert len(given) == 3


async def test_a_token_that_cannot_be_had_is_an_error_with_its_cause() -> None:
    async def token() -> str:
        raise LookupError("not logged in")

    async with running() as server:
        with pytest.raises(TokenError) as caught:
            await Recorder(server.url, token).start()
        assert isinstance(caught.value.__cause__, LookupError)


async def test_a_cancelled_program_still_ends_its_session() -> None:
    async with running(plain) as server:
        began = asyncio.Event()

        async def program() -> None:
            async with Recorder(server.url, "t", automatic=False) as session:
                session.heartbeat(0)
                began.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(program())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.seconds == {0}


async def test_a_recorder_is_used_in_order() -> None:
    recorder = Recorder("ws://localhost", "t", automatic=False)
    with pytest.raises(NotStartedError):
        recorder.heartbeat(0)
    with pytest.raises(NotStartedError):
        await recorder.stop()
    async with running(plain) as server, Recorder(server.url, "t") as session:
        with pytest.raises(RuntimeError, match="starts once"):
            await session.start()


async def test_pause_and_resume(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "minute_meter")
    async with running(plain) as server:
        async with Recorder(server.url, "t") as session:
            session.pause()
            assert session.state is State.PAUSED
            await asyncio.sleep(1.2)
            began = time.monotonic()
            session.resume()
            await asyncio.sleep(0.8)
            assert session.second is not None
            assert session.second >= 1
            recorded = time.monotonic() - began
        assert session.recorded_seconds <= recorded + 0.5  # half seconds count


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("wss://meter.example.com", "wss://meter.example.com/v1/record"),
        ("https://meter.example.com/", "wss://meter.example.com/v1/record"),
        ("http://[::1]:8000", "ws://[::1]:8000/v1/record"),
        ("ws://host/behind/a/proxy?x=1#y", "ws://host/behind/a/proxy?x=1"),
    ],
)
def test_addresses(given: str, used: str) -> None:
    assert record_url(given) == used


@pytest.mark.parametrize("url", ["", "meter.example.com", "ftp://host", "ws://", "localhost:8000"])
def test_no_addresses(url: str) -> None:
    with pytest.raises(InvalidUrlError):
        Recorder(url, "t")
