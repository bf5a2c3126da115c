// The view of dropped pictures: each is sent to every run, and the answers are shown as a grid.

import * as api from "./api.js";
import { byId, el, percent, say } from "./dom.js";
import { Viewer } from "./viewer.js";

const AT_ONCE = 4;
const UNSURE = 0.6;

export class Pictures {
  constructor(runs, limits) {
    this.runs = runs;
    this.limits = limits;
    this.items = [];
    this.waiting = [];
    this.busy = 0;
    this.viewer = new Viewer(runs, () => this.shown);
    this.#drops();
    this.#controls();
  }

  #controls() {
    const choices = [["all", "all"], ["unsure", `unsure (below ${100 * UNSURE} %)`], ["failed", "not readable"]];
    if (this.runs.length > 1) choices.splice(1, 0, ["differ", "where the runs differ"]);
    byId("filter").append(...choices.map(([value, words]) => el("option", { value }, words)));
    byId("filter").addEventListener("change", () => this.draw());
    byId("sort").addEventListener("change", () => this.draw());
    const files = byId("files");
    const chosen = () => {
      this.add([...files.files]);
      files.value = "";
    };
    files.addEventListener("change", chosen);
    if (files.files.length) chosen(); // before the server had told its runs
    byId("clear").addEventListener("click", () => {
      for (const item of this.items) URL.revokeObjectURL(item.url);
      this.items = [];
      this.waiting = [];
      this.draw();
      byId("files").focus();
    });
  }

  #drops() {
    const drop = byId("drop");
    let inside = 0;
    const over = (entered) => {
      inside += entered;
      document.body.classList.toggle("dropping", inside > 0);
    };
    addEventListener("dragenter", (event) => {
      event.preventDefault();
      over(1);
    });
    addEventListener("dragleave", () => over(-1));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      inside = 0;
      over(0);
      location.hash = "#pictures";
      this.add([...event.dataTransfer.files]);
    });
    addEventListener("paste", (event) => this.add([...(event.clipboardData?.files ?? [])]));
    this.dropZone = drop;
  }

  add(files) {
    for (const file of files) {
      const item = { file, name: file.name || "pasted picture", url: URL.createObjectURL(file), answers: [], order: this.items.length };
      this.#card(item);
      this.items.push(item);
      if (file.size > this.limits.bytes) {
        this.#fail(item, `is larger than ${Math.round(this.limits.bytes / 1e6)} MB`);
      } else {
        this.waiting.push(item);
      }
    }
    this.draw();
    for (let i = this.busy; i < AT_ONCE; i++) this.#work();
  }

  async #work() {
    this.busy++;
    for (let item; (item = this.waiting.shift()); ) {
      try {
        for (let run = 0; run < this.runs.length; run++) {
          item.answers[run] = await api.predict(item.file, { run, top: 3 });
        }
        this.#fill(item);
      } catch (error) {
        this.#fail(item, error.message);
      }
      this.#count();
    }
    this.busy--;
    if (!this.busy) this.draw();
  }

  #card(item) {
    item.image = el("img", { alt: "", loading: "lazy", decoding: "async", src: item.url });
    item.image.addEventListener("error", () => this.#fallback(item), { once: true });
    item.words = el("span", { class: "words" }, el("span", { class: "soft" }, "…"), el("span", { class: "name soft" }, item.name));
    item.button = el(
      "button",
      { type: "button", class: "card", disabled: true, onclick: () => this.viewer.open(item) },
      el("span", { class: "thumb" }, item.image),
      item.words,
    );
    item.element = el("li", {}, item.button);
  }

  /** Formats that the browser cannot show come back from the server as JPEG. */
  async #fallback(item) {
    try {
      const picture = await api.shown(item.file, 1600);
      URL.revokeObjectURL(item.url);
      item.url = URL.createObjectURL(picture);
      item.image.src = item.url;
    } catch {
      item.image.classList.add("broken");
    }
  }

  #fill(item) {
    const rows = item.answers.map((answer, run) => {
      const bar = el("i", {});
      bar.style.width = `${100 * answer.probability}%`;
      return el(
        "span",
        { class: "answer" },
        el("span", { class: "label" }, answer.labels?.join(", ") || answer.label),
        el("span", { class: "share" }, percent(answer.probability)),
        el("span", { class: `meter run-${run}`, "aria-hidden": "true" }, bar),
      );
    });
    item.differ = new Set(item.answers.map((answer) => answer.label)).size > 1;
    item.doubt = Math.max(...item.answers.map((answer) => 1 - answer.probability));
    item.words.replaceChildren(...rows, el("span", { class: "name soft" }, item.name));
    item.button.classList.toggle("differ", item.differ);
    item.button.disabled = false;
  }

  #fail(item, message) {
    item.error = message;
    item.words.replaceChildren(el("span", { class: "bad" }, message), el("span", { class: "name soft" }, item.name));
  }

  #count() {
    const done = this.items.filter((item) => item.answers.length || item.error).length;
    const all = this.items.length;
    byId("count").textContent = done < all ? `${done} of ${all} pictures` : `${all} picture${all === 1 ? "" : "s"}`;
  }

  draw() {
    const filter = byId("filter").value;
    const sort = byId("sort").value;
    this.shown = this.items.filter(
      (item) =>
        filter === "all" ||
        (filter === "failed" && item.error) ||
        (filter === "differ" && item.differ) ||
        (filter === "unsure" && item.doubt > 1 - UNSURE),
    );
    if (sort === "doubt") this.shown.sort((a, b) => (b.doubt ?? -1) - (a.doubt ?? -1));
    if (sort === "label") {
      this.shown.sort((a, b) => (a.answers[0]?.label ?? "~").localeCompare(b.answers[0]?.label ?? "~"));
    }
    byId("grid").replaceChildren(...this.shown.map((item) => item.element));
    this.dropZone.hidden = this.items.length > 0;
    byId("tools").hidden = !this.items.length;
    this.#count();
    if (this.items.length && !this.shown.length) say("No picture fits this filter.");
  }
}
