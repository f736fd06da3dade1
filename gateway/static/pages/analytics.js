/**
 * The page `/analytics`: what was used, by day, organization, plan and feature, and by whom; for operators.
 *
 * @module
 */

import { Names } from "./account-names.js";
import { clearAnswer, showAnswer, showChange } from "./analytics-view.js";
import { dateText, featureText, isOfToken, minutesText, monthText, noAnswerText, spanText } from "./analytics-words.js";
import { NoAnswer, ask } from "./ask.js";
import { linkOperatorPages } from "./operator-pages.js";
import { TokenForm, element, setText, showProblem } from "./page.js";
import { PagedBars } from "./paged-bars.js";
import { Reports } from "./reports.js";
import { spanBefore, spanOf, spanProblem } from "./spans.js";
import { count } from "./watch-words.js";

/** @typedef {import("./spans.js").Span} Span */

/** What is shown, or asked for. */
const chosen = {
  /** @type {Span} */
  span: { first: "", last: "" },
  /** None: all. */
  organization: "",
};
const names = new Names();
let asking = new AbortController();

const tokens = new TokenForm(() => {
  forget();
  void load();
});
const token = () => tokens.value;
const ofChosen = () => ofSpan(chosen.span);

const lists = [
  new PagedBars(token, showNoAnswer, {
    id: "adoption",
    path: "/api/admin/usage/feature-adoption",
    query: () => daysOf(chosen.span),
    row: ({ usage_type: type, tier, month, users, amount, accounts }) => ({
      name: featureText(type),
      note: `${names.plan(tier === "none" ? null : tier)}, ${monthText(month)}`,
      amount: users,
      cells: [count(users), count(accounts), count(amount)],
    }),
    none: "No feature was used in these months.",
    text: "Of all organizations, in the whole months of these days. Accounts are all that had the tier.",
  }),
  new PagedBars(token, showNoAnswer, {
    id: "power",
    path: "/api/admin/usage/power-users",
    query: ofChosen,
    row: ({ user_id: user, seconds, days_active: days, last_day: last }) => ({
      name: user,
      note: `last on ${dateText(last)}`,
      amount: seconds,
      cells: [count(days), minutesText(seconds)],
    }),
    none: "Nobody recorded in these days.",
    text: "With the number of days on which they recorded.",
  }),
  new PagedBars(token, showNoAnswer, {
    id: "gone",
    path: "/api/admin/usage/dropped-off-users",
    query: () => ({ idle_days: element("idle").value }),
    row: ({ user_id: user, seconds, idle, last_day: last }) => ({
      name: user,
      note: `last on ${dateText(last)}`,
      amount: seconds,
      cells: [count(idle), minutesText(seconds)],
    }),
    none: "Nobody: all who recorded within a year have done so since.",
    text: "Of all organizations, as of today; those first who recorded most within a year.",
  }),
];

// What is asked ----------------------------------------------------------------------------------

/** What was shown is of another token. */
function forget() {
  asking.abort();
  names.forget();
  for (const list of lists) list.forget();
  clearAnswer();
  document.body.dataset.known = "false";
}

/** All that the page shows of the days and the organization which are chosen. */
async function load() {
  asking.abort();
  const { signal } = (asking = new AbortController());
  const { span, organization } = chosen;
  const before = spanBefore(span);
  showProblem("");
  document.body.dataset.known = "false";
  showState("connecting", "Loading …");
  element("main").setAttribute("aria-busy", "true");
  try {
    const [now, then] = await Promise.all([
      askAnalytics(span, signal),
      askAnalytics(before, signal),
      names.learn(token(), signal),
    ]);
    showChange(now, then, spanText(before), organization);
    showAnswer(now, span, names, chooseOrganization);
    suggestOrganizations();
    document.body.dataset.known = "true";
    await Promise.all(lists.map((list) => list.show()));
    // Other days are chosen meanwhile, or the token will not do.
    if (signal.aborted) return;
    showState("connected", `As of ${new Date().toLocaleTimeString("en-GB")}`);
  } catch (error) {
    if (!signal.aborted) showNoAnswer(error);
  } finally {
    if (!signal.aborted) element("main").removeAttribute("aria-busy");
  }
}

/** @param {Span} span @param {AbortSignal} signal */
function askAnalytics(span, signal) {
  return ask(`/api/admin/usage/analytics?${new URLSearchParams(ofSpan(span))}`, token(), signal);
}

/** What is asked for of it, and of the organization if one is chosen. @param {Span} span @returns {Record<string, string>} */
function ofSpan(span) {
  const days = daysOf(span);
  return chosen.organization === "" ? days : { ...days, organization_id: chosen.organization };
}

/** @param {Span} span @returns {Record<string, string>} */
function daysOf({ first, last }) {
  return { first_day: first, last_day: last };
}

// What is shown ----------------------------------------------------------------------------------

/** @param {string} state @param {string} text */
function showState(state, text) {
  element("connection").dataset.state = state;
  setText("connection-text", text);
}

/** @param {unknown} error */
function showNoAnswer(error) {
  asking.abort();
  element("main").removeAttribute("aria-busy");
  const { code, message, retryAfter } = error instanceof NoAnswer ? error : new NoAnswer("failed", String(error));
  showState("ended", "Not loaded");
  showProblem(noAnswerText(code, message, retryAfter));
  if (isOfToken(code)) tokens.ask();
}

/** For the field to suggest. */
function suggestOrganizations() {
  element("known").replaceChildren(...[...names.organizations].map(([id, name]) => new Option(name, id)));
}

// What is chosen ---------------------------------------------------------------------------------

const today = () => new Date().toISOString().slice(0, 10);
const choice = () => new FormData(element("choice")).get("span");

/** Take what the form says, and show it; or say what is wrong with it. */
function choose() {
  const own = { first: element("first").value, last: element("last").value };
  const span = spanOf(String(choice()), today()) ?? own;
  const problem = spanProblem(span);
  setText("choice-error", problem);
  element("choice-error").hidden = problem === "";
  if (problem !== "") return;
  chosen.span = span;
  chosen.organization = element("organization").value.trim();
  reports.choose(ofChosen());
  if (token() === "") tokens.ask();
  else void load();
}

/** @param {string} organization none: all */
function chooseOrganization(organization) {
  element("organization").value = organization;
  // What was pressed goes away.
  element("organization").focus();
  choose();
}

element("choice").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  choose();
});
element("choice").addEventListener("change", (/** @type {Event} */ { target }) => {
  if (/** @type {HTMLInputElement} */ (target).name !== "span") return;
  const isOwn = choice() === "own";
  for (const label of document.querySelectorAll("[data-own]")) /** @type {HTMLElement} */ (label).hidden = !isOwn;
  if (!isOwn) return choose();
  // To change from what is shown; Show asks for it.
  element("first").value = chosen.span.first;
  element("last").value = chosen.span.last;
});
element("everyone").addEventListener("click", () => chooseOrganization(""));
element("idle").addEventListener("change", () => token() !== "" && void lists[2].show());

const reports = new Reports(token, showNoAnswer);
linkOperatorPages(token);
choose();
