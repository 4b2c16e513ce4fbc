import { $, call, element, say } from "./common.js";

const MOST_ROWS = 200;
let running; // an AbortController while files are uploaded

async function upload(files) {
  if (running || !files.length) return;
  running = new AbortController();
  const { signal } = running;
  $("cancel").disabled = false;
  $("file-rows").replaceChildren();
  $("progress").max = files.length;
  let done = 0;
  let passages = 0;
  let failed = 0;
  for (const file of files) {
    if (signal.aborted) break;
    const name = file.webkitRelativePath || file.name;
    $("progress-label").textContent = `${done} of ${files.length}: ${name}`;
    try {
      const found = await patiently(name, file, signal);
      passages += found.chunks;
      if (!found.chunks) failed += 1;
      row(name, found.chunks, found.notes.join(" "));
    } catch (error) {
      if (error.name === "AbortError") break;
      failed += 1;
      row(name, 0, error.message);
    }
    done += 1;
    $("progress").value = done;
  }
  const stopped = signal.aborted ? "Cancelled: " : "";
  $("progress-label").textContent = `${stopped}${done} of ${files.length} files`;
  say($("files-status"), `${stopped}${passages} passages added${failed ? `; ${failed} files gave nothing` : ""}`);
  $("cancel").disabled = true;
  running = undefined;
}

// Where the server is busy it says when to come again.
async function patiently(name, file, signal) {
  for (;;) {
    try {
      return await call(`/files?name=${encodeURIComponent(name)}`, { body: file, signal });
    } catch (error) {
      if (error.status !== 429) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 1)));
      signal.throwIfAborted();
    }
  }
}

function row(name, chunks, notes) {
  const cells = [name, String(chunks), notes].map((text) => element("td", {}, text));
  $("file-rows").prepend(element("tr", {}, ...cells));
  $("file-rows").children[MOST_ROWS]?.remove();
}

export function start() {
  for (const id of ["folder", "some"]) {
    $(id).addEventListener("change", async (event) => {
      const files = [...event.target.files].filter((file) => !/(^|\/)\./.test(file.webkitRelativePath || file.name));
      await upload(files);
      event.target.value = "";
    });
  }
  $("cancel").addEventListener("click", () => running?.abort());
}
