// A form for a crawl; what is wrong with it the service says, by its schema.

import { Problem, send } from "../api.js";
import { field, h, notify } from "../dom.js";
import { onSubmit } from "../forms.js";
import { linkTo } from "./crawls.js";

export const title = () => "Submit a crawl";

export function show({ content }) {
  const text = (name, value = "") => h("input", { name, value });
  const count = (name) => h("input", { name, type: "number", step: "any" });
  const lines = (name) => h("textarea", { name, rows: "2" });
  content.append(h("form", { novalidate: true, onsubmit: onSubmit(submit) },
    field("URL", text("url"), "Where to begin; without a scheme it is http://."),
    field("Application", text("appid"), "Who asks, 3 to 40 characters."),
    field("Crawl", text("crawlid"), "The crawl's name, 1 to 40 characters; one that exists gets the URL too."),
    field("Depth", count("maxdepth"), "Levels of links that are followed; none: 0."),
    field("Priority", count("priority"), "1 to 100, which comes first; none: 1."),
    field("Spider", text("spiderid", "link")),
    h("details", {}, h("summary", {}, "Limits and filters"),
      field("Pages at most", count("max_pages")),
      field("Pages of each domain at most", count("domain_max_pages")),
      field("Domains that links may lead to", lines("allowed_domains"), "One a line, with their subdomains; none: all."),
      field("Links must match one of", lines("allow_regex"), "Regular expressions (RE2), one a line."),
      field("Links must match none of", lines("deny_regex"), "Regular expressions (RE2), one a line."),
      field("All else, as JSON", lines("others"), "For example {\"useragent\": \"shop/1.0\", \"attrs\": {\"job\": 7}}.")),
    h("button", { type: "submit" }, "Submit")));
}

async function submit(values, form) {
  const { others = "{}", ...request } = values;
  for (const name of ["allowed_domains", "allow_regex", "deny_regex"]) {
    if (name in request) request[name] = request[name].split("\n").map((line) => line.trim()).filter(Boolean);
  }
  let crawl;
  try {
    crawl = await send("POST", "/crawls", { ...parsed(others), ...request });
  } catch (error) {
    // A wrong field may be in the part that is closed.
    form.querySelector("details").open = true;
    throw error;
  }
  notify(`Submitted ${crawl.crawlid}.`);
  location.hash = linkTo(crawl);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Problem(400, "", [{ path: "others", message: `is no JSON: ${error.message}` }]);
  }
}
