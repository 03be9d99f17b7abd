// What failed for good, grouped by reason; examples are asked for when a group is opened.

import { Problem, get, send } from "../api.js";
import { h, notify, number, put, table } from "../dom.js";
import { onClick } from "../forms.js";
import { gently } from "../live.js";

const EXAMPLES = 10;

/** Return the groups, with `update(counts)`; each stays open, or closed, as it is. */
export function failures(path, search, signal) {
  const groups = new Map();
  const nothing = h("p", { class: "empty" }, "Nothing has failed.");
  const element = h("div", {}, nothing);

  return {
    element,
    update(counts) {
      for (const [reason, group] of groups) {
        if (!(reason in counts)) { group.element.remove(); groups.delete(reason); }
      }
      const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
      for (const [reason, count] of sorted) {
        if (!groups.has(reason)) {
          groups.set(reason, group(path, search, reason, signal));
          element.append(groups.get(reason).element);
        }
        groups.get(reason).update(count);
      }
      nothing.hidden = sorted.length > 0;
    },
  };
}

function group(path, search, reason, signal) {
  const heading = h("summary", {});
  const more = h("button", { type: "button", onclick: onClick(load) }, "More");
  const retry = h("button", { type: "button", onclick: onClick(again) }, `Retry all of ${reason}`);
  const examples = table({
    caption: `Failed: ${reason}`,
    key: (row) => row.url,
    empty: "None are kept.",
    columns: [
      { title: "URL", wide: true, show: ({ url }) => [h("a", { href: `#/find?${search}&url=${encodeURIComponent(url)}` }, url)] },
      { title: "What was said", wide: true, show: ({ detail }) => [detail] },
      { title: "Tries", numeric: true, show: ({ attempts }) => [number(attempts)] },
    ],
  });
  const element = h("details", { ontoggle: () => { if (element.open) begin.now(); } },
    heading, examples.element, h("div", { class: "buttons" }, more, retry));
  let after = "";
  let known = 0;

  async function load() {
    const { failed, next } = await get(`${path}/failed`, { reason, limit: EXAMPLES, after }, signal);
    examples.update([...examples.rows(), ...failed]);
    after = next ?? "";
    more.hidden = next === null;
  }

  const begin = gently(async () => {
    after = "";
    examples.update([]);
    try {
      await load();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      notify(error.message, true);
    }
  }, signal);

  async function again() {
    const { queued } = await send("POST", `${path}/retry`, { reason, domain: "" });
    return `${number(queued)} of ${reason} queued again.`;
  }

  return {
    element,
    update(count) {
      put(heading, h("code", {}, reason), ` ${number(count)}`);
      // Who reads on keeps the rows; few rows are brought up to date.
      if (element.open && count !== known && examples.rows().length < EXAMPLES) begin();
      known = count;
    },
  };
}
