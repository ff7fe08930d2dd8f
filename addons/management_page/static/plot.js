// Stacked bars over time, as SVG; the same as a table for who does not see them.

import { h, s, table } from "./dom.js";

const HEIGHT = 220;
const LEFT = 56;
const BOTTOM = 22;
const TOP = 8;
const COLOURS = 8;

/**
 * Draw `rows` of `/manage/usage`, which are by `period` and `way`.
 * `read(row)`: the number; `show(number)`: its text; `call(row)`: what its group is called.
 */
export function stacked(title, { rows, periods, periodOf, read, show, call, width }) {
  const groups = grouped(rows, read, call);
  const heights = new Map(periods.map((period) => [period, new Map()]));
  for (const row of rows) {
    const bar = heights.get(periodOf(row));
    if (bar) bar.set(call(row), (bar.get(call(row)) ?? 0) + read(row));
  }
  const most = Math.max(...[...heights.values()].map((bar) => sum(bar.values())), 0);
  const picture = most > 0 ? draw(title, { groups, heights, most, show, width }) : h("p", { class: "quiet" }, "Nothing in this time.");
  const columns = [
    { title: "Time", cell: (period) => period },
    ...groups.map((group) => ({ title: group, number: true, cell: (period) => show(heights.get(period).get(group) ?? 0) })),
  ];
  const legend = groups.map((group, index) => h("li", {}, swatch(group, index), `${group} `, h("b", {}, show(sum([...heights.values()].map((bar) => bar.get(group) ?? 0))))));
  return h(
    "figure",
    { class: "plot" },
    h("figcaption", {}, title),
    picture,
    h("ul", { class: "legend" }, legend),
    h("details", {}, h("summary", {}, "The same as a table"), table(title, columns, periods, { hideCaption: true })),
  );
}

export const OTHERS = "all others";

function grouped(rows, read, call) {
  const sums = new Map();
  for (const row of rows) sums.set(call(row), (sums.get(call(row)) ?? 0) + read(row));
  const names = [...sums.keys()].filter((group) => group !== OTHERS).sort((one, two) => sums.get(two) - sums.get(one));
  return sums.has(OTHERS) ? [...names, OTHERS] : names;
}

function draw(title, { groups, heights, most, show, width }) {
  const full = Math.max(260, width - 34);
  const top = ceiling(most);
  const step = (full - LEFT) / heights.size;
  const high = HEIGHT - BOTTOM - TOP;
  const y = (value) => TOP + high * (1 - value / top);
  const marks = [];
  for (const part of [0, 0.5, 1]) {
    const at = y(top * part);
    marks.push(s("line", { class: "grid", x1: LEFT, x2: full, y1: at, y2: at }), s("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, show(top * part)));
  }
  const bars = [];
  const every = Math.max(1, Math.ceil((heights.size * 52) / (full - LEFT)));
  [...heights].forEach(([period, bar], index) => {
    let below = 0;
    const x = LEFT + index * step + step * 0.12;
    groups.forEach((group, number) => {
      const value = bar.get(group) ?? 0;
      if (!value) return;
      const from = y(below + value);
      bars.push(s("rect", { class: colour(group, number), x, width: step * 0.76, y: from, height: Math.max(0.5, y(below) - from) }, s("title", {}, `${period}, ${group}: ${show(value)}`)));
      below += value;
    });
    const middle = LEFT + (index + 0.5) * step;
    const [at, anchor] = middle > full - 18 ? [full, "end"] : [middle, "middle"];
    if (index % every === 0) marks.push(s("text", { x: at, y: HEIGHT - 6, "text-anchor": anchor }, period.length > 10 ? period.slice(11, 16) : period.slice(5)));
  });
  const label = `${title}. ${heights.size} bars; the highest is ${show(most)}. The table below has the figures.`;
  return s("svg", { viewBox: `0 0 ${full} ${HEIGHT}`, role: "img", "aria-label": label }, marks, bars);
}

const sum = (numbers) => [...numbers].reduce((one, two) => one + two, 0);
const colour = (group, index) => (group === OTHERS ? "rest" : `c${index % COLOURS}`);

function swatch(group, index) {
  return s("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, s("rect", { class: colour(group, index), width: 10, height: 10 }));
}

/** The next round number. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].map((one) => one * power).find((one) => one >= value);
}
