"""Does a block head find the noise of pages in other languages than English?

    python benchmarks/languages.py --packages DIR --backbone e5 --json benchmarks/results/languages.json

The Debian administrator's handbook in English, German, Spanish, Chinese and Arabic, from the package debian-handbook
(GPL-2+). No page of it was trained on. Its pages come twice: whole with their own navigation, which the markup marks;
and their beginnings in a wiki's interface, made of MediaWiki's translations (package mediawiki, GPL-2+), the same
lines in the same places in every language, without and with the headings of other pages among its recent changes, as
what is the same on every page takes little from retrieval. Pages that are hardly translated are left out.

Prints, a language and noise: F1 of the characters dropped (against the noise) and of those kept. For the wiki also
nDCG@10 of the pages' headings, which are taken out of the texts, over whole pages, over what the head keeps, and over
the main content, with 95% intervals over the queries; the share won back; and what the head costs the main content
alone. Vectors are means of the first window. What is in the JSON file already is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gather_blocks import html_lines, of_lines
from numpy.typing import NDArray

from glot_rag import TorchEncoder
from glot_rag.denoise.denoised import Denoised
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.evaluation.significance import interval
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.backbone import Backbone

HANDBOOK, WIKI = "debian-handbook", "mediawiki"
# Of the handbook, and of MediaWiki.
LANGUAGES = {
    "English": ("en-US", "en"),
    "German": ("de-DE", "de"),
    "Spanish": ("es-ES", "es"),
    "Chinese": ("zh-CN", "zh-hans"),
    "Arabic": ("ar-MA", "ar"),
}
NOT_LATIN = ("Chinese", "Arabic")
FEWEST_CHARACTERS, FOREIGN = 300, 0.3  # of the main content; the share of its letters that are no ASCII
OWN = "its own navigation"
LINKS = 10
BEGINNING = 800  # bytes, as a character of Chinese says more than one of English
# MediaWiki's messages before and after a page's text, in the order of its default skin.
BEFORE = (
    "jumptonavigation navigation-heading navigation mainpage portal currentevents recentchanges randompage help search "
    "createaccount login personaltools nstab-main talk variants views view edit history actions toolbox whatlinkshere "
    "recentchangeslinked upload specialpages printableversion permalink"
)
AFTER = "categories otherlanguages privacy aboutsite disclaimers"


class Page(NamedTuple):
    """A page: its visible text, the noise in it, its main content and its heading."""

    text: str
    noise: list[tuple[int, int]]
    main: str
    query: str


def fetch(folder: Path) -> tuple[Path, Path]:
    """The handbook's HTML and MediaWiki's translations."""
    for package in (HANDBOOK, WIKI):
        if not (folder / package).is_dir():
            subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
            archive = next(folder.glob(f"{package}_*.deb")).name
            subprocess.run(["dpkg-deb", "-x", archive, package], cwd=folder, check=True)
    shared = Path("usr/share")
    return folder / HANDBOOK / shared / "doc" / HANDBOOK / "html", folder / WIKI / shared / WIKI / "languages/i18n"


def read(folder: Path, foreign: bool) -> list[Page]:
    """The handbook's pages in a language."""
    found = []
    for path in sorted(folder.glob("*.html")):
        # The handbook's boxes are called sidebars, as menus are elsewhere, but belong to its text.
        lines = html_lines(path.read_text(encoding="utf-8").replace('class="sidebar"', 'class="box"'))
        main = [line for line, noise in lines if not noise]
        letters = [character for character in "".join(main) if character.isalpha()]
        if sum(map(len, main)) < FEWEST_CHARACTERS or not any(noise for _, noise in lines):
            continue
        if foreign and sum(not c.isascii() for c in letters) < FOREIGN * len(letters):
            continue
        query = re.sub(r"^[\d.\s\u00a0]+", "", main[0])
        found.append(page_of([(line, noise) for line, noise in lines if not query or query not in line], query))
    return found


def in_wiki(page: Page, messages: dict[str, str], links: Sequence[str] = ()) -> Page:
    """The beginning of a page's main content, in the interface of a wiki, which links to other pages."""

    def shown(name: str) -> str:
        return messages[name].replace("{{SITENAME}}", "Wiki").replace("&shy;", "")

    text = page.main.encode()[:BEGINNING].decode("utf-8", "ignore")
    before, after = ([shown(name) for name in names.split()] for names in (BEFORE, AFTER))
    place = before.index(shown("recentchanges")) + 1
    before[place:place] = links
    lines = [(line, False) for line in text.split("\n")]
    return page_of([*((line, True) for line in before), *lines, *((line, True) for line in after)], page.query)


def with_links(pages: list[Page], messages: dict[str, str]) -> list[Page]:
    """Every page in a wiki that links to LINKS others."""
    found = []
    for number, page in enumerate(pages):
        others = sorted({each.query for each in pages if each.query} - {page.query})
        found.append(in_wiki(page, messages, random.Random(number).sample(others, min(LINKS, len(others)))))
    return found


def page_of(lines: list[tuple[str, bool]], query: str) -> Page:
    """Lines, of which some are noise, as a page."""
    text, spans = of_lines(lines)
    return Page(text, spans, "\n".join(line for line, noise in lines if not noise), query)


def dropped(page: Page, denoised: Denoised) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the page's visible characters: which are noise, and which were dropped."""
    noise, gone = np.zeros(len(page.text), bool), np.ones(len(page.text), bool)
    for start, end in page.noise:
        noise[start:end] = True
    for start, end in denoised.spans:
        gone[start:end] = False
    visible = np.array([not character.isspace() for character in page.text])
    return noise[visible], gone[visible]


def f1(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float(2 * (found & wanted).sum() / max(1, found.sum() + wanted.sum()))


def ndcg(mean: TorchEncoder, queries: list[str], texts: list[str]) -> NDArray[np.float64]:
    """nDCG@10 × 100 of each query, which its own text alone answers."""
    scores = mean.encode_queries(queries) @ mean.encode_documents(texts).T
    # A tie is no find: texts of which nothing is left are all alike.
    ranks = (scores >= np.diag(scores)[:, None]).sum(1) - 1
    return np.where(ranks < 10, 100 / np.log2(ranks + 2), 0.0)


def cleaning(pages: list[Page], cleaned: list[Denoised]) -> dict[str, Any]:
    """What is dropped and kept of the pages of a language."""
    marks = [dropped(page, each) for page, each in zip(pages, cleaned, strict=True)]
    return {
        "pages": len(pages),
        "noise": float(np.mean([noise.mean() for noise, _ in marks])),
        "noise_f1": float(np.mean([f1(gone, noise) for noise, gone in marks])),
        "kept_f1": float(np.mean([f1(~gone, ~noise) for noise, gone in marks])),
        "everything_f1": float(np.mean([f1(np.ones_like(noise), ~noise) for noise, _ in marks])),
    }


def retrieval(
    mean: TorchEncoder, pages: list[Page], cleaned: list[Denoised], of_main: list[Denoised]
) -> dict[str, Any]:
    """nDCG@10 × 100 over whole pages, what is kept of them, the main content, and what is kept of that."""
    asked = [row for row, page in enumerate(pages) if page.query]
    queries = [pages[row].query for row in asked]
    ways = {
        "everything": [page.text for page in pages],
        "kept": [each.text for each in cleaned],
        "main": [page.main for page in pages],
        "main_denoised": [each.text for each in of_main],
    }
    values = {name: ndcg(mean, queries, [texts[row] for row in asked]) for name, texts in ways.items()}
    of = {f"ndcg_{name}": float(each.mean()) for name, each in values.items()}
    taken = of["ndcg_main"] - of["ndcg_everything"]
    return {
        "queries": len(asked),
        **of,
        "gain_interval": interval(values["kept"] - values["everything"]),
        "harm_interval": interval(values["main_denoised"] - values["main"]),
        "won_back": (of["ndcg_kept"] - of["ndcg_everything"]) / taken if taken >= 1 else None,
        "main_lost": sum(len(page.main) - len(each.text) for page, each in zip(pages, of_main, strict=True))
        / sum(len(page.main) for page in pages),
    }


def rounded(value: Any) -> Any:
    """A figure, or several, as it is printed."""
    return [round(each, 4) for each in value] if isinstance(value, list) else value and round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="where packages are unpacked")
    parser.add_argument("--backbone", default="e5")
    parser.add_argument("--head", type=Path, help="a block head's folder; default: the shipped one")
    parser.add_argument("--limit", type=int, help="pages a language, the first by name; default: all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = Backbone.load(options.backbone)
    head = options.head or Path(__file__).parents[1] / f"glot_rag/pretrained/{options.backbone}-blocks"
    denoiser = TorchDenoiser(backbone, None, block_head=load_block_head(head)[0])
    mean = TorchEncoder.from_pretrained(options.backbone, pooling="mean", denoise=False)
    handbook, translations = fetch(options.packages)
    record: dict[str, Any] = {"backbone": options.backbone, "limit": options.limit, "language_results": []}
    if options.json and options.json.is_file():
        record = json.loads(options.json.read_text(encoding="utf-8"))
    done = {(row["language"], row["noise_of"]) for row in record["language_results"]}
    for name, (code, wiki_code) in LANGUAGES.items():
        pages = read(handbook / code, name in NOT_LATIN)[: options.limit]
        messages = json.loads((translations / f"{wiki_code}.json").read_text(encoding="utf-8"))
        noisy_pages = {
            OWN: pages,
            "a wiki's interface": [in_wiki(page, messages) for page in pages],
            "and links": with_links(pages, messages),
        }
        for noise, noisy in noisy_pages.items():
            if (name, noise) in done:
                continue
            found = denoiser.denoise([page.text for page in noisy])
            values = cleaning(noisy, found)
            if noise != OWN:
                values |= retrieval(mean, noisy, found, denoiser.denoise([page.main for page in noisy]))
            row = {"language": name, "noise_of": noise} | {key: rounded(value) for key, value in values.items()}
            print(json.dumps(row), flush=True)
            record["language_results"].append(row)
            record["language_results"].sort(key=lambda each: list(LANGUAGES).index(each["language"]))
            if options.json:
                options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
