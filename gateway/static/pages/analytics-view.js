/**
 * Shows what the meter says of a span of days in the page `/analytics`.
 *
 * @module
 */

import { answerText, changeText, dateText, daysSummary, featureText, minutesText, spanText } from "./analytics-words.js";
import { showBars, showRows } from "./bar-table.js";
import { showDays } from "./day-chart.js";
import { element, setText } from "./page.js";
import { everyDay } from "./spans.js";
import { count } from "./watch-words.js";
import { amountText } from "./words.js";

/** @typedef {import("./account-names.js").Names} Names */

const LARGEST_SHOWN = 10;

/** A figure's element, and its name in the answer. @type {[string, string][]} */
const FIGURES = [
  ["minutes", "minutes"],
  ["sessions", "sessions"],
  ["users", "users"],
  ["organizations-active", "organizations"],
];

/** What was shown is of another token. */
export function clearAnswer() {
  for (const id of ["organizations", "plans", "features"]) showBars(element(id), []);
  showDays(element("days"), []);
  showRows(element("days-table"), []);
  for (const [id] of FIGURES) {
    setText(id, "–");
    setText(`${id}-change`, "");
  }
  for (const id of ["days-most", "days-text", "organizations-text", "plans-text", "features-text", "answer"]) setText(id, "");
}

/** @param {any} now @param {any} then of the span before @param {string} when that was @param {string} organization none: all */
export function showChange(now, then, when, organization) {
  for (const [id, name] of FIGURES) {
    setText(id, count(now[name]));
    setText(`${id}-change`, changeText(now[name], then[name]));
  }
  element("minutes").title = amountText(now.seconds);
  setText("answer", answerText(organization, when, now.seconds === 0 && now.features.length === 0));
  element("everyone").hidden = organization === "";
}

/**
 * @param {any} now as `GET /api/admin/usage/analytics` answers
 * @param {import("./spans.js").Span} span
 * @param {Names} names
 * @param {(organization: string) => void} choose show one alone
 */
export function showAnswer(now, span, names, choose) {
  setText("span", spanText(span));
  showByDay(now.days, span);
  showOrganizations(now, names, choose);
  showPlans(now.plans, names);
  showFeatures(now.features, names);
}

/** @param {any[]} used @param {import("./spans.js").Span} span */
function showByDay(used, span) {
  const days = everyDay(span, used);
  const most = Math.max(...days.map(({ seconds }) => seconds));
  showDays(element("days"), days);
  setText("days-most", most === 0 ? "" : `${minutesText(most)} min`);
  setText("days-text", daysSummary(days));
  const rows = days.map((/** @type {any} */ { day, seconds, users = 0, organizations = 0 }) => {
    return [dateText(day), count(users), count(organizations), minutesText(seconds)];
  });
  showRows(element("days-table"), rows);
}

/** @param {any} now @param {Names} names @param {(organization: string) => void} choose */
function showOrganizations({ top_organizations: largest, organizations, seconds }, names, choose) {
  const shown = largest.slice(0, LARGEST_SHOWN);
  const rows = shown.map((/** @type {any} */ { organization_id: id, plan_id: plan, users, seconds: own }) => ({
    name: names.organizations.get(id) || id,
    note: names.organizations.get(id) ? `${id}, ${names.plan(plan)}` : names.plan(plan),
    amount: own,
    cells: [count(users), minutesText(own)],
    choose: () => choose(id),
  }));
  const others = organizations - shown.length;
  if (others > 0) {
    const rest = shown.reduce((/** @type {number} */ left, /** @type {any} */ each) => left - each.seconds, seconds);
    rows.push({ name: `${count(others)} more`, amount: rest, cells: ["", minutesText(rest)] });
  }
  showBars(element("organizations"), rows);
  setText("organizations-text", rows.length === 0 ? "None recorded." : "Press one to see it alone.");
}

/** @param {any[]} plans @param {Names} names */
function showPlans(plans, names) {
  const rows = plans.map(({ plan_id: plan, accounts, active_accounts: active, seconds }) => ({
    name: names.plan(plan),
    amount: seconds,
    cells: [`${count(active)} of ${count(accounts)}`, minutesText(seconds)],
  }));
  showBars(element("plans"), rows.sort((one, other) => other.amount - one.amount));
  setText("plans-text", rows.length === 0 ? "There are no accounts." : "");
}

/** @param {any[]} features @param {Names} names */
function showFeatures(features, names) {
  const rows = features.map(({ usage_type: type, plan_id: plan, users, amount }) => ({
    name: featureText(type),
    note: names.plan(plan),
    amount: users,
    cells: [count(users), count(amount)],
  }));
  showBars(element("features"), rows);
  setText("features-text", rows.length === 0 ? "None was used." : "Bars are as long as there are users.");
}
