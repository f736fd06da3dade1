/**
 * The page `/usage`: how an account stands, live.
 *
 * @module
 */

import { monotonicSeconds } from "/client/socket.js";
import { Month } from "./month.js";
import { Pace } from "./pace.js";
import { element, setText } from "./page.js";
import { SessionTable, nameColumn } from "./sessions.js";
import { clearUsage, levelOf, showUsage } from "./usage-card.js";
import { WarningBanner } from "./warning-banner.js";
import { WatchingPage } from "./watching-page.js";
import { listText, paceText, rateSpanText, statusText, timeText, upgradeText } from "./watch-words.js";
import { amountText, clockText, stopTitle } from "./words.js";

/** @typedef {import("/client/types.js").Usage} Usage */

const table = new SessionTable([
  nameColumn("User", ({ user_id }) => user_id, "id"),
  nameColumn("Kind", ({ kind }) => kind),
  { label: "Began", show: ({ started_at }) => timeText(started_at), style: "number" },
  { label: "Counted", show: ({ session_seconds }) => clockText(session_seconds), style: "number" },
]);

const pace = new Pace();
/** @type {Usage | null} */
let usage = null;
const warnings = new WarningBanner();
/** Nothing is left; the grace of those who are being stopped ends then. @type {{ graceEnds: number } | null} */
let stopped = null;

const page = new WatchingPage({
  path: "/v1/usage",
  scope: "usage",
  changed: forget,
  connected: () => void month.ask(),
  hear: {
    usage(message) {
      showAccount(message.usage);
      page.showLive(message.active_session_count);
      table.show(message.active_sessions);
      setText("sessions-text", listText(message.active_sessions.length, message.active_session_count));
    },
    warning(message) {
      warnings.warn(message);
      showAccount(message.usage);
    },
    stop({ grace_seconds: grace }) {
      stopped = { graceEnds: monotonicSeconds() + grace };
      refresh();
    },
  },
});

const month = new Month(() => page.token);

/** What was shown is of another account. */
function forget() {
  month.forget();
  pace.forget();
  warnings.forget();
  usage = stopped = null;
  clearUsage();
  table.show([]);
  setText("sessions-text", "");
  for (const id of ["status", "rate"]) setText(id, "–");
  for (const id of ["pace", "upgrade"]) element(id).hidden = true;
  refresh();
}

/** @param {Usage} now */
function showAccount(now) {
  usage = now;
  const at = monotonicSeconds();
  const grew = pace.add(at, now);
  // More room; or, past a limit, seconds that are not of the grace.
  if (stopped !== null && (now.remaining_seconds !== 0 || (grew && at > stopped.graceEnds + 2))) stopped = null;
  showUsage(now);
  refresh();
}

/** Several times a second: what follows from the time. */
function refresh() {
  if (stopped === null) warnings.refresh(usage);
  else warnings.hide();
  showStop();
  if (usage !== null) showStanding(usage);
}

function showStop() {
  element("stop-banner").hidden = stopped === null;
  if (stopped === null) return;
  const left = Math.max(0, Math.ceil(stopped.graceEnds - monotonicSeconds()));
  setText("stop-title", stopTitle("limit_reached"));
  setText("stop-text", left > 0 ? "Live sessions are being stopped." : "No recording can begin.");
  setText("stop-countdown", left);
  element("stop-countdown").hidden = left === 0;
}

/** @param {Usage} now */
function showStanding(now) {
  const level = levelOf(now);
  setText("status", statusText(level, stopped !== null, now.overage_seconds ?? 0));
  const upgrade = level === "near" || level === "over";
  element("upgrade").hidden = !upgrade;
  if (upgrade) setText("upgrade-text", upgradeText(now.scope, level === "over"));
  showPace(now);
}

/** @param {Usage} now */
function showPace(now) {
  const at = monotonicSeconds();
  const recent = pace.recent(at);
  if (recent !== null) {
    setText("rate-span", rateSpanText(recent.seconds));
    setText("rate", amountText(recent.counted));
  }
  const left = pace.until(at, now.remaining_seconds);
  element("pace").hidden = left === null;
  if (left !== null) setText("pace", paceText(left, Date.now() / 1000 + left < now.period_end));
}

setInterval(refresh, 250);
