// The audit log: who changed what.

import { get } from "./api.js";
import { field, form, h, heading, table } from "./dom.js";
import { moment } from "./format.js";

const COLUMNS = [
  { title: "When", cell: (row) => moment(typeof row.at === "number" ? row.at * 1000 : row.at, true) },
  { title: "What", cell: (row) => row.action },
  { title: "Outcome", cell: (row) => row.outcome + (row.count > 1 ? ` (${row.count} times)` : "") },
  { title: "Who", cell: (row) => row.actor },
  { title: "From", cell: (row) => row.address ?? "–" },
  { title: "Change", long: true, cell: difference },
];

function difference(row) {
  const [before, after] = [row.before ?? {}, row.after ?? {}];
  const text = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));
  const parts = [...new Set([...Object.keys(before), ...Object.keys(after)])].map((key) => (key in before ? `${key}: ${text(before[key])} → ${text(after[key])}` : `${key}: ${text(after[key])}`));
  return parts.join("; ") || row.reason || "–";
}

/** Rows of the log that fit `query`, in pages. */
export async function history(query, signal, title = "History") {
  const rows = [];
  const place = h("div");
  const more = h("button", { type: "button" }, "Show more");
  let after;
  const load = async () => {
    const found = await get("/audit", { limit: 25, after, ...query }, signal);
    rows.push(...found.data);
    after = found.next;
    more.hidden = after === null;
    place.replaceChildren(table(title, COLUMNS, rows, { empty: "There is nothing.", hideCaption: true }));
  };
  more.addEventListener("click", load);
  await load();
  return h("section", {}, h("h2", {}, title), place, more);
}

export async function audit({ signal }) {
  const place = h("div", {}, await history({}, signal, "Newest first"));
  const search = form(
    [
      field("Text", "search"),
      field("Action", "action", { hint: "token, project.create, auth.refused ..." }),
      field("Who", "actor"),
      field("Outcome", "outcome", { kind: [["", "any"], ["success", "success"], ["failure", "failure"], ["refused", "refused"]] }),
      field("Since", "since", { hint: "7d, or a date" }),
    ],
    "Search",
    async (given) => place.replaceChildren(await history(given, signal, "Newest first")),
    { label: "Search the audit log" },
  );
  return [heading("Audit log"), search, place];
}
