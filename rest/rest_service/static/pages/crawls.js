// All crawls, the newest first.

import { get, pathOf } from "../api.js";
import { duration, h, moment, number, pager, rate, select, table } from "../dom.js";
import { gently, idOf, live } from "../live.js";

const LIMIT = 50;
export const STATES = { "": "all", running: "running", paused: "paused", finished: "finished", stopped: "stopped", expired: "expired" };

export const title = () => "Crawls";

export const linkTo = (crawl) => `#/crawls/${pathOf(crawl)}`;

/** Return a bar with a part for each way to end, and in words how much has ended. */
export function progress(crawl) {
  const percent = Math.floor(crawl.progress * 100);
  const ends = ["done", "failed", "dropped"].filter((name) => crawl[name]);
  const said = ends.map((name) => `${number(crawl[name])} ${name}`).join(", ");
  const open = crawl.queued + crawl.delayed + crawl.leased;
  return [
    h("span", { class: "bar", role: "img", "aria-label": `${percent} % have ended${said && `: ${said}`}` },
      ends.map((name) => part(name, crawl[name])), part("open", open)),
    ` ${percent} %`,
  ];
}

function part(name, count) {
  const element = h("span", { class: name });
  // Not by an attribute: the service lets no markup have a style.
  element.style.flexGrow = count;
  return element;
}

export function crawlTable(caption) {
  const numeric = true;
  return table({
    caption,
    key: idOf,
    empty: "There are none. Submit one, by the page Submit or by fleet crawl.",
    columns: [
      { title: "Crawl", wide: true, show: (crawl) => [h("a", { href: linkTo(crawl) }, crawl.crawlid), h("small", {}, ` ${crawl.spiderid}, ${crawl.appid}`)] },
      { title: "State", show: (crawl) => [h("span", { class: `state ${crawl.state}` }, crawl.state)] },
      { title: "Progress", show: progress },
      { title: "Done", numeric, show: (crawl) => [number(crawl.done)] },
      { title: "Failed", numeric, show: (crawl) => [number(crawl.failed)] },
      { title: "Dropped", numeric, show: (crawl) => [number(crawl.dropped)] },
      { title: "Queued", numeric, show: (crawl) => [number(crawl.queued + crawl.delayed)] },
      { title: "In flight", numeric, show: (crawl) => [number(crawl.leased)] },
      { title: "Rate", numeric, show: (crawl) => [rate(crawl.rate)] },
      { title: "Began", show: (crawl) => [moment(crawl.started)] },
      { title: "Ended", show: (crawl) => [ending(crawl)] },
    ],
  });
}

function ending({ ended, eta }) {
  return ended || eta === null ? moment(ended) : `in ${duration(eta)}`;
}

export function show({ content, signal, guarded }) {
  const shown = crawlTable("Crawls, the newest first");
  const state = select("state", STATES);
  const pages = pager("crawls", () => load.now());
  content.append(h("form", { class: "filters" }, h("label", {}, "State ", state)), shown.element, pages.element);

  const load = gently(guarded(async () => {
    const answer = await get("/crawls", { state: state.value, limit: LIMIT, after: pages.after }, signal);
    shown.update(answer.crawls);
    pages.update(answer, answer.crawls.length);
  }), signal);

  state.addEventListener("change", () => { pages.reset(); load.now(); });
  live.addEventListener("change", ({ detail }) => {
    const told = new Map(detail.crawls.map((crawl) => [idOf(crawl), crawl]));
    const rows = shown.rows();
    const known = new Map(rows.map((row) => [idOf(row), row]));
    // The list is asked for again only when it is another one; else its rows have been told.
    const moved = [...told].some(([id, crawl]) => known.get(id)?.state !== crawl.state);
    if (detail.isAll || detail.more || detail.gone?.length || moved) load();
    else if (rows.length) shown.update(rows.map((row) => told.get(idOf(row)) ?? row));
  }, { signal });
  load();
}
