// The latest calls as they come, and one of them in full.

import { get } from "./api.js";
import { field, form, h, heading, say, table, tableRow, values } from "./dom.js";
import { count, milliseconds, moment, usd } from "./format.js";

const EVERY = 2000;
const PAGE = 50;
const MOST = 500;

const COLUMNS = [
  { title: "When", cell: (one) => h("a", { href: `#/calls/${one.event_id}` }, moment(one.timestamp, true)) },
  { title: "Project", cell: (one) => one.project_name },
  { title: "Endpoint", cell: (one) => one.endpoint },
  { title: "Model", cell: (one) => one.model ?? one.model_requested },
  { title: "Ended", cell: (one) => h("span", { class: one.outcome === "ok" ? null : "bad" }, ended(one)) },
  { title: "Tokens", number: true, cell: (one) => count(one.usage?.total_tokens) },
  { title: "Cost", number: true, cell: (one) => usd(one.cost?.usd) },
  { title: "Duration", number: true, cell: (one) => milliseconds(one.duration_ms) },
  { title: "User", cell: (one) => one.user?.id },
  { title: "Session", cell: (one) => one.session && [one.session.id, one.session.source].filter(Boolean).join(", ") },
];

const ended = (one) => (one.outcome === "ok" ? "ok" : [one.outcome, one.status, one.error?.code].filter(Boolean).join(" "));

const FILTERS = [
  ["Project", "project_id"], ["Token's id", "token_id"], ["Model", "model"], ["Endpoint", "endpoint"],
  ["Outcome", "outcome"], ["Status", "status"], ["User", "user"], ["Session", "session"], ["Request id", "request_id"], ["Since", "since"],
];

export async function calls({ signal }) {
  const given = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const place = h("div");
  const older = h("button", { type: "button" }, "Show older ones");
  const live = h("input", { type: "checkbox", id: "live", checked: true });
  const state = { query: Object.fromEntries(given), newest: null, next: null, shown: new Set(), body: null };

  // The last seconds are told again each time.
  const rowsOf = (found) => {
    for (const one of found) state.shown.add(one.event_id);
    if (state.shown.size > 10 * MOST) state.shown = new Set([...state.shown].slice(-5 * MOST));
    return found.map((one) => tableRow(COLUMNS, one));
  };
  const start = async () => {
    const found = await get("/calls", { limit: PAGE, ...state.query }, signal);
    const made = table("Calls, newest first", COLUMNS, found.data, { empty: "None on record." });
    const shown = new Set(found.data.map((one) => one.event_id));
    Object.assign(state, { newest: found.newest, next: found.next, shown, body: made.querySelector("tbody") });
    older.hidden = found.next === null;
    place.replaceChildren(made, found.whole ? "" : h("p", { class: "quiet" }, "Only the last 64 MiB of the spool were looked through."));
  };
  const follow = async () => {
    if (signal.aborted || !live.checked || document.hidden) return;
    const found = await get("/calls", { limit: MOST, ...state.query, behind: state.newest }, signal);
    state.newest = found.newest;
    const fresh = found.data.filter((one) => !state.shown.has(one.event_id));
    if (!fresh.length) return;
    state.body.parentElement.parentElement.querySelector(".empty")?.remove();
    const rows = rowsOf(fresh);
    rows.forEach((row) => row.classList.add("new"));
    state.body.prepend(...rows);
    while (state.body.rows.length > MOST) state.body.lastElementChild.remove();
  };
  const tick = async () => {
    await follow().catch((error) => signal.aborted || say(error.message, "bad"));
    if (!signal.aborted) setTimeout(tick, EVERY);
  };
  older.addEventListener("click", async () => {
    const found = await get("/calls", { limit: PAGE, ...state.query, after: state.next }, signal);
    state.next = found.next;
    older.hidden = found.next === null;
    state.body.append(...rowsOf(found.data));
  });
  const search = form(
    FILTERS.map(([label, key]) => field(label, key, { value: given.get(key) ?? "" })),
    "Filter",
    async (_, made) => {
      state.query = values(made);
      await start();
    },
    { label: "Filter calls" },
  );
  await start();
  setTimeout(tick, EVERY);
  return [
    heading("Calls", h("div", { class: "field check" }, live, h("label", { for: "live" }, "Show new ones as they come"))),
    h("details", { open: given.size > 0 }, h("summary", {}, "Filters"), search),
    place,
    older,
  ];
}

export async function call({ session, id, signal }) {
  const path = `/calls/${encodeURIComponent(id)}`;
  const found = await get(path, {}, signal);
  const { bill, ...event } = found;
  const facts = [
    ["When", moment(event.timestamp, true)],
    ["Ended", ended(event)],
    ["Project", event.project_id ? h("a", { href: `#/projects/${event.project_id}` }, event.project_name ?? event.project_id) : "–"],
    ["Token", event.token_id ? h("a", { href: `#/tokens/${event.token_id}` }, event.token_id) : "–"],
    ["User", event.user?.id ?? "–"],
    ["Session", event.session ? h("a", { href: `#/sessions/${encodeURIComponent(`${event.token_id}/${event.session.id}`)}` }, event.session.id) : "–"],
    ["Endpoint", event.endpoint ?? "–"],
    ["Model", event.model ?? event.model_requested ?? "–"],
    ["Tokens", `${count(event.usage?.input_tokens)} in, ${count(event.usage?.output_tokens)} out, by ${event.usage?.source ?? "nobody"}`],
    ["Cost", usd(event.cost?.usd)],
    ["Took", `${milliseconds(event.duration_ms)}; first byte ${milliseconds(event.time_to_first_byte_ms)}, first token ${milliseconds(event.time_to_first_token_ms)}`],
  ];
  const shown = h("pre", { tabindex: "0", role: "region", "aria-label": "The event as JSON" }, JSON.stringify(event, null, 2));
  const content = h("button", { type: "button" }, "Show what was asked and answered");
  content.addEventListener("click", async () => {
    try {
      const whole = await get(path, { content: true }, signal);
      delete whole.bill;
      if (whole.request === undefined && whole.response === undefined) say("No content on this machine: another proxy's spool may have it, and option llm_capture says what is kept.", "bad");
      shown.textContent = JSON.stringify(whole, null, 2);
    } catch (error) {
      say(error.message, "bad");
    }
  });
  return [
    heading("Call", h("a", { href: "#/calls" }, "All calls")),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    billOf(bill),
    h("section", {}, h("h2", {}, "The event"), session.role === "admin" ? content : null, shown),
  ];
}

function billOf(bill) {
  if (!bill) return h("section", {}, h("h2", {}, "Its cost"), h("p", { class: "quiet" }, "Its usage is not known, or there was none."));
  const columns = [
    { title: "For", cell: (line) => line.what },
    { title: "How much", number: true, cell: (line) => line.count },
    { title: "Price", number: true, cell: (line) => (line.rate === null ? "–" : `$${line.rate}${line.per > 1 ? ` for ${count(line.per)}` : " each"}`) },
    { title: "Cost", number: true, cell: (line) => (line.usd === null ? "–" : `$${line.usd}`) },
  ];
  const missing = bill.missing ? h("p", { class: "bad" }, `Not in it: ${[bill.missing].flat().join(", ")}`) : null;
  const total = h("p", {}, "In all ", h("b", {}, bill.usd === null ? "not known" : `$${bill.usd}`), `, by the prices that are in force now (${bill.price_source ?? "none"}).`);
  return h("section", {}, h("h2", {}, "Its cost"), table("Line by line", columns, bill.lines ?? []), total, missing);
}
