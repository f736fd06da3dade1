"""When a recorder comes back, and when it doesn't."""

from datetime import UTC, datetime

import jwt
import pytest

from meter.codes import CloseCode
from minute_meter.ends import State
from minute_meter.events import Phase
from tests.client.harness import ORIGIN, Bench


def expiring(seconds: float) -> str:
    """A token that expires so many seconds after the session's origin."""
    expiry = datetime.fromtimestamp(ORIGIN + seconds, UTC)
    return jwt.encode({"sub": "user", "exp": expiry}, "s" * 32, algorithm="HS256")


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 4000, 4002, 4003, 4004, 4499, 3000])
def test_it_comes_back_after_every_other_close(code: int) -> None:
    bench = Bench()
    bench.start()
    assert bench.lose(code) == 0.5
    assert bench.core.state is State.RECONNECTING


@pytest.mark.parametrize("code", [4500, 4501, 4502, 4503, 4504, 4505, 4506, 4507, 4508, 4999])
def test_it_does_not_come_back_after_a_final_close(code: int) -> None:
    bench = Bench()
    bench.start()
    bench.run(3)
    bench.say("error", code="some_code", message="some text", fatal=True)
    assert bench.lose(code) is None
    assert bench.core.state is State.ENDED
    end = bench.core.end
    assert end is not None
    assert (end.code, end.reason, end.detail) == (code, "some_code", "some text")
    assert not end.announced
    assert bench.held() == ((0, 2),)


def test_an_expired_token_is_final_only_without_another() -> None:
    for renewable in (True, False):
        bench = Bench(renewable=renewable)
        bench.start()
        bench.lose(CloseCode.TOKEN_EXPIRED)
        assert bench.core.over is not renewable


def test_the_delay_doubles_up_to_twenty_seconds_and_is_drawn_from_all_of_it() -> None:
    for drawn in (1.0, 0.25):
        bench = Bench(random=lambda drawn=drawn: drawn)
        delays = []
        for _ in range(8):
            bench.core.connecting()
            delays.append(bench.lose())
        assert delays == [drawn * most for most in (0.5, 1, 2, 4, 8, 16, 20, 20)]


def test_only_an_ack_proves_a_connection_good() -> None:
    bench = Bench()
    bench.start()
    bench.lose()
    bench.start(resumed=True)
    assert bench.lose() == 1.0
    bench.start(resumed=True)
    bench.ack(-1, 0)
    assert bench.lose() == 0.5


def test_a_drained_connection_comes_back_when_it_was_told_to() -> None:
    bench = Bench()
    bench.start()
    bench.say("drain", reconnect_after_ms=700)
    bench.now += 0.1
    assert bench.lose(CloseCode.DRAINING) == pytest.approx(0.6)


def test_a_drained_connection_that_stays_open_is_left() -> None:
    bench = Bench()
    bench.start()
    bench.say("drain", reconnect_after_ms=700)
    assert bench.core.next_wake(bench.time) == pytest.approx(bench.time + 0.7)
    bench.now += 0.5
    bench.tick()
    assert bench.core.drop is None
    bench.now += 0.2
    bench.tick()
    assert bench.core.drop == "move"
    assert bench.lose(1000) == 0
    bench.start(resumed=True)
    assert bench.lose() == 0.5


def test_silence_means_dead() -> None:
    bench = Bench()
    bench.start(ack_seconds=6)
    bench.run(17, silent=True)
    assert bench.core.drop is None
    bench.run(1, silent=True)
    assert bench.core.drop == "dead"
    assert bench.seconds() == []


def test_any_word_of_the_server_breaks_the_silence() -> None:
    bench = Bench()
    bench.start(ack_seconds=2)
    bench.run(14, silent=True)
    bench.ack(-1, 0)
    bench.run(14, silent=True)
    assert bench.core.drop is None
    bench.run(1, silent=True)
    assert bench.core.drop == "dead"


def test_a_server_that_never_answers_start_is_dead_too() -> None:
    bench = Bench()
    bench.open()
    bench.run(15, silent=True)
    assert bench.core.drop == "dead"


def test_recording_goes_on_while_disconnected() -> None:
    bench = Bench()
    bench.start()
    bench.run(3)
    bench.lose()
    assert bench.run(30) == []
    bench.start(resumed=True)
    assert bench.seconds() == [(0, 32)]


def test_a_token_is_renewed_before_it_expires() -> None:
    bench = Bench(renewable=True)
    bench.open(expiring(60))
    bench.started()
    assert not bench.core.refresh_due(bench.time + 44)
    assert bench.core.refresh_due(bench.time + 45)
    assert not bench.core.refresh_due(bench.time + 46)  # on its way
    assert bench.core.refresh_due(bench.time + 50)  # or failed
    bench.now = 50
    fresh = expiring(50 + 3600)
    bench.core.refresh(fresh, bench.time)
    assert bench.take() == [{"type": "refresh", "token": fresh}]
    assert not bench.core.refresh_due(bench.time + 3500)
    assert bench.core.refresh_due(bench.time + 3540)


@pytest.mark.parametrize("token", ["opaque", "a.b.c", jwt.encode({"sub": "u"}, "s" * 32)])
def test_a_token_that_does_not_say_when_it_expires_is_not_renewed(token: str) -> None:
    bench = Bench(renewable=True)
    bench.open(token)
    bench.started()
    assert not bench.core.refresh_due(bench.time + 10**6)


def test_a_token_is_not_renewed_while_disconnected() -> None:
    bench = Bench(renewable=True)
    bench.open(expiring(60))
    bench.started()
    bench.lose()
    assert not bench.core.refresh_due(bench.time + 59)
    bench.core.refresh("late", bench.time)
    assert bench.take() == []
    assert bench.core.phase is Phase.WAITING


def test_it_tells_the_next_gateway_where_its_session_began() -> None:
    bench = Bench()
    bench.start()
    bench.lose()
    bench.start()
    starts = [frame for frame in bench.sent if frame["type"] == "start"]
    assert ["origin" in frame for frame in starts] == [False, True]
    assert starts[1]["origin"] == ORIGIN
