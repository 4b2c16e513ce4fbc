"""Denoise a crawl of one site's documentation, where navigation recurs, with and without fitting to it.

    apt-get download python-django-doc && dpkg-deb -x python-django-doc_*.deb packages/python-django-doc
    python benchmarks/site.py packages/python-django-doc --pages 60

Each folder is an unpacked Debian package with HTML documentation, and a collection of its own. A page's main content is
found by its markup (`main`, `article`, role and class names: `gather_blocks.html_lines`); its visible text, a line a
text node, is the noisy document; its first heading is the query, taken out of every text. Prints words kept against the
main content (precision, recall, F1), and nDCG@10 × 100 of mean pooling over the whole of what is kept.
Packages for choosing are debian-reference-en and python-sqlalchemy-doc; for reporting python-django-doc and
postgresql-doc-15.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from block_noise import without
from gather_blocks import _MAIN, _SKIPPED, html_lines
from selectolax.lexbor import LexborHTMLParser

from glot_rag import Denoiser, TorchEncoder
from glot_rag.denoise.recurrence import Recurrence
from glot_rag.documents.blocks import split_blocks
from glot_rag.evaluation.kept_words import kept_words
from glot_rag.evaluation.metrics import measure

FEWEST_WORDS, FEWEST_NOISY, MOST_WORDS = 40, 3, 4_000


def read_pages(folder: Path, most: int) -> list[dict[str, str]]:
    """Pages with their main content and heading, at random but always the same."""
    files = sorted(p for p in folder.rglob("*.htm*") if p.is_file() and not _SKIPPED.search(str(p).lower()))
    random.Random(folder.name).shuffle(files)
    pages: list[dict[str, str]] = []
    for path in files:
        content = path.read_bytes()[:400_000].decode("utf-8", "replace")
        lines = html_lines(content)
        words = [(len(line.split()), noise) for line, noise in lines]
        noisy = sum(count for count, noise in words if noise)
        total = sum(count for count, _ in words)
        if total - noisy < FEWEST_WORDS or noisy < FEWEST_NOISY or total > MOST_WORDS:
            continue
        main = LexborHTMLParser(content).css_first(_MAIN)
        heading = main.css_first("h1, h2, h3, .title") if main is not None else None
        query = " ".join(heading.text().replace("¶", " ").split()) if heading is not None else ""
        gold = "\n".join(line for line, noise in lines if not noise)
        pages.append({"text": "\n".join(line for line, _ in lines), "gold": gold, "query": query})
        if len(pages) == most:
            break
    return pages


def ndcg(encoder: TorchEncoder, pages: list[dict[str, str]], texts: list[str]) -> float:
    """Of the headings, each the query of its page."""
    asked = [row for row, page in enumerate(pages) if page["query"]]
    queries = encoder.encode_queries([pages[row]["query"] for row in asked])
    clean = [without(text, page["query"]) if page["query"] else text for text, page in zip(texts, pages, strict=True)]
    scores = queries @ encoder.encode_documents(clean).T
    run = {str(row): dict(enumerate_as_text(found)) for row, found in zip(asked, scores.tolist(), strict=True)}
    return 100 * measure({str(row): {str(row): 1} for row in asked}, run, ["ndcg@10"])["ndcg@10"]


def enumerate_as_text(scores: list[float]) -> list[tuple[str, float]]:
    return [(str(number), score) for number, score in enumerate(scores)]


def template_words(pages: list[dict[str, str]], texts: list[str]) -> dict[str, float]:
    """Words of the lines that are called the site's template, and the share of them outside the main content."""
    counts = Recurrence.count(texts).recurring()
    words = noise = 0
    for page, text in zip(pages, texts, strict=True):
        blocks = split_blocks(text)
        content = {line.strip() for line in page["gold"].split("\n")}
        for block, is_template in zip(blocks, counts.look_up(text, blocks).template, strict=True):
            if is_template:
                line = text[block.start : block.end]
                words += len(line.split())
                noise += len(line.split()) * (line not in content)
    return {"words": words, "noise": round(noise / words, 3) if words else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pages", type=int, default=60, help="of each package, at most")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    denoiser = Denoiser.from_pretrained()
    mean = TorchEncoder.from_pretrained(pooling="mean")
    encoder = TorchEncoder(mean.backbone, mean.pooling, whole=True)
    report: dict[str, Any] = {}
    for folder in options.folders:
        pages = read_pages(folder, options.pages)
        texts = [page["text"] for page in pages]
        fitted = denoiser.fit(texts, [folder.name] * len(texts))
        ways = {
            "everything": texts,
            "denoised": [each.text for each in denoiser.denoise(texts)],
            "denoised, fitted": [each.text for each in fitted.denoise(texts, [folder.name] * len(texts))],
            "main content": [page["gold"] for page in pages],
        }
        found: dict[str, Any] = {"pages": len(pages), "queries": sum(bool(page["query"]) for page in pages)}
        for name, kept in ways.items():
            words = np.array([kept_words(text, page["gold"]) for text, page in zip(kept, pages, strict=True)])
            found[name] = {"kept words": words.mean(axis=0).round(3).tolist(), "ndcg@10": ndcg(encoder, pages, kept)}
        found["template"] = template_words(pages, texts)
        low, high = (found[name]["ndcg@10"] for name in ("everything", "main content"))
        for name in ("denoised", "denoised, fitted"):
            if high > low:
                found[name]["won back"] = round((found[name]["ndcg@10"] - low) / (high - low), 3)
        report[folder.name] = found
        print(json.dumps({folder.name: found}, indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
