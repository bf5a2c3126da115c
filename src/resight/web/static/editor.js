// Boxes over a picture: drawn, moved, resized and deleted by mouse, touch and keyboard.

import { el, shape } from "./dom.js";

const LEAST = 2;
const HANDLES = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const COLOURS = 8;

export class Editor {
  /** `changed` is called after every finished change, `chosen` when another box is selected. */
  constructor({ changed, chosen }) {
    Object.assign(this, { changed, chosen });
    this.boxes = [];
    this.selected = -1;
    this.label = "";
    this.classes = [];
    this.image = el("img", { alt: "", draggable: false });
    this.svg = shape("svg", { role: "group", "aria-label": "Boxes" });
    this.holder = el("div", { class: "sheet" }, this.image, this.svg);
    this.element = el("div", { class: "editor" }, this.holder);
    this.svg.addEventListener("pointerdown", (event) => this.#down(event));
    this.svg.addEventListener("pointermove", (event) => this.#move(event));
    this.svg.addEventListener("pointerup", (event) => this.#up(event));
    this.svg.addEventListener("pointercancel", () => this.#cancel());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** Show a picture of a size in pixels, and its boxes {label, box: [x, y, w, h]}. */
  open(url, size, boxes) {
    this.image.src = url;
    this.size = size;
    this.svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    this.set(boxes);
    this.fit();
  }

  set(boxes) {
    this.boxes = boxes.map(({ label, box }) => ({ label, box: [...box] }));
    this.selected = Math.min(this.selected, this.boxes.length - 1);
    this.draw();
  }

  fit() {
    if (!this.size) return;
    const room = this.element.getBoundingClientRect();
    const scale = Math.min(room.width / this.size[0], room.height / this.size[1], 8);
    if (!(scale > 0)) return;
    this.holder.style.width = `${this.size[0] * scale}px`;
    this.holder.style.height = `${this.size[1] * scale}px`;
    this.scale = scale;
    this.draw();
  }

  /** Add a box in the middle of the picture. */
  add() {
    const [width, height] = this.size;
    this.boxes.push({ label: this.label, box: [0.3 * width, 0.3 * height, 0.4 * width, 0.4 * height].map(round) });
    this.select(this.boxes.length - 1, true);
    this.changed();
  }

  remove(place = this.selected) {
    if (place < 0) return;
    this.boxes.splice(place, 1);
    this.select(Math.min(place, this.boxes.length - 1), true);
    this.changed();
  }

  relabel(label, place = this.selected) {
    if (place < 0 || this.boxes[place].label === label) return;
    this.boxes[place].label = label;
    this.draw();
    this.changed();
  }

  select(place, focus = false) {
    this.selected = place;
    this.draw();
    if (focus) (this.svg.querySelector(`[data-place="${place}"]`) ?? this.svg).focus?.();
    this.chosen(place);
  }

  colour(label) {
    return Math.max(0, this.classes.indexOf(label)) % COLOURS;
  }

  draw() {
    const held = this.svg.contains(document.activeElement) ? document.activeElement.dataset.place : undefined;
    // The selected box is on top, so that its handles can be reached.
    const order = this.boxes.map((_, place) => place).sort((a, b) => (a === this.selected) - (b === this.selected));
    this.svg.replaceChildren(...order.map((place) => this.#drawn(place)));
    // The focus goes back to where it was; that selects nothing.
    this.drawing = true;
    if (held !== undefined) this.svg.querySelector(`[data-place="${held}"]`)?.focus();
    this.drawing = false;
  }

  #drawn(place) {
    const { label, box } = this.boxes[place];
    const [x, y, width, height] = box;
    const dot = 1 / (this.scale || 1);
    const selected = place === this.selected;
    const words = `Box ${place + 1} of ${this.boxes.length}: ${label}, left ${Math.round(x)}, top ${Math.round(y)}, ${Math.round(width)} wide, ${Math.round(height)} high`;
    const group = shape("g", {
      class: `box colour-${this.colour(label)}${selected ? " selected" : ""}`,
      tabindex: 0, role: "button", "aria-label": words, "aria-pressed": selected, "data-place": place,
    });
    const frame = { x, y, width, height };
    group.append(
      shape("rect", { ...frame, class: "halo", "vector-effect": "non-scaling-stroke" }),
      shape("rect", { ...frame, class: "edge", "vector-effect": "non-scaling-stroke" }),
    );
    const text = shape("text", { x: x + 6 * dot, y: y + 15 * dot, "font-size": 13 * dot }, label);
    const wide = (8.2 * label.length + 12) * dot;
    group.append(shape("rect", { x, y, width: Math.min(wide, Math.max(width, 30 * dot)), height: 20 * dot, class: "tag" }), text);
    group.addEventListener("focus", () => !this.drawing && place !== this.selected && this.select(place, true));
    if (selected) {
      for (const [across, down] of HANDLES) {
        const [cx, cy] = [x + across * width, y + down * height];
        group.append(
          shape("circle", { cx, cy, r: 16 * dot, class: "reach", "data-across": across, "data-down": down }),
          shape("circle", { cx, cy, r: 5.5 * dot, class: "handle", "vector-effect": "non-scaling-stroke" }),
        );
      }
    }
    return group;
  }

  #point(event) {
    const room = this.svg.getBoundingClientRect();
    return [
      Math.min(Math.max(((event.clientX - room.left) / room.width) * this.size[0], 0), this.size[0]),
      Math.min(Math.max(((event.clientY - room.top) / room.height) * this.size[1], 0), this.size[1]),
    ];
  }

  #down(event) {
    if (event.button > 0 || !event.isPrimary) return;
    event.preventDefault();
    const at = this.#point(event);
    const group = event.target.closest("[data-place]");
    const { across, down } = event.target.dataset;
    this.svg.setPointerCapture(event.pointerId);
    if (across !== undefined) {
      this.drag = { kind: "size", across: Number(across), down: Number(down), at, before: [...this.boxes[this.selected].box] };
    } else if (group) {
      this.select(Number(group.dataset.place), true);
      this.drag = { kind: "move", at, before: [...this.boxes[this.selected].box] };
    } else {
      this.drag = { kind: "draw", at };
    }
  }

  #move(event) {
    const { drag } = this;
    if (!drag) return;
    const [x, y] = this.#point(event);
    const by = [x - drag.at[0], y - drag.at[1]];
    if (!drag.moved && Math.hypot(...by) * (this.scale || 1) < 4) return;
    if (drag.kind === "draw" && !drag.moved) {
      this.boxes.push({ label: this.label, box: [...drag.at, 0, 0] });
      this.selected = this.boxes.length - 1;
    }
    drag.moved = true;
    const box = this.boxes[this.selected];
    if (drag.kind === "draw") box.box = [Math.min(x, drag.at[0]), Math.min(y, drag.at[1]), Math.abs(by[0]), Math.abs(by[1])];
    else if (drag.kind === "move") box.box = this.#moved(drag.before, by);
    else box.box = this.#sized(drag.before, drag, by);
    this.draw();
  }

  #up() {
    const { drag } = this;
    this.drag = null;
    if (!drag?.moved) {
      if (drag?.kind === "draw") this.select(-1);
      return;
    }
    const box = this.boxes[this.selected];
    box.box = box.box.map(round);
    if (box.box[2] < LEAST || box.box[3] < LEAST) {
      this.boxes.splice(this.selected, 1);
      this.select(-1);
      return;
    }
    this.select(this.selected, true);
    this.changed();
  }

  #cancel() {
    const { drag } = this;
    this.drag = null;
    if (drag?.moved && drag.before) this.boxes[this.selected].box = drag.before;
    if (drag?.moved && !drag.before) this.boxes.pop();
    this.draw();
  }

  #moved([x, y, width, height], [dx, dy]) {
    return [
      Math.min(Math.max(x + dx, 0), this.size[0] - width),
      Math.min(Math.max(y + dy, 0), this.size[1] - height),
      width,
      height,
    ];
  }

  #sized([x, y, width, height], { across, down }, [dx, dy]) {
    let [x0, y0, x1, y1] = [x, y, x + width, y + height];
    if (across === 0) x0 = Math.min(Math.max(x0 + dx, 0), x1 - LEAST);
    if (across === 1) x1 = Math.max(Math.min(x1 + dx, this.size[0]), x0 + LEAST);
    if (down === 0) y0 = Math.min(Math.max(y0 + dy, 0), y1 - LEAST);
    if (down === 1) y1 = Math.max(Math.min(y1 + dy, this.size[1]), y0 + LEAST);
    return [x0, y0, x1 - x0, y1 - y0];
  }

  #key(event) {
    if (this.selected < 0 || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const box = this.boxes[this.selected];
    if (event.key in steps) {
      const far = event.shiftKey ? 10 : 1;
      const by = steps[event.key].map((value) => value * far);
      box.box = (event.altKey ? this.#sized(box.box, { across: 1, down: 1 }, by) : this.#moved(box.box, by)).map(round);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.remove();
      return;
    } else if (/^[1-9]$/.test(event.key) && this.classes[event.key - 1]) {
      this.relabel(this.classes[event.key - 1]);
      return;
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.draw();
    this.changed("keys");
  }
}

const round = (value) => Math.round(100 * value) / 100;
