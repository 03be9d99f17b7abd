// One crawl: its books, where it waits, what failed and why, and what can be done about it.

import { get, pathOf, send } from "../api.js";
import { confirmed, duration, facts, field, h, moment, notify, number, pager, percent, put, rate, size, table, why } from "../dom.js";
import { onClick, onSubmit } from "../forms.js";
import { expecting, gently, idOf, live, ticking } from "../live.js";
import { failures } from "./failures.js";
import { progress } from "./crawls.js";

const LIMIT = 20;
// The tracker counts all below together.
const DEEPEST = 32;

export const title = ([, , crawlid]) => `Crawl ${crawlid}`;

export function show({ content, names, signal, guarded }) {
  const [spiderid, appid, crawlid] = names;
  const id = { spiderid, appid, crawlid };
  const path = `/crawls/${pathOf(id)}`;
  const search = new URLSearchParams(id);
  let now = null;
  // Until it is known there is nothing to see, and nothing to be done.
  content.hidden = true;

  const state = h("p", { class: "standing" });
  const books = facts("tiles");
  const more = facts();
  const statuses = counts("What is done or has failed, by the status of its last answer", "Status");
  const depths = counts("What is done or has failed, by depth: links from a seed", "Depth");
  const drops = facts();
  const failed = failures(path, search, signal);
  const domains = table({
    caption: "Domains in which the crawl waits, longest queues first",
    key: (row) => row.domain,
    empty: "Nothing is queued.",
    columns: [
      { title: "Domain", wide: true, show: (row) => [row.domain] },
      { title: "Queued", numeric: true, show: (row) => [number(row.queued)] },
      { title: "Why nothing more is fetched", wide: true, show: (row) => [why(row)] },
    ],
  });
  const pages = pager("domains", () => loadDomains.now());
  const actions = buttons(path, id, () => now, () => load.now());
  content.append(
    state, actions.element, books.element,
    h("h2", {}, "Failures by reason"), failed.element,
    h("h2", {}, "Domains"), domains.element, pages.element,
    h("h2", {}, "By status and by depth"), statuses.element, depths.element,
    h("h2", {}, "Dropped by reason"), drops.element,
    h("h2", {}, "Times and limits"), more.element,
    h("p", {}, h("a", { href: `#/find?${search}` }, "Find a URL of this crawl")),
  );

  const loadDomains = gently(guarded(async () => {
    const answer = await get(`${path}/domains`, { limit: LIMIT, after: pages.after }, signal);
    domains.update(answer.domains);
    pages.update(answer, answer.domains.length);
    expect(answer.domains.map((row) => row.until));
  }), signal);
  const expect = expecting(loadDomains, signal);

  const load = gently(guarded(async () => {
    try {
      draw(await get(path, {}, signal));
    } catch (error) {
      if (error.status === 404) content.hidden = true;
      throw error;
    }
    loadDomains.now();
  }), signal);

  function draw(crawl) {
    now = crawl;
    content.hidden = false;
    const { leased, queued, delayed, done, dropped, accepted, duplicates } = crawl;
    put(state, h("span", { class: `state ${crawl.state}` }, crawl.state), " ", ...progress(crawl), ` of ${number(accepted)} have ended`,
      crawl.ended ? "" : `; the rest in ${duration(crawl.eta)}`);
    books.update({
      Accepted: number(accepted), Queued: number(queued), "Waiting for a retry": number(delayed), "In flight": number(leased),
      Done: number(done), Failed: number(crawl.failed), Dropped: number(dropped), "Links met again": number(duplicates),
      "Pages a second": rate(crawl.rate),
    });
    statuses.update(crawl.by_status);
    depths.update(crawl.by_depth, (depth) => (Number(depth) === DEEPEST ? `${depth} and more` : depth));
    const passing = Object.entries(crawl.reasons).filter(([reason]) => !(reason in crawl.failures));
    drops.update(counted(Object.fromEntries(passing), "none"));
    more.update({
      Spider: spiderid, Application: appid,
      Began: moment(crawl.started), Ended: moment(crawl.ended), Took: duration(crawl.elapsed), Fetched: size(crawl.bytes),
      Begun: `${number(crawl.epoch)} times`,
      "Depth at most": limit(crawl.maxdepth), "Pages at most": limit(crawl.max_pages),
      "Pages of a domain at most": limit(crawl.domain_max_pages), Expires: moment(crawl.expires),
      "Added to its priority": number(crawl.priority),
    });
    failed.update(crawl.failures);
    actions.update();
  }

  live.addEventListener("change", ({ detail }) => {
    const told = detail.crawls.find((crawl) => idOf(crawl) === idOf(id));
    const isGone = detail.gone?.some((crawl) => idOf(crawl) === idOf(id));
    // What the page says of a crawl that was not there goes with the next load.
    if (told && !content.hidden) draw(told);
    else if (told || isGone || detail.isAll || detail.more) load();
    if (!content.hidden && detail.changed.includes("domains")) loadDomains();
  }, { signal });
  ticking(() => domains.update(domains.rows()), signal);
  load();
}

const limit = (value) => (value === null ? "no limit" : number(value));

/** Return a table of counts by a number, with the part that each is of all. */
function counts(caption, title) {
  const shown = table({
    caption,
    key: (row) => row.name,
    empty: "Nothing has ended yet.",
    columns: [
      { title, show: (row) => [row.name] },
      { title: "Number", numeric: true, show: (row) => [number(row.count)] },
      { title: "Part", numeric: true, show: (row) => [percent(row.count / row.total)] },
    ],
  });
  return {
    element: shown.element,
    update(found, named = (name) => name) {
      const total = Object.values(found).reduce((sum, count) => sum + count, 0);
      // Names that are whole numbers come in their order.
      shown.update(Object.entries(found).map(([name, count]) => ({ name: named(name), count, total })));
    },
  };
}

function counted(counts, none) {
  const pairs = Object.entries(counts).map(([name, count]) => [name, number(count)]);
  return pairs.length ? Object.fromEntries(pairs) : { [none]: "" };
}

/** Return what can be done with a crawl; only what makes sense as it is now can be pressed. */
function buttons(path, { crawlid }, crawl, load) {
  const act = (action) => onClick(async () => {
    const said = await action();
    load();
    return said;
  });
  const button = (text, action, kind = null) => h("button", { type: "button", class: kind, onclick: act(action) }, text);
  const pause = button("Pause", async () => {
    await send("POST", `${path}/pause`);
    return "Paused: what is in flight comes to its end.";
  });
  const resume = button("Resume", async () => {
    await send("POST", `${path}/resume`);
    return "Goes on.";
  });
  const retry = button("Retry all that failed", async () => {
    const { queued } = await send("POST", `${path}/retry`);
    return `${number(queued)} queued again.`;
  });
  const stop = button("Stop…", async () => {
    if (!await confirmed(`Stop ${crawlid}? What is queued is dropped.`, "Stop the crawl")) return "";
    const { dropped } = await send("POST", `${path}/stop`);
    return `Stopped: ${number(dropped)} dropped.`;
  }, "danger");
  const forget = button("Delete…", async () => {
    if (!await confirmed(`Delete ${crawlid}? Its books, and which URLs it has seen, are forgotten.`, "Delete the crawl")) return "";
    await send("DELETE", path);
    location.hash = "#/crawls";
    return "Deleted.";
  }, "danger");
  const priority = h("input", { name: "priority", type: "number", min: "-100", max: "100", step: "1", required: true });
  const prioritize = h("form", {
    class: "inline",
    novalidate: true,
    onsubmit: onSubmit(async (values) => {
      const { changed } = await send("POST", `${path}/prioritize`, values);
      notify(changed ? `Counts ${values.priority} more than it was submitted with.` : "Nothing was changed: it was so already, or has ended.");
    }),
  }, field("Add to its priority", priority, "-100 to 100; 0: as submitted"), h("button", { type: "submit" }, "Set"));

  return {
    element: h("section", { "aria-label": "Actions" },
      h("div", { class: "buttons" }, pause, resume, retry, stop, forget), prioritize),
    update() {
      const { state, failed } = crawl();
      pause.hidden = state !== "running";
      resume.hidden = state !== "paused";
      retry.hidden = !failed;
      stop.hidden = !["running", "paused"].includes(state);
      forget.hidden = ["running", "paused"].includes(state);
      prioritize.hidden = stop.hidden;
    },
  };
}
