// The API page, made of /openapi.json.

import { byId, el } from "./dom.js";

function example(method, path, operation) {
  const words = [`curl`];
  if (sessionStorage.getItem("resight-token")) words.push('-H "Authorization: Bearer $RESIGHT_TOKEN"');
  if (method !== "get") words.push(`-X ${method.toUpperCase()}`);
  const types = Object.keys(operation.requestBody?.content ?? {});
  if (types.includes("application/json")) words.push(`-H "Content-Type: application/json" --data @boxes.json`);
  else if (types.length) words.push("--data-binary @photo.jpg");
  return `${words.join(" ")} "${location.origin}${path}"`;
}

function row(parameter) {
  const { schema } = parameter;
  const range = schema.enum ? schema.enum.join(", ") : schema.minimum !== undefined ? `${schema.minimum} to ${schema.maximum ?? schema.exclusiveMaximum}` : "";
  const facts = [parameter.description ?? "", range && `${range}.`, schema.default !== undefined && `Default: ${schema.default}.`];
  return el("tr", {}, el("th", { scope: "row" }, parameter.name), el("td", {}, facts.filter(Boolean).join(" ")));
}

const described = await (await fetch("/openapi.json")).json();
byId("about").textContent = `${described.info.description} Errors are JSON of one shape: {"error": {"status", "code", "message"}}. Programs read /openapi.json (OpenAPI ${described.openapi}).`;
for (const [path, operations] of Object.entries(described.paths)) {
  for (const [method, operation] of Object.entries(operations)) {
    const parameters = operation.parameters.length
      ? el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...operation.parameters.map(row))))
      : null;
    const answers = Object.entries(operation.responses).map(([status, { description }]) => `${status}: ${description}`);
    byId("paths").append(
      el(
        "article",
        {},
        el("h2", {}, el("span", { class: "method" }, method.toUpperCase()), path),
        el("p", {}, operation.summary),
        parameters,
        el("pre", { tabIndex: 0 }, example(method, path, operation)),
        el("details", {}, el("summary", {}, "Answers"), el("ul", {}, ...answers.map((words) => el("li", { class: "soft" }, words)))),
      ),
    );
  }
}
