// The fields of projects and tokens, as forms show them and as the API takes them. Which there are, the session says.

import { field, h } from "./dom.js";

const LABELS = {
  name: "Name",
  expires_at: "Ends",
  max_requests: "Calls in all",
  metadata: "Metadata",
  header_metadata: "Metadata that clients may add",
  cache: "Cache of answers",
  token_lifetime: "Life of its tokens, unless said",
  token_max_lifetime: "Longest life of its tokens",
  parameters: "Rules for parameters",
  requests_per_minute: "Calls a minute",
  tokens_per_minute: "Tokens a minute",
  max_concurrent: "Calls at the same time",
  max_output_tokens: "Longest answer of a call, in tokens",
  limits: "Limits",
  user_limits: "Limits of each user",
  address_limits: "Limits of each client address",
  session_limits: "Limits of each session of an agent",
  label_limits: "Limits of each value of a label",
  budgets: "Budgets",
  budget_mode: "What a call holds of a budget",
  time_zone: "Time zone of its budgets",
  week_start: "First day of its budgets' weeks",
  origins: "Only pages of these origins",
  on_budget_end: "A stream beyond its budget",
  models: "Only these models",
  endpoints: "Only these endpoints",
  networks: "Only clients of these networks",
};
const HINTS = { metadata: "One pair a line: team=search", models: "One glob a line: gpt-4o-mini*", networks: "One a line: 10.0.0.0/8", time_zone: "Europe/Berlin; empty: UTC", origins: "One a line, as browsers send them" };

const lines = (value) => value.split("\n").map((line) => line.trim()).filter(Boolean);
const orNull = (value) => value || null;
const asText = (value) => String(value ?? "");

/** How a field of each kind is shown and read, and its input. */
const KINDS = {
  text: { show: asText, read: orNull },
  moment: { show: asText, read: orNull, hint: "30d, 12h, a date; empty: never" },
  number: { show: asText, read: whole, input: "number", more: { min: 0, step: 1 } },
  names: { show: (value) => (value ?? []).join("\n"), read: lines, input: "textarea", hint: "One a line" },
  pairs: { show: pairLines, read: pairsOf, input: "textarea", hint: "One NAME=VALUE a line", merged: true },
  budgets: { show: budgetLines, read: budgetsOf, input: "textarea", hint: "One a line: 5usd/day, 100000tokens/month, 20usd/total", merged: true },
  choice: { show: asText, read: orNull },
  labels: { show: jsonText, read: jsonOf, input: "textarea", hint: 'JSON: {"team": {"budgets": {"usd": {"day": "5"}}}}', merged: true },
};

const calledBy = ({ name }) => LABELS[name] ?? name.replaceAll("_", " ");
const kindOf = ({ kind }) => KINDS[kind] ?? KINDS.text;

/** The inputs for a `project` or a `token`; `found` is what it has. A project's name has an input of its own. */
export function inputs(what, { fields }, found = {}) {
  const sets = fields[what].filter(isSet);
  const group = (set) => h("fieldset", {}, h("legend", {}, calledBy(set)), h("div", {}, set.limits.map((one) => input(`${set.name}.`, one, found[set.name]))));
  return [fields[what].filter((one) => !isSet(one)).map((one) => input("", one, found)), sets.map(group)];
}

const isSet = ({ kind }) => kind === "limits";

function input(prefix, one, values) {
  const { show, hint, input: kind, more } = kindOf(one);
  const choices = one.words && [["", "as it comes"], ...one.words.map((word) => [word, word])];
  const known = HINTS[one.name] ?? hint ?? (LABELS[one.name] && !one.words ? null : one.help);
  return field(calledBy(one), prefix + one.name, { kind: choices || kind, value: show(values?.[one.name]), hint: known, ...more });
}

/** What the API is to be sent for them: all that is given or, beside `found`, all that is another. Throws Error. */
export function changes(what, { fields }, given, found) {
  const sent = read(fields[what].filter((one) => !isSet(one)), "", given, found);
  for (const set of fields[what].filter(isSet)) {
    const limits = read(set.limits, `${set.name}.`, given, found && (found[set.name] ?? {}));
    if (Object.keys(limits).length) sent[set.name] = limits;
  }
  return sent;
}

function read(fields, prefix, given, found) {
  const sent = {};
  for (const one of fields) {
    const text = given[prefix + one.name];
    const kind = kindOf(one);
    if (text === (found ? kind.show(found[one.name]) : "")) continue;
    const value = kind.read(text, calledBy(one));
    sent[one.name] = kind.merged ? merging(value, found?.[one.name]) : value;
  }
  return sent;
}

/** As a JSON Merge Patch: what is in `present` and not in `wanted` is null. */
function merging(wanted, present) {
  const patch = { ...wanted };
  for (const [key, value] of Object.entries(present ?? {})) {
    if (!(key in wanted)) patch[key] = null;
    else if (typeof value === "object") patch[key] = merging(wanted[key], value);
  }
  return patch;
}

function whole(value, label) {
  if (value === "") return null;
  if (!/^\d+$/.test(value)) throw new Error(`${label}: give a whole number, or nothing.`);
  return Number(value);
}

function jsonText(value) {
  return Object.keys(value ?? {}).length ? JSON.stringify(value, null, 1) : "";
}

function jsonOf(value, label) {
  try {
    return JSON.parse(value.trim() || "{}");
  } catch (error) {
    throw new Error(`${label}: this is no JSON (${error.message}).`);
  }
}

function pairLines(pairs) {
  return Object.entries(pairs ?? {}).map(([key, value]) => `${key}=${value}`).join("\n");
}

function pairsOf(value, label) {
  return Object.fromEntries(
    lines(value).map((line) => {
      const at = line.indexOf("=");
      if (at < 1) throw new Error(`${label}, ${line}: write NAME=VALUE.`);
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

function budgetLines(budgets) {
  return Object.entries(budgets ?? {}).flatMap(([unit, periods]) => Object.entries(periods).map(([period, value]) => `${value}${unit}/${period}`)).join("\n");
}

function budgetsOf(value) {
  const found = {};
  for (const line of lines(value)) {
    const match = /^([\d.]+) ?([a-z]+)\/([a-z]+)$/i.exec(line);
    if (!match) throw new Error(`Budget ${line}: write 5usd/day or 100000tokens/month.`);
    const [, number, unit, period] = match.map((part) => part.toLowerCase());
    (found[unit] ??= {})[period] = unit === "usd" ? number : Number(number);
  }
  return found;
}

/** The limits that are set, in a few words. */
export function inWords(found) {
  const sets = Object.entries(found).filter(([name, value]) => /(^|_)limits$/.test(name) && Object.keys(value ?? {}).length);
  const texts = sets.map(([name, value]) => (name === "limits" ? "" : `${calledBy({ name }).toLowerCase()}: `) + setInWords(value));
  return texts.join("; ") || "none";
}

function setInWords(limits) {
  const texts = Object.entries(limits).map(([name, value]) => {
    if (name === "budgets") return budgetLines(value).replaceAll("\n", ", ");
    if (typeof value === "object" && !Array.isArray(value)) return `${name} (${setInWords(value)})`;
    return `${calledBy({ name }).toLowerCase()}: ${Array.isArray(value) ? value.join(" ") : value}`;
  });
  return texts.join("; ");
}
