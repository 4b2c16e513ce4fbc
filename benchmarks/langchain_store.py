"""What `GlotVectorStore.from_documents` wins on real pages in chunks, with its denoiser and without.

    python benchmarks/langchain_store.py pages.jsonl.gz

Pages of validation hosts (`pages.py`), in chunks of 1,000 characters with an overlap of 200; a page's rank is its best
chunk's. Queries are headlines, which are taken out of the texts.

    as it is       denoise=False
    default        denoise=None: a denoiser is fitted to the chunks
    not fitted     the denoiser without `fit`
    cleaned first  GlotDenoiser().fit(pages).transform_documents(pages), then cut
    main content   the oracle: people's choice of what each page says, cut
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from block_noise import headline, part_of, read, without
from langchain_core.documents import Document
from langchain_glot import GlotDenoiser, GlotEmbeddings, GlotVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from glot_rag import Denoiser
from glot_rag.evaluation.metrics import measure

CHUNKS = 50  # found for a query, of which the best one of each page counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path)
    parser.add_argument("--pooling", default="mean")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pages = [page for page in read(arguments.pages) if part_of(page["host"]) == "validation" and headline(page)]
    queries = {page["id"]: headline(page) for page in pages}
    noisy, gold = ([_document(page, key) for page in pages] for key in ("text", "gold"))
    embeddings = GlotEmbeddings(pooling=arguments.pooling, denoise=False)
    ways: dict[str, tuple[list[Document], Any]] = {
        "as it is": (noisy, False),
        "default": (noisy, True),  # fitted as None is; the embeddings say denoise=False here
        "not fitted": (noisy, Denoiser.from_pretrained()),
        "cleaned first": (GlotDenoiser().fit(noisy).transform_documents(noisy), False),
        "main content": (gold, False),
    }
    splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
    results = {}
    for name, (documents, denoise) in ways.items():
        chunks = splitter.split_documents(documents)
        for chunk in chunks:
            chunk.id = None
        began = time.perf_counter()
        with GlotVectorStore.from_documents(chunks, embeddings, denoise=denoise) as store:
            seconds = time.perf_counter() - began
            kept = [each.metadata["glot_denoised"]["kept"] for each in store.index if "glot_denoised" in each.metadata]
            run = {id: _by_page(store.similarity_search_with_score(query, k=CHUNKS)) for id, query in queries.items()}
        qrels = {id: {id: 1} for id in queries}
        results[name] = {
            "ndcg@10": round(100 * measure(qrels, run, ["ndcg@10"])["ndcg@10"], 2),
            "chunks": len(chunks),
            "kept": round(sum(kept) / len(kept), 3) if kept else 1.0,
            "seconds": round(seconds, 1),
        }
        print(f"{name:14} {results[name]}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"pages": len(pages), "results": results}, indent=2) + "\n")


def _document(page: dict[str, Any], key: str) -> Document:
    text = without(page[key], headline(page)) or " "
    return Document(page_content=text, metadata={"source": page["id"], "url": f"https://{page['host']}/"})


def _by_page(hits: list[tuple[Document, float]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for document, score in hits:
        best.setdefault(document.metadata["source"], score)
    return best


if __name__ == "__main__":
    main()
