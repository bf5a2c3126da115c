// Saving: at once, one request after the other for a picture, and kept in the browser until the server has it.

import * as api from "./api.js";

const PREFIX = "resight-boxes";
const AGAIN = 2000;

export class Saving {
  /** `told(state, detail)` hears "saving", "saved", "waiting", "refused" and "conflict". */
  constructor(file, told) {
    this.prefix = `${PREFIX} ${file} `;
    this.told = told;
    this.pending = new Map();
    addEventListener("beforeunload", (event) => {
      if (this.pending.size) event.preventDefault();
    });
    addEventListener("online", () => this.pending.forEach((_, key) => this.#run(key)));
  }

  /** What was changed here and has not reached the server: {version, boxes, done}. */
  kept(key) {
    try {
      return this.pending.get(key)?.state ?? JSON.parse(localStorage.getItem(this.prefix + key));
    } catch {
      return null;
    }
  }

  /** The keys of pictures whose changes were left behind by a browser that ended. */
  left() {
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(this.prefix))
      .map((name) => name.slice(this.prefix.length));
  }

  forget(key) {
    localStorage.removeItem(this.prefix + key);
    this.pending.delete(key);
  }

  put(key, state) {
    const entry = this.pending.get(key) ?? {};
    // The version is that of the last answer; one request at a time keeps it true.
    entry.state = { ...state, version: entry.version ?? state.version };
    this.pending.set(key, entry);
    this.#keep(key, entry.state);
    this.#run(key);
  }

  /** Wait for a request that is under way: before it ends, nobody knows which version the server has. */
  async rest(key) {
    while (this.pending.get(key)?.busy) await this.pending.get(key).running;
  }

  #keep(key, state) {
    try {
      localStorage.setItem(this.prefix + key, JSON.stringify(state));
    } catch {
      // Storage is full or forbidden: the server still gets it.
    }
  }

  #run(key) {
    const entry = this.pending.get(key);
    if (!entry || entry.busy) return;
    entry.busy = true;
    entry.running = this.#send(key, entry);
  }

  async #send(key, entry) {
    const sent = entry.state;
    this.told("saving", key);
    try {
      const now = await api.save(key, sent);
      entry.version = now.version;
      entry.busy = false;
      if (entry.state === sent) {
        this.forget(key);
        this.told("saved", key, now);
      } else {
        entry.state = { ...entry.state, version: now.version };
        this.#keep(key, entry.state);
        this.told("version", key, now);
        this.#run(key);
      }
    } catch (error) {
      entry.busy = false;
      if (error.status === 409) {
        this.pending.delete(key);
        this.told("conflict", key, error.error.now, entry.state);
      } else if (error instanceof api.Unreachable || error.status === 503 || error.status >= 500) {
        this.told("waiting", key);
        setTimeout(() => this.#run(key), AGAIN);
      } else {
        this.forget(key);
        this.told("refused", key, error.message);
      }
    }
  }
}
