// The whole fleet: what it does now, and has done in the last hour.

import { facts, h, number, put, rate, size } from "../dom.js";
import { live } from "../live.js";
import { crawlTable } from "./crawls.js";
import { chart } from "../chart.js";

const NEWEST = 10;

export const title = () => "Overview";

export function show({ content, signal }) {
  const tiles = facts("tiles");
  const servers = facts();
  const speed = chart("Pages a second", ["pages", "failures"], rate);
  const waiting = chart("Requests", ["queued or waiting for a retry", "in flight"], number);
  const newest = crawlTable("Newest crawls");
  content.append(
    tiles.element,
    h("h2", {}, "The last hour"),
    h("div", { class: "charts" }, speed.element, waiting.element),
    h("h2", {}, "Newest crawls"), newest.element,
    h("p", {}, h("a", { href: "#/crawls" }, "All crawls")),
    h("h2", {}, "Servers"), servers.element,
  );
  speed.start(signal);
  waiting.start(signal);

  function draw() {
    if (!live.overview) return;
    const now = live.overview;
    tiles.update({
      "Pages a second": rate(now.pages_per_second),
      Queued: number(now.queued),
      "Waiting for a retry": number(now.delayed),
      "In flight": number(now.leased),
      Done: number(now.done),
      Failed: number(now.failed),
      Workers: number(now.workers) + (now.workers_stalled ? `, ${number(now.workers_stalled)} cannot go on` : ""),
      Crawls: Object.entries(now.crawls).map(([state, count]) => `${number(count)} ${state}`).join(", ") || "none",
    });
    servers.update({
      Tracker: now.tracker, Kafka: now.kafka,
      Fetched: size(now.bytes), Dropped: number(now.dropped), "Links met again": number(now.duplicates),
    });
    const { points } = live;
    const line = (index) => points.map((point) => point[index]);
    speed.update([line(0), line(1), line(2)]);
    waiting.update([line(0), line(3), line(4)]);
    const rows = [...live.crawls.values()].sort((one, other) => other.started - one.started);
    newest.update(rows.slice(0, NEWEST));
  }

  live.addEventListener("change", draw, { signal });
  put(tiles.element, h("div", {}, h("dt", {}, "…"), h("dd", {}, "waiting for the service")));
  draw();
}
