// Projects: who pays.

import { get, patch, post } from "./api.js";
import { history } from "./audit.js";
import { confirmed, field, form, h, heading, say, table } from "./dom.js";
import { changes, inWords, inputs } from "./fields.js";
import { count, moment } from "./format.js";
import { budgets } from "./overview.js";
import { newToken, tokenColumns, topUp } from "./tokens.js";

const PAGE = 50;

export async function projects({ session, signal }) {
  const { data } = await get("/projects", {}, signal);
  const columns = [
    { title: "Project", cell: (one) => h("a", { href: `#/projects/${one.id}` }, one.name) },
    { title: "State", cell: (one) => (one.active ? "active" : "not active") },
    { title: "Limits", long: true, cell: inWords },
    { title: "Made", cell: (one) => moment(one.created_at) },
  ];
  const place = h("div");
  const search = field("Find by name", "find", { kind: "search" });
  let page = 0;
  const draw = () => {
    const wanted = search.querySelector("input").value.trim().toLowerCase();
    const found = data.filter((one) => one.name.toLowerCase().includes(wanted));
    page = Math.min(page, Math.max(0, Math.ceil(found.length / PAGE) - 1));
    const step = (text, by, off) => h("button", { type: "button", disabled: off, onclick: () => ((page += by), draw()) }, text);
    place.replaceChildren(
      table(`${count(found.length)} projects`, columns, found.slice(page * PAGE, (page + 1) * PAGE), { empty: "There are none." }),
      found.length > PAGE ? h("div", { class: "actions" }, step("Previous", -1, page === 0), step("Next", 1, (page + 1) * PAGE >= found.length)) : "",
    );
  };
  search.addEventListener("input", draw);
  draw();
  const shown = [heading("Projects"), h("form", { role: "search", onsubmit: (event) => event.preventDefault() }, search), place];
  if (session.role === "admin") shown.push(h("details", {}, h("summary", {}, "New project"), newProject(session)));
  return shown;
}

function newProject(session) {
  const fields = [
    field("Name", "name", { required: true }),
    field("Key of the API", "api_key", { kind: "password", required: true, autocomplete: "off", hint: "It is shown nowhere again." }),
    inputs("project", session),
  ];
  return form(
    fields,
    "Make the project",
    async (given) => {
      const made = await post("/projects", { name: given.name, api_key: given.api_key, ...changes("project", session, given) });
      say(`Project ${made.name} is made.`);
      location.hash = `#/projects/${made.id}`;
    },
    { label: "New project" },
  );
}

export async function project({ session, id, signal, again }) {
  const found = await get(`/projects/${encodeURIComponent(id)}`, {}, signal);
  const may = session.role === "admin";
  const facts = [["State", found.active ? "active" : "not active"], ["Key", found.key], ["Id", found.id], ["Made", moment(found.created_at)], ["Changed", moment(found.updated_at)], ["Limits", inWords(found)]];
  const shown = [
    heading(found.name, h("a", { href: "#/projects" }, "All projects")),
    h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    await budgets(signal, { project_id: found.id }),
    await tokens(found, session, signal),
  ];
  if (may) shown.push(change(found, session, again), topUp(`/projects/${found.id}/topup`, ["user", "address", "label"], again));
  shown.push(await history({ project_id: found.id }, signal));
  return shown;
}

async function tokens(found, session, signal) {
  const place = h("div");
  const rows = [];
  const more = h("button", { type: "button" }, "Show more");
  let after;
  const load = async () => {
    const page = await get("/tokens", { project_id: found.id, limit: PAGE, after }, signal);
    rows.push(...page.data);
    after = page.next;
    more.hidden = after === null;
    place.replaceChildren(table("Tokens", tokenColumns(), rows, { empty: "There are none.", hideCaption: true }));
  };
  more.addEventListener("click", load);
  await load();
  const make = session.role !== "read" && found.active;
  return h("section", {}, h("h2", {}, "Tokens"), place, more, make ? h("details", {}, h("summary", {}, "New token"), newToken(found, session)) : null);
}

function change(found, session, again) {
  const path = `/projects/${found.id}`;
  const fields = [
    field("Name", "project_name", { value: found.name, required: true }),
    field("Another key of the API", "api_key", { kind: "password", autocomplete: "off", hint: "Empty: it stays as it is." }),
    inputs("project", session, found),
  ];
  const made = form(
    fields,
    "Save",
    async (given) => {
      const sent = changes("project", session, given, found);
      if (given.project_name !== found.name) sent.name = given.project_name;
      if (given.api_key) sent.api_key = given.api_key;
      if (!Object.keys(sent).length) throw new Error("Nothing is another than before.");
      await patch(path, sent, found.etag);
      say("The project is changed; it holds from the next call on.");
      await again();
    },
    { label: "Change the project" },
  );
  const toggle = h("button", { type: "button", class: found.active ? "danger" : null }, found.active ? "Stop all its calls" : "Let it make calls again");
  toggle.addEventListener("click", async () => {
    const active = !found.active;
    if (!active && !(await confirmed(`Refuse all calls of ${found.name} from now on? Its tokens stay; it can be undone.`, "Stop its calls"))) return;
    try {
      await patch(path, { active });
      await again();
    } catch (error) {
      say(error.message, "bad");
    }
  });
  return h("details", {}, h("summary", {}, "Change"), made, h("div", { class: "actions" }, toggle));
}
