// One picture, large, with the map of a class over it and boxes around what was found.

import { overlay } from "./heat.js";
import { el } from "./dom.js";

const MOST = 1_200_000;

export class Stage {
  constructor() {
    this.canvas = el("canvas", { role: "img" });
    this.note = el("p", { class: "stage-note soft" });
    this.frame = el("div", { class: "stage-frame" }, this.canvas);
    this.element = el("figure", { class: "stage" }, this.frame, this.note);
    this.boxes = [];
    this.strength = 0.85;
    new ResizeObserver(() => this.#fit()).observe(this.frame);
  }

  /** Show a picture: an <img> that is loaded. */
  picture(image, name) {
    this.image = image;
    this.name = name;
    this.maps = null;
    this.boxes = [];
    this.#fit(true);
  }

  /** Show a map; without one, the picture alone. */
  map(maps, place, label) {
    Object.assign(this, { maps: place < 0 ? null : maps, at: place, label });
    this.draw();
  }

  draw() {
    if (!this.source) return;
    const context = this.canvas.getContext("2d");
    const target = context.createImageData(this.source.width, this.source.height);
    if (this.maps && this.strength > 0) {
      const scale = this.source.width / this.maps.width;
      const window = this.maps.window.map((edge) => edge * scale);
      overlay(this.source, target, this.maps.shown(this.at), this.maps.side, window, this.strength);
    } else {
      target.data.set(this.source.data);
    }
    context.putImageData(target, 0, 0);
    this.#drawBoxes(context);
    const over = this.maps ? `, with the map of ${this.label} over it` : "";
    const found = this.boxes.length ? `, ${this.boxes.length} box${this.boxes.length > 1 ? "es" : ""}` : "";
    this.canvas.setAttribute("aria-label", `${this.name}${over}${found}`);
  }

  #fit(again = false) {
    if (!this.image?.naturalWidth) return;
    const { naturalWidth, naturalHeight } = this.image;
    const room = this.frame.getBoundingClientRect();
    if (!room.width || !room.height) return;
    const fit = Math.min(room.width / naturalWidth, room.height / naturalHeight);
    const [wide, high] = [naturalWidth * fit, naturalHeight * fit];
    this.canvas.style.width = `${wide}px`;
    this.canvas.style.height = `${high}px`;
    const ratio = Math.min(devicePixelRatio || 1, Math.sqrt(MOST / (wide * high)));
    const [width, height] = [Math.max(1, Math.round(wide * ratio)), Math.max(1, Math.round(high * ratio))];
    if (!again && this.source && Math.abs(this.source.width - width) < 2) return;
    Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = fit < 4;
    context.imageSmoothingQuality = "high";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.image, 0, 0, width, height);
    this.source = context.getImageData(0, 0, width, height);
    this.draw();
  }

  #drawBoxes(context) {
    const scale = this.source.width / (this.size?.[0] ?? this.image.naturalWidth);
    const dot = this.source.width / this.canvas.getBoundingClientRect().width || 1;
    context.font = `600 ${13 * dot}px system-ui, sans-serif`;
    context.textBaseline = "top";
    for (const { label, score, box } of this.boxes) {
      const [x, y, width, height] = box.map((value) => value * scale);
      context.lineWidth = 4 * dot;
      context.strokeStyle = "rgb(0 0 0 / .55)";
      context.strokeRect(x, y, width, height);
      context.lineWidth = 2 * dot;
      context.strokeStyle = "#ffd54a";
      context.strokeRect(x, y, width, height);
      const words = score === undefined ? label : `${label} ${Math.round(100 * score)} %`;
      const wide = context.measureText(words).width + 10 * dot;
      const [left, top] = [Math.max(0, Math.min(x, this.source.width - wide)), Math.max(0, y - 22 * dot)];
      context.fillStyle = "#ffd54a";
      context.fillRect(left, top, wide, 20 * dot);
      context.fillStyle = "#1c1d1f";
      context.fillText(words, left + 5 * dot, top + 3.5 * dot);
    }
  }
}
