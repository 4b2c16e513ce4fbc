"""The report page as Chromium lays it out: on a wide and on a narrow screen, light and dark, without a network."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glot_rag.evaluation import Comparison, Report, save_page
from glot_rag.evaluation.significance import Loss

# Put into a copy of the page; the page itself has no script.
PROBE = """<script>addEventListener("load", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const boxes = (what) => [...document.querySelectorAll(what)].map((each) => each.getBoundingClientRect());
  parent.postMessage(JSON.stringify({
    width: innerWidth, scrolls: document.documentElement.scrollWidth, requests: performance.getEntriesByType("resource").length,
    ends: boxes("h1,h2,h3,p,figure,svg,.bar,.scroll,details,dl,dd,.key").map((box) => box.right),
    curves: boxes("svg .curve").map((box) => box.width), bars: boxes(".track b").map((box) => box.width),
    rows: boxes("tr").map((box) => box.height), table: boxes("table").map((box) => box.width),
    columns: new Set(boxes("h2 + .charts figure").slice(0, 3).map((box) => box.left)).size,
    background: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  }), "*");
});</script>"""  # noqa: E501 (a script)
# A window is never narrower than 500 pixels; a frame is.
FRAME = """<script>addEventListener("message", (each) => document.documentElement.dataset.probe = each.data);</script>
<iframe src="probed.html" style="border:0;height:900px;width:{width}px"></iframe>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """A headless Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here (Debian's package: chromium)")


@pytest.fixture
def long(report: Report) -> Report:
    """A report with much in it: many systems and kinds of noise, and words that do not break."""
    loss = Loss("q", "word" * 60, 0.1, 0.9, "d1", "x" * 900, "d2", "<wanted> " * 90)
    compared = Comparison(0.12, [0.05, 0.2], 0.001, wins=150, losses=50, ties=25, p_holm=0.002, worst=[loss] * 3)
    names = ["mean", "glot", "best-chunk", "a_system_with_a_very_long_name_that_has_no_break_in_it"]
    kinds = [("none", 0.0), ("words", 0.5), ("words", 0.8), ("words, lines at the end + ocr", 0.6), ("log", 0.8)]
    results = [
        dataclasses.replace(
            report.results[-1],
            pooling=name,
            noise=noise,
            ratio=ratio,
            interval=[0.3, 0.34],
            against_mean=compared if number else None,
        )
        for noise, ratio in kinds
        for number, name in enumerate(names)
    ]
    encoders = dict.fromkeys(names, "0123456789abcdef" * 4)
    return dataclasses.replace(
        report, results=results, encoders=encoders, costs=dict.fromkeys(names, 12.0), problems=["y" * 300]
    )


def rendered(chromium: str, report: Report, folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    save_page(report, folder / "page.html")
    text = (folder / "page.html").read_text(encoding="utf-8")
    (folder / "probed.html").write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [
        "--window-size=1400,1000",
        "--virtual-time-budget=5000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=300
    )
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    probe: dict[str, Any] = json.loads(html.unescape(found[1]))
    return probe


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_fits_the_screen_and_shows_everything(
    chromium: str, long: Report, tmp_path: Path, width: int, dark: bool
) -> None:
    found = rendered(chromium, long, tmp_path, width, dark=dark)
    assert found["width"] == width
    assert found["scrolls"] == width
    assert max(found["ends"]) <= width
    assert found["requests"] == 0
    assert len(found["curves"]) == 3 * (4 + 1)  # a kind of noise: four methods and the oracle
    assert min(found["curves"]) > 100
    assert len(found["bars"]) == 4 * 4 + 4
    assert min(found["bars"]) > 50
    assert len(found["rows"]) == 1 + 5 * (1 + 4)
    assert min(found["rows"]) > 10
    # The table is wider than a telephone: it scrolls in a box of its own.
    assert (found["table"][0] > width) == (width == 390)
    assert found["columns"] == (3 if width == 1280 else 1)
    shades = [int(each) for each in re.findall(r"\d+", found["background"])[:3] + re.findall(r"\d+", found["ink"])[:3]]
    assert (max(shades[:3]) < 60 and min(shades[3:]) > 200) == dark
    assert (min(shades[:3]) > 200 and max(shades[3:]) < 60) == (not dark)
