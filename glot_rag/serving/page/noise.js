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

let blocks = []; // of the document that was cleaned last: { text, noise, lineBreak }

function show() {
  const threshold = Number($("threshold").value) / 100;
  const least = Math.min(...blocks.map((block) => block.noise)); // the least noisy block stays in any case
  const limit = Math.max(threshold, least);
  $("threshold-value").value = `${Math.round(100 * threshold)}%`;
  let clean = "";
  let pending = "";
  let words = 0;
  let kept = 0;
  for (const block of blocks) {
    const count = block.text.split(/\s+/).length;
    words += count;
    pending += block.gap;
    const out = block.noise > limit;
    block.shown.classList.toggle("out", out);
    if (out) continue;
    kept += count;
    clean += (clean ? (pending.includes("\n") ? "\n" : " ") : "") + block.text;
    pending = "";
  }
  $("clean").textContent = clean;
  $("kept").textContent = `${kept} of ${words} words kept`;
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
      return { text: own, noise, gap, shown };
    });
    $("marked").replaceChildren(...blocks.map((block) => block.shown));
    $("cleaned").hidden = !blocks.length;
    say($("noise-status"), `${blocks.length} lines and sentences`);
    if (blocks.length) show();
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
  $("threshold").addEventListener("input", show);
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
