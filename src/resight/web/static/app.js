// The start: which runs there are, and which view is shown.

import * as api from "./api.js";
import { byId, el, say } from "./dom.js";
import { showRuns } from "./runs.js";
import { Pictures } from "./pictures.js";
import { DeskView } from "./desk.js";

function show(view) {
  for (const name of ["pictures", "boxes"]) {
    byId(name).hidden = name !== view;
    const link = byId(`to-${name}`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "boxes" ? "Boxes · Resight" : "Resight";
}

async function start() {
  api.takeToken();
  let told;
  try {
    told = await api.runs();
  } catch (error) {
    const why =
      error.status === 401 ? "This server needs a token: open the address that it printed when it started." : error.message;
    byId("main").replaceChildren(el("p", { class: "empty", role: "alert" }, why));
    return;
  }
  showRuns(told.runs);
  document.body.classList.toggle("two", told.runs.length > 1);
  new Pictures(told.runs, told.limits);
  let desk = null;
  const routed = () => {
    const view = told.desk && location.hash === "#boxes" ? "boxes" : "pictures";
    show(view);
    if (view === "boxes") {
      desk ??= new DeskView(byId("boxes"));
      desk.open();
    } else {
      desk?.close();
    }
  };
  byId("to-boxes").hidden = !told.desk;
  addEventListener("hashchange", routed);
  if (told.desk && !location.hash) history.replaceState(null, "", "#boxes");
  routed();
}

addEventListener("unhandledrejection", (event) => say(event.reason?.message ?? String(event.reason), "bad"));
start();
