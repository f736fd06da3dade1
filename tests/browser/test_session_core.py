"""The client's pure core, in the engine that it runs on: no socket, no timer, a clock by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from meter.codes import SUBPROTOCOL, CloseCode
from meter.messages import MAX_FRAME_BYTES
from tests.browser.stub import StubGateway, usage

pytestmark = pytest.mark.browser

Run = Callable[..., Any]

# A session with helpers: `s` started at 1000.0 of the local clock, 0.25 into second 0.
PRELUDE = """
const { Session } = await import("/client/session.js");
const seconds = await import("/client/seconds.js");
const timing = await import("/client/timing.js");
const codes = await import("/client/codes.js");
const WALL = 1_700_000_000;
const started = (now, more = {}) => JSON.stringify({
  type: "started", session_id: "s", origin: 5000, server_time: now + 4000.25, resumed: false,
  counted_through: -1, durable_through: -1, ack_seconds: 5, usage: null, ...more });
const ack = (durable, heartbeats) => JSON.stringify({
  type: "ack", counted_through: 99, durable_through: durable, session_seconds: 9, heartbeats,
  usage: null });
const tick = (s, now, wall = now + WALL) => s.tick(now, wall);
const connect = (s, now, more) => [
  ...s.authorized(request(s), "t", now), ...s.opened(), ...s.received(started(now, more), now)];
let latest = 0;
const request = () => latest;
const note = (effects) => {
  for (const effect of effects) if (effect.do === "token") latest = effect.request;
  return effects;
};
const beats = (effects) => effects
  .filter((effect) => effect.do === "send" && effect.message.type === "heartbeat")
  .map(({ message: m }) => [m.from ?? m.second, m.to ?? m.second]);
const sent = (effects) => effects.filter((e) => e.do === "send").map((e) => e.message.type);
const events = (effects) => effects.filter((e) => e.do === "emit").map((e) => e.event);
const opened = (options = {}) => {
  const s = new Session({ sessionId: "s", ...options }, () => 0.5);
  note(s.start(1000));
  connect(s, 1000);
  return s;
};
const run = (s, from, to) => {
  const all = [];
  for (let now = from; now <= to; now += 1) all.push(...note(tick(s, now)));
  return all;
};
"""


@pytest.fixture(scope="module")
def run(browser: Browser) -> Iterator[Run]:
    """Run a piece of JavaScript after the prelude, and give what it returns."""
    stub = StubGateway()
    page = browser.new_page()
    page.goto(f"{stub.url}/elsewhere")
    yield lambda script, value=None: page.evaluate(
        f"async (value) => {{ {PRELUDE}\n{script} }}", value
    )
    page.close()
    stub.close()


def test_its_codes_are_those_of_the_server(run: Run) -> None:
    names = {str(int(code)): code.name.lower() for code in CloseCode}
    assert run("return codes.CLOSE_NAMES") == names
    assert run("return [codes.SUBPROTOCOL, codes.MAX_FRAME_BYTES]") == [
        SUBPROTOCOL,
        MAX_FRAME_BYTES,
    ]
    final = [code for code in CloseCode if run("return codes.isFinal(value)", int(code))]
    assert final == [code for code in CloseCode if not code.reconnect]


def test_it_tells_the_next_gateway_where_its_session_began(run: Run) -> None:
    script = """const s = opened(); note(s.closed(1006, "", 1005)); note(tick(s, 1010));
    return s.authorized(request(s), "t", 1010).concat(s.opened())
      .filter((e) => e.do === "send").map((e) => e.message.origin)"""
    assert run(script) == [5000]


def test_sends_each_second_once_it_is_over(run: Run) -> None:
    script = """const s = opened(); s.record(1000);
    return [1001, 1002, 1003].map((t) => beats(tick(s, t)))"""
    assert run(script) == [[[0, 0]], [[1, 1]], [[2, 2]]]


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.3, 0.5, 0.77])
def test_a_recording_of_ten_seconds_counts_ten_wherever_it_begins(run: Run, phase: float) -> None:
    script = """const s = opened(); const begin = 1001 + value;
    run(s, 1000.9, 1000.9);
    s.record(begin);
    run(s, 1001.95, 1010.95);
    s.stop(begin + 10);
    return s.snapshot.recordedSeconds"""
    assert run(script, phase) == 10


def test_pauses_are_not_sent_and_parts_of_one_second_add_up(run: Run) -> None:
    script = """const s = opened(); s.record(1000.75);          // second 1 begins
    tick(s, 1001.5); s.pause(1002.05);                         // 0.3 of second 2
    tick(s, 1002.1); s.record(1002.2); s.pause(1002.5);        // and 0.3 more
    const all = run(s, 1003, 1008); s.record(1008.75);
    return [...beats(all), ...beats(run(s, 1009, 1011))]"""
    assert run(script) == [[2, 2], [9, 9], [10, 10]]


def test_a_late_timer_is_made_up_for_with_a_range(run: Run) -> None:
    script = "const s = opened(); s.record(1000); tick(s, 1001); return beats(tick(s, 1004.8))"
    assert run(script) == [[1, 4]]


def test_nothing_is_claimed_for_a_frozen_page_and_it_reconnects(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    const woken = note(tick(s, 1100));
    connect(s, 1100.1);
    const after = beats(run(s, 1101, 1103));
    return [beats(woken), woken.map((e) => e.do), after, s.snapshot.recordedSeconds]"""
    claimed, effects, after, recorded = run(script)
    assert claimed == []
    assert effects[:2] == ["drop", "emit"]
    assert "token" in effects
    assert after[0][0] >= 100
    assert recorded == 10 + 3


def test_a_monotonic_clock_that_stood_still_goes_on_at_the_servers_time(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    const woken = note(tick(s, 1011, 1011 + WALL + 3600));
    const before = s.snapshot.recordedSeconds;
    const waiting = tick(s, 1012, 1012 + WALL + 3600);
    const all = connect(s, 1012.5, { server_time: 1012.5 + 4000.25 + 3600 });
    const later = [1013, 1014].flatMap((t) => tick(s, t, t + WALL + 3600));
    return [before, beats(waiting), beats(all)[0], beats(later).at(-1)]"""
    before, waiting, resent, last = run(script)
    assert before == 11
    assert waiting == []
    assert resent == [0, 10]
    assert last[1] > 3600


def test_a_page_that_is_left_claims_nothing_until_it_is_back(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1005);
    const left = s.leave(1005.75);
    const away = [s.snapshot.state, ...beats(run(s, 1006, 1009))];
    note(s.comeBack(1010.75, 1010.75 + WALL)); const back = connect(s, 1010.8);
    return [left.map((e) => e.do), away, beats(back), beats(run(s, 1011, 1012))]"""
    left, away, back, after = run(script)
    assert left == ["send", "drop", "emit"]
    assert away == ["away"]
    assert back == [[0, 5]]
    assert after == [[11, 11]]


@pytest.mark.parametrize(
    "back",
    [
        "s.leave(1010.75); note(s.comeBack(1100, 1100 + WALL))",
        "note(s.comeBack(1100, 1100 + WALL))",
        "note(s.wake(1100, 1100 + WALL, true))",
    ],
    ids=["left", "not told", "network"],
)
def test_a_tick_that_comes_late_after_a_sleep_keeps_the_connection_made_since(
    run: Run, back: str
) -> None:
    script = f"""const s = opened(); s.record(1000); run(s, 1001, 1010); {back};
    const asked = s.snapshot.state; s.authorized(latest, "t", 1100.01);
    const late = note(tick(s, 1100.02)).map((e) => e.do);
    s.opened(); s.received(started(1100.1), 1100.1);
    return [asked, late, beats(run(s, 1101, 1102)), s.snapshot.state]"""
    asked, late, after, state = run(script)
    assert (asked, late, state) == ("connecting", [], "connected")
    assert after == [[100, 100], [101, 101]]


def test_a_machine_that_slept_is_noticed_by_whom_it_wakes_first(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    const woken = note(s.wake(1011, 1011 + WALL + 3600, false)).map((e) => e.do);
    return [woken, note(tick(s, 1011.1, 1011.1 + WALL + 3600)).map((e) => e.do)]"""
    assert run(script) == [["drop", "emit", "token"], []]


def test_a_second_is_held_until_an_ack_covers_its_last_sending(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1006);   // frames 1 to 6
    const held = () => s.snapshot.heldSeconds;
    s.received(ack(3, 2), 1006); const first = held();
    s.received(ack(3, 6), 1006); const second = held();
    note(s.closed(1006, "", 1006.5)); note(tick(s, 1008));
    const all = connect(s, 1008); s.received(ack(7, 0), 1008); const third = held();
    s.received(ack(7, 1), 1008);
    return [first, second, beats(all), third, held()]"""
    first, second, resent, third, last = run(script)
    assert (first, second) == (4, 2)
    assert resent == [[4, 7]]
    assert (third, last) == (4, 0)


def test_holes_are_resent_as_ascending_ranges(run: Run) -> None:
    script = """const held = new seconds.HeldSeconds();
    held.add([7, 9]); held.add([1, 2]); held.add([4, 4]); held.take(99); held.restart();
    held.add([5, 5]);
    return held.take(8)"""
    assert run(script) == [[1, 2], [4, 5], [7, 8]]


def test_nothing_is_sent_more_than_a_second_ahead_of_the_server(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    note(s.closed(1006, "", 1010.5)); note(tick(s, 1012));
    const all = connect(s, 1012, { server_time: 5006.5 });
    return [beats(all), beats(run(s, 1013, 1016))]"""
    at_once, later = run(script)
    assert at_once == [[0, 7]]
    assert later[0][0] == 8


def test_a_session_that_both_stores_forgot_is_numbered_anew(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    note(s.closed(1006, "", 1010.5)); note(tick(s, 1012));
    const all = connect(s, 1012.5, { origin: 5008 });
    return [beats(all), beats(run(s, 1013, 1014))]"""
    resent, later = run(script)
    assert resent == [[0, 3]]
    assert later == [[4, 4], [5, 5]]


def test_stop_comes_after_all_that_was_recorded_over_a_new_connection_if_need_be(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1003);
    note(s.closed(4004, "", 1003.5)); const offline = sent(s.stop(1004.3)); note(tick(s, 1006));
    const all = connect(s, 1006);
    return [offline, sent(all), beats(all), events(s.closed(4501, "", 1007)), s.snapshot.state]"""
    offline, kinds, resent, ending, state = run(script)
    assert offline == []
    assert kinds == ["start", "heartbeat", "stop"]
    assert resent == [[0, 4]]
    assert ending == ["state", "ended"]
    assert state == "ended"


# Connected for 3 seconds to a server whose clock is an hour ahead, and again once it was set back.
SET_BACK = """
const s = new Session({ sessionId: "s" }, () => 0.5); note(s.start(1000));
connect(s, 1000, { server_time: 5000.25 + 3600, ...value });
s.record(1000); const early = run(s, 1001, 1003);
note(s.closed(1006, "", 1003.5)); note(tick(s, 1006));
connect(s, 1006, { ...value, server_time: 5006.25 });
"""


# Before seconds are given up, the server is asked for the time once more.
ASKED_AGAIN = """
const held = s.snapshot.heldSeconds, asked = note(s.stop(1006.1));
const all = connect(s, 1006.2, { ...value, server_time: 5006.45 });
return [held, sent(asked), asked.map((e) => e.do), sent(all)]
"""


def test_stop_does_not_wait_for_seconds_of_a_clock_that_was_set_back_by_an_hour(run: Run) -> None:
    held, before, effects, after = run(SET_BACK + ASKED_AGAIN, {})
    assert held > 3
    assert before == []
    assert effects[0] == "drop"
    assert after[-1] == "stop"


def test_nor_for_those_of_a_session_that_began_by_such_a_clock(run: Run) -> None:
    assert run(SET_BACK + ASKED_AGAIN, {"origin": 8600})[3][-1] == "stop"


def test_a_clock_that_was_put_right_is_asked_for_before_seconds_are_given_up(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1003);
    note(s.closed(1006, "", 1003.5)); note(tick(s, 1006));
    connect(s, 1006, { server_time: 5006.25 - 3600 });
    const before = sent(note(s.stop(1006.1)));
    return [before, sent(connect(s, 1006.2, { server_time: 5006.45 }))]"""
    before, after = run(script)
    assert before == []
    assert after[-1] == "stop"
    assert "heartbeat" in after


def test_stop_waits_for_a_second_that_is_due_soon(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010);
    note(s.closed(1006, "", 1010.5)); note(tick(s, 1012));
    connect(s, 1012, { server_time: 5000.25 });
    return [sent(s.stop(1012.1)), run(s, 1013, 1030).flatMap((e) => sent([e]))]"""
    at_once, later = run(script)
    assert at_once == []
    assert later[-1] == "stop"
    assert "heartbeat" in later


def test_stopped_says_what_is_durable_by_then(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1010); s.stop(1010.1);
    s.received(JSON.stringify({ type: "stopped", reason: "stopped", session_seconds: 10,
      durable_through: value }), 1010.5);
    const { durableSeconds, durableThrough, heldSeconds } = s.snapshot;
    return [durableSeconds, durableThrough, heldSeconds]"""
    assert run(script, 9) == [10, 9, 0]
    assert run(script, 3)[1] == 3


def test_what_is_refused_as_early_is_kept_quiet_about_and_sent_after_the_time_was_told_anew(
    run: Run,
) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1003);
    const refuse = (now) => note(s.received(JSON.stringify(
      { type: "error", code: "second_in_future", message: "", fatal: false }), now));
    refuse(1003.1); const anew = connect(s, 1003.5);
    refuse(1004); const quiet = run(s, 1005, 1014); s.received(ack(9, 9), 1014.5);
    const held = s.snapshot.heldSeconds; const later = run(s, 1015, 1024);
    return [beats(anew), beats([...quiet, ...later]), held, beats(connect(s, 1025))]"""
    anew, quiet, held, sent = run(script)
    assert anew == [[0, 2]]
    assert quiet == []
    assert held >= 10
    assert sent == [[0, 24]]


def test_what_is_recorded_after_a_clock_was_set_back_has_its_numbers(run: Run) -> None:
    script = f"""{SET_BACK} const before = s.snapshot.recordedSeconds;
    return [beats(early), beats(run(s, 1007, 1010)), s.snapshot.recordedSeconds - before]"""
    early, later, recorded = run(script, {})
    assert recorded == 4
    assert early == [[3600, 3600], [3601, 3601], [3602, 3602]]
    assert later == [[6, 6], [7, 7], [8, 8], [9, 9]]


def test_after_the_servers_stop_only_what_counts_is_sent(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1003);
    const told = s.received(JSON.stringify({ type: "stop", reason: "limit_reached",
      last_second: 1, grace_seconds: 10 }), 1003.5);
    s.record(1004);
    const after = run(s, 1004, 1008);
    return [events(told), beats(after), sent(s.stop(1009)), s.snapshot.recording]"""
    assert run(script) == [["stop"], [], ["stop"], False]


def test_silence_is_a_dead_connection(run: Run) -> None:
    script = """const s = opened(); const quiet = run(s, 1001, 1015).map((e) => e.do);
    return [quiet, tick(s, 1016).map((e) => e.do)]"""
    quiet, dead = run(script)
    assert quiet == []
    assert dead == ["drop", "emit", "token"]


def test_a_drain_is_followed_when_it_says(run: Run) -> None:
    script = """const s = opened(); s.record(1000);
    s.received(JSON.stringify({ type: "drain", reconnect_after_ms: 1500 }), 1001);
    const draining = [s.snapshot.state, s.due, ...beats(tick(s, 1001.9))];
    s.closed(4000, "draining", 1002);
    return [draining, s.snapshot.state, s.due, note(tick(s, 1002.5)).map((e) => e.do)]"""
    draining, state, due, effects = run(script)
    assert draining == ["draining", 1002.5, [0, 1]]
    assert (state, due) == ("waiting", 1002.5)
    assert effects == ["drop", "emit", "token"]


def test_seconds_refused_as_future_are_sent_again_by_a_new_clock_once(run: Run) -> None:
    script = """const s = opened(); s.record(1000); run(s, 1001, 1003);
    const refusal = JSON.stringify({
      type: "error", code: "second_in_future", message: "", fatal: false });
    const first = note(s.received(refusal, 1003)).map((e) => e.do);
    connect(s, 1003.2);
    return [first, s.received(refusal, 1003.5).map((e) => e.do)]"""
    assert run(script) == [["emit", "drop", "emit", "token"], ["emit"]]


def test_waits_between_half_a_second_and_twenty_with_full_jitter(run: Run) -> None:
    script = """return [...Array(12).keys()].map((n) =>
      [timing.retryDelay(n, 0), timing.retryDelay(n, 1)])"""
    delays = run(script)
    assert all(low == 0.5 for low, _ in delays)
    assert [high for _, high in delays][:4] == [1.0, 1.5, 2.5, 4.5]
    assert delays[-1][1] == 20


def test_a_token_is_refreshed_before_it_ends(run: Run) -> None:
    script = """const token = (exp, iat) => `x.${btoa(JSON.stringify({ exp, iat }))}.x`;
    return [
      timing.refreshDelay(token(1060, 1000), 1000, true),
      timing.refreshDelay(token(4600, 1000), 1000, true),
      timing.refreshDelay(token(1060, 1000), 1050, false),
      timing.refreshDelay(token(1060, 1000), 1061, false),
      timing.refreshDelay("no jwt", 1000, true)]"""
    assert run(script) == [45, 3540, 5, None, None]


def test_a_refresh_goes_over_the_open_connection(run: Run) -> None:
    script = """const token = (exp, iat) => `x.${btoa(JSON.stringify({ exp, iat }))}.x`;
    const s = new Session({ sessionId: "s" }); note(s.start(1000));
    s.authorized(latest, token(5060, 5000), 1000); s.opened(); s.received(started(1000), 1000);
    const asked = [];
    for (let now = 1001; now <= 1046; now += 1) {
      s.received(ack(-1, 0), now);
      asked.push(...note(tick(s, now)).filter((e) => e.do === "token").map((e) => e.refresh));
    }
    return [asked, sent(s.authorized(latest, token(5120, 5060), 1046))]"""
    assert run(script) == [[True], ["refresh"]]


def test_a_first_message_that_is_too_long_ends_it_with_a_reason(run: Run) -> None:
    script = """const s = new Session({ sessionId: "s", metadata: { note: "x".repeat(5000) } });
    note(s.start(1000)); s.authorized(latest, "t", 1000);
    return s.opened().filter((e) => e.do === "emit").map((e) => e.detail.message ?? "").join("")"""
    assert "4096 are allowed" in run(script)


def test_frames_that_mean_nothing_to_it_are_ignored(run: Run) -> None:
    script = """const s = opened();
    return ["", "no json", "null", "[]", '{"type":"new"}'].flatMap((f) => s.received(f, 1001))"""
    assert run(script) == []


def test_words(run: Run) -> None:
    script = """const words = await import("/pages/words.js");
    return [words.clockText(65), words.clockText(3725), words.amountText(59),
      words.amountText(3600), words.amountText(11_520),
      words.periodText(value.period_start, value.period_end),
      words.warningText("remaining_minutes", 1)]"""
    assert run(script, usage(0, None)) == [
        "01:05",
        "1:02:05",
        "59 s",
        "1 h",
        "3 h 12 min",
        "November 1 \N{EN DASH} 30",
        "1 minute of recording left this month.",
    ]
