// The workers, those in trouble first, and what those hold whose rows are opened.

import { get } from "../api.js";
import { duration, h, number, pager, rate, size, table, why } from "../dom.js";
import { expecting, gently, live, ticking } from "../live.js";
import { held } from "./held.js";

const LIMIT = 50;

export const title = () => "Workers";

export function show({ content, signal, guarded }) {
  const pages = pager("workers", () => load.now());
  const redraw = () => shown.update(shown.rows());
  const holding = held(redraw, signal);
  const shown = table({
    caption: "Workers, those in trouble first",
    key: (row) => row.worker,
    empty: "No worker runs. Start one by fleet worker.",
    below: holding.below,
    columns: [
      { title: "Worker", wide: true, show: (row) => [holding.button(row)] },
      { title: "Spider", show: (row) => [row.spiderid] },
      { title: "Life", show: life },
      { title: "Holds", numeric: true, show: (row) => [number(row.leased)] },
      { title: "What it does", wide: true, show: (row) => [why(row)] },
      { title: "Pages", numeric: true, show: (row) => [told(row) ? number(row.pages) : "–"] },
      { title: "Rate", numeric: true, show: (row) => [told(row) && row.alive ? rate(row.rate) : "–"] },
      { title: "Memory", numeric: true, show: (row) => [row.memory ? size(row.memory) : "–"] },
    ],
  });
  content.append(shown.element, pages.element);

  const load = gently(guarded(async () => {
    const answer = await get("/workers", { limit: LIMIT, after: pages.after }, signal);
    holding.keep(answer.workers);
    shown.update(answer.workers);
    pages.update(answer, answer.workers.length);
    // A worker that is silent changes nothing that would be told.
    expect(answer.workers.flatMap((row) => [row.until, row.alive ? row.deadline : null]));
  }), signal);
  const expect = expecting(load, signal);

  live.addEventListener("change", ({ detail }) => {
    if (detail.changed.includes("workers")) load();
    // What goes and what comes may be as many.
    if (["crawls", "workers"].some((name) => detail.changed.includes(name))) holding.load();
  }, { signal });
  ticking(redraw, signal);
  load();
}

/** Say whether a worker has told anything of itself: it does with its first renewal. */
const told = ({ pages, memory }) => pages > 0 || memory > 0;

function life({ alive, deadline }) {
  const seconds = deadline - Date.now() / 1000;
  return [
    h("span", { class: alive ? "state running" : "state expired" }, alive ? "alive" : "not heard of"),
    alive ? ` for ${duration(seconds)} more` : ` for ${duration(-seconds)}`,
  ];
}
