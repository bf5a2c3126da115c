// One picture, large: its answers, the map of any class at any strength, boxes; two runs next to each other.

import * as api from "./api.js";
import { Maps, tint } from "./heat.js";
import { el, percent, say } from "./dom.js";
import { Stage } from "./stage.js";

const LISTED = 12;
const MOST_CLASSES = 1000;

export class Viewer {
  constructor(runs, items) {
    this.runs = runs;
    this.items = items;
    this.strength = 0.85;
    this.boxed = false;
    this.stages = runs.map(() => new Stage());
    this.#build();
  }

  #build() {
    this.title = el("h2", { id: "viewer-title" });
    const step = (by, words, sign) =>
      el("button", { type: "button", class: "button icon", "aria-label": words, title: words, onclick: () => this.step(by) }, sign);
    this.search = el("input", { type: "search", id: "class-search", placeholder: "Find a class", autocomplete: "off" });
    this.search.addEventListener("input", () => this.#list());
    this.list = el("div", { class: "class-list", role: "radiogroup", "aria-label": "Class of the map" });
    this.slider = el("input", { type: "range", id: "strength", min: 0, max: 100, value: 85 });
    this.slider.addEventListener("input", () => {
      for (const stage of this.stages) {
        stage.strength = this.slider.value / 100;
        stage.draw();
      }
    });
    const scale = el("span", { class: "scale", "aria-hidden": "true" });
    scale.style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(tint).join(", ")})`;
    this.boxes = el("input", { type: "checkbox", id: "draw-boxes" });
    this.boxes.addEventListener("change", () => this.#boxes());
    this.threshold = el("input", { type: "range", id: "threshold", min: 5, max: 90, value: 20 });
    this.threshold.addEventListener("change", () => this.#boxes());
    this.element = el(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title" },
      el(
        "div",
        { class: "viewer-bar" },
        step(-1, "Previous picture", "←"),
        this.title,
        step(1, "Next picture", "→"),
        el("button", { type: "button", class: "button icon", "aria-label": "Close", title: "Close (Esc)", onclick: () => this.element.close() }, "✕"),
      ),
      el("div", { class: "stages" }, ...this.stages.map((stage) => stage.element)),
      el(
        "div",
        { class: "side" },
        el("h3", {}, "Where it looks for"),
        this.runs[0].classes.length > LISTED ? el("label", { class: "hidden", for: "class-search" }, "Find a class") : null,
        this.runs[0].classes.length > LISTED ? this.search : null,
        this.list,
        el("div", { class: "control" }, el("label", { for: "strength" }, "Map"), this.slider, scale),
        el("div", { class: "control" }, el("label", { class: "check", for: "draw-boxes" }, this.boxes, "Boxes"),
          el("label", { class: "hidden", for: "threshold" }, "Threshold of the boxes, percent of the map's maximum"), this.threshold),
      ),
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.target.matches("input")) return;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.step(event.key === "ArrowLeft" ? -1 : 1);
    });
    this.element.addEventListener("close", () => {
      this.stop?.abort();
      this.item?.button.focus();
    });
    document.body.append(this.element);
  }

  step(by) {
    const open = this.items().filter((item) => item.answers.length);
    const next = open[(open.indexOf(this.item) + by + open.length) % open.length];
    if (next) this.open(next);
  }

  async open(item) {
    this.stop?.abort();
    this.stop = new AbortController();
    this.item = item;
    this.maps = [];
    this.found = new Map();
    this.title.textContent = item.name;
    this.label = item.answers[0].label;
    this.search.value = "";
    if (!this.element.open) this.element.showModal();
    const image = item.image;
    await image.decode().catch(() => {});
    if (this.item !== item) return;
    this.stages.forEach((stage, run) => {
      stage.picture(image, item.name);
      this.#note(stage, run, "…");
    });
    this.#list();
    await Promise.all(this.runs.map((_, run) => this.#explain(run)));
  }

  async #explain(run) {
    const { item, stop } = this;
    const told = this.runs[run];
    const many = told.closed && told.classes.length <= MOST_CLASSES;
    try {
      const answer = await api.explain(item.file, { run, target: many ? "all" : "top5" }, stop.signal);
      if (this.item !== item || stop.signal.aborted) return;
      this.maps[run] = [new Maps(answer)];
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, "bad");
      return;
    }
    this.stages[run].size = [this.maps[run][0].width, this.maps[run][0].height];
    this.#list();
    this.show(run);
  }

  /** Draw the map of the chosen class; it is asked for where it has not come with the others. */
  async show(run) {
    const { item, label, stop } = this;
    if (!this.maps[run]) return;
    if (!this.runs[run].classes.includes(label)) {
      this.stages[run].map(null, -1, label);
      this.#note(this.stages[run], run, `has no class ${label}`);
      return;
    }
    let maps = this.maps[run].find((each) => each.place(label) >= 0);
    if (!maps) {
      this.#note(this.stages[run], run, "…");
      const target = String(this.runs[run].classes.indexOf(label));
      maps = new Maps(await api.explain(item.file, { run, target }, stop.signal));
      if (this.item !== item) return;
      this.maps[run].push(maps);
    }
    if (this.label !== label) return;
    const place = maps.place(label);
    this.stages[run].boxes = this.found.get(`${run} ${label} ${this.threshold.value}`) ?? [];
    this.stages[run].map(maps, place, label);
    const [, rows, columns] = maps.shape;
    this.#note(this.stages[run], run, `${label} ${percent(maps.classes[place].probability)} · ${maps.title} at ${maps.layer}, ${rows} × ${columns}`);
    if (this.boxes.checked) this.#boxes(run);
  }

  #note(stage, run, words) {
    const dot = this.runs.length > 1 ? [el("i", { class: `dot dot-${run}`, "aria-hidden": "true" }), el("b", {}, `${this.runs[run].name} `)] : [];
    stage.note.replaceChildren(...dot, words);
  }

  async #boxes(only) {
    const { item, label, stop } = this;
    const threshold = this.threshold.value;
    this.threshold.disabled = !this.boxes.checked;
    for (let run = 0; run < this.runs.length; run++) {
      if (only !== undefined && only !== run) continue;
      const key = `${run} ${label} ${threshold}`;
      if (this.boxes.checked && !this.found.has(key) && this.runs[run].classes.includes(label)) {
        const target = String(this.runs[run].classes.indexOf(label));
        const answer = await api.locate(item.file, { run, target, threshold: threshold / 100 }, stop.signal);
        if (this.item !== item) return;
        this.found.set(key, answer.boxes);
      }
      if (this.label !== label) return;
      this.stages[run].boxes = this.boxes.checked ? (this.found.get(key) ?? []) : [];
      this.stages[run].draw();
    }
  }

  /** Classes by probability, the chosen one always among them. */
  #list() {
    const shares = this.runs.map((_, run) => {
      const known = new Map();
      for (const maps of this.maps[run] ?? []) for (const entry of maps.classes) known.set(entry.label, entry.probability);
      for (const [label, share] of this.item.answers[run].top) known.set(label, share);
      return known;
    });
    const word = this.search.value.trim().toLowerCase();
    const names = [...new Set(this.runs.flatMap((run) => run.classes))];
    const rank = (label) => Math.max(...shares.map((known) => known.get(label) ?? -1));
    const sorted = names.filter((label) => label.toLowerCase().includes(word)).sort((a, b) => rank(b) - rank(a));
    const kept = sorted.slice(0, LISTED);
    if (!word && !kept.includes(this.label)) kept.push(this.label);
    const focused = this.list.contains(document.activeElement);
    this.list.replaceChildren(...kept.map((label) => this.#option(label, shares)));
    if (!kept.length) this.list.append(el("p", { class: "soft" }, "No class has this name."));
    if (focused) this.list.querySelector("input:checked")?.focus();
  }

  #option(label, shares) {
    const radio = el("input", { type: "radio", name: "class", value: label, checked: label === this.label });
    radio.addEventListener("change", () => {
      this.label = label;
      this.runs.forEach((_, run) => this.show(run));
    });
    const meters = shares.map((known, run) => {
      const bar = el("i", {});
      bar.style.width = `${100 * (known.get(label) ?? 0)}%`;
      return el("span", { class: `meter run-${run}`, "aria-hidden": "true" }, bar);
    });
    const words = shares.map((known) => (known.has(label) ? percent(known.get(label)) : "")).filter(Boolean);
    return el("label", { class: "class" }, radio, el("span", { class: "label" }, label), el("span", { class: "share" }, words.join(" · ")), ...meters);
  }
}
