// What workers hold, asked for only of those that are opened.

import { Problem, get } from "../api.js";
import { duration, h, number, put, table } from "../dom.js";
import { gently } from "../live.js";
import { linkTo } from "./crawls.js";

const LIMIT = 50;

export const nameOf = ({ host, pid, worker }) => (host ? `${host} ${pid}` : worker);

/** Return what stands below the rows of workers that are opened; *redraw* draws all rows. */
export function held(redraw, signal) {
  const open = new Map();

  const load = gently(async () => {
    const asked = [...open.values()].map((each) => each.load(signal));
    return (await Promise.all(asked)).some(Boolean);
  }, signal);

  return {
    load,
    /** Return the name of a worker as the button that opens and closes its row. */
    button(row) {
      const toggle = ({ currentTarget }) => {
        if (!open.delete(row.worker)) {
          open.set(row.worker, requests(row));
          load.now();
        }
        // Before it is drawn anew: then it is the same, and keeps the focus.
        currentTarget.setAttribute("aria-expanded", open.has(row.worker));
        redraw();
      };
      return h("button", { type: "button", class: "opens", "aria-expanded": String(open.has(row.worker)), onclick: toggle }, nameOf(row));
    },
    below: (row) => open.get(row.worker)?.draw(row),
    /** Close what is not among these rows any more. */
    keep(rows) {
      const there = new Set(rows.map(({ worker }) => worker));
      for (const worker of open.keys()) if (!there.has(worker)) open.delete(worker);
    },
  };
}

/** Return what one worker holds, with `load(signal)` and `draw(row)`, which returns its element. */
function requests(row) {
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  const more = h("p", { hidden: true });
  const shown = table({
    caption: `What ${nameOf(row)} holds, longest held first`,
    key: ({ spiderid, appid, crawlid, url, since }) => JSON.stringify([spiderid, appid, crawlid, url, since]),
    empty: "It holds nothing.",
    columns: [
      { title: "URL", wide: true, show: (held) => [h("a", { href: traceOf(held) }, held.url)] },
      { title: "Crawl", show: (held) => [h("a", { href: linkTo(held) }, held.crawlid)] },
      { title: "Priority", numeric: true, show: ({ priority }) => [number(priority)] },
      { title: "Depth", numeric: true, show: ({ depth }) => [number(depth)] },
      { title: "Tries before", numeric: true, show: ({ attempts }) => [number(attempts)] },
      { title: "For", numeric: true, show: ({ since }) => [duration(Date.now() / 1000 - since)] },
    ],
  });
  const element = h("div", {}, trouble, shown.element, more);
  // Of what is not known yet nothing is said.
  shown.element.hidden = true;

  return {
    /** Resolve to whether to ask again although nothing may tell to. */
    async load(signal) {
      let problem = null;
      try {
        const answer = await get(`/workers/${encodeURIComponent(row.worker)}/requests`, { limit: LIMIT }, signal);
        shown.update(answer.requests);
        shown.element.hidden = false;
      } catch (error) {
        if (signal.aborted) return false;
        if (!(error instanceof Problem)) throw error;
        problem = error;
      }
      trouble.hidden = !problem;
      put(trouble, problem?.message ?? "");
      return problem?.passes ?? false;
    },
    draw({ leased }) {
      const count = shown.rows().length;
      shown.update(shown.rows());
      more.hidden = count < LIMIT || leased <= count;
      put(more, `${number(count)} of ${number(leased)} are shown.`);
      return element;
    },
  };
}

const traceOf = ({ spiderid, appid, crawlid, url }) => `#/find?${new URLSearchParams({ spiderid, appid, crawlid, url })}`;
