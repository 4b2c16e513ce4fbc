import { $, call, element, say } from "./common.js";

const EXAMPLE = `Home | Products | Pricing | Log in
We use cookies to improve your experience. Accept all
Search this site
Write-ahead logging
The default method by which SQLite implements atomic commit and rollback is a rollback journal. Since version 3.7.0 there is a write-ahead log as well.
It is significantly faster in most scenarios. It also provides more concurrency, because readers do not block writers and a writer does not block readers.
Disk writes tend to be more sequential, and there are many fewer calls that wait for the disk, so it is less troubled by systems where those calls are broken.
There are disadvantages, too. All processes that use a database must be on the same computer, as the log does not work over a network filesystem.
The log can grow large if a reader never ends, because only pages that nobody needs any more are copied back into the database.
Related articles
10 tips for faster databases
Share on Twitter | Share on Facebook
© 2026 Example Corp. All rights reserved. Privacy | Terms`;

let blocks = []; // of the document that was cleaned last: { text, noise, gap, kept, shown }
let chosen = ""; // its clean text, by the threshold that was chosen for it

const count = (text) => text.split(/\s+/).filter(Boolean).length;

function mark(isOut, clean, isOwn) {
  for (const block of blocks) block.shown.classList.toggle("out", isOut(block));
  $("clean").textContent = clean;
  $("kept").textContent = `${count(clean)} of ${count(blocks.map((block) => block.text).join(" "))} words kept`;
  $("own").setAttribute("aria-pressed", String(isOwn));
  $("threshold-value").value = `${$("threshold").value}%`;
}

// As the server left the document: each has a threshold of its own, above the noise of what is kept.
function showOwn() {
  const kept = blocks.filter((block) => block.kept).map((block) => block.noise);
  $("threshold").value = Math.ceil(100 * Math.max(0, ...kept));
  mark((block) => !block.kept, chosen, true);
}

function showBySlider() {
  const least = Math.min(...blocks.map((block) => block.noise)); // the least noisy block stays in any case
  const limit = Math.max(Number($("threshold").value) / 100, least);
  let clean = "";
  let pending = "";
  for (const block of blocks) {
    pending += block.gap;
    if (block.noise > limit) continue;
    clean += (clean ? (pending.includes("\n") ? "\n" : " ") : "") + block.text;
    pending = "";
  }
  mark((block) => block.noise > limit, clean, false);
}

async function find() {
  const text = $("document").value;
  if (!text.trim()) {
    say($("noise-status"), "Paste a document first.", true);
    return;
  }
  say($("noise-status"), "Reading …");
  try {
    const { data } = await call("/v1/denoise", { json: { input: text } });
    const characters = [...text]; // places are counted in characters, a string here in UTF-16 units
    let at = 0;
    blocks = data[0].blocks.map(({ start, end, noise }) => {
      const own = characters.slice(start, end).join("");
      const gap = characters.slice(at, start).join("");
      at = end;
      const shown = element("span", { title: `${Math.round(100 * noise)}% noise` }, own);
      shown.style.setProperty("--n", noise.toFixed(2));
      const kept = data[0].spans.some(([from, to]) => from < end && start < to);
      return { text: own, noise, gap, kept, shown };
    });
    chosen = data[0].text;
    $("marked").replaceChildren(...blocks.map((block) => block.shown));
    $("cleaned").hidden = !blocks.length;
    say($("noise-status"), `${blocks.length} lines and sentences`);
    if (blocks.length) showOwn();
  } catch (error) {
    say($("noise-status"), error.message, true);
  }
}

export function start() {
  const box = $("document");
  $("noise-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
  $("example").addEventListener("click", () => {
    box.value = EXAMPLE;
    find();
  });
  $("threshold").addEventListener("input", showBySlider);
  $("own").addEventListener("click", showOwn);
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("clean").textContent);
      say($("noise-status"), "Copied.");
    } catch {
      getSelection().selectAllChildren($("clean")); // no clipboard without HTTPS: the text is marked, to be copied by hand
      say($("noise-status"), "The text is marked: copy it with Ctrl+C.");
    }
  });
  for (const name of ["dragenter", "dragover"]) {
    box.addEventListener(name, (event) => {
      event.preventDefault();
      box.classList.add("over");
    });
  }
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", async (event) => {
    event.preventDefault();
    box.classList.remove("over");
    const [file] = event.dataTransfer.files;
    box.value = file ? await file.text() : event.dataTransfer.getData("text");
    find();
  });
}
