"""What it brings that blocks dropped as noise are not counted in searches by keywords.

    python benchmarks/keyword_noise.py --pages pages.jsonl.gz --cranfield DIR --cisi DIR --packages packages.jsonl.gz

BM25 as the index has it, over all of a text, over what the shipped denoiser keeps, and over what the one keeps that was
fitted to these texts, as `glot-rag index` does it. The sets are two of `fusion.py`: pages, and Cranfield with 80%
boilerplate. Prints nDCG@10 × 100, of pages also over the main content alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from block_noise import headline, part_of, read, without
from fusion import Set as ScoredSet
from fusion import collections, ndcg

from glot_rag import Denoiser
from glot_rag.evaluation import Collection, parse_noise
from glot_rag.evaluation.noise.noisy_documents import NoisyDocuments
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.keywords.bm25 import KeywordIndex

NOISES = {"pages": ("none",), "cranfield": ("boilerplate:0.8",)}


def bm25(collection: Collection, texts: Sequence[str]) -> float:
    """nDCG@10 × 100 of the collection's queries over texts that stand for its documents."""
    words, keys = analyzer("english"), np.arange(1, len(texts) + 1)
    index = KeywordIndex.build((number + 1, words.document(text)) for number, text in enumerate(texts))
    judged = collection.judged
    scores = np.array([index.scored(words.query(query)).of(keys) for query in judged.queries.values()], np.float64)
    qrels = {
        str(number): {str(collection.position(key)): grade for key, grade in judged.qrels[query].items()}
        for number, query in enumerate(judged.queries)
    }
    return ndcg(ScoredSet(scores, scores, qrels), np.where(scores > 0, scores, -np.inf))


def measure(collection: Collection, texts: list[str], gold: list[str] | None) -> dict[str, Any]:
    """BM25 over the texts, whole and denoised."""
    shipped = Denoiser.from_pretrained()
    fitted = shipped.fit(texts)
    found: dict[str, Any] = {"documents": len(texts), "queries": len(collection.judged.queries)}
    found["all"] = bm25(collection, texts)
    for name, denoiser in (("denoised", shipped), ("fitted", fitted)):
        kept = denoiser.denoise(texts)
        found[name] = bm25(collection, [each.text for each in kept])
        found[f"{name}_kept"] = round(float(np.mean([each.kept for each in kept])), 3)
    if gold is not None:
        found["gold"] = bm25(collection, gold)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cranfield", "cisi", "pages", "packages"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--part", default="validation", choices=["validation", "report"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {"part": options.part, "keyword_noise": {}}
    gold = {
        page["id"]: without(page["gold"], headline(page)) or " "
        for page in read(options.pages)
        if part_of(page["host"]) == options.part and headline(page)
    }
    for name, collection in collections(options):
        for noise in NOISES.get(name, ()):
            noisy = NoisyDocuments(collection, parse_noise(noise), seed=0, max_words=170)
            texts = [noisy[number].text for number in range(len(noisy))]
            best = [gold[collection.key(n)] for n in range(len(collection))] if name == "pages" else None
            report["keyword_noise"][f"{name}, {noise}"] = found = measure(collection, texts, best)
            print(name, noise, json.dumps(found), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
