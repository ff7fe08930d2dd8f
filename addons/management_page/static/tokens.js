// Tokens: what is handed out.

import { get, patch, post, remove } from "./api.js";
import { history } from "./audit.js";
import { confirmed, copyable, dialog, field, form, h, heading, say, table } from "./dom.js";
import { changes, inWords, inputs } from "./fields.js";
import { amount, count, moment, until } from "./format.js";

/** What is left of limits, a row each. */
export const useTable = (use) => table("What is left of its limits", useColumns(), use, { empty: "Nothing is limited." });

export function tokenColumns() {
  return [
    { title: "Token", cell: (one) => h("a", { href: `#/tokens/${one.id}` }, one.name ?? `${one.prefix}…`) },
    { title: "State", cell: stateOf },
    { title: "Ends", cell: (one) => (one.expires_at ? moment(one.expires_at) : "never") },
    { title: "Calls", number: true, cell: (one) => count(one.request_count) },
    { title: "Last used", cell: (one) => (one.last_used_at ? moment(one.last_used_at) : "never") },
    { title: "Metadata", cell: (one) => Object.entries(one.metadata).map((pair) => pair.join("=")).join(", ") || "–" },
    { title: "Limits", long: true, cell: inWords },
  ];
}

function stateOf(token) {
  if (!token.active) return "revoked";
  return token.expires_at && new Date(token.expires_at) <= new Date() ? "ended" : "active";
}

export function newToken(project, session) {
  return form(
    inputs("token", session),
    "Make the token",
    async (given) => {
      const made = await post("/tokens", { project_id: project.id, ...changes("token", session, given) });
      showSecret(made, session).addEventListener("close", () => (location.hash = `#/tokens/${made.id}`));
    },
    { label: "New token" },
  );
}

/** Show a token's text, this once, with the lines that clients take it by. */
function showSecret(made, session) {
  const base = `${baseUrl(session)}/v1`;
  const ask = `{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}`;
  const python = `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${made.token}")
answer = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`;
  const node = `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${made.token}" });
const answer = await client.chat.completions.create({
  model: "gpt-4o-mini",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`;
  const curl = `curl ${base}/chat/completions \\
  -H "Authorization: Bearer ${made.token}" \\
  -H "Content-Type: application/json" \\
  -d '${ask}'`;
  return dialog(
    "The token's text",
    h("p", {}, "It is shown this once; the proxy keeps no more of it than its SHA-256."),
    copyable("Token", made.token),
    h("details", { open: true }, h("summary", {}, "Python"), copyable("Lines for Python", python)),
    h("details", {}, h("summary", {}, "Node"), copyable("Lines for Node", node)),
    h("details", {}, h("summary", {}, "curl"), copyable("Lines for curl", curl)),
  );
}

/** Where clients reach the proxy without a proxy setting: its reverse listener, by this page's host where it listens on all. */
function baseUrl({ listeners }) {
  const address = listeners.reverse ?? listeners.regular;
  if (!address) return "http://ADDRESS-OF-THE-PROXY";
  const [, host, port] = /^(.*):(\d+)$/.exec(address);
  const anywhere = ["0.0.0.0", "::", "*", ""].includes(host);
  const shown = anywhere ? location.hostname : host.includes(":") ? `[${host}]` : host;
  return `http://${shown}:${port}`;
}

export async function token({ session, id, signal, again }) {
  const path = `/tokens/${encodeURIComponent(id)}`;
  const found = await get(path, {}, signal);
  const project = await get(`/projects/${found.project_id}`, {}, signal);
  const name = found.name ?? `Token ${found.prefix}…`;
  const facts = [
    ["State", stateOf(found)],
    ["Begins with", found.prefix],
    ["Project", h("a", { href: `#/projects/${found.project_id}` }, project.name)],
    ["Id", found.id],
    ["Made", moment(found.created_at)],
    ["Ends", found.expires_at ? moment(found.expires_at) : "never"],
    ["Last used", found.last_used_at ? `${moment(found.last_used_at)}, from ${found.last_used_from ?? "an unknown address"}` : "never"],
    ["Calls", count(found.request_count)],
    ["Limits", inWords(found)],
  ];
  if (found.previous_ends_at) facts.push(["Earlier text", `${found.previous_prefix}… is good until ${moment(found.previous_ends_at)}`]);
  const shown = [
    heading(name, h("a", { href: `#/calls?token_id=${found.id}` }, "Its calls")),
    h("dl", { class: "facts" }, facts.map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])),
    useTable(found.use),
    explain(found),
  ];
  if (session.role !== "read" && found.active) {
    shown.push(actions(found, path, session, again), change(found, path, session, again));
    if (session.role === "admin") shown.push(topUp(`${path}/topup`, ["label"], again), topUpSession(found));
  }
  shown.push(await history({ token_id: found.id }, signal));
  return shown;
}

function useColumns() {
  return [
    { title: "Limit", cell: (row) => `${row.limit} (${[row.side, row.name].filter(Boolean).join(" ")})` },
    { title: "Allowed", number: true, cell: (row) => amount(row.limit, row.allowed) },
    { title: "Used", number: true, cell: (row) => amount(row.limit, row.used) },
    { title: "Held", number: true, cell: (row) => amount(row.limit, row.held) },
    { title: "Left", number: true, cell: (row) => amount(row.limit, row.left) },
    { title: "Resets", cell: (row) => until(row.resets_at) },
  ];
}

function actions(found, path, session, again) {
  const attempt = (work) => async () => {
    try {
      await work();
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const rotate = async () => {
    if (!(await confirmed("Give the token another text? The present one is good for one more hour.", "Rotate"))) return;
    showSecret(await post(`${path}/rotate`), session).addEventListener("close", again);
  };
  const revoke = async () => {
    if (!(await confirmed("Revoke the token? That holds from the next call on and can't be undone.", "Revoke"))) return;
    await remove(path);
    say("The token is revoked.");
    await again();
  };
  return h(
    "div",
    { class: "actions" },
    h("button", { type: "button", id: "rotate", onclick: attempt(rotate) }, "Rotate"),
    h("button", { type: "button", id: "revoke", class: "danger", onclick: attempt(revoke) }, "Revoke"),
  );
}

function change(found, path, session, again) {
  const made = form(
    inputs("token", session, found),
    "Save",
    async (given) => {
      const sent = changes("token", session, given, found);
      if (!Object.keys(sent).length) throw new Error("Nothing is another than before.");
      await patch(path, sent, found.etag);
      say("The token is changed; it holds from the next call on.");
      await again();
    },
    { label: "Change the token" },
  );
  return h("details", {}, h("summary", {}, "Change"), made);
}

const SAMPLES = { user: "user=ada", address: "address=192.0.2.7", label: "label=team=search" };

/** A form that adds to a budget: the own one, or that of one of `kinds`. */
export function topUp(path, kinds, again) {
  const hint = `Empty: its own; else ${kinds.map((kind) => SAMPLES[kind]).join(", ")}`;
  const made = form(
    [field("Add", "amount", { required: true, hint: "5usd/day, 100000tokens/month, 20usd" }), field("To whose budget", "whose", { hint })],
    "Top up",
    async ({ amount: added, whose }) => {
      const at = whose.indexOf("=");
      if (whose && at < 1) throw new Error(`To whose budget: ${hint}.`);
      await post(path, { amount: added, ...(whose && { [whose.slice(0, at).trim()]: whose.slice(at + 1).trim() }) });
      say(`${added} are added.`);
      await again();
    },
    { label: "Top up a budget" },
  );
  return h("details", {}, h("summary", {}, "Top up"), made);
}

/** A form that lets an agent's session go on, which has come to the end of its budget. */
export function topUpSession(found, value = "") {
  const made = form(
    [
      field("Session", "session", { value, hint: "Empty: the calls that name none" }),
      field("Add", "amount", { required: true, hint: "5usd, 100000tokens" }),
    ],
    "Top up the session",
    async ({ session, amount: added }) => {
      await post("/sessions/topup", { session: session ? `${found.id}/${session}` : found.id, amount: added });
      say(`${added} are added; the session goes on.`);
    },
    { label: "Let an agent's session go on" },
  );
  return h("details", {}, h("summary", {}, "Let an agent's session go on"), made);
}

function explain(found) {
  const place = h("div", { role: "status" });
  const made = form(
    [field("Endpoint", "endpoint", { value: "chat" }), field("Model", "model", { value: "gpt-4o-mini" }), field("Address of the client", "client")],
    "Explain",
    async (given) => {
      const asked = Object.fromEntries(Object.entries(given).filter(([, value]) => value));
      const answer = await post("/explain", { token_id: found.id, ...asked });
      place.replaceChildren(verdict(answer));
    },
    { label: "Would a call pass?" },
  );
  return h("details", {}, h("summary", {}, "Would a call pass?"), made, place);
}

function verdict(answer) {
  const { allowed, refusal, ...rest } = answer;
  const said = allowed ? h("p", { class: "good" }, "It would pass.") : h("p", { class: "bad" }, `It would be refused: ${refusal?.message ?? ""}`);
  return h("div", {}, said, h("pre", { tabindex: "0", role: "region", "aria-label": "The whole answer" }, JSON.stringify(rest, null, 2)));
}
