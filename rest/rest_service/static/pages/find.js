// Where one URL of a crawl is, and why.

import { Problem, get, pathOf } from "../api.js";
import { facts, field, h, moment, number } from "../dom.js";
import { onSubmit } from "../forms.js";

const NAMES = ["spiderid", "appid", "crawlid", "url"];
const MEANING = {
  unseen: "The crawl has not met it: no page links to it, or a filter or a limit kept it out.",
  queued: "It waits for its turn.",
  delayed: "It waits for its next try.",
  leased: "A worker is fetching it.",
  done: "It was fetched, and its page is stored.",
  failed: "It failed for good.",
  dropped: "It was dropped without being fetched.",
};

export const title = () => "Find a URL";

export function show({ content, query, signal }) {
  const input = (name, fallback = "") => h("input", { name, value: query.get(name) ?? fallback, required: true });
  const found = facts();
  const meaning = h("p", { role: "status" });
  const form = h("form", {
    novalidate: true,
    onsubmit: onSubmit(async (values) => {
      found.update({});
      meaning.textContent = "";
      const missing = NAMES.filter((name) => !(name in values));
      // Without its name the path would be that of something else.
      if (missing.length) throw new Problem(400, "", missing.map((path) => ({ path, message: "is required" })));
      draw(await get(`/crawls/${pathOf(values)}/trace`, { url: values.url }, signal));
    }),
  },
  field("Spider", input("spiderid", "link")), field("Application", input("appid")), field("Crawl", input("crawlid")),
  field("URL", input("url")), h("button", { type: "submit" }, "Find"));
  content.append(form, meaning, found.element);

  function draw(trace) {
    meaning.textContent = MEANING[trace.state];
    const pairs = {
      URL: trace.url, State: trace.state, Reason: trace.reason, Tries: trace.attempts, Depth: trace.depth, Priority: trace.priority,
      Worker: trace.worker, Since: trace.since && moment(trace.since), "Next try": trace.next_try && moment(trace.next_try),
    };
    const known = Object.entries(pairs).filter(([, value]) => value !== null);
    found.update(Object.fromEntries(known.map(([name, value]) => [name, typeof value === "number" ? number(value) : value])));
  }

  if (query.get("url")) form.requestSubmit();
}
