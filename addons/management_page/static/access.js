// Who may open this page and the API: management tokens with a name and a role.

import { get, post, remove } from "./api.js";
import { history } from "./audit.js";
import { confirmed, copyable, dialog, field, form, h, heading, say, table } from "./dom.js";
import { moment } from "./format.js";

const ROLES = [
  ["read", "read: may look at everything but what calls said"],
  ["project", "project: sees its projects, and makes their tokens"],
  ["admin", "admin: may do everything"],
];

function stateOf(token) {
  if (token.revoked_at) return "revoked";
  return token.active ? "active" : "ended";
}

export async function access({ signal, again }) {
  const [{ data }, projects] = await Promise.all([get("/management-tokens", {}, signal), get("/projects", {}, signal)]);
  const names = Object.fromEntries(projects.data.map((one) => [one.id, one.name]));
  const columns = [
    { title: "Name", cell: (one) => one.name },
    { title: "Role", cell: (one) => one.role },
    { title: "Projects", long: true, cell: (one) => (one.role === "project" ? one.projects.map((id) => names[id] ?? id).join(", ") : "all") },
    { title: "State", cell: stateOf },
    { title: "Begins with", cell: (one) => one.prefix },
    { title: "Made", cell: (one) => moment(one.created_at) },
    { title: "Ends", cell: (one) => (one.expires_at ? moment(one.expires_at) : "never") },
    { title: "Last used", cell: (one) => (one.last_used_at ? moment(one.last_used_at) : "never") },
    { title: "Revoke", cell: (one) => one.active && h("button", { type: "button", class: "danger", "aria-label": `Revoke ${one.name}`, onclick: () => revoke(one, again) }, "Revoke") },
  ];
  return [
    heading("Access"),
    h("p", { class: "quiet" }, "Management tokens open this page and the management API, and no call of a model. The one of the proxy's environment is not among them; who signs in at an issuer needs none."),
    table("Management tokens", columns, data, { empty: "There are none." }),
    h("details", { open: data.length === 0 }, h("summary", {}, "New management token"), newToken(projects.data, again)),
    await history({ action: "management_token" }, signal),
  ];
}

function newToken(projects, again) {
  const role = field("Role", "role", { kind: ROLES, value: "read" });
  const of = field("Projects", "projects", { kind: "textarea", hint: "One name a line" });
  const choose = () => (of.hidden = role.querySelector("select").value !== "project");
  role.addEventListener("change", choose);
  choose();
  return form(
    [field("Name", "name", { required: true, hint: "The audit log has it" }), role, field("Ends", "expires_at", { value: "90d", hint: "30d, 12h, a date, or never" }), projects.length ? of : null],
    "Make the management token",
    async (given) => {
      const sent = { name: given.name, role: given.role };
      if (given.expires_at) sent.expires_at = given.expires_at;
      if (given.role === "project") sent.projects = (given.projects ?? "").split("\n").map((line) => line.trim()).filter(Boolean);
      const made = await post("/management-tokens", sent);
      dialog(
        "The management token's text",
        h("p", {}, "It is shown this once; the store keeps no more of it than its SHA-256. Whoever has it signs in to this page with it, or sends it as Authorization: Bearer."),
        copyable("Management token", made.token),
      ).addEventListener("close", again);
    },
    { label: "New management token" },
  );
}

async function revoke(token, again) {
  if (!(await confirmed(`Revoke the management token ${token.name}? It opens nothing from the next request on, and that can't be undone.`, "Revoke"))) return;
  try {
    await remove(`/management-tokens/${encodeURIComponent(token.id)}`);
    say(`${token.name} is revoked.`);
    await again();
  } catch (error) {
    say(error.message, "bad");
  }
}
