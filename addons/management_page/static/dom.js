// Elements of the page. All text goes in as text: nothing is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `given`: attributes; `on` + a name for listeners; false and null leave one out. */
export function h(tag, given = {}, ...children) {
  return fill(document.createElement(tag), given, children);
}

/** The same of SVG. */
export function s(tag, given = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), given, children);
}

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Say something to who hears the page, and show it for a while. */
export function say(text, kind = "") {
  const place = document.getElementById("said");
  place.className = kind;
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (place.textContent = ""), 8000);
}

const kindOf = ({ number, long }) => (number ? "number" : long ? "long" : null);

let names = 0;
/** A new id. */
export const name = (prefix) => `${prefix}_${(names += 1)}`;

/** A table in a region that scrolls by itself. `columns`: `{title, cell(row)}`, with `number` or `long`. */
export function table(caption, columns, rows, { empty = "None.", hideCaption = false } = {}) {
  const id = name("caption");
  const head = columns.map((column) => h("th", { scope: "col", class: kindOf(column) }, column.title));
  const body = h("tbody");
  const add = (row) => body.append(tableRow(columns, row));
  rows.forEach(add);
  return h(
    "div",
    { class: "scroll", role: "region", "aria-labelledby": id, tabindex: "0" },
    h("table", {}, h("caption", { id, class: hideCaption ? "hidden" : null }, caption), h("thead", {}, h("tr", {}, head)), body),
    rows.length ? null : h("p", { class: "quiet empty" }, empty),
  );
}

/** One row of such a table. */
export function tableRow(columns, row) {
  return h(
    "tr",
    {},
    columns.map((column, index) => {
      const cell = column.cell(row);
      return h(index ? "td" : "th", { scope: index ? null : "row", class: kindOf(column) }, cell ?? "–");
    }),
  );
}

/** A field with its label. `kind`: an input's type, `textarea`, `checkbox` or a list of choices. */
export function field(label, key, { kind = "text", value = "", hint, required, ...more } = {}) {
  const id = name("field");
  const described = hint ? `${id}_hint` : null;
  const given = { id, name: key, required, "aria-describedby": described, ...more };
  let input;
  if (Array.isArray(kind)) {
    input = h("select", given, kind.map(([word, text]) => h("option", { value: word }, text)));
    input.value = value;
  } else if (kind === "textarea") {
    input = h("textarea", { rows: 3, spellcheck: "false", ...given, value });
  } else if (kind === "checkbox") {
    input = h("input", { type: "checkbox", checked: Boolean(value), ...given });
    return h("div", { class: "field check" }, input, h("label", { for: id }, label));
  } else {
    input = h("input", { type: kind, autocomplete: "off", spellcheck: "false", ...given, value });
  }
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint ? h("small", { id: described }, hint) : null,
  );
}

/** A form that sends by `send(values)`; what that throws is shown in it, beside its field. */
export function form(fields, submit, send, { wide = false, label } = {}) {
  const error = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, submit);
  const made = h("form", { class: wide ? "wide" : null, "aria-label": label, novalidate: true }, fields, error, h("div", { class: "actions" }, button));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    made.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
    const missing = [...made.elements].find((input) => input.required && !input.value.trim());
    if (missing) {
      missing.setAttribute("aria-invalid", "true");
      error.textContent = `${made.querySelector(`label[for=${missing.id}]`).textContent}: give one.`;
      missing.focus();
      return;
    }
    button.disabled = true;
    try {
      await send(values(made), made);
    } catch (problem) {
      error.textContent = problem.message;
      const wrong = problem.param && made.elements[problem.param];
      if (wrong?.setAttribute) {
        wrong.setAttribute("aria-invalid", "true");
        wrong.focus();
      }
    } finally {
      button.disabled = false;
    }
  });
  return made;
}

/** What is in a form, by name: texts without space around them, and true or false. */
export function values(made) {
  const found = {};
  for (const input of made.elements) {
    if (input.name) found[input.name] = input.type === "checkbox" ? input.checked : input.value.trim();
  }
  return found;
}

/** Show a dialog until it is closed. */
export function dialog(title, ...content) {
  const id = name("dialog");
  const close = h("button", { type: "button", onclick: () => made.close() }, "Close");
  const made = h("dialog", { "aria-labelledby": id }, h("h2", { id }, title), content, h("div", { class: "actions" }, close));
  const before = document.activeElement;
  made.addEventListener("close", () => {
    made.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(made);
  made.showModal();
  return made;
}

/** Ask before something that can't be undone; gives true or false. */
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const button = h("button", { type: "button", class: "danger" }, yes);
    const asked = dialog(question, h("div", { class: "actions" }, button));
    button.addEventListener("click", () => {
      resolve(true);
      asked.close();
    });
    asked.addEventListener("close", () => resolve(false));
  });
}

/** A heading of the view, which has the focus once it is shown. */
export function heading(text, ...beside) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, text), beside);
}

/** Texts that are to be copied. */
export function copyable(label, text) {
  const button = h("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`${label}: copied.`);
    } catch {
      say(`${label}: select the text and copy it; this browser lets no page do that here.`, "bad");
    }
  });
  button.setAttribute("aria-label", `Copy: ${label}`);
  return h("div", { class: "copyable" }, h("div", { class: "label" }, label, " ", button), h("pre", { tabindex: "0", "aria-label": label, role: "region" }, text));
}
