// The management API, asked in this browser's session.

const BASE = "../manage";
const OIDC = "oidc";
const HEADERS = { "X-LLMProxy-Page": "1" };

/** An error that the API answered with; `message` is for people. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
  }
}

let ended = () => {};

/** Have `callback` called when the API says that there is no session. */
export function whenEnded(callback) {
  ended = callback;
}

/** Send a request; gives the answer's JSON, and its ETag as `etag`. Throws ApiError. */
export async function ask(method, path, { query = {}, body, headers = {}, signal, base = BASE } = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  let response;
  try {
    response = await fetch(`${base}${path}${search}`, {
      method,
      signal,
      headers: { ...HEADERS, ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The proxy can't be reached.", code: "unreachable" });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = answer.error ?? { message: `The proxy answered ${response.status}.`, code: null };
    if (response.status === 401 && !headers.Authorization) ended();
    throw new ApiError(response.status, error);
  }
  Object.defineProperty(answer, "etag", { value: response.headers.get("ETag"), enumerable: false });
  return answer;
}

export const get = (path, query, signal) => ask("GET", path, { query, signal });
export const post = (path, body = {}) => ask("POST", path, { body });
/** Change what was read, unless somebody else has changed it since. */
export const patch = (path, body, etag) => ask("PATCH", path, { body, headers: etag ? { "If-Match": etag } : {} });
export const remove = (path) => ask("DELETE", path);

/** Open a session with a management token. */
export const signIn = (token) => ask("POST", "/session", { headers: { Authorization: `Bearer ${token}` } });

/** The host of the issuer at which people sign in, or null. */
export const issuer = async () => (await ask("GET", "", { base: OIDC })).issuer;

/** Go to the issuer, to come back to `view`. */
export async function signInAtIssuer(view) {
  const page = new URL(".", location.href).href;
  location.assign((await ask("POST", "", { base: OIDC, body: { page, view } })).location);
}
