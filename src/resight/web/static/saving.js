// Saving: at once, one request after the other for a picture, and kept in the browser until the server has it.

import * as api from "./api.js";

const PREFIX = "resight-boxes";
const AGAIN = 2000;
const NEAR = 0.01;

/** Whether two states have the same boxes, as far as the server keeps them, and are both done or not. */
function same(first, second) {
  const alike = (box, other) =>
    other && box.label === other.label && box.box.every((edge, place) => Math.abs(edge - other.box[place]) < NEAR);
  return (
    first.done === second.done &&
    first.boxes.length === second.boxes.length &&
    first.boxes.every((box, place) => alike(box, second.boxes[place]))
  );
}

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
    const { sent, ...own } = state;
    const entry = this.pending.get(key) ?? { sent };
    // The version is that of the last answer; one request at a time keeps it true.
    entry.state = { ...own, version: entry.version ?? own.version };
    this.pending.set(key, entry);
    this.#keep(key, entry);
    this.#run(key);
  }

  /** Wait for a request that is under way: before it ends, nobody knows which version the server has. */
  async rest(key) {
    while (this.pending.get(key)?.busy) await this.pending.get(key).running;
  }

  /** With what was sent last: the page may end before the answer, and the server may have it. */
  #keep(key, { state, sent }) {
    try {
      localStorage.setItem(this.prefix + key, JSON.stringify({ ...state, sent }));
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
    const before = entry.sent;
    entry.sent = { boxes: sent.boxes, done: sent.done };
    this.#keep(key, entry);
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
        this.#keep(key, entry);
        this.told("version", key, now);
        this.#run(key);
      }
    } catch (error) {
      entry.busy = false;
      const now = error.status === 409 ? error.error.now : null;
      if (now && entry.state === sent && same(now, sent)) {
        // It had arrived, but the page ended before the answer.
        this.forget(key);
        this.told("saved", key, now);
      } else if (now && (same(now, sent) || (before && same(now, before)))) {
        // What arrived was ours, and there is more since.
        entry.version = now.version;
        entry.state = { ...entry.state, version: now.version };
        this.told("version", key, now);
        this.#run(key);
      } else if (now) {
        this.pending.delete(key);
        this.told("conflict", key, now, entry.state);
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
