"""HTML documentation: what each way of reading it keeps, and what headings in front of chunks are worth.

    apt-get download python-sqlalchemy-doc debian-reference-en    # unpacked with dpkg -x; both are for validation
    python benchmarks/manuals.py read FOLDER… --limit 40 --out read.json
    python benchmarks/manuals.py chunks FOLDER… --limit 40 --out chunks.json
    python benchmarks/manuals.py chunks pages.jsonl.gz --out pages.json

`read`: the words that are kept, against those of the page's main content as its own markup has it (`<main>`,
`role="main"`, else everything but navigation, headers and footers): precision, recall and F1, a mean over pages; and
the longest blocks of the main content of which half the words were lost.

`chunks`: a query is the first sentence of a paragraph, which is blanked in the text; a chunk that holds the rest of the
paragraph answers it. The same chunks are embedded alone, with title and headings in front (which takes its tokens from
the chunk), and by late chunking (each pooled in the sight of its whole page). Of pages in JSON Lines the main content
of validation hosts is taken; they have titles and no headings.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pages import is_of, read_pages

from glot_rag.documents import Block, Document, chunk_document, find_files, read_documents, split_blocks
from glot_rag.documents.blocks import TextBuilder
from glot_rag.documents.loaders.html import read_html

_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r".+?[.!?](?=\s+[A-Z])", re.DOTALL)
MAIN = "main, [role=main]"
AROUND = "nav, header, footer, [role=navigation], .navheader, .navfooter"
LONGEST = 60_000  # characters of a page that is used
FEWEST_WORDS = 30  # of a paragraph that is asked for
QUERIES_A_PAGE = 6


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spread."""
    return [items[number * len(items) // most] for number in range(most)] if len(items) > most else list(items)


def main_content(path: str) -> str:
    """A page's main content by its own markup."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(Path(path).read_text(encoding="utf-8", errors="replace"))
    builder = TextBuilder()
    found = tree.css_first(MAIN)
    if found is None:
        for node in tree.css(AROUND):
            node.decompose()
        found = tree.body
    if found is not None:
        read_html(found.html or "", builder)
    return builder.text


def overlap(kept: str, gold: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of words."""
    found, wanted = Counter(_WORD.findall(kept.lower())), Counter(_WORD.findall(gold.lower()))
    both = sum((found & wanted).values())
    precision, recall = both / max(sum(found.values()), 1), both / max(sum(wanted.values()), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def read(folders: list[Path], limit: int) -> dict[str, Any]:
    """Measure ways of reading."""
    from glot_rag import Denoiser

    files = [file for file in find_files(folders) if file.endswith((".html", ".htm"))]
    files = [file for file in files if 2_000 < len(main_content(file)) < LONGEST]
    files = spread(files, limit)
    gold = [main_content(file) for file in files]
    texts: dict[str, list[str]] = {}
    for html in ("all", "main"):
        texts[html] = [next(read_documents(file, html=html)).text for file in files]
    groups = [str(Path(file).parent) for file in files]
    denoiser = Denoiser.from_pretrained()
    for html in ("all", "main"):
        texts[f"{html}, denoised"] = [each.text for each in denoiser.denoise(texts[html], groups)]
        if len(files) >= 50:
            fitted = denoiser.fit(texts[html], groups)
            texts[f"{html}, denoised (fitted)"] = [each.text for each in fitted.denoise(texts[html], groups)]
    results: dict[str, Any] = {"pages": len(files), "words": {}}
    for name, found in texts.items():
        scores = np.array([overlap(*each) for each in zip(found, gold, strict=True)])
        results["words"][name] = dict(zip(("precision", "recall", "f1"), scores.mean(0).round(4).tolist(), strict=True))
        precision, recall, f1 = scores.mean(0)
        print(f"{name:26} precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}")
    for name in texts:
        if name != "all":
            print(f"\nlost with {name}:")
            for words, file, shown in lost(files, gold, texts[name])[:12]:
                print(f"  {words:4} words of {Path(file).name}: {shown[:140]!r}")
    return results


def lost(files: list[str], gold: list[str], texts: list[str]) -> list[tuple[int, str, str]]:
    """Blocks of the main content most words of whose runs of three are not in the text, the longest first."""
    found = []
    for file, wanted, text in zip(files, gold, texts, strict=True):
        words = _WORD.findall(text.lower())
        runs = set(zip(words, words[1:], words[2:], strict=False))
        for block in split_blocks(wanted):
            shown = wanted[block.start : block.end]
            own = _WORD.findall(shown.lower())
            three = list(zip(own, own[1:], own[2:], strict=False))
            if three and 2 * sum(run in runs for run in three) < len(three):
                found.append((len(own), file, shown))
    return sorted(found, reverse=True)


def with_queries(document: Document, blocks: Sequence[Block]) -> tuple[Document, list[tuple[str, int, int]]]:
    """The document with the first sentences of some paragraphs blanked, and each with its paragraph's place."""
    text, queries = document.text, []
    fit = [
        block for block in blocks if block.kind in ("paragraph", "unknown")
        and len(text[block.start : block.end].split()) >= FEWEST_WORDS
    ]  # fmt: skip
    for block in spread(fit, QUERIES_A_PAGE):
        first = _SENTENCE.match(text, block.start, block.end)
        if first and 8 <= len(first[0].split()) <= 40 and first.end() < block.end - 60:
            queries.append((" ".join(first[0].split()), first.end(), block.end))
            text = text[: block.start] + " " * (first.end() - block.start) + text[first.end() :]
    return Document(text, document.id, document.metadata, document.blocks), queries


def documents_of(paths: list[Path], limit: int) -> Iterator[Document]:
    """Pages with headings, or the main content of pages with titles."""
    if paths[0].name.endswith((".jsonl", ".jsonl.gz")):
        pages = [page for page in read_pages(paths[0]) if is_of("validation", page["host"]) and page["title"]]
        for page in spread(pages, limit):
            yield Document(page["gold"][:LONGEST], page["id"], {"title": " ".join(page["title"].split())})
        return
    files = [file for file in find_files(paths) if file.endswith((".html", ".htm"))]
    found = (next(read_documents(file), None) for file in spread(files, 3 * limit))
    fit = [document for document in found if document is not None and 2_000 < len(document.text) < LONGEST]
    yield from spread(fit, limit)


def chunks(paths: list[Path], limit: int) -> dict[str, Any]:
    """Measure ways of embedding chunks."""
    from glot_rag import GlotEncoder

    encoder = GlotEncoder.from_pretrained("minilm", pooling="mean", denoise=False)
    documents: list[Document] = []
    queries = []
    for document in documents_of(paths, limit):
        blanked, found = with_queries(document, split_blocks(document.text, document.blocks))
        queries += [(len(documents), *each) for each in found]
        documents.append(blanked)
    asked = encoder.encode_queries([query for _, query, _, _ in queries])
    results: dict[str, Any] = {"pages": len(documents), "queries": len(queries), "systems": {}}
    for name, prefix in (("alone", False), ("title and headings in front", True), ("late chunking", False)):
        cut = [list(chunk_document(each, encoder.token_spans, max_tokens=248, prefix=prefix)) for each in documents]
        places = [(row, chunk.start, chunk.end) for row, each in enumerate(cut) for chunk in each]
        if name == "late chunking":
            vectors = np.concatenate([
                encoder.encode_chunks(document.text, [(chunk.start, chunk.end) for chunk in each])
                for document, each in zip(documents, cut, strict=True) if each
            ])  # fmt: skip
        else:
            vectors = encoder.encode_documents([chunk.embedded for each in cut for chunk in each])
        scores = measured(asked @ vectors.T, queries, places)
        results["systems"][name] = {"chunks": len(places), **scores}
        print(f"{name:28} {len(places):5} chunks  {scores}", flush=True)
    return results


def measured(
    scores: np.ndarray[Any, np.dtype[np.float32]],
    queries: list[tuple[int, str, int, int]],
    places: list[tuple[int, int, int]],
) -> dict[str, float]:
    """nDCG@10 of the chunks that hold the paragraph's rest, and of pages by their best chunk; × 100."""
    of_chunks, of_pages = [], []
    for row, (page, _, start, end) in zip(scores, queries, strict=True):
        order = np.argsort(-row, kind="stable")
        right = [p == page and first < end and start < last for p, first, last in places]
        gains = [right[at] for at in order[:10]]
        ideal = sum(1 / np.log2(rank + 2) for rank in range(min(sum(right), 10)))
        of_chunks.append(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal)
        pages = list(dict.fromkeys(places[at][0] for at in order))[:10]
        of_pages.append(1 / np.log2(pages.index(page) + 2) if page in pages else 0.0)
    return {
        "chunk_ndcg@10": round(100 * float(np.mean(of_chunks)), 1),
        "page_ndcg@10": round(100 * float(np.mean(of_pages)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("read", "chunks"))
    parser.add_argument("paths", type=Path, nargs="+", help="folders of HTML, or pages.jsonl.gz")
    parser.add_argument("--limit", type=int, default=40, help="pages")
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    results = (read if options.part == "read" else chunks)(options.paths, options.limit)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
