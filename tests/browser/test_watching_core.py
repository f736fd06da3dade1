"""The pure parts of the watchers' client and pages, in the engine that they run on."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.stub import StubGateway, usage

pytestmark = pytest.mark.browser

Run = Callable[..., Any]

# A subscription with helpers: `w` is connected at 1000, and heard `usage` then.
PRELUDE = """
const { Watching } = await import("/client/watching.js");
const { Pace } = await import("/pages/pace.js");
const { daysOf } = await import("/pages/month.js");
const { History } = await import("/pages/trend.js");
const words = await import("/pages/words.js");
const watchWords = await import("/pages/watch-words.js");
const WALL = 1_700_000_000;
const state = JSON.stringify({ type: "usage", usage: {} });
let latest = 0;
const note = (effects) => {
  for (const effect of effects) if (effect.do === "token") latest = effect.request;
  return effects;
};
const sent = (effects) => effects.filter((e) => e.do === "send").map((e) => e.message);
const events = (effects) => effects.filter((e) => e.do === "emit").map((e) => e.event);
const connect = (w, now, token = "t") => [
  ...w.authorized(latest, token, now, WALL), ...w.opened(now, WALL), ...w.received(state, now)];
const connected = (fields, random = () => 0.5) => {
  const w = new Watching(fields, random);
  note(w.start(1000));
  connect(w, 1000);
  return w;
};
const error = (code, fatal = true) =>
  JSON.stringify({ type: "error", code, message: code, fatal });
const jwt = (claims) => `h.${btoa(JSON.stringify(claims))}.s`;
"""


@pytest.fixture(scope="module")
def run(browser: Browser) -> Iterator[Run]:
    """Run a piece of JavaScript after the prelude, and give what it returns."""
    stub = StubGateway()
    page = browser.new_page()
    # Not a page that uses the modules: they look for nothing in it while they are only imported.
    page.goto(f"{stub.url}/elsewhere")
    yield lambda script, value=None: page.evaluate(
        f"async (value) => {{ {PRELUDE}\n{script} }}", value
    )
    page.close()
    stub.close()


def test_the_first_frame_subscribes_and_the_first_answer_connects(run: Run) -> None:
    script = """const w = new Watching({ limit: 50 });
    const asked = note(w.start(1000)).map((e) => e.do);
    const opens = w.authorized(latest, "t", 1000, WALL).map((e) => e.do);
    const subscribe = sent(w.opened(1000, WALL));
    const before = w.state;
    const answered = events(w.received(state, 1001));
    return [asked, opens, subscribe, before, w.state, answered]"""
    assert run(script) == [
        ["emit", "token"],
        ["open"],
        [{"type": "subscribe", "token": "t", "limit": 50}],
        "subscribed",
        "connected",
        ["state", "usage"],
    ]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1012, 4000, 4001, 4003, 4004, 4499])
def test_it_comes_back_after_a_pause_with_jitter(run: Run, code: int) -> None:
    script = """const waits = [0, 0.5, 1].map((random) => {
      const w = connected({}, () => random); w.closed(value, "", 1005); return w.retryAt - 1005; });
    const w = connected(); w.closed(value, "", 1005);
    const early = note(w.tick(1005.2)).length;
    const later = note(w.tick(1006)).map((e) => e.do);
    return [waits, early, later]"""
    waits, early, later = run(script, code)
    assert waits == pytest.approx([0.5, 0.75, 1.0])
    assert early == 0
    assert later == ["drop", "emit", "token"]


def test_pauses_grow_until_there_is_an_answer(run: Run) -> None:
    script = """const w = connected({}, () => 1); const waits = []; let now = 1001;
    for (let n = 0; n < 8; n += 1) {
      w.closed(1006, "", now); waits.push(w.retryAt - now); now = w.retryAt; note(w.tick(now));
      w.authorized(latest, "t", now, WALL); w.opened(now, WALL); }
    w.received(state, now); w.closed(1006, "", now);
    return [waits, w.retryAt - now]"""
    waits, after = run(script)
    assert waits == pytest.approx([1, 1.5, 2.5, 4.5, 8.5, 16.5, 20, 20], abs=0.01)
    assert after == pytest.approx(1)


@pytest.mark.parametrize(
    ("code", "name"), [(4504, "bad_message"), (4505, "token_refused"), (4506, "not_allowed")]
)
def test_it_does_not_come_back_when_it_is_told_not_to(run: Run, code: int, name: str) -> None:
    script = """const w = connected(); w.received(error(value[1]), 1001);
    const effects = w.closed(value[0], "", 1001);
    return [effects.at(-1), w.state, w.tick(2000).length, w.wake(2000, true).length]"""
    detail = {"reason": name, "code": code, "message": name}
    assert run(script, [code, name]) == [
        {"do": "emit", "event": "ended", "detail": detail},
        "ended",
        0,
        0,
    ]


def test_a_drain_says_when_to_come_back(run: Run) -> None:
    script = """const w = connected();
    w.received(JSON.stringify({ type: "drain", reconnect_after_ms: 1500 }), 1001);
    const draining = [w.state, w.retryAt];
    w.closed(4000, "", 1001.1);
    const waiting = [w.state, w.retryAt];
    return [draining, waiting, note(w.tick(1002.6)).map((e) => e.do)]"""
    assert run(script) == [
        ["draining", 1002.5],
        ["waiting", 1002.5],
        ["drop", "emit", "token"],
    ]


def test_a_token_that_has_expired_is_not_sent_twice_and_a_fresh_one_is(run: Run) -> None:
    script = """const again = (token) => { const w = connected();
      w.received(error("token_expired"), 1500); w.closed(4001, "", 1500);
      note(w.tick(1600)); w.authorized(latest, token, 1600, WALL); return w.state; };
    return [again("t"), again("fresh")]"""
    assert run(script) == ["ended", "connecting"]


def test_a_token_is_renewed_before_it_expires(run: Run) -> None:
    script = """const w = new Watching(); note(w.start(1000));
    const old = jwt({ iat: WALL, exp: WALL + 100 });
    connect(w, 1000, old);
    const early = note(w.tick(1070)).length;
    const asks = note(w.tick(1076)).map((e) => [e.do, e.refresh]);
    const fresh = jwt({ iat: WALL + 76, exp: WALL + 176 });
    return [early, asks, sent(w.authorized(latest, fresh, 1076, WALL + 76)), fresh]"""
    early, asks, refresh, fresh = run(script)
    assert early == 0
    assert asks == [["token", True]]
    assert refresh == [{"type": "refresh", "token": fresh}]


def test_a_connection_that_has_fallen_silent_is_renewed(run: Run) -> None:
    script = """const idle = connected(); const quiet = idle.tick(1200).length;
    const renewed = note(idle.tick(1301)).map((e) => e.do);
    const brisk = connected(); brisk.received(state, 1001);
    const still = brisk.tick(1015).length;
    return [quiet, renewed, still, note(brisk.tick(1017)).map((e) => e.do)]"""
    assert run(script) == [0, ["drop", "emit", "token"], 0, ["drop", "emit", "token"]]


def test_a_network_that_is_back_ends_the_wait(run: Run) -> None:
    script = """const w = connected(); w.closed(1006, "", 1001);
    const woken = note(w.wake(1001.1, true)).map((e) => e.do);
    const front = connected(); return [woken, front.wake(1002, false).length]"""
    assert run(script) == [["emit", "token"], 0]


def test_another_page_is_chosen_now_and_after_a_reconnect(run: Run) -> None:
    script = """const w = connected({ limit: 50 });
    const now = sent(w.choose({ limit: 50, organization_id: "acme" }));
    w.closed(1006, "", 1001); note(w.tick(1003));
    const unsaid = w.say({ type: "stop", session_id: "s" });
    return [now, unsaid, sent(connect(w, 1003))]"""
    chosen = {"type": "subscribe", "limit": 50, "organization_id": "acme"}
    assert run(script) == [[chosen], [], [{**chosen, "token": "t"}]]


def test_a_page_that_is_left_keeps_no_connection_and_has_one_when_it_is_back(run: Run) -> None:
    script = """const w = connected(); const left = w.leave().map((e) => e.do);
    const away = [w.state, w.tick(9000).length];
    return [left, away, note(w.comeBack(9001)).map((e) => e.do)]"""
    assert run(script) == [["drop", "emit"], ["away", 0], ["emit", "token"]]


def test_a_pace_is_of_the_last_minute_and_of_one_account_only(run: Run) -> None:
    script = """const pace = new Pace(); const [first, other] = value;
    const told = (at, used) => pace.add(at, { ...first, used_seconds: used });
    const alone = (told(0, 100), pace.recent(0.5));
    for (let at = 1; at <= 90; at += 1) told(at, 100 + 2 * at);
    const recent = pace.recent(90);
    const until = pace.until(90, 240);
    const quiet = pace.recent(120);
    pace.add(121, other);
    return [alone, recent, until, quiet, pace.recent(121.5)]"""
    alone, recent, until, quiet, other = run(
        script, [usage(100, 1000), usage(50, 80, scope="member")]
    )
    assert alone is None
    assert recent == {"counted": 120, "seconds": 60}
    assert until == 120
    assert quiet == {"counted": 60, "seconds": 60}
    assert other is None


def test_a_pace_counts_overage_too(run: Run) -> None:
    script = """const pace = new Pace();
    const grew = [pace.add(0, value[0]), pace.add(20, value[1])];
    return [grew, pace.recent(20), pace.until(20, 0)]"""
    steps = [usage(595, 600), usage(600, 600, overage=15)]
    assert run(script, steps) == [[False, True], {"counted": 20, "seconds": 20}, None]


def test_a_trend_has_steps_and_gaps(run: Run) -> None:
    script = """const history = new History();
    history.add(0, 2); history.add(10, 2); history.add(20, 3); history.add(30, null);
    history.add(50, 1);
    const now = history.steps(60);
    history.add(1000, 4);
    return [now, history.steps(1010)]"""
    assert run(script) == [
        [
            {"from": 60, "to": 40, "value": 2},
            {"from": 40, "to": 30, "value": 3},
            {"from": 10, "to": 0, "value": 1},
        ],
        [{"from": 600, "to": 10, "value": 1}, {"from": 10, "to": 0, "value": 4}],
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (1793491200, 1796083200),  # UTC
        (1793444400, 1796036400),  # Auckland, at UTC+13
        (1793505600, 1796101200),  # New York: daylight saving ends in it
        (1793471400, 1796063400),  # Kolkata
        (1793527200, 1796119200),  # Honolulu
    ],
)
def test_a_period_has_the_days_of_its_own_calendar(run: Run, start: int, end: int) -> None:
    said = run("return words.periodText(...value)", [start, end])
    assert re.findall(r"\w+", said) == ["November", "1", "30"]


def test_every_day_of_a_period_is_there_by_the_accounts_time_zone(run: Run) -> None:
    used = [{"day": "2026-11-02", "seconds": 90}]
    days = run("return daysOf(...value)", [1793444400, 1796036400, "Pacific/Auckland", used])
    assert (len(days), days[0]["day"], days[-1]["day"]) == (30, "2026-11-01", "2026-11-30")
    assert [each["seconds"] for each in days[:3]] == [0, 90, 0]


@pytest.mark.parametrize(
    ("kind", "value", "used", "limit", "holds"),
    [
        ("percent", 90, 54, 60, True),
        ("percent", 90, 54, 600, False),
        ("remaining_minutes", 10, 3000, 3600, True),
        ("remaining_minutes", 10, 2999, 3600, False),
        ("percent", 90, 54, None, False),
    ],
)
def test_a_warning_holds_as_long_as_it_is_so(
    run: Run, kind: str, value: int, used: int, limit: int | None, holds: bool
) -> None:
    script = "return words.stillHolds(...value)"
    assert run(script, [{"kind": kind, "value": value}, usage(used, limit)]) is holds
