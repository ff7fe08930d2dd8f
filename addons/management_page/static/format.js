// Figures, times and lengths of time, for people to read.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0, signDisplay: "exceptZero" });

/** The time zone in which days are counted and times are shown. */
export const ZONE = zone();

function zone() {
  const found = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return !found || found === "Etc/Unknown" ? "UTC" : found;
}

export const count = (value) => (value === null || value === undefined ? "–" : WHOLE.format(value));
export const short = (value) => (value === null || value === undefined ? "–" : SHORT.format(value));

/** Dollars, of a decimal as text: cents, and of less than a dollar three digits of what there is. */
export function usd(value) {
  if (value === null || value === undefined) return "–";
  const number = Number(value);
  if (number === 0) return "$0.00";
  const cents = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  const fewer = number.toLocaleString("en", { maximumSignificantDigits: 3, maximumFractionDigits: 9 });
  const text = Math.abs(number) < 1 && fewer.split(".")[1]?.length > 2 ? fewer : number.toLocaleString("en", cents);
  return `$${text}`.replace("$-", "−$");
}

/** An amount of a limit's unit: dollars where it counts dollars. */
export const amount = (limit, value) => (limit.startsWith("usd") ? usd(value) : count(value));

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10000 ? 2 : 1)} s`;
}

/** How much more or less than before, in percent; an empty text where that says nothing. */
export function change(now, before) {
  if (!Number(before)) return Number(now) ? "new" : "";
  return PERCENT.format(Number(now) / Number(before) - 1);
}

/** A moment in the browser's time zone. */
export function moment(text, seconds = false) {
  if (text === null || text === undefined) return "–";
  const options = { dateStyle: "medium", timeStyle: seconds ? "medium" : "short", timeZone: ZONE };
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(text));
}

/** How long it is until then. */
export function until(text) {
  if (!text) return "never resets";
  const minutes = Math.max(0, Math.round((new Date(text) - Date.now()) / 60000));
  if (minutes < 90) return `resets in ${minutes} min`;
  if (minutes < 60 * 36) return `resets in ${Math.round(minutes / 60)} h`;
  return `resets in ${Math.round(minutes / 1440)} days`;
}

/** The date in the browser's time zone, so many days ago: `2026-11-22`. */
export function day(daysAgo = 0) {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: ZONE, year: "numeric", month: "2-digit", day: "2-digit" });
  const [year, month, date] = parts.format(new Date()).split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, date - daysAgo)).toISOString().slice(0, 10);
}

export function bytes(value) {
  return `${SHORT.format(value)}B`;
}
