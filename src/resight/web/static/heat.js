// Maps over pictures, drawn as the command draws them: resight/render/overlay.py has the same constants.

// matplotlib's inferno at 33 even places; between them the colours are mixed.
const STOPS = (
  "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e 7d1e6d 8a226a 972766 a32c61 " +
  "b0315b bc3754 c73e4c d24644 db503b e45a31 eb6628 f1731d f68013 f98e09 fb9d07 fcac11 fbbc21 f9cb35 f5db4c " +
  "f2ea69 f3f68a fcffa4"
).split(" ").map((word) => [0, 2, 4].map((at) => parseInt(word.slice(at, at + 2), 16)));
const OPACITY = 0.75;
const COLOUR = 0.35;
const LIGHT = 0.55;
const OUTSIDE = 0.6;
const LEVEL = 0.5;

const TINTS = new Uint8Array(256 * 3);
for (let value = 0; value < 256; value++) {
  const at = (value / 255) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  for (let c = 0; c < 3; c++) TINTS[3 * value + c] = Math.round(STOPS[low][c] + (at - low) * (STOPS[low + 1][c] - STOPS[low][c]));
}

/** Colours of the scale, for a legend: values in [0, 1] to CSS colours. */
export const tint = (value) => {
  const at = 3 * Math.round(255 * value);
  return `rgb(${TINTS[at]} ${TINTS[at + 1]} ${TINTS[at + 2]})`;
};

/** Maps of an answer of /v1/explain: `raw` has `shape`, the classes are in its order. */
export class Maps {
  constructor(answer) {
    Object.assign(this, answer);
    this.raw ??= new Float32Array(Uint8Array.from(atob(answer.data), (letter) => letter.charCodeAt(0)).buffer);
    this.data = undefined;
    this.kept = new Map();
  }

  /** The place of a class among the maps, -1 without one. */
  place(label) {
    return this.classes.findIndex((entry) => entry.label === label);
  }

  /** The map of one class at the network's size (side x side), in [0, 1]. */
  shown(place) {
    if (!this.kept.has(place)) this.kept.set(place, this.#resized(place));
    return this.kept.get(place);
  }

  #resized(place) {
    const map = this.signed(place);
    let [least, most] = [Infinity, -Infinity];
    for (const value of map) {
      if (value < least) least = value;
      if (value > most) most = value;
    }
    const span = most - least;
    return map.map((value) => (span > 1e-12 ? (value - least) / span : 0));
  }

  /** The map of one class at the network's size, not normalized. */
  signed(place) {
    const [, rows, columns] = this.shape;
    const side = this.side;
    const cells = this.raw.subarray(place * rows * columns, (place + 1) * rows * columns);
    const across = between(side, columns, 0, side);
    const down = between(side, rows, 0, side);
    const map = new Float32Array(side * side);
    for (let y = 0, at = 0; y < side; y++) {
      for (let x = 0; x < side; x++, at++) map[at] = mixed(cells, columns, across, down, x, y, this.rectified);
    }
    return map;
  }
}

/** For each of `count` pixels: the two cells around its centre, the second one's share, whether it is inside. */
function between(count, cells, start, end) {
  const low = new Int32Array(count);
  const share = new Float32Array(count);
  const inside = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const centre = i + 0.5;
    const at = Math.min(Math.max(((centre - start) / (end - start)) * cells - 0.5, 0), cells - 1);
    low[i] = Math.min(Math.floor(at), Math.max(cells - 2, 0));
    share[i] = at - low[i];
    inside[i] = centre >= start && centre <= end;
  }
  return { low, share, inside, last: cells - 1 };
}

function mixed(cells, columns, across, down, x, y, rectified) {
  const left = across.low[x];
  const right = Math.min(left + 1, across.last);
  const top = down.low[y] * columns;
  const bottom = Math.min(down.low[y] + 1, down.last) * columns;
  const cut = rectified ? (value) => (value > 0 ? value : 0) : (value) => value;
  const above = cut(cells[top + left]) * (1 - across.share[x]) + cut(cells[top + right]) * across.share[x];
  const below = cut(cells[bottom + left]) * (1 - across.share[x]) + cut(cells[bottom + right]) * across.share[x];
  return above * (1 - down.share[y]) + below * down.share[y];
}

/**
 * Lay a map over pixels.
 *
 * `source` and `target` are ImageData of one size; `map` is (side x side) over `window` [x0, y0, x1, y1] in
 * those pixels; `strength` in [0, 1] goes from the picture alone to the drawing of the command.
 */
export function overlay(source, target, map, side, window, strength) {
  const { width, height } = source;
  const across = between(width, side, window[0], window[2]);
  const down = between(height, side, window[1], window[3]);
  const heat = new Float32Array(width * height);
  let most = 0;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const value = across.inside[x] && down.inside[y] ? mixed(map, side, across, down, x, y, false) : -1;
      heat[at] = value;
      if (value > most) most = value;
    }
  }
  const from = source.data;
  const to = target.data;
  for (let at = 0, i = 0; at < heat.length; at++, i += 4) {
    const value = Math.max(heat[at], 0);
    const light = LIGHT * (heat[at] < 0 ? OUTSIDE : 1);
    const grey = (1 - COLOUR) * (0.299 * from[i] + 0.587 * from[i + 1] + 0.114 * from[i + 2]);
    const weight = OPACITY * value;
    const colour = 3 * Math.round(255 * Math.min(value, 1));
    for (let c = 0; c < 3; c++) {
      const dull = (COLOUR * from[i + c] + grey) * light;
      const drawn = (1 - weight) * dull + weight * TINTS[colour + c];
      to[i + c] = most > 0 ? from[i + c] + strength * (drawn - from[i + c]) : from[i + c];
    }
    to[i + 3] = 255;
  }
  if (most > 0) contour(heat, width, height, LEVEL * most, to, strength);
}

/** A white line inside the area above a level, with a dark one around it. */
function contour(heat, width, height, level, to, strength) {
  const thick = Math.max(1, Math.round(Math.max(width, height) / 400));
  const above = (x, y) => x >= 0 && y >= 0 && x < width && y < height && heat[y * width + x] > level;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const own = above(x, y);
      let edge = false;
      for (const [dx, dy] of [[thick, 0], [-thick, 0], [0, thick], [0, -thick]]) {
        const other = x + dx >= 0 && y + dy >= 0 && x + dx < width && y + dy < height ? above(x + dx, y + dy) : own;
        edge ||= other !== own;
      }
      if (!edge) continue;
      const ink = own ? 255 : 0;
      for (let c = 0, at = 4 * (y * width + x); c < 3; c++, at++) to[at] += 0.85 * strength * (ink - to[at]);
    }
  }
}

/** The place of a map's peak, as shares of the sides of what the network saw. */
export function peak(map, side) {
  const at = map.indexOf(Math.max(...map));
  return [((at % side) + 0.5) / side, (Math.floor(at / side) + 0.5) / side];
}
