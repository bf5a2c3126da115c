// The requests of api.js, answered here: a page of `resight export --format page` runs the network itself.
//
// Facts, runtime and network are in the page, or in files next to it; nothing else is loaded.

import { byId } from "./dom.js";

const MOST_PIXELS = 4_000_000;
const MOST_ASPECT = 16;

const facts = JSON.parse(byId("facts").textContent);
const card = facts.card;

async function bytes(name) {
  const inside = byId(name);
  if (inside) return Uint8Array.from(atob(inside.textContent.trim()), (letter) => letter.charCodeAt(0));
  const response = await fetch(facts.files[name]);
  if (!response.ok) throw new Error(`${facts.files[name]} is missing next to this page.`);
  return new Uint8Array(await response.arrayBuffer());
}

async function opened() {
  const ort = await import("./ort.js");
  ort.env.wasm.numThreads = 1; // more need headers that a file does not have
  ort.env.wasm.wasmBinary = (await bytes("wasm")).buffer;
  const session = await ort.InferenceSession.create(await bytes("model"), { executionProviders: ["wasm"] });
  return { ort, session };
}

let session = null;
const answers = new WeakMap();
let turn = Promise.resolve();

/** One picture at a time, each once. */
function answered(file) {
  if (!answers.has(file)) {
    const own = turn.then(() => computed(file));
    turn = own.catch(() => {});
    answers.set(file, own);
  }
  return answers.get(file);
}

/** A picture's pixels as RGB, upright, colours as they are in the file; very large ones are reduced first. */
async function pixels(file) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("This browser cannot read the picture.");
  }
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (image.width * image.height)));
  const [width, height] = [Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale))];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  const whole = [image.width, image.height];
  image.close();
  return { rgb, width, height, whole };
}

async function computed(file) {
  session ??= opened();
  const { ort, session: network } = await session;
  const { rgb, width, height, whole } = await pixels(file);
  const found = await network.run({ pictures: new ort.Tensor("uint8", rgb, [1, height, width, 3]) });
  const chosen = found.map_classes ? [...found.map_classes.data].map(Number) : facts.run.classes.map((_, place) => place);
  return {
    likely: [...found.probabilities.data],
    logits: [...found.logits.data],
    maps: found.maps && { data: found.maps.data, shape: found.maps.dims.slice(1), chosen },
    size: whole,
  };
}

/** What the network sees of a picture, as resight/data/prepare.py cuts it. */
export function seenWindow([width, height]) {
  const short = Math.min(width, height);
  const sides = [width, height].map((whole) => {
    const inner = Math.min(whole, MOST_ASPECT * short);
    const before = Math.max(0, Math.floor((whole - inner) / 2));
    const scaled = short === card.resize ? inner : Math.max(card.resize, Math.floor((card.resize * inner) / short));
    const first = halfToEven(scaled - card.size);
    return [before + (first * inner) / scaled, before + ((first + card.size) * inner) / scaled];
  });
  return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]];
}

function halfToEven(count) {
  const half = Math.floor(count / 2);
  return count % 2 === 0 ? half : half + (half % 2 === 0 ? 0 : 1);
}

const ranked = (likely) => likely.map((_, place) => place).sort((a, b) => likely[b] - likely[a]);

export const takeToken = () => {};
export const runs = async () => ({ runs: [facts.run], limits: { bytes: Infinity, pixels: Infinity }, desk: false });
export const shown = async () => {
  throw new Error("This browser cannot show the picture.");
};

export async function predict(file, { top }) {
  const { likely } = await answered(file);
  const best = ranked(likely);
  const { classes } = facts.run;
  const labels = facts.run.multi_label ? { labels: classes.filter((_, place) => likely[place] >= 0.5) } : {};
  return {
    label: classes[best[0]], index: best[0], probability: likely[best[0]],
    top: best.slice(0, top).map((place) => [classes[place], likely[place]]), ...labels,
  };
}

/** The maps of all classes that the network gives, in the order of their probability. */
export async function explain(file) {
  const { likely, logits, maps, size } = await answered(file);
  if (!maps) return null;
  const places = maps.chosen.map((_, place) => place).sort((a, b) => likely[maps.chosen[b]] - likely[maps.chosen[a]]);
  const cells = maps.shape[1] * maps.shape[2];
  const raw = new Float32Array(places.length * cells);
  places.forEach((place, to) => raw.set(maps.data.subarray(place * cells, (place + 1) * cells), to * cells));
  return {
    ...facts.map, side: card.size, width: size[0], height: size[1], window: seenWindow(size), raw,
    shape: [places.length, ...maps.shape.slice(1)],
    classes: places.map((place) => {
      const index = maps.chosen[place];
      return { label: facts.run.classes[index], index, score: logits[index], probability: likely[index] };
    }),
  };
}

/** The box of the largest part of the class's map above a share of its maximum, in the part that was seen. */
export async function locate(file, { target, threshold }) {
  const answer = await explain(file);
  const place = answer?.classes.findIndex((entry) => entry.index === Number(target)) ?? -1;
  if (place < 0) return { boxes: [] };
  const { Maps } = await import("./heat.js");
  const maps = new Maps(answer);
  const box = largest(maps.signed(place), maps.side, threshold);
  if (!box) return { boxes: [] };
  const [x0, y0, x1, y1] = answer.window;
  const [across, down] = [(x1 - x0) / maps.side, (y1 - y0) / maps.side];
  const left = Math.max(0, x0 + box[0] * across);
  const top = Math.max(0, y0 + box[1] * down);
  const entry = answer.classes[place];
  return {
    boxes: [{
      label: entry.label, score: entry.probability,
      box: [left, top, Math.min(answer.width, x0 + box[2] * across) - left, Math.min(answer.height, y0 + box[3] * down) - top],
    }],
  };
}

/** The box [x0, y0, x1, y1] of the largest connected part above a share of the maximum; diagonals connect. */
export function largest(map, side, threshold) {
  let most = 0;
  for (const value of map) if (value > most) most = value;
  if (most <= 1e-12) return null;
  const seen = new Uint8Array(map.length);
  let best = null;
  for (let start = 0; start < map.length; start++) {
    if (seen[start] || map[start] / most <= threshold) continue;
    const part = { area: 0, box: [side, side, 0, 0] };
    const front = [start];
    seen[start] = 1;
    while (front.length) {
      const at = front.pop();
      const [x, y] = [at % side, Math.floor(at / side)];
      part.area++;
      part.box = [Math.min(part.box[0], x), Math.min(part.box[1], y), Math.max(part.box[2], x + 1), Math.max(part.box[3], y + 1)];
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, side - 1); v++) {
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, side - 1); u++) {
          const next = v * side + u;
          if (!seen[next] && map[next] / most > threshold) {
            seen[next] = 1;
            front.push(next);
          }
        }
      }
    }
    if (!best || part.area > best.area) best = part;
  }
  return best.box;
}
