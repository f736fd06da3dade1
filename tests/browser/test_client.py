"""The client in a page: its public face, worker and socket, against a gateway in the test."""

import base64
import json
import time
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.stub import StubGateway, usage, wait_until

pytestmark = pytest.mark.browser

OPEN = """async ([base, options]) => {
  const client = await import(base + "/client/minute-meter.js");
  globalThis.events = [];
  globalThis.meter = new client.Recorder({ token: "a-token", ...options });
  const names = "started state ack usage warning stop refused ended".split(" ");
  for (const name of names) {
    meter.addEventListener(name, ({ detail }) => events.push([name, detail]));
  }
  try {
    const { state } = await meter.start();
    return state;
  } catch (error) {
    return [error.name, error.reason, error.message, error.code];
  }
}"""


def open_meter(page: Page, stub: StubGateway, **options: Any) -> Any:
    """Start a `Recorder` in an empty page: its state, or what it was refused with."""
    page.goto(f"{stub.url}/elsewhere")
    return page.evaluate(OPEN, ["", options])


def stop_meter(page: Page) -> dict[str, Any]:
    ending: dict[str, Any] = page.evaluate("meter.stop()")
    return ending


def now_in(page: Page, script: str = "") -> float:
    """Run something, and say when: seconds of the page's own clock."""
    at: float = page.evaluate(f"() => {{ {script}; return performance.now() / 1000; }}")
    return at


def details(page: Page, event: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        "(name) => events.filter(([event]) => event === name).map(([, detail]) => detail)", event
    )
    return found


def test_counts_pauses_and_stops(page: Page, stub: StubGateway, complaints: list[str]) -> None:
    called_at = time.monotonic()
    assert open_meter(page, stub, kind="interview", metadata={"room": 7}) == "connected"
    opening_seconds = time.monotonic() - called_at
    began = now_in(page)
    page.wait_for_timeout(3000)
    paused = now_in(page, "meter.pause()")
    page.wait_for_timeout(2000)
    resumed = now_in(page, "meter.resume()")
    page.wait_for_timeout(2000)
    stopped = now_in(page, "meter.pause()")
    ending = stop_meter(page)

    start = stub.frames("start")[0]
    assert (start["token"], start["kind"]) == ("a-token", "interview")
    assert start["metadata"] == {"room": 7}
    assert ending["reason"] == "stopped"
    assert ending["sessionSeconds"] == len(stub.counted)
    recorded = paused - began + stopped - resumed
    assert -1.5 < len(stub.counted) - recorded < 1.5 + opening_seconds
    gaps = set(range(min(stub.counted), max(stub.counted))) - stub.counted
    assert abs(len(gaps) - (resumed - paused)) < 1.5
    assert complaints == []


def test_the_worker_does_not_send_before_a_second_is_over(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    connection = stub.connections[0]
    wait_until(lambda: connection.heartbeats >= 3)
    wall = time.time() - time.monotonic()
    times = connection.heartbeat_times[:3]
    for (_, last), at in zip(connection.ranges()[:3], times, strict=True):
        assert stub.origin + last + 1 <= at + wall + 0.05


@pytest.mark.parametrize("code", [4000, 4004, 1011])
def test_reconnects_after(page: Page, stub: StubGateway, code: int) -> None:
    open_meter(page, stub)
    wait_until(lambda: len(stub.counted) >= 2)
    stub.disconnect(code)
    wait_until(lambda: len(stub.frames("start")) == 2)
    before = len(stub.counted)
    wait_until(lambda: len(stub.counted) > before)
    ending = stop_meter(page)
    first, second = stub.frames("start")
    assert first["session_id"] == second["session_id"]
    assert stub.counted == set(range(min(stub.counted), max(stub.counted) + 1))
    assert ending["sessionSeconds"] == page.evaluate("meter.snapshot.recordedSeconds")


def test_after_a_cut_all_that_is_not_durable_is_sent_again(page: Page, stub: StubGateway) -> None:
    stub.durable_through = 1
    open_meter(page, stub)
    wait_until(lambda: max(stub.counted, default=-1) >= 3)
    lost = set(range(2, max(stub.counted) + 1))
    stub.counted -= lost  # as if Redis had lost them
    stub.cut()
    wait_until(lambda: len(stub.connections) == 2)
    wait_until(lambda: lost <= stub.counted)
    first, *_ = stub.connections[1].ranges()
    assert first[0] == 2
    page.wait_for_timeout(500)
    assert page.evaluate("meter.snapshot.heldSeconds") >= len(lost), "acks, and nothing durable"
    stub.durable_through = None
    stop_meter(page)
    assert page.evaluate("meter.snapshot.heldSeconds") == 0


def test_a_drain_is_announced_and_followed(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    began = time.monotonic()
    stub.send({"type": "drain", "reconnect_after_ms": 400})
    stub.disconnect(4000, "draining")
    wait_until(lambda: len(stub.connections) == 2)
    assert time.monotonic() - began > 0.3
    page.wait_for_function("events.filter(([name]) => name === 'state').length >= 4")
    states = [detail["state"] for detail in details(page, "state")]
    assert states[:4] == ["connecting", "connected", "draining", "waiting"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4500, "limit_reached"), (4502, "taken_over"), (4503, "stopped_by_operator")],
)
def test_does_not_reconnect_after(page: Page, stub: StubGateway, code: int, reason: str) -> None:
    open_meter(page, stub)
    stub.disconnect(code)
    ending = page.evaluate("meter.ended")
    assert (ending["reason"], ending["code"]) == (reason, code)
    page.wait_for_timeout(1500)
    assert len(stub.connections) == 1


def test_a_refused_start_throws(page: Page, stub: StubGateway) -> None:
    stub.refuse_start = (4500, "limit_reached")
    name, reason, _, code = open_meter(page, stub)
    assert (name, reason, code) == ("MeterError", "limit_reached", 4500)
    assert len(stub.connections) == 1


def test_a_meter_that_does_not_answer_throws(page: Page, stub: StubGateway) -> None:
    url = "ws://127.0.0.1:9/v1/record"
    name, reason, message, _ = open_meter(page, stub, url=url, startTimeoutSeconds=1)
    assert (name, reason) == ("MeterError", "unreachable")
    assert "1 seconds" in message


def test_tells_of_warnings_stops_and_refusals(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    figures = usage(35_000, 36_000)
    stub.send({"type": "warning", "kind": "percent", "value": 90, "usage": figures})
    stub.send({"type": "error", "code": "second_too_late", "message": "no", "fatal": False})
    stub.send({"type": "stop", "reason": "admin", "last_second": 3, "grace_seconds": 5})
    page.wait_for_function("events.some(([name]) => name === 'stop')")
    assert details(page, "warning") == [{"kind": "percent", "value": 90, "usage": figures}]
    assert details(page, "refused") == [{"code": "second_too_late", "message": "no"}]
    assert details(page, "stop") == [{"reason": "admin", "lastSecond": 3, "graceSeconds": 5}]
    assert page.evaluate("meter.snapshot.recording") is False


def jwt(lifetime_seconds: float) -> str:
    now = time.time()
    claims = json.dumps({"iat": int(now), "exp": now + lifetime_seconds}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.x"


def test_a_token_function_is_asked_again_before_the_token_ends(
    page: Page, stub: StubGateway
) -> None:
    page.goto(f"{stub.url}/elsewhere")
    page.evaluate(
        """async (tokens) => {
          const { Recorder } = await import("/client/minute-meter.js");
          globalThis.meter = new Recorder({ token: async () => tokens.shift() });
          await meter.start();
        }""",
        [jwt(6.5), jwt(3600)],
    )
    wait_until(lambda: stub.frames("refresh") != [])
    assert stub.frames("refresh")[0]["token"] != stub.frames("start")[0]["token"]


def test_follows_a_media_recorder(page: Page, stub: StubGateway) -> None:
    page.goto(f"{stub.url}/recorder")
    page.evaluate(
        """async () => {
          const { Recorder } = await import("/client/minute-meter.js");
          const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
          globalThis.media = new MediaRecorder(stream);
          globalThis.meter = new Recorder({ token: "t" });
          meter.attach(media);
          globalThis.at = {};
          for (const name of ["start", "stop"]) {
            media.addEventListener(name, () => (at[name] = performance.now() / 1000));
          }
          await meter.start();
        }"""
    )
    page.wait_for_timeout(1500)
    assert stub.counted == set()
    page.evaluate("media.start()")
    wait_until(lambda: len(stub.counted) >= 2)
    page.evaluate("media.stop()")
    assert page.evaluate("meter.ended")["reason"] == "stopped"
    assert abs(len(stub.counted) - page.evaluate("at.stop - at.start")) < 1.2


def test_an_application_of_another_origin_can_use_it(
    page: Page, stub: StubGateway, complaints: list[str]
) -> None:
    page.goto(f"http://localhost:{stub.port}/elsewhere")
    assert page.evaluate(OPEN, [stub.url, {}]) == "connected"
    wait_until(lambda: stub.counted != set())
    assert stop_meter(page)["reason"] == "stopped"
    assert complaints == []


def test_leaves_when_the_page_does(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    wait_until(lambda: stub.counted != set())
    page.goto("about:blank")
    wait_until(lambda: stub.connections[0].closed is not None)
    assert stub.frames("stop") == []


def test_the_network_coming_back_ends_the_wait(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    stub.send({"type": "drain", "reconnect_after_ms": 600_000})
    stub.disconnect(4000, "draining")
    page.wait_for_function("meter.snapshot.state === 'waiting'")
    page.context.set_offline(True)
    page.context.set_offline(False)
    page.wait_for_function("meter.snapshot.state === 'connected'")
    assert len(stub.connections) == 2
    states = [detail["state"] for detail in details(page, "state")]
    assert states[-3:] == ["waiting", "connecting", "connected"]


def test_a_connection_of_the_network_before_is_not_trusted(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    page.context.set_offline(True)
    page.context.set_offline(False)
    wait_until(lambda: len(stub.connections) == 2)
    wait_until(lambda: stub.connections[0].closed is not None)
    assert len({frame["session_id"] for frame in stub.frames("start")}) == 1


def test_starts_once(page: Page, stub: StubGateway) -> None:
    open_meter(page, stub)
    assert page.evaluate("meter.start().catch((error) => error.name)") == "InvalidStateError"
    stop_meter(page)
    assert page.evaluate("meter.start().catch((error) => error.name)") == "InvalidStateError"
