// The dashboard: which page is shown, whether the service is heard, and who asks.

import { Problem, session, signIn, signOut, token } from "./api.js";
import { field, h, put } from "./dom.js";
import { live } from "./live.js";
import * as crawl from "./pages/crawl.js";
import * as crawls from "./pages/crawls.js";
import * as domains from "./pages/domains.js";
import * as find from "./pages/find.js";
import * as overview from "./pages/overview.js";
import * as submit from "./pages/submit.js";
import * as workers from "./pages/workers.js";

const PAGES = { "": overview, crawls, domains, workers, find, submit };
const main = document.getElementById("main");
let leaving = new AbortController();

function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = path.split("/");
  let names = [];
  try { names = parts.map(decodeURIComponent); } catch { return [null, [], null, name]; }
  const page = name === "crawls" && names.length === 3 ? crawl : PAGES[name];
  return [page, names, new URLSearchParams(search), name];
}

async function show(moveFocus) {
  // The link "Skip to the page" is no page.
  if (location.hash === "#main") { main.focus(); return; }
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [page, names, query, name] = route();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = page?.title(names) ?? "No such page";
  document.title = `${title} – scrapy-fleet`;
  const heading = h("h1", { tabindex: "-1" }, title);
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  const content = h("div", {});
  main.replaceChildren(heading, trouble, content);
  if (moveFocus) heading.focus();
  const problems = new Map();
  /**
   * Call *load*; say on the page what went wrong, until this load goes well again.  It
   * resolves to whether to try again: nothing that changes need ever tell the page to.
   */
  const guarded = (load) => async () => {
    try {
      await load();
      problems.delete(load);
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return false;
      if (!(error instanceof Problem)) throw error;
      problems.set(load, error);
    }
    trouble.hidden = !problems.size;
    put(trouble, [...new Set([...problems.values()].map(({ message }) => message))].join("; "));
    return problems.get(load)?.passes ?? false;
  };
  page?.show({ content, names, query, signal, guarded });
}

function listenToConnection() {
  const shown = document.getElementById("connection");
  live.addEventListener("connection", ({ detail }) => {
    const tracker = live.overview?.tracker;
    const state = detail === "live" && tracker === "down" ? "down" : detail;
    shown.className = state;
    put(shown, { live: "live", lost: "connection lost, trying again", down: "the tracker does not answer" }[state]);
  });
}

/** Ask for a token until there is one that the service knows. */
function askForToken({ detail }) {
  if (document.getElementById("sign-in")) return;
  const given = h("input", { name: "token", type: "password", autocomplete: "current-password", required: true });
  const said = h("p", { role: "alert", class: "error" }, token() ? detail : "");
  const dialog = h("dialog", { id: "sign-in", "aria-label": "Sign in", oncancel: (event) => event.preventDefault() },
    h("h2", {}, "Sign in"),
    h("form", { onsubmit: enter }, field("Token", given, "A token of the file REST_TOKENS. It is kept in this tab, until it is closed."), said,
      h("div", { class: "buttons" }, h("button", { type: "submit" }, "Sign in"))));
  function enter(event) {
    event.preventDefault();
    dialog.remove();
    document.getElementById("sign-out").hidden = false;
    signIn(given.value.trim());
    show(false);
  }
  document.body.append(dialog);
  dialog.showModal();
}

const out = document.getElementById("sign-out");
out.hidden = !token();
out.addEventListener("click", signOut);
session.addEventListener("needed", askForToken);
window.addEventListener("hashchange", () => show(true));
listenToConnection();
show(false);
live.run();
