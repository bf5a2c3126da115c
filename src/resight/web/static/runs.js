// The runs, named in the bar at the top.

import { byId, el } from "./dom.js";

function told(run) {
  const test = run.test;
  const figure =
    test?.top1_error === undefined
      ? ""
      : ` · ${test.top1_error.toFixed(1)} % error on ${test.n} test pictures`;
  return `${run.network} · ${run.classes.length.toLocaleString("en")} classes · ${run.size} px${figure}`;
}

export function showRuns(runs) {
  byId("runs").append(
    ...runs.map((run, number) =>
      el(
        "p",
        { class: "run" },
        ...(runs.length > 1 ? [el("i", { class: `dot dot-${number}`, "aria-hidden": "true" })] : []),
        el("b", {}, run.name),
        el("span", { class: "soft" }, told(run)),
      ),
    ),
  );
}
