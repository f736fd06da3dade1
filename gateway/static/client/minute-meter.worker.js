/**
 * Drives a `Session` in a worker: the socket and the timer live here, because browsers slow down
 * the timers of hidden pages (to one a minute), and leave a worker's alone.
 *
 * From the page: `{ call, at, ... }`. To the page: `{ snapshot, events }` and `{ tokenRequest, refresh }`.
 *
 * @module
 */

import { SUBPROTOCOL } from "./codes.js";
import { Session } from "./session.js";

const TICK_SECONDS = 1;

/** The same in page and worker, and never set back. */
const monotonic = () => (performance.timeOrigin + performance.now()) / 1000;
/** The clock of the day. */
const wall = () => Date.now() / 1000;

/** @type {Session} */
let session;
/** @type {string} */
let url;
/** @type {WebSocket | null} */
let socket = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let nextTick = 0;

/** What the page may call; `at` is when it did. @type {Record<string, (at: number, message: any) => import("./types.js").Effect[]>} */
const calls = {
  start(at, message) {
    url = message.url;
    session = new Session(message.options);
    nextTick = at + TICK_SECONDS;
    return session.start(at);
  },
  record: (at) => session.record(at),
  pause: (at) => session.pause(at),
  stop: (at) => session.stop(at),
  leave: (at) => session.leave(at),
  comeBack: (at) => session.comeBack(at, wall()),
  wake: (at, message) => session.wake(at, wall(), message.networkChanged),
  abandon: (_at, message) => session.abandon(message.reason, message.message),
  authorized: (at, message) => session.authorized(message.request, message.token, at),
  unauthorized: (at, message) => session.unauthorized(message.request, at),
};

self.onmessage = ({ data }) => act(calls[data.call](data.at, data));

function tick() {
  const now = monotonic();
  while (nextTick <= now) nextTick += TICK_SECONDS;
  act(session.tick(now, wall()));
}

/** @param {import("./types.js").Effect[]} effects */
function act(effects) {
  const events = [];
  for (const effect of effects) {
    if (effect.do === "send") socket?.send(JSON.stringify(effect.message));
    else if (effect.do === "emit") events.push({ event: effect.event, detail: effect.detail });
    else if (effect.do === "open") open();
    else if (effect.do === "drop") drop();
    else self.postMessage({ tokenRequest: effect.request, refresh: effect.refresh });
  }
  self.postMessage({ snapshot: session.snapshot, events });
  plan();
}

function plan() {
  clearTimeout(timer);
  if (session.snapshot.state === "ended") return;
  const due = Math.min(nextTick, session.due ?? nextTick);
  timer = setTimeout(tick, Math.max(0, due - monotonic()) * 1000);
}

function open() {
  drop();
  const opened = new WebSocket(url, SUBPROTOCOL);
  socket = opened;
  opened.onopen = () => act(session.opened());
  opened.onmessage = ({ data }) => act(session.received(data, monotonic()));
  opened.onclose = ({ code, reason }) => {
    socket = null;
    act(session.closed(code, reason, monotonic()));
  };
}

function drop() {
  if (socket === null) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
  socket = null;
}
