// What was used, what is left of the budgets, and whether all runs.

import { get } from "./api.js";
import { field, h, heading, table, values } from "./dom.js";
import { ZONE, amount, bytes, change, count, day, milliseconds, moment, short, until, usd } from "./format.js";
import { OTHERS, stacked } from "./plot.js";

const SPANS = [["today", "Today", 0], ["week", "7 days", 6], ["month", "30 days", 29]];
const WAYS = [["project", "Project"], ["model", "Model"], ["token", "Token"], ["user", "User"], ["endpoint", "Endpoint"], ["label", "Label"]];
const FIGURES = [["usd", "Spend"], ["calls", "Calls"], ["total_tokens", "Tokens"], ["failed", "Failures"]];
const GROUPS = 7;

const CARDS = [
  ["Spend", (found) => found.total.usd, usd],
  ["Calls", (found) => found.total.calls, count],
  ["Tokens", (found) => found.total.total_tokens, short],
  ["Failures", (found) => found.total.failed, count, (found) => `${count(found.total.refused)} more were refused`],
  ["Duration, p95", (found) => found.timings?.duration_ms?.p95, milliseconds, (found) => `p50 ${milliseconds(found.timings?.duration_ms?.p50)}`],
  ["First token, p95", (found) => found.timings?.first_token_ms?.p95, milliseconds, (found) => `p50 ${milliseconds(found.timings?.first_token_ms?.p50)}`],
  ["Saved by the cache", (found) => found.total.saved_usd, usd, (found) => `${count(found.total.cache_hits)} answers`],
  ["Without a price", (found) => found.total.unpriced, count, null, true],
  ["Without a reported usage", (found) => found.total.unreported, count, null, true],
];

export async function overview({ session, signal }) {
  const usages = SPANS.map(([, , days]) => get("/usage", { by: "", since: day(days), tz: ZONE, compare: true }, signal));
  const found = await Promise.all(usages);
  const shown = [
    heading("Overview", h("p", { class: "quiet" }, `Times are of ${ZONE}. Percentages are against the time before, which is as long.`)),
    h("div", { class: "cards" }, CARDS.map((card) => cardOf(card, found))),
    plots(signal),
    await budgets(signal),
  ];
  if (session.role !== "project") shown.push(await health(signal));
  return shown;
}

function cardOf([title, read, show, more, gap], found) {
  const rows = SPANS.map(([, called], index) => {
    const now = read(found[index]);
    const before = found[index].before && read({ ...found[index].before, total: found[index].before.total });
    const moved = change(now ?? 0, before ?? 0);
    const beside = moved ? h("span", { class: "change", title: `before: ${show(before)}` }, ` ${moved}`) : null;
    return [h("dt", {}, called), h("dd", { class: gap && Number(now) ? "bad" : null }, h("b", {}, show(now)), beside, more ? h("small", {}, more(found[index])) : null)];
  });
  return h("section", { class: "card" }, h("h2", {}, title), h("dl", {}, rows));
}

function plots(signal) {
  const place = h("div", { class: "plots", "aria-live": "off" });
  const choice = h(
    "form",
    { class: "choice", "aria-label": "What is plotted" },
    field("Time", "span", { kind: SPANS.map(([word, called]) => [word, called]), value: "week" }),
    field("Figure", "figure", { kind: FIGURES, value: "usd" }),
    field("By", "way", { kind: WAYS, value: "project" }),
    field("Label's name", "label", { value: "team" }),
  );
  const label = choice.elements.label.parentElement;
  let drawn = null;
  const show = () => drawn && place.clientWidth && place.replaceChildren(drawn(place.clientWidth));
  const draw = async () => {
    const { span, figure, way, label: called } = values(choice);
    label.hidden = way !== "label";
    try {
      drawn = await plot({ span, figure, way, called }, signal);
      show();
    } catch (error) {
      if (error.name !== "AbortError") place.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
    }
  };
  choice.addEventListener("change", draw);
  choice.addEventListener("submit", (event) => event.preventDefault());
  // It is drawn as wide as its place is, once that is on the page, and anew when a phone is turned.
  let width = 0;
  const seen = new ResizeObserver(() => width !== place.clientWidth && ((width = place.clientWidth), show()));
  seen.observe(place);
  signal.addEventListener("abort", () => seen.disconnect());
  draw();
  return h("section", {}, h("h2", {}, "Over time"), choice, place);
}

/** Ask for what is plotted; gives a function that draws it so wide. */
async function plot({ span, figure, way, called }, signal) {
  const [, , days] = SPANS.find(([word]) => word === span);
  const period = span === "today" ? "hour" : "day";
  const by = way === "label" ? `label:${called || "team"}` : way;
  const found = await get("/usage", { by: `${period},${by}`, since: day(days), tz: ZONE, top: GROUPS }, signal);
  const periods = period === "day" ? datesSince(days) : hoursOf(found);
  const title = `${FIGURES.find(([word]) => word === figure)[1]} by ${by.replace(":", " ")}, ${SPANS.find(([word]) => word === span)[1].toLowerCase()}`;
  const asked = {
    rows: found.data,
    periods,
    periodOf: (row) => (period === "day" ? row.day : hourName(new Date(row.hour))),
    read: (row) => Number(row[figure]),
    show: figure === "usd" ? usd : short,
    call: (row) => (row.rest ? OTHERS : (row[`${by}_name`] ?? (row.token_prefix || row[by]) ?? "none")),
  };
  return (width) => stacked(title, { ...asked, width });
}

const datesSince = (days) => Array.from({ length: days + 1 }, (_, index) => day(days - index));

function hoursOf({ since, until: end }) {
  const hours = [];
  for (let at = Date.parse(since); at < Date.parse(end); at += 3600e3) hours.push(hourName(new Date(at)));
  return hours;
}

const HOUR = new Intl.DateTimeFormat("sv-SE", { timeZone: ZONE, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
const hourName = (date) => HOUR.format(date);

/** The budgets as bars, with what is left. `query` may name a project. */
export async function budgets(signal, query = {}, title = "Budgets") {
  const place = h("ul", { class: "budgets" });
  const more = h("button", { type: "button" }, "Show more");
  let after;
  const load = async () => {
    const found = await get("/budgets", { limit: 20, after, ...query }, signal);
    place.append(...found.data.map(budget));
    after = found.next;
    more.hidden = after === null;
  };
  more.addEventListener("click", load);
  await load();
  return h("section", {}, h("h2", {}, title), place.children.length ? place : h("p", { class: "quiet" }, "There are none."), more);
}

function budget(row) {
  const whose = row.side === "project" ? row.project_name : [`${row.project_name}, ${row.side}`, row.token_prefix, row.name].filter(Boolean).join(" ");
  const title = `${whose}: ${row.limit}`;
  const percent = Math.min(100, Number(row.percent));
  const link = row.token ? `#/tokens/${row.token}` : `#/projects/${row.project}`;
  const held = Number(row.held) ? `, ${amount(row.limit, row.held)} held by calls under way` : "";
  return h(
    "li",
    {},
    h("div", { class: "label" }, h("a", { href: link }, title), h("span", {}, `${amount(row.limit, row.left)} left`)),
    h("progress", { max: 100, value: percent, class: percent >= 100 ? "full" : percent >= 80 ? "near" : null, "aria-label": title }),
    h("small", {}, `${amount(row.limit, row.used)} of ${amount(row.limit, row.allowed)} used (${row.percent} %)${held}; `, h("span", { class: "whole" }, until(row.resets_at))),
  );
}

async function health(signal) {
  const found = await get("/health", {}, signal);
  const incidents = found.incidents.map((one) => h("li", { class: "bad" }, one.message));
  const proxies = [
    { title: "Proxy", cell: (one) => one.writer ?? one.pid },
    { title: "State", cell: stateOf },
    { title: "Reported", cell: (one) => (one.age_seconds === null ? "–" : `${Math.round(one.age_seconds)} s ago`) },
    { title: "Recorded", number: true, cell: (one) => count(one.recorded) },
    { title: "Waiting", number: true, cell: (one) => count(one.queue_length) },
    { title: "Failing upstreams", cell: (one) => Object.keys(one.circuits ?? {}).join(", ") || "none" },
    { title: "Open calls", number: true, cell: (one) => count(one.open_calls) },
  ];
  const dispatchers = [
    { title: "Dispatcher", cell: ([name, , spool]) => (spool ? `${name}, of ${spool}` : name) },
    { title: "Behind by", number: true, cell: ([, one]) => `${one.lag_seconds} s` },
    { title: "To be sent", number: true, cell: ([, one]) => bytes(one.backlog_bytes) },
    { title: "At work", cell: ([, one]) => (one.at_work ? "yes" : "no") },
    { title: "Dead letters", number: true, cell: ([, one]) => count(one.dead_letters) },
    { title: "Last error", cell: ([, one]) => one.error ?? "none" },
  ];
  return h(
    "section",
    {},
    h("h2", {}, "Proxies and dispatchers"),
    incidents.length ? h("ul", { class: "incidents" }, incidents) : h("p", { class: "good" }, "Nothing is wrong."),
    table("Proxies", proxies, found.proxies),
    table("Dispatchers", dispatchers, consumersOf(found), { empty: "No dispatcher has read this spool." }),
    h("p", { class: "quiet" }, `The spool has ${count(found.spool.segments)} ${found.spool.segments === 1 ? "segment" : "segments"}, ${bytes(found.spool.bytes)}. As of ${moment(new Date(), true)}.`),
  );
}

/** Name, figures and, of another spool than this proxy's, where that is. */
function consumersOf({ spool, other_spools: others = [] }) {
  const elsewhere = others.flatMap(({ host, path, consumers }) => Object.entries(consumers).map(([name, one]) => [name, one, `${host}:${path}`]));
  return [...Object.entries(spool.consumers), ...elsewhere];
}

function stateOf(one) {
  if (!one.alive) return one.ended_at ? "ended" : "killed";
  if (one.stale) return h("span", { class: "bad" }, "does not report");
  if (one.store_trouble) return h("span", { class: "bad" }, "store away");
  return one.healthy === false ? h("span", { class: "bad" }, "refuses calls") : "serving";
}
