// The service's API: one place that sends, with the token, and that knows its errors.

const BASE = new URL("../api/v1", document.baseURI).href;
const KEY = "fleet-token";

/** Tells by "needed" that a token must be given, and by "given" that there is a new one. */
export const session = new EventTarget();

export const token = () => sessionStorage.getItem(KEY) ?? "";

export function signIn(given) {
  sessionStorage.setItem(KEY, given);
  session.dispatchEvent(new Event("given"));
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

/** An answer that is an error: its detail, and what is wrong with which field. */
export class Problem extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }

  /** Whether the same may go well a little later, without anybody doing anything. */
  get passes() { return this.status === 0 || this.status === 429 || this.status >= 500; }
}

/** Return the path of a crawl, each part escaped, also a slash in it. */
export const pathOf = ({ spiderid, appid, crawlid }) =>
  [spiderid, appid, crawlid].map(encodeURIComponent).join("/");

export async function open(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(BASE + path, { ...options, headers, cache: "no-store" })
    .catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "The service does not answer.");
    });
  if (response.ok) return response;
  const { detail, errors } = await response.json().catch(() => ({}));
  const problem = new Problem(response.status, detail ?? response.statusText, errors);
  if (response.status === 401) {
    session.dispatchEvent(new CustomEvent("needed", { detail: problem.message }));
  }
  throw problem;
}

export async function get(path, query = {}, signal = undefined) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null);
  const search = new URLSearchParams(given).toString();
  return (await open(search ? `${path}?${search}` : path, { signal })).json();
}

export async function send(method, path, body = undefined) {
  const response = await open(path, body === undefined ? { method } : {
    method,
    headers: { "Content-Type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}
