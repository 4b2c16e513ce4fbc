"""Does a block head that learned from English pages find the noise of pages in other languages?

    python benchmarks/languages.py --packages DIR --backbone e5 --json benchmarks/results/languages.json

The Debian administrator's handbook in English, German, Spanish, Chinese and Arabic: the same pages, with their
navigation, from the package debian-handbook (GPL-2+), which is fetched with apt-get into DIR. No page of it was trained
on. The markup says what is navigation. A page's heading is its query and is taken out of its texts; pages that are
hardly translated are left out. Vectors are means of the first window. Prints, a language: F1 of the characters dropped
(against the navigation) and of those kept; nDCG@10 of the queries over whole pages, over what the head keeps, and over
the main content; the share won back; and what the head costs the main content alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gather_blocks import html_lines, of_lines
from numpy.typing import NDArray

from glot_rag import TorchEncoder
from glot_rag.denoise.denoised import Denoised
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.backbone import Backbone

PACKAGE = "debian-handbook"
LANGUAGES = {"English": "en-US", "German": "de-DE", "Spanish": "es-ES", "Chinese": "zh-CN", "Arabic": "ar-MA"}
NOT_LATIN = ("Chinese", "Arabic")
FEWEST_CHARACTERS, FOREIGN = 300, 0.3  # of the main content; the share of its letters that are no ASCII


class Page(NamedTuple):
    """A page: its visible text, the noise in it, its main content and its heading."""

    text: str
    noise: list[tuple[int, int]]
    main: str
    query: str


def fetch(folder: Path) -> Path:
    """The handbook's HTML."""
    target = folder / PACKAGE
    if not target.is_dir():
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob(f"{PACKAGE}_*.deb")).name, PACKAGE], cwd=folder, check=True)
    return target / "usr/share/doc" / PACKAGE / "html"


def read(folder: Path, foreign: bool) -> dict[str, Page]:
    """The pages of a language, by their file's name."""
    found = {}
    for path in sorted(folder.glob("*.html")):
        lines = html_lines(path.read_text(encoding="utf-8"))
        main = [line for line, noise in lines if not noise]
        letters = [character for character in "".join(main) if character.isalpha()]
        if sum(map(len, main)) < FEWEST_CHARACTERS or not any(noise for _, noise in lines):
            continue
        if foreign and sum(not c.isascii() for c in letters) < FOREIGN * len(letters):
            continue
        query = re.sub(r"^[\d.\s\u00a0]+", "", main[0])
        lines = [(line, noise) for line, noise in lines if query not in line] if query else lines
        text, spans = of_lines(lines)
        found[path.name] = Page(text, spans, "\n".join(line for line, noise in lines if not noise), query)
    return found


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
    ranks = (scores > np.diag(scores)[:, None]).sum(1)
    return np.where(ranks < 10, 100 / np.log2(ranks + 2), 0.0)


def cleaning(pages: list[Page], cleaned: list[Denoised], of_main: list[Denoised]) -> dict[str, float]:
    """What is dropped and kept of the pages of a language, and what the main content alone loses."""
    marks = [dropped(page, each) for page, each in zip(pages, cleaned, strict=True)]
    lost = sum(len(page.main) - len(each.text) for page, each in zip(pages, of_main, strict=True))
    return {
        "pages": len(pages),
        "noise": float(np.mean([noise.mean() for noise, _ in marks])),
        "noise_f1": float(np.mean([f1(gone, noise) for noise, gone in marks])),
        "kept_f1": float(np.mean([f1(~gone, ~noise) for noise, gone in marks])),
        "everything_f1": float(np.mean([f1(np.ones_like(noise), ~noise) for noise, _ in marks])),
        "main_lost": lost / sum(len(page.main) for page in pages),
    }


def retrieval(
    mean: TorchEncoder, pages: list[Page], cleaned: list[Denoised], of_main: list[Denoised]
) -> dict[str, float]:
    """nDCG@10 × 100 over whole pages, what is kept of them, the main content, and what is kept of that."""
    asked = [row for row, page in enumerate(pages) if page.query]
    queries = [pages[row].query for row in asked]
    ways = {
        "everything": [page.text for page in pages],
        "kept": [each.text for each in cleaned],
        "main": [page.main for page in pages],
        "main_denoised": [each.text for each in of_main],
    }
    found = {name: float(ndcg(mean, queries, [texts[row] for row in asked]).mean()) for name, texts in ways.items()}
    taken = found["main"] - found["everything"]
    won = {"won_back": (found["kept"] - found["everything"]) / taken} if taken > 0 else {}
    return {"queries": len(asked), **{f"ndcg_{name}": value for name, value in found.items()}, **won}


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
    folder = fetch(options.packages)
    of_language = {
        name: list(read(folder / code, name in NOT_LATIN).values())[: options.limit] for name, code in LANGUAGES.items()
    }
    found: dict[str, tuple[list[Denoised], list[Denoised]]] = {}
    results: dict[str, dict[str, float]] = {}
    for measured in ("cleaning", "retrieval"):
        for name, pages in of_language.items():
            if measured == "cleaning":
                found[name] = denoiser.denoise([p.text for p in pages]), denoiser.denoise([p.main for p in pages])
                results[name] = cleaning(pages, *found[name])
            else:
                results[name] |= retrieval(mean, pages, *found[name])
            print(name, json.dumps({key: round(value, 4) for key, value in results[name].items()}), flush=True)
            if options.json:
                record = {"backbone": options.backbone, "package": PACKAGE, "limit": options.limit}
                record["languages"] = {n: {k: round(v, 4) for k, v in each.items()} for n, each in results.items()}
                options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
