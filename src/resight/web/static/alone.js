// The start of a page that runs its network itself; `api.js` is `local.js` there.

import * as api from "./api.js";
import { byId, say } from "./dom.js";
import { Pictures } from "./pictures.js";
import { showRuns } from "./runs.js";

const { runs, limits } = await api.runs();
showRuns(runs);
byId("pictures").hidden = false;
new Pictures(runs, limits);
addEventListener("unhandledrejection", (event) => say(event.reason?.message ?? String(event.reason), "bad"));
