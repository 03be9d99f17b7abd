// The domains that have work: how each is treated, and why it waits; changed live.

import { get, send } from "../api.js";
import { duration, field, h, notify, number, pager, select, table, why } from "../dom.js";
import { explain, onSubmit } from "../forms.js";
import { expecting, gently, live, ticking } from "../live.js";

const LIMIT = 50;
const ORDERS = { next: "as they are asked next", backlog: "longest queues first", rate: "fastest first", name: "by name" };
const WHYS = { "": "all", ready: "ready", throttled: "throttled", deferred: "pushed back", elsewhere: "as many in flight as may be", paused: "paused", blocked: "blocked" };

export const title = () => "Domains";

export function show({ content, signal, guarded }) {
  const name = h("input", { type: "search", name: "name" });
  const sort = select("sort", ORDERS);
  const state = select("state", WHYS);
  const filters = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Name has ", name), h("label", {}, "Sorted ", sort), h("label", {}, "State ", state));
  const pages = pager("domains", () => load.now());
  const open = (row) => change(row, reload, signal);
  const button = ({ domain }, current) => h("button", {
    type: "button",
    "aria-label": `Change ${domain}`,
    onclick: () => open(current()).catch((error) => explain(error, ({ message }) => notify(message, true))),
  }, "Change…");
  const shown = table({
    caption: "Domains with something queued or in flight",
    key: (row) => JSON.stringify([row.spiderid, row.domain]),
    empty: "No domain has work.",
    columns: [
      { title: "Domain", wide: true, show: (row) => [row.domain, h("small", {}, ` ${row.spiderid}`)] },
      { title: "Queued", numeric: true, show: (row) => [number(row.queued)] },
      { title: "In flight", numeric: true, show: (row) => [number(row.leased)] },
      { title: "State", show: (row) => [why(row)] },
      { title: "Throttle", show: (row) => [throttle(row)] },
      { title: "Treatment", show: (row, current) => [button(row, current)] },
    ],
  });
  const own = table({
    caption: "Throttles and blocks of single domains, whether or not they have work",
    key: (row) => row.domain,
    empty: "All domains are treated alike.",
    columns: [
      { title: "Domain", wide: true, show: (row) => [row.domain] },
      { title: "Throttle", show: ({ hits, window, scale }) => [hits ? throttle({ hits, window }) + (scale === 1 ? "" : `, times ${scale}`) : "as all others"] },
      { title: "Blocked", show: (row) => [row.blocked ? "blocked" : "no"] },
      { title: "Treatment", show: (row, current) => [button(row, current)] },
    ],
  });
  const ownPages = pager("what is set", () => loadOwn.now());
  const another = h("input", { name: "domain", required: true });
  content.append(filters, shown.element, pages.element,
    h("h2", {}, "Set for single domains"), own.element, ownPages.element,
    h("form", { class: "inline", onsubmit: onSubmit(({ domain }) => open({ domain, hits: 0, window: 60 })) }, field("Another domain", another), h("button", { type: "submit" }, "Change…")));

  const load = gently(guarded(async () => {
    const asked = { name: name.value.trim(), sort: sort.value, state: state.value, limit: LIMIT, after: pages.after };
    const answer = await get("/domains", asked, signal);
    shown.update(answer.domains);
    pages.update(answer, answer.domains.length);
    expect(answer.domains.map((row) => row.until));
  }), signal);
  const expect = expecting(load, signal);
  const loadOwn = gently(guarded(async () => {
    const answer = await get("/domain-settings", { limit: LIMIT, after: ownPages.after }, signal);
    own.update(answer.settings);
    ownPages.update(answer, answer.settings.length);
  }), signal);
  const reload = () => { load.now(); loadOwn.now(); };
  const anew = () => { pages.reset(); load.now(); };

  filters.addEventListener("input", anew);
  live.addEventListener("change", ({ detail }) => {
    if (detail.changed.includes("domains")) load();
    if (detail.changed.includes("domain-settings")) loadOwn();
  }, { signal });
  ticking(() => shown.update(shown.rows()), signal);
  reload();
}

function throttle({ hits, window, own }) {
  if (!hits) return "none";
  return `${number(hits)} in ${duration(window)}${own ? ", its own" : ""}`;
}

/**
 * Let the user change how a domain is treated, whichever spider asks it.
 *
 * What is set for it now is asked for; *hits* and *window* are offered where nothing is.
 */
async function change({ domain, hits, window }, load, signal) {
  const { settings: [set] } = await get("/domain-settings", { domain }, signal);
  // Who presses twice gets one.
  if (document.querySelector("dialog")) return;
  const isOwn = set?.hits > 0;
  const given = isOwn ? set : { hits, window, scale: 1 };
  const isBlocked = set?.blocked ?? false;
  const path = `/domains/${encodeURIComponent(domain)}`;
  const done = async (method, what, body, said) => {
    await send(method, `${path}/${what}`, body);
    dialog.close();
    notify(`${domain}: ${said}`);
    load();
  };
  const decimal = { type: "number", step: "any", required: true };
  const limit = h("form", { novalidate: true, onsubmit: onSubmit((values) => done("PUT", "limit", values, "throttle set")) },
    h("h3", {}, "Throttle, over all workers"),
    field("Hits", h("input", { ...decimal, name: "hits", value: given.hits || "" })),
    field("in any … seconds", h("input", { ...decimal, name: "window", value: given.window || "" })),
    field("Times", h("input", { ...decimal, name: "scale", value: given.scale }), "More than 0, at most 1; the hits are multiplied by it"),
    h("button", { type: "submit" }, "Set throttle"));
  const usual = h("form", { onsubmit: onSubmit(() => done("DELETE", "limit", undefined, "throttled as all others")) },
    h("button", { type: "submit", disabled: !isOwn }, "As all others"));
  const defer = h("form", { novalidate: true, onsubmit: onSubmit((values) => done("POST", "defer", values, "pushed back")) },
    h("h3", {}, "Push back"),
    field("Seconds", h("input", { ...decimal, name: "seconds", value: "600" }), "0 opens it"),
    h("button", { type: "submit" }, "Push back"));
  const block = h("form", { onsubmit: onSubmit(() => done(isBlocked ? "DELETE" : "PUT", "block", undefined, isBlocked ? "unblocked" : "blocked: what is queued stays queued")) },
    h("h3", {}, "Block"),
    h("button", { type: "submit" }, isBlocked ? "Unblock" : "Block"));
  const dialog = h("dialog", { "aria-label": `Change ${domain}`, onclose: () => dialog.remove() },
    h("h2", {}, domain), limit, usual, defer, block,
    h("form", { method: "dialog", class: "buttons" }, h("button", {}, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}
