import { $, call, say, theme } from "./common.js";
import { start as startFiles } from "./files.js";
import { start as startNoise } from "./noise.js";
import { start as startSearch } from "./search.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}

theme();
startSearch();
startNoise();
startFiles();

const named = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
$("key").value = sessionStorage.getItem("key") ?? "";
$("key").addEventListener("change", () => sessionStorage.setItem("key", $("key").value.trim()));

try {
  const ready = await call("/ready", { method: "GET" });
  $("key-label").hidden = !ready.keys;
  $("files-open").hidden = !ready.writable;
  $("files-closed").hidden = ready.writable;
  if (ready.cleaned) $("compared").textContent = "This index holds clean passages: mean pooling reads no noise here, either.";
  say($("served"), `Model ${ready.model}${ready.index ? "" : "; no index: only the noise can be looked at"}`);
  choose(named ?? tabs[ready.index ? 0 : 1]);
} catch (error) {
  say($("served"), `The server does not answer: ${error.message}`, true);
}
