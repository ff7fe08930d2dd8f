// Sessions of agents, and one of them: its calls in order, and what they cost.

import { get } from "./api.js";
import { field, form, h, heading, table } from "./dom.js";
import { count, moment, usd } from "./format.js";
import { topUpSession, useTable } from "./tokens.js";

const SESSIONS = [
  { title: "Session", cell: (one) => h("a", { href: `#/sessions/${encodeURIComponent(one.id)}` }, one.session) },
  { title: "Project", cell: (one) => one.project_name },
  { title: "First call", cell: (one) => moment(one.first_at, true) },
  { title: "Last call", cell: (one) => moment(one.last_at, true) },
  { title: "Calls", number: true, cell: (one) => count(one.calls) },
  { title: "Refused", number: true, cell: (one) => count(one.refused) },
  { title: "Tokens", number: true, cell: (one) => count(one.tokens) },
  { title: "Cost", number: true, cell: (one) => usd(one.usd) },
];
const THREADS = [
  { title: "Thread", cell: (one) => one.thread },
  { title: "Started by", cell: (one) => one.source },
  { title: "Calls", number: true, cell: (one) => count(one.calls) },
  { title: "Cost", number: true, cell: (one) => usd(one.usd) },
];
const CALLS = [
  { title: "When", cell: (one) => h("a", { href: `#/calls/${one.event_id}` }, moment(one.timestamp, true)) },
  { title: "Thread", cell: (one) => one.thread },
  { title: "Model", cell: (one) => one.model },
  { title: "Ended", cell: (one) => one.outcome },
  { title: "Tokens", number: true, cell: (one) => count(one.total_tokens) },
  { title: "Cost", number: true, cell: (one) => usd(one.usd) },
];
const PAGE = 200;

/** Sessions that fit `query`, in pages. */
async function listed(query, signal) {
  const rows = [];
  const place = h("div");
  const more = h("button", { type: "button" }, "Show more");
  let after;
  const load = async () => {
    const found = await get("/sessions", { limit: 50, after, ...query }, signal);
    rows.push(...found.data);
    after = found.next;
    more.hidden = after === null;
    place.replaceChildren(table("Those that were used last", SESSIONS, rows, { empty: "No call has named a session." }));
  };
  more.addEventListener("click", load);
  await load();
  return [place, more];
}

export async function agentSessions({ signal }) {
  const place = h("div", {}, await listed({}, signal));
  const search = form(
    [field("Project", "project_id"), field("Token's id", "token_id"), field("Session", "session"), field("Since", "since", { hint: "7d, or a date" })],
    "Filter",
    async (given) => place.replaceChildren(...(await listed(given, signal))),
    { label: "Filter sessions" },
  );
  return [heading("Sessions of agents"), search, place];
}

export async function agentSession({ session, id, signal }) {
  const found = await get(`/sessions/${encodeURIComponent(id)}`, {}, signal);
  const { token: tokenId, session: name } = found;
  const facts = [
    ["Calls in all", found.total === null ? "–" : `${count(found.total.calls)}, ${usd(found.total.usd)}`],
    ["Calls below", `${count(found.calls_read)}${found.whole ? "" : ", as far as the spool was read"}`],
    ["Cost", usd(found.usd)],
    ["Tried again", count(found.retries)],
    ["Same answer again", found.repeated === null ? "not known: no answers are kept" : count(found.repeated)],
    ["Token", h("a", { href: `#/tokens/${tokenId}` }, tokenId)],
  ];
  const place = h("div");
  let shown = 0;
  const more = h("button", { type: "button" }, "Show more");
  const load = () => {
    shown += PAGE;
    more.hidden = shown >= found.calls.length;
    place.replaceChildren(table("Calls, oldest first", CALLS, found.calls.slice(0, shown)));
  };
  more.addEventListener("click", load);
  load();
  return [
    heading(`Session ${name}`),
    h("dl", { class: "facts" }, facts.map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])),
    useTable(found.use),
    session.role === "admin" ? topUpSession({ id: tokenId }, name) : "",
    table("Threads", THREADS, found.threads),
    place,
    more,
  ];
}
