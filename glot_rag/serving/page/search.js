import { $, call, element, say } from "./common.js";

// The hit's text with the lines that match marked, and what was dropped struck out.
function passage(hit) {
  const most = Math.max(...hit.evidence.spans.map((each) => each.score));
  const marks = [
    ...hit.evidence.spans.map((each) => ({
      ...each,
      name: "mark",
      title: `adds ${each.score.toFixed(3)} to the score`,
      heat: each.score / most,
    })),
    ...hit.evidence.dropped.map((each) => ({ ...each, name: "s", title: each.reason })),
  ].sort((one, other) => one.start - other.start);
  const shown = element("div", { className: "passage", tabIndex: 0 });
  const characters = [...hit.text]; // places are counted in characters, a string here in UTF-16 units
  let at = 0;
  for (const { start, end, name, title, heat } of marks) {
    if (start < at) continue;
    const part = element(name, { title }, characters.slice(start, end).join(""));
    if (heat) part.style.setProperty("--h", heat.toFixed(2));
    if (heat === 1) part.classList.add("best");
    shown.append(characters.slice(at, start).join(""), part);
    at = end;
  }
  shown.append(characters.slice(at).join(""));
  return shown;
}

function item(hit, rank) {
  const { title, source, document: part, headings, lines, page } = hit.metadata; // part: a row's or a message's id
  const joined = (value, between) => (Array.isArray(value) ? value.join(between) : ""); // a file may have such a column
  const at = joined(lines, "–");
  const from = String(part ?? source ?? hit.id);
  const file = from.startsWith(source ?? from) ? from : `${source}, ${from}`;
  const where = [file, at && `lines ${at}`, page ? `page ${page}` : "", joined(headings, " › ")];
  const place = hit.place && hit.place !== rank ? ` (GLOT: ${hit.place})` : "";
  return element(
    "li",
    {},
    element(
      "div",
      { className: "about" },
      element("h3", {}, `${rank}. ${title || source || hit.id}`),
      element("span", {}, `${hit.score.toFixed(3)}${place}`),
    ),
    element("div", { className: "place" }, where.filter(Boolean).join(" · ")),
    passage(hit),
  );
}

export function start() {
  let running;
  $("search-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    const own = (running = new AbortController());
    say($("search-status"), "Searching …");
    try {
      const json = { query: $("query").value, k: 5, mode: $("mode").value, evidence: true, compare: true };
      const found = await call("/search", { json, signal: own.signal });
      $("glot-hits").replaceChildren(...found.hits.map((hit, number) => item(hit, number + 1)));
      $("mean-hits").replaceChildren(...found.mean.map((hit, number) => item(hit, number + 1)));
      $("results").hidden = !found.hits.length;
      for (const best of document.querySelectorAll(".passage .best")) {
        const box = best.parentElement; // what matches best is in sight
        box.scrollTop = Math.max(0, best.offsetTop - box.offsetTop - 40);
      }
      say($("search-status"), found.hits.length ? `${found.hits.length} passages` : "Nothing found: the index is empty.");
    } catch (error) {
      if (error.name !== "AbortError") say($("search-status"), error.message, true);
    }
  });
}
