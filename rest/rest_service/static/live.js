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
    const changed = told.changed ?? ["crawls", "domain-settings", "domains", "workers"];
    this.dispatchEvent(new CustomEvent("change", { detail: { ...told, changed, isAll } }));
  }

  /** The history, and behind it what is so now. */
  get points() {
    const now = pointOf(this.overview);
    // The tracker has never answered.
    if (!now[0]) return this.history;
    return [...this.history.filter(([time]) => time < now[0]), now];
  }

  #remember() {
    const last = this.history.at(-1)?.[0] ?? 0;
    if (this.overview.tracker !== "up" || this.overview.time - last < STEP) return;
    this.history = [...this.history.slice(1 - POINTS), pointOf(this.overview)];
  }

  #say(state) {
    this.dispatchEvent(new CustomEvent("connection", { detail: state }));
  }
}

export const live = new Live();
export const idOf = ({ spiderid, appid, crawlid }) => JSON.stringify([spiderid, appid, crawlid]);

const pointOf = ({ time, pages_per_second: pages, failures_per_second: failures, queued, delayed, leased }) =>
  [time, pages, failures, queued + delayed, leased];

const given = () => new Promise((resolve) => {
  session.addEventListener("given", resolve, { once: true });
});

const visible = () => new Promise((resolve) => {
  document.addEventListener("visibilitychange", resolve, { once: true });
});

/**
 * Return a function that calls *load* now, or soon: one call at a time, with a rest of *least*
 * milliseconds behind it, whoever asks how often, and none while nobody sees the page; and
 * again by itself while *load* resolves to true.  Its `now()` is for what the user does: it
 * does not wait for the rest.  It ends with *signal*.
 */
export function gently(load, signal, least = 2000) {
  let [wanted, hurried, running, resting] = [false, false, false, null];

  async function go() {
    if (!wanted || running || (resting && !hurried) || document.hidden || signal.aborted) return;
    wanted = hurried = false;
    running = true;
    let rest = least;
    try {
      if (await load()) {
        wanted = true;
        // Not all pages at the same moment.
        rest = AGAIN * (0.5 + Math.random());
      }
    } finally {
      running = false;
      clearTimeout(resting);
      resting = setTimeout(() => { resting = null; go(); }, rest);
      go();
    }
  }

  const soon = () => { wanted = true; go(); };
  soon.now = () => { hurried = true; soon(); };
  document.addEventListener("visibilitychange", go, { signal });
  return soon;
}

/** Call *draw* every second while the page can be seen: times that it shows go on. */
export function ticking(draw, signal) {
  const timer = setInterval(() => { if (!document.hidden) draw(); }, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Milliseconds until what should have changed by now is looked at again: looks are shared. */
const LATE = 5000;
const LONGEST = 2 ** 31 - 1;

/**
 * Return a function that takes times (Unix seconds) at which something will change that nobody
 * tells: behind the first of them *load* is called.
 */
export function expecting(load, signal) {
  let timer = null;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return (times) => {
    clearTimeout(timer);
    const known = times.filter((time) => time !== null);
    const left = Math.max(LATE, Math.min(...known) * 1000 - Date.now());
    if (known.length) timer = setTimeout(load, Math.min(left, LONGEST));
  };
}
