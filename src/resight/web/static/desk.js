// The labelling desk: a list of pictures, the open one with its boxes, and everything saved at once.

import * as api from "./api.js";
import { el, percent, say } from "./dom.js";
import { Editor } from "./editor.js";
import { Saving } from "./saving.js";

const PAGE = 60;
const LONG = 60;
const THUMB = 160;
const LARGE = 1600;

export class DeskView {
  constructor(section) {
    this.section = section;
    this.rows = [];
    this.thumbs = new Map();
    this.past = [];
    this.future = [];
    this.current = null;
    this.turn = 0;
    this.saves = 0;
    this.waiting = false;
    this.loads = 0;
    this.editor = new Editor({ changed: (how) => this.#changed(how), chosen: () => this.#drawBoxes() });
    this.#build();
    addEventListener("keydown", (event) => this.#key(event));
  }

  async open() {
    this.shown = true;
    this.timer ??= setInterval(() => this.shown && this.told?.scored < this.told?.total && this.#load(false), 3000);
    await this.#load(true);
  }

  close() {
    this.shown = false;
  }

  #build() {
    const choice = (name, options, changed) => {
      const select = el("select", { id: `desk-${name}`, onchange: changed });
      select.append(...options.map(([value, words]) => el("option", { value }, words)));
      return select;
    };
    this.state = choice("state", [["open", "to do"], ["done", "done"], ["all", "all"]], () => this.#load(true));
    this.order = choice("order", [["doubt", "most doubtful first"], ["name", "by name"]], () => this.#load(true));
    this.progress = el("progress", { max: 1, value: 0, "aria-label": "Pictures done" });
    this.words = el("p", { class: "soft" });
    this.list = el("ul", { class: "desk-list" });
    this.more = el("button", { type: "button", class: "button", hidden: true, onclick: () => this.#more() }, "Show more");
    const button = (words, action, properties = {}) => el("button", { type: "button", class: "button", onclick: action, ...properties }, words);
    this.undo = button("Undo", () => this.#back(), { disabled: true, title: "Ctrl+Z" });
    this.redo = button("Redo", () => this.#forth(), { disabled: true, title: "Ctrl+Shift+Z" });
    this.add = button("Add box", () => this.editor.add(), { title: "N" });
    this.status = el("p", { class: "status", role: "status" });
    this.name = el("h2", {});
    this.fact = el("p", { class: "soft" });
    this.next = button("Done, next", () => this.#finish(), { class: "button primary", title: "Enter" });
    this.skip = button("Skip", () => this.#step(1), { title: "→" });
    this.previous = button("Back", () => this.#step(-1), { title: "←" });
    this.boxes = el("ol", { class: "box-list" });
    this.label = el("span", { class: "new-label" });
    this.clash = el("dialog", { class: "clash", "aria-labelledby": "clash-title" });
    this.help = el(
      "details",
      { class: "keys" },
      el("summary", {}, "Keys"),
      el("dl", {}, ...[
        ["N", "add a box"], ["Tab", "next box"], ["arrows", "move it by 1 pixel, with Shift by 10"],
        ["Alt + arrows", "resize it"], ["1 to 9", "its class"], ["Delete", "remove it"], ["Ctrl + Z", "undo"],
        ["Enter", "done, next picture"],
      ].flatMap(([key, words]) => [el("dt", {}, key), el("dd", {}, words)])),
    );
    this.section.append(
      el(
        "div",
        { class: "desk" },
        el(
          "aside",
          { class: "desk-side", "aria-label": "Pictures to label" },
          el("div", { class: "desk-head" }, this.progress, this.words,
            el("div", { class: "tools tight" }, el("label", {}, "Show ", this.state), el("label", {}, "Sort ", this.order))),
          el("div", { class: "desk-scroll" }, this.list, this.more),
        ),
        el(
          "div",
          { class: "desk-main" },
          el("div", { class: "desk-title" }, this.name, this.fact),
          this.editor.element,
          el("div", { class: "desk-bar" }, this.undo, this.redo, this.add, this.status, this.previous, this.skip, this.next),
        ),
        el(
          "aside",
          { class: "desk-boxes", "aria-label": "Boxes of this picture" },
          el("h3", {}, "Boxes"),
          this.boxes,
          el("div", { class: "new" }, el("label", { for: "new-class" }, "New boxes are"), this.label),
          el("p", { class: "soft hint" }, "Drag on the picture to draw a box; drag a box or its handles to change it."),
          this.help,
        ),
      ),
      this.clash,
    );
  }

  async #load(anew) {
    const count = anew ? PAGE : Math.max(this.rows.length, PAGE);
    const load = ++this.loads;
    const answer = await api.listed({ state: this.state.value, order: this.order.value, count: Math.min(count, 1000) });
    if (load !== this.loads) return; // a later request has other words
    this.told = answer;
    this.rows = answer.pictures;
    this.editor.classes = answer.classes;
    if (!this.editor.label) this.#newLabel(answer.classes[0]);
    this.#drawList();
    if (!this.saving) this.#begin();
    if (!this.turn && this.rows.length) await this.pick(this.rows[0].key);
  }

  /** Send what a browser that ended has left behind. */
  #begin() {
    this.saving = new Saving(this.told.file, (...news) => this.#told(...news));
    for (const key of this.saving.left()) this.saving.put(key, this.saving.kept(key));
  }

  async #more() {
    const answer = await api.listed({ state: this.state.value, order: this.order.value, start: this.rows.length, count: PAGE });
    const known = new Set(this.rows.map((row) => row.key));
    this.rows.push(...answer.pictures.filter((row) => !known.has(row.key)));
    this.told = answer;
    this.#drawList();
  }

  #drawList() {
    const { total, done, scored, matching } = this.told;
    this.progress.max = total;
    this.progress.value = done;
    const seen = scored < total ? ` · the network has seen ${scored.toLocaleString("en")}` : "";
    this.words.textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} pictures done${seen}`;
    this.more.hidden = this.rows.length >= matching;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.list.replaceChildren(...this.rows.map((row) => this.#row(row)));
    if (!this.rows.length) {
      const empty = { open: "Every picture is done.", done: "No picture is done yet.", all: "There are no pictures." };
      this.list.append(el("li", { class: "soft empty" }, empty[this.state.value]));
    }
    if (focused) this.list.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #row(row) {
    const image = el("img", { alt: "", class: "thumb", width: 56, height: 56 });
    this.#thumb(row.key, image);
    const facts = row.error ?? (row.label === null ? "not seen yet" : `${row.label}, ${percent(row.probability)}`);
    const button = el(
      "button",
      { type: "button", class: "desk-row", onclick: () => this.pick(row.key) },
      image,
      el("span", { class: "words" }, el("span", { class: "label" }, row.name.split("/").pop()), el("span", { class: `soft${row.error ? " bad" : ""}` }, facts)),
      el("span", { class: "mark-done", "aria-hidden": "true" }, row.done ? "✓" : row.version ? "…" : ""),
      el("span", { class: "hidden" }, row.done ? "done" : row.version ? "begun" : "to do"),
    );
    button.dataset.key = row.key;
    if (row.key === this.current?.key) button.setAttribute("aria-current", "true");
    return el("li", {}, button);
  }

  async #thumb(key, image) {
    if (!this.thumbs.has(key)) {
      this.watch ??= new IntersectionObserver((entries) => {
        for (const entry of entries) if (entry.isIntersecting) this.#fetch(entry.target);
      }, { rootMargin: "200px" });
      image.dataset.thumb = key;
      this.watch.observe(image);
      return;
    }
    image.src = this.thumbs.get(key);
  }

  async #fetch(image) {
    this.watch.unobserve(image);
    const key = image.dataset.thumb;
    try {
      if (!this.thumbs.has(key)) this.thumbs.set(key, URL.createObjectURL(await api.pictureOf(key, THUMB)));
      image.src = this.thumbs.get(key);
    } catch {
      image.classList.add("broken");
    }
  }

  async pick(key) {
    const turn = ++this.turn;
    const { current, saves } = this;
    this.name.textContent = "…";
    if (key !== current?.key) this.#hold(true);
    try {
      await this.saving?.rest(key);
      const [state, picture] = await Promise.all([api.boxesOf(key), api.pictureOf(key, LARGE)]);
      if (turn !== this.turn) return;
      if (key === current?.key && saves !== this.saves) {
        // It was changed while it was read again: what is shown is newer.
        this.#drawName();
        return;
      }
      this.current = state;
      this.past = [];
      this.future = [];
      if (this.url) URL.revokeObjectURL(this.url);
      this.url = URL.createObjectURL(picture);
      this.editor.selected = -1;
      this.editor.open(this.url, [state.width, state.height], state.boxes);
      const left = this.saving?.kept(key);
      if (left && left.version === state.version) {
        this.editor.set(left.boxes);
        this.current.done = left.done;
        this.saving.put(key, left);
      } else if (left) {
        this.#conflict(key, state, left);
      }
      this.#hold(false);
      this.#drawAll();
    } catch (error) {
      if (turn !== this.turn) return;
      this.name.textContent = "This picture cannot be shown";
      say(error.message, "bad");
    }
  }

  /** While another picture is on its way, nothing is changed on the one that is still shown. */
  #hold(on) {
    this.waiting = on;
    this.add.disabled = this.editor.element.inert = this.boxes.inert = on;
    this.#drawBar();
  }

  #drawName() {
    this.name.textContent = this.current.name.split("/").pop();
  }

  #drawAll() {
    const state = this.current;
    const row = this.rows.find((each) => each.key === state.key);
    this.#drawName();
    const source = { saved: "saved boxes", data: "boxes of the data set", proposed: "proposed boxes" }[state.from];
    const answer = row?.label ? ` · the network says ${row.label}, ${percent(row.probability)}` : "";
    this.fact.textContent = `${source}${state.done ? ", done" : ""}${answer}`;
    this.status.textContent = "";
    for (const button of this.list.querySelectorAll("button")) {
      if (button.dataset.key === state.key) {
        button.setAttribute("aria-current", "true");
        button.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else button.removeAttribute("aria-current");
    }
    this.before = this.#snapshot();
    this.#drawBoxes();
    this.#drawBar();
  }

  #drawBar() {
    this.undo.disabled = this.waiting || !this.past.length;
    this.redo.disabled = this.waiting || !this.future.length;
  }

  #drawBoxes() {
    const { boxes, selected } = this.editor;
    const held = this.boxes.contains(document.activeElement);
    if (!held) {
      this.boxes.replaceChildren(...boxes.map((box, place) => this.#boxRow(box, place, place === selected)));
      if (!boxes.length) this.boxes.append(el("li", { class: "soft" }, "None."));
    } else {
      [...this.boxes.children].forEach((row, place) => row.classList.toggle("selected", place === selected));
    }
  }

  #boxRow({ label }, place, selected) {
    const name = `Class of box ${place + 1}`;
    const choose = this.#chooser(label, name, (chosen) => {
      this.editor.relabel(chosen, place);
      this.#newLabel(chosen);
    });
    const remove = el("button", { type: "button", class: "button icon", "aria-label": `Delete box ${place + 1}, ${label}`, onclick: () => this.editor.remove(place) }, "✕");
    const row = el("li", { class: selected ? "selected" : "", onclick: () => this.editor.selected !== place && this.editor.select(place) },
      el("i", { class: `dot colour-${this.editor.colour(label)}`, "aria-hidden": "true" }), choose, remove);
    return row;
  }

  /** A list of classes, or of many a field that completes them; new ones can be typed. */
  #chooser(label, name, chosen, id) {
    const { classes } = this.editor;
    if (classes.length > LONG) {
      if (!this.names) {
        this.names = el("datalist", { id: "class-names" }, ...classes.map((value) => el("option", { value })));
        this.section.append(this.names);
      }
      const field = el("input", { value: label, "aria-label": name });
      field.setAttribute("list", "class-names");
      if (id) field.id = id;
      field.addEventListener("change", () => (field.value.trim() ? chosen(field.value.trim()) : (field.value = label)));
      return field;
    }
    const select = el("select", { "aria-label": name });
    if (id) select.id = id;
    const options = classes.includes(label) ? classes : [...classes, label];
    select.append(...options.map((value) => el("option", { value, selected: value === label }, value)), el("option", { value: "\0" }, "another class…"));
    select.addEventListener("change", () => {
      if (select.value !== "\0") return chosen(select.value);
      const word = prompt("Name of the class")?.trim();
      if (word) {
        if (!classes.includes(word)) classes.push(word);
        chosen(word);
      }
      select.blur();
      this.#drawBoxes();
      return undefined;
    });
    return select;
  }

  #newLabel(label) {
    this.editor.label = label;
    this.label.replaceChildren(this.#chooser(label, "Class of new boxes", (chosen) => this.#newLabel(chosen), "new-class"));
  }

  #snapshot() {
    return this.editor.boxes.map(({ label, box }) => ({ label, box: [...box] }));
  }

  #changed(how) {
    // Steps of a key that is held are one change.
    const held = how === "keys" && this.held && performance.now() - this.held < 800;
    this.held = how === "keys" ? performance.now() : 0;
    if (!held) this.past.push(this.before);
    this.future = [];
    this.before = this.#snapshot();
    document.activeElement?.closest?.(".box-list") && document.activeElement.blur();
    this.#drawBoxes();
    this.#drawBar();
    this.#save(this.current.done);
  }

  #back() {
    this.#travel(this.past, this.future);
  }

  #forth() {
    this.#travel(this.future, this.past);
  }

  #travel(from, to) {
    if (!from.length) return;
    to.push(this.before);
    this.editor.set(from.pop());
    this.before = this.#snapshot();
    this.#drawBoxes();
    this.#drawBar();
    this.#save(this.current.done);
  }

  #save(done) {
    this.current.done = done;
    this.saves++;
    this.saving.put(this.current.key, { version: this.current.version, boxes: this.#snapshot(), done });
  }

  #told(news, key, detail, own) {
    if (news === "conflict") return this.#conflict(key, detail, own);
    const mine = key === this.current?.key;
    if (mine && (news === "saved" || news === "version")) Object.assign(this.current, { version: detail.version, from: "saved" });
    if (news === "refused") say(detail, "bad");
    if (!mine) return undefined;
    const words = { saving: "Saving…", saved: "Saved", waiting: "Not saved yet: the server does not answer. Trying again.", refused: "Not saved" };
    if (words[news]) this.status.textContent = words[news];
    this.status.classList.toggle("bad", news === "waiting" || news === "refused");
    return undefined;
  }

  #conflict(key, now, own) {
    const done = (action) => () => {
      this.clash.close();
      action();
    };
    this.clash.replaceChildren(
      el("h2", { id: "clash-title" }, "Somebody else changed these boxes"),
      el("p", {}, `${now.name}: they saved ${now.boxes.length} box${now.boxes.length === 1 ? "" : "es"}, you have ${own.boxes.length}. Which are right?`),
      el("div", { class: "tools" },
        el("button", { type: "button", class: "button primary", onclick: done(() => {
          this.saving.forget(key);
          if (key === this.current?.key) this.pick(key);
        }) }, "Take theirs"),
        el("button", { type: "button", class: "button", onclick: done(() => {
          if (key === this.current?.key) this.current.version = now.version;
          this.saving.forget(key);
          this.saving.put(key, { ...own, version: now.version });
        }) }, "Keep mine")),
    );
    this.clash.showModal();
  }

  async #finish() {
    if (!this.current || this.waiting) return;
    const { key } = this.current;
    const following = this.#neighbour(1);
    this.#save(true);
    const row = this.rows.find((each) => each.key === key);
    if (row && !row.done) {
      row.done = true;
      row.version ||= 1;
      this.told.done++;
      this.#drawList();
    }
    if (following) await this.pick(following);
    else await this.#load(true).then(() => say("That was the last picture of this list."));
  }

  #neighbour(by) {
    const place = this.rows.findIndex((row) => row.key === this.current?.key);
    return this.rows[place + by]?.key;
  }

  #step(by) {
    const key = this.#neighbour(by);
    if (key) this.pick(key);
  }

  #key(event) {
    if (!this.shown || !this.current || this.clash.open || event.target.matches("select, input, textarea")) return;
    const undo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (undo) {
      event.preventDefault();
      if (this.waiting) return;
      if (event.shiftKey) this.#forth();
      else this.#back();
    } else if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    } else if (event.key.toLowerCase() === "n") {
      event.preventDefault();
      if (!this.waiting) this.editor.add();
    } else if (event.key === "Enter" && !event.target.closest("button, summary, a")) {
      event.preventDefault();
      this.#finish();
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && event.target === document.body) {
      this.#step(event.key === "ArrowLeft" ? -1 : 1);
    }
  }
}
