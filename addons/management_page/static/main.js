// Who is signed in, and which view is shown. The address after `#` names the view.

import { access } from "./access.js";
import { get, issuer, remove, signIn, signInAtIssuer, whenEnded } from "./api.js";
import { audit } from "./audit.js";
import { call, calls } from "./calls.js";
import { field, form, h, heading, say } from "./dom.js";
import { overview } from "./overview.js";
import { project, projects } from "./projects.js";
import { agentSession, agentSessions } from "./sessions.js";
import { token } from "./tokens.js";

const VIEWS = { overview: [overview], projects: [projects, project], tokens: [overview, token], calls: [calls, call], sessions: [agentSessions, agentSession], audit: [audit], access: [access] };
const VIEW_OF = { tokens: "projects" };
const content = document.getElementById("content");
let session = null;
let leave = () => {};

/** Show what the address names. A view gives what it shows, and may give a function that ends it. */
async function show() {
  leave();
  const controller = new AbortController();
  leave = () => controller.abort();
  if (session === null) return void signInForm(controller.signal);
  const [, view = "overview", id] = location.hash.split("?")[0].split("/");
  const made = (VIEWS[view] ?? VIEWS.overview)[id && VIEWS[view]?.[1] ? 1 : 0];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${VIEW_OF[view] ?? view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  content.setAttribute("aria-busy", "true");
  try {
    const shown = await made({ session, id: id && decodeURIComponent(id), signal: controller.signal, again: show });
    if (controller.signal.aborted) return;
    content.replaceChildren(...[shown].flat());
  } catch (error) {
    if (controller.signal.aborted || session === null) return;
    content.replaceChildren(heading("This can't be shown"), h("p", { class: "error" }, error.message));
  } finally {
    if (!controller.signal.aborted) content.removeAttribute("aria-busy");
  }
  const title = content.querySelector("h1");
  document.title = `${title?.textContent ?? ""} · llmproxy`;
  title?.focus();
}

async function signInForm(signal) {
  document.getElementById("views").hidden = true;
  document.getElementById("sign_out").hidden = true;
  document.getElementById("who").textContent = "";
  content.removeAttribute("aria-busy");
  const host = await issuer().catch(() => null);
  if (signal?.aborted || session !== null) return;
  const fields = [field("Management token", "token", { kind: "password", required: true, autocomplete: "current-password", hint: "The proxy keeps it for at most 12 hours; this browser does not." })];
  content.replaceChildren(
    h("div", { class: "narrow" }, heading("Sign in"), host && atIssuer(host), form(fields, "Sign in", async ({ token: text }) => begin(await signIn(text)), { wide: true, label: "By a management token" })),
  );
  document.title = "Sign in · llmproxy";
  content.querySelector("button, input").focus();
}

/** A button that leads to the issuer of OpenID Connect. */
function atIssuer(host) {
  const go = form([], `Sign in at ${host}`, () => signInAtIssuer(location.hash), { wide: true, label: "At an issuer" });
  return [go, h("p", { class: "or quiet" }, "or")];
}

function begin(found) {
  session = found;
  document.getElementById("views").hidden = false;
  document.getElementById("sign_out").hidden = false;
  document.getElementById("access").hidden = found.role !== "admin";
  document.getElementById("who").textContent = `${found.actor} (${found.role})`;
  return show();
}

whenEnded(() => {
  if (session === null) return;
  session = null;
  say("The session has ended; sign in again.", "bad");
  show();
});

document.getElementById("sign_out").addEventListener("click", async () => {
  const { sign_out_url: further } = await remove("/session").catch(() => ({}));
  session = null;
  if (further) location.assign(further);
  else show();
});
document.getElementById("skip").addEventListener("click", () => content.focus());
window.addEventListener("hashchange", show);

get("/session").then(begin, () => signInForm());
