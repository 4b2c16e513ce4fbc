// The API's description from /openapi.json: no page of another site is needed to read it.
import { $, call, element, theme } from "./common.js";

theme();
const api = await call("/openapi.json", { method: "GET" });

function resolve(schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function type(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(type).join(" or ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${type(schema.items)}`;
  return schema.type ?? "anything";
}

function fields(schema) {
  const known = resolve(schema);
  if (!known?.properties) return "";
  const rows = Object.entries(known.properties).map(([name, each]) =>
    element(
      "tr",
      {},
      element("td", {}, element("code", {}, name)),
      element("td", {}, type(each)),
      element("td", {}, `${known.required?.includes(name) ? "Needed. " : ""}${each.description ?? ""}`),
    ),
  );
  const head = ["Field", "Type", "Meaning"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const body = route.requestBody && Object.entries(route.requestBody.content)[0];
    const query = (route.parameters ?? []).map((each) => `${each.name}: ${type(each.schema)}. ${each.description ?? ""}`);
    const errors = Object.entries(route.responses).filter(([status]) => status >= 400);
    $("routes").append(
      element(
        "details",
        {},
        element("summary", {}, element("code", {}, `${method.toUpperCase()} ${path}`), ` ${route.description ?? ""}`),
        ...query.map((text) => element("p", {}, text)),
        ...(body ? [element("p", { className: "quiet" }, `Body: ${body[0]}`), fields(body[1].schema)] : []),
        ...errors.map(([status, each]) => element("p", { className: "quiet" }, `${status}: ${each.description}`)),
      ),
    );
  }
}
