// Elements without markup in strings: names of files and classes are never parsed as HTML.

/** An element; properties starting with "on" are listeners, "data" and ARIA names are attributes. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same for SVG. */
export function shape(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  apply(element, properties, true);
  element.append(...children);
  return element;
}

function apply(element, properties, attributes = false) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (attributes || name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else if (name === "class") element.className = value;
    else element[name] = value;
  }
}

export const byId = (id) => document.getElementById(id);

/** A message that is read out, shown for some seconds. */
export function say(message, kind = "") {
  const toast = el("p", { class: `toast ${kind}` }, message);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 9000 : 4000);
}

export const percent = (share) =>
  share >= 0.9995 || share < 0.0005 ? `${Math.round(100 * share)} %` : `${(100 * share).toFixed(1)} %`;
