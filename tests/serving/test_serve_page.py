"""The page in headless Chromium: what it shows, by keyboard and by axe-core's rules, from 360 to 1920 pixels wide.

axe-core (MPL 2.0, from its npm package) is for these tests alone.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glot_rag import Document, GlotIndex
from glot_rag.encoder.base import GlotEncoder
from glot_rag.serving import create_app

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package drives the browser")
AXE = gzip.decompress((Path(__file__).parent / "axe-core-4.14.1.min.js.gz").read_bytes()).decode()
PAGES = Path(__file__).parents[2] / "glot_rag" / "serving" / "page"
TEXTS = {
    "wal": "Home | Log in | Pricing\nWrite-ahead logging\nReaders do not block writers and a writer does not block "
    "readers.\nShare this page",
    "bread": "A sourdough loaf needs flour, water, salt and time.\nLeave it to rise overnight.",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium here (Debian's package: chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(served_encoder: GlotEncoder, serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    index = GlotIndex.create(tmp_path_factory.mktemp("page") / "index", served_encoder)
    index.add([Document(text, id, {"title": id}) for id, text in TEXTS.items()])
    with serve(create_app(served_encoder, index=index)) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Open, with its policy on scripts in force; nothing may go wrong or be asked of another site."""
    with open_page(browser, address) as opened:
        yield opened


class open_page:
    def __init__(self, browser: Any, address: str, path: str = "/", **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda each: self.problems.append(each.text) if each.type == "error" else None)
        self.page.on("request", lambda each: None if each.url.startswith(address) else self.problems.append(each.url))
        self.page.goto(address + path)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self.context.close()
        assert kind is not None or self.problems == []


def search(page: Any) -> None:
    page.fill("#query", "can others read while a writer writes?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#mean-hits li")


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in PAGES.iterdir()) < 300_000


def test_hits_stand_side_by_side_with_evidence(page: Any) -> None:
    page.wait_for_selector("#served:has-text('Model minilm')")
    search(page)
    assert page.locator("#glot-hits li").count() == page.locator("#mean-hits li").count() == 2
    first = page.locator("#glot-hits li").first
    assert first.locator("mark.best").inner_text().startswith("Readers do not block writers")
    assert "Share this page" in first.locator("s").all_inner_texts()
    assert page.locator("#mean-hits s").count() == 0
    left, right = (page.locator(f"#{name}-hits li").first.bounding_box() for name in ("glot", "mean"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]


def test_noise_is_shown_and_dropped_by_the_slider(page: Any, served_encoder: GlotEncoder) -> None:
    page.click("#tab-noise")
    page.fill("#document", TEXTS["wal"])
    page.click("text=Find the noise")
    page.wait_for_selector("#marked span")
    assert page.locator("#marked span").all_inner_texts() == TEXTS["wal"].splitlines()
    (own,) = served_encoder.denoise([TEXTS["wal"]])

    def is_own() -> None:
        assert page.locator("#own").get_attribute("aria-pressed") == "true"
        assert page.locator("#clean").inner_text() == own.text
        dropped = [each.text for each in own.blocks if each.text not in own.text]
        assert page.locator("#marked .out").all_inner_texts() == dropped != []
        highest = max(each.noise for each in own.blocks if each.text in own.text)
        assert int(page.locator("#threshold").input_value()) - 1 < 100 * highest <= int(page.input_value("#threshold"))

    is_own()
    kept = []
    for value in ("1", "50", "99"):
        page.fill("#threshold", value)
        kept.append(page.locator("#clean").inner_text())
        assert page.locator("#threshold-value").inner_text() == f"{value}%"
        assert page.locator("#marked .out").count() == 4 - len(kept[-1].splitlines())
    assert len(kept[0].splitlines()) == 1  # the least noisy one stays
    assert kept[0] in kept[1]
    assert "Log in" not in kept[1]
    assert kept[2] == TEXTS["wal"]
    assert page.locator("#kept").inner_text() == "23 of 23 words kept"
    assert page.locator("#own").get_attribute("aria-pressed") == "false"
    page.click("#own")
    is_own()
    page.click("#copy")
    page.wait_for_selector("#noise-status:has-text('opied'), #noise-status:has-text('marked')")


def test_a_dropped_file_is_cleaned(page: Any) -> None:
    page.click("#tab-noise")
    transfer = page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["Tea is hot."], "a.txt"));
          return data;
        }"""
    )
    page.dispatch_event("#document", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#clean:has-text('Tea is hot.')")


def test_a_folder_is_indexed_file_by_file(page: Any, tmp_path: Path) -> None:
    (tmp_path / "manuals").mkdir()
    (tmp_path / "manuals" / "kiln.md").write_text("# Kiln\n\nFire the glaze slowly.\n")
    (tmp_path / "manuals" / "odd.xyz").write_bytes(b"\0\1")
    (tmp_path / "manuals" / ".hidden.md").write_text("hidden")
    page.click("#tab-files")
    page.set_input_files("#folder", tmp_path / "manuals")
    page.wait_for_selector("#files-status:has-text('1 passages added; 1 files gave nothing')")
    assert page.locator("#progress-label").inner_text() == "2 of 2 files"
    assert page.locator("#progress").get_attribute("value") == "2"
    rows = page.locator("#file-rows tr").all_inner_texts()
    assert any(row.startswith("manuals/kiln.md\t1") for row in rows)
    assert any("kinds that are not read" in row for row in rows)
    page.click("#tab-search")
    page.fill("#query", "how to fire a glaze")
    page.click("text=Search >> nth=-1")
    page.wait_for_selector("#glot-hits li:first-child:has-text('manuals/kiln.md')")


def test_an_upload_can_be_cancelled(page: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.txt" for n in range(300)]
    for number, file in enumerate(files):
        file.write_text(f"text {number}")
    page.click("#tab-files")
    page.set_input_files("#some", files)
    page.click("#cancel")
    page.wait_for_selector("#progress-label:has-text('Cancelled: ')")
    assert int(page.locator("#progress").get_attribute("value")) < 300
    assert page.locator("#cancel").is_disabled()


def test_the_keyboard_is_enough(page: Any) -> None:
    page.wait_for_selector("#served:has-text('Model minilm')")
    page.focus("#tab-search")
    page.keyboard.press("ArrowRight")
    assert page.locator("#noise").is_visible()
    assert page.evaluate_handle("document.activeElement").get_property("id").json_value() == "tab-noise"
    page.keyboard.press("Tab")
    page.keyboard.type("Tea is hot.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#clean:has-text('Tea is hot.')")
    page.focus("#threshold")
    before = int(page.input_value("#threshold"))
    page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-value").inner_text() == f"{before + 1}%"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (768, "light"), (1920, "dark")])
def test_it_fits_and_is_accessible(browser: Any, address: str, width: int, scheme: str) -> None:
    # axe-core is put into the page, which its policy on scripts forbids everybody else.
    context = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    with open_page(browser, address, **context) as page:
        page.add_script_tag(content=AXE)
        search(page)
        check(page, width, "search")
        page.click("#tab-noise")
        page.click("#example")
        page.wait_for_selector("#marked span")
        check(page, width, "noise")
        page.click("#tab-files")
        check(page, width, "files")
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != shade
        check(page, width, "files, in the other theme")
    if width == 360:
        with open_page(browser, address, "/docs", **context) as page:
            page.wait_for_selector("details:has-text('POST /v1/embeddings')")
            page.add_script_tag(content=AXE)
            page.click("details:has-text('POST /v1/embeddings') summary")
            check(page, width, "docs")


def check(page: Any, width: int, what: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, what
    violations = page.evaluate("axe.run().then((found) => found.violations)")
    told = [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in violations]
    assert not told, f"{what}: {json.dumps(told, indent=1)}"
