// The event stream.  EventSource cannot send a token, so the stream is read by fetch.

import { Problem, open, session } from "./api.js";

/** Milliseconds of silence after which a connection counts as lost: the service sends
 *  something every 15 s.  Then the waits until the next try. */
const SILENCE = 40_000;
const WAITS = [500, 1000, 2000, 4000, 8000];
/** Milliseconds until what did not go well is asked for again. */
const AGAIN = 4000;
/** Points of the history: an hour in steps of 10 s. */
const STEP = 10;
const POINTS = 360;

class Live extends EventTarget {
  overview = null;
  history = [];
  /** The newest crawls, as far as the stream has told, by path. */
  crawls = new Map();
  #tries = 0;

  async run() {
    for (;;) {
      try {
        await this.#listen();
      } catch (error) {
        if (error instanceof Problem && error.status === 401) await given();
      }
      if (document.hidden) {
        await visible();
        continue;
      }
      this.#say("lost");
      const wait = WAITS[Math.min(this.#tries, WAITS.length - 1)];
      this.#tries += 1;
      // Not all at the same moment, when a service with many listeners comes back.
      await new Promise((resolve) => { setTimeout(resolve, wait * (0.5 + Math.random())); });
    }
  }

  async #listen() {
    const stopping = new AbortController();
    // A browser has six connections to a service, which tabs that nobody sees would hold,
    // and pages that it keeps for the button Back.
    document.addEventListener("visibilitychange", () => stopping.abort(), { signal: stopping.signal });
    let watchdog = setTimeout(() => stopping.abort(), SILENCE);
    try {
      const response = await open("/events", { signal: stopping.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => stopping.abort(), SILENCE);
        const messages = (text + value).split("\n\n");
        text = messages.pop();
        messages.forEach((message) => this.#take(message));
      }
    } finally {
      clearTimeout(watchdog);
      stopping.abort();
    }
  }

  #take(message) {
    const lines = message.split("\n");
    const part = (name) => lines.find((line) => line.startsWith(name))?.slice(name.length);
    const data = part("data: ");
    if (data === undefined) return;
    const told = JSON.parse(data);
    const isAll = part("event: ") === "snapshot";
    if (isAll) {
      this.crawls.clear();
      this.history = told.history;
    }
    this.overview = told.overview;
    this.#remember();
    for (const crawl of told.crawls) this.crawls.set(idOf(crawl), crawl);
    for (const crawl of told.gone ?? []) this.crawls.delete(idOf(crawl));
    this.#tries = 0;
    this.#say("live");
    this.dispatchEvent(new CustomEvent("change", { detail: { ...told, isAll } }));
  }

  #remember() {
    const { time, tracker, pages_per_second: pages, failures_per_second: failures, queued, delayed, leased } = this.overview;
    const last = this.history.at(-1)?.[0] ?? 0;
    if (tracker !== "up" || time - last < STEP) return;
    this.history = [...this.history.slice(1 - POINTS), [time, pages, failures, queued + delayed, leased]];
  }

  #say(state) {
    this.dispatchEvent(new CustomEvent("connection", { detail: state }));
  }
}

export const live = new Live();
export const idOf = ({ spiderid, appid, crawlid }) => JSON.stringify([spiderid, appid, crawlid]);

const given = () => new Promise((resolve) => {
  session.addEventListener("given", resolve, { once: true });
});

const visible = () => new Promise((resolve) => {
  document.addEventListener("visibilitychange", resolve, { once: true });
});

/**
 * Return a function that calls *load* now, or soon: one call at a time, *least*
 * milliseconds apart, whoever asks how often; and again by itself while *load* resolves to
 * true.  It ends with *signal*.
 */
export function gently(load, signal, least = 2000) {
  let running = false;
  let again = false;
  async function go() {
    if (signal.aborted) return;
    if (running) { again = true; return; }
    running = true;
    again = false;
    let wait = least;
    try {
      if (await load()) {
        again = true;
        // Not all pages at the same moment.
        wait = AGAIN * (0.5 + Math.random());
      }
    } finally {
      setTimeout(() => { running = false; if (again) go(); }, wait);
    }
  }
  return go;
}

/** Call *load* while the page can be seen, every so many milliseconds. */
export function every(milliseconds, load, signal) {
  const timer = setInterval(() => { if (!document.hidden) load(); }, milliseconds);
  signal.addEventListener("abort", () => clearInterval(timer));
}
