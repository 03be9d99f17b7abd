// Elements without markup: what a crawl has met is hostile, and only ever becomes text.

/** Return an element; `on…` attributes are listeners, false and null ones are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put content into an element, which is left as it is if it has that already: focus stays. */
export function put(element, ...content) {
  const next = h("div", {}, ...content);
  const now = element.childNodes;
  const same = now.length === next.childNodes.length
    && [...now].every((node, index) => node.isEqualNode(next.childNodes[index]));
  if (!same) element.replaceChildren(...next.childNodes);
}

/**
 * Return a table with `update(rows)`, whose rows keep their elements while they are shown.
 *
 * A column is {title, show(row, current), numeric, wide}; only wide ones have several
 * lines.  current() is the row as it is now.  below(row) is the element that stands below
 * a row, if any.
 */
export function table({ caption, columns, key, empty, below = () => null }) {
  const body = h("tbody");
  const nothing = h("p", { class: "empty", hidden: true }, empty);
  const kind = ({ numeric, wide }) => (numeric && "number") || (wide && "wide");
  const heads = columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.title));
  const region = h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body));
  const known = new Map();

  function make(row) {
    const cells = columns.map((column) => h("td", { class: kind(column) }));
    return { row, cells, element: h("tr", {}, cells) };
  }

  function write(entry, row) {
    entry.row = row;
    columns.forEach(({ show }, index) =>
      put(entry.cells[index], show(row, () => entry.row)));
    const content = below(row);
    if (!content) entry.below?.remove();
    entry.below = content && (entry.below ?? h("tr", {}, h("td", { class: "below", colspan: columns.length }, content)));
  }

  return {
    element: h("div", {}, region, nothing),
    rows: () => [...known.values()].map((entry) => entry.row),
    update(rows) {
      const ids = new Set(rows.map(key));
      for (const [id, entry] of known) {
        if (!ids.has(id)) { entry.element.remove(); entry.below?.remove(); known.delete(id); }
      }
      const elements = rows.flatMap((row) => {
        const id = key(row);
        if (!known.has(id)) known.set(id, make(row));
        const entry = known.get(id);
        write(entry, row);
        return entry.below ? [entry.element, entry.below] : [entry.element];
      });
      elements.forEach((element, index) => {
        const there = body.children[index] ?? null;
        if (there !== element) body.insertBefore(element, there);
      });
      region.hidden = !rows.length;
      nothing.hidden = Boolean(rows.length);
    },
  };
}

/** Return buttons for the pages of a list that the server pages, with `update(answer)`. */
export function pager(what, load) {
  const before = [];
  let after = 0;
  let following = null;
  const said = h("span", {});
  const back = h("button", { type: "button", onclick: () => go(before.pop()) }, "Previous");
  const on = h("button", { type: "button", onclick: () => { if (following !== null) { before.push(after); go(following); } } }, "Next");
  // Where the next page begins is known again when this one is there.
  function go(place) { after = place; following = null; load(); }
  const element = h("div", { class: "pager", role: "group", "aria-label": `Pages of ${what}` }, back, said, on);
  return {
    element,
    get after() { return after; },
    reset() { before.length = 0; after = 0; following = null; },
    update({ total, next }, shown) {
      following = next;
      back.disabled = !before.length;
      on.disabled = next === null;
      const first = Number(after) + 1;
      element.hidden = !total;
      put(said, shown ? `${number(first)} to ${number(first + shown - 1)} of ${number(total)}` : "no more");
    },
  };
}

/** Return a labelled field. */
export function field(label, control, hint = "") {
  const id = `field-${control.name}-${fields += 1}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control,
    hint ? h("small", { id: `${id}-hint` }, hint) : null);
}
let fields = 0;

export function select(name, options, chosen = "") {
  return h("select", { name }, Object.entries(options).map(([value, text]) =>
    h("option", { value, selected: value === chosen }, text)));
}

/** Return a list of names and values, with `update(pairs)`. */
export function facts(kind = "facts") {
  const element = h("dl", { class: kind });
  return {
    element,
    update: (pairs) => put(element,
      ...Object.entries(pairs).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  };
}

/** Say something for some seconds, to eyes and to screen readers. */
export function notify(text, isError = false) {
  const notice = h("p", { class: isError ? "notice error" : "notice" }, text,
    h("button", { type: "button", "aria-label": "Close this message", onclick: () => notice.remove() }, "×"));
  document.getElementById("notices").append(notice);
  if (!isError) setTimeout(() => notice.remove(), 8000);
}

/** Ask before something that cannot be undone; resolve to whether it is wanted. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": action },
      h("p", {}, question),
      h("form", { method: "dialog", class: "buttons" },
        h("button", { value: "no" }, "Cancel"),
        h("button", { value: "yes", class: "danger" }, action)));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
export const number = (value) => whole.format(value);
export const percent = (part) => `${tenths.format(100 * part)} %`;
export const rate = (value) => `${tenths.format(value)}/s`;
export const moment = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : "–");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const rounded = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(rounded / 86400), Math.floor(rounded / 3600) % 24, Math.floor(rounded / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rounded % 60} s` : `${rounded} s`;
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = bytes ? Math.min(4, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${tenths.format(bytes / 1000 ** step)} ${units[step]}`;
}

/** Say why a domain or worker has nothing in flight. */
export function why(row) {
  const texts = { ready: "ready", busy: "at work", empty: "nothing to fetch", elsewhere: "as many in flight as may be", throttled: "throttled", deferred: "pushed back", paused: "paused", blocked: "blocked" };
  const text = row.why === "trouble" ? row.trouble : texts[row.why] ?? row.why;
  return row.until ? `${text}, ${duration(row.until - Date.now() / 1000)} more` : text;
}
