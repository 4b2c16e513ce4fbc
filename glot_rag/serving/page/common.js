// What all parts of the page need: elements, calls to the server, the theme.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function say(where, message, isError = false) {
  where.textContent = message;
  where.classList.toggle("error", isError);
}

export async function call(path, { method = "POST", json, body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (body !== undefined) headers["Content-Type"] = "application/octet-stream";
  const reply = await fetch(path, { method, headers, signal, body: json === undefined ? body : JSON.stringify(json) });
  const found = await reply.json();
  if (!reply.ok) {
    const error = new Error(found.error?.message ?? reply.statusText);
    error.status = reply.status;
    error.retryAfter = Number(reply.headers.get("Retry-After")) || 0;
    throw error;
  }
  return found;
}

export function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const chosen = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = chosen;
    $("theme")?.setAttribute("aria-pressed", String(chosen === "dark"));
  };
  show();
  dark.addEventListener("change", show);
  $("theme")?.addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
}
