// Requests. The token comes with the address (#token=...), so that it is in no server's log.

const KEY = "resight-token";

/** Take the token out of the address and keep it for this tab. */
export function takeToken() {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(KEY, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname);
}

export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.error = error ?? {};
  }
}

/** The server cannot be reached. */
export class Unreachable extends Error {}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** Send a request; a busy server is asked again. Returns the response. */
export async function send(path, options = {}, patience = 60) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  for (let tries = 0; ; tries++) {
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Unreachable("The server does not answer.");
    }
    if (response.ok) return response;
    if (response.status === 503 && tries < patience) {
      await pause(Number(response.headers.get("Retry-After") ?? 1) * (0.5 + Math.random()));
      continue;
    }
    const body = await response.json().catch(() => ({}));
    throw new Refused(response.status, body.error);
  }
}

export const json = async (path, options) => (await send(path, options)).json();
export const blob = async (path, options) => (await send(path, options)).blob();

const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined)).toString();

export const runs = () => json("/v1/runs");
export const predict = (picture, values) =>
  json(`/v1/predict?${query(values)}`, { method: "POST", body: picture });
export const explain = (picture, values, signal) =>
  json(`/v1/explain?${query(values)}`, { method: "POST", body: picture, signal });
export const locate = (picture, values, signal) =>
  json(`/v1/locate?${query(values)}`, { method: "POST", body: picture, signal });
export const shown = (picture, side) => blob(`/v1/picture?side=${side}`, { method: "POST", body: picture });
export const listed = (values) => json(`/v1/desk?${query(values)}`);
export const boxesOf = (key) => json(`/v1/desk/${key}`);
export const pictureOf = (key, side) => blob(`/v1/desk/${key}/picture?side=${side}`);
export const save = (key, state) =>
  json(`/v1/desk/${key}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(state),
    keepalive: true,
  });
