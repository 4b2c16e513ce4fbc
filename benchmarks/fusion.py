"""Choose how a hybrid search fuses vectors and keywords, on validation data.

    python benchmarks/fusion.py --cranfield DIR --cisi DIR --pages pages.jsonl.gz --packages packages.jsonl.gz

Every fusion is compared with the better of its two parts on each set: Cranfield's even and CISI's odd queries, pages of
validation hosts with their headlines as queries, and packages' descriptions with their synopses as queries; clean, and
with noise in Cranfield and CISI. Vectors are mean-pooled, and GLOT's where nothing was put in. Prints nDCG@10 × 100.
`--part report` takes the other queries and the pages of report hosts, on which nothing was chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from block_noise import headline, part_of, read, without
from numpy.typing import NDArray

from glot_rag import GlotEncoder
from glot_rag.evaluation import Collection, MemoryCollection, load_collection, measure, parse_noise
from glot_rag.evaluation.methods import Method, Methods
from glot_rag.evaluation.noise.noisy_documents import NoisyDocuments
from glot_rag.evaluation.vector_cache import VectorCache
from glot_rag.index.fusion import Fusion
from glot_rag.index.keywords.analysis import analyzer
from glot_rag.index.keywords.bm25 import KeywordIndex

PACKAGES, SYNOPSES = 800, 300
NOISES = ("words:0.8", "boilerplate:0.8")
WEIGHTS = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
DEPTHS = (20, 50, 100, 200)
Numbers = NDArray[np.float64]


class Set(NamedTuple):
    """Scores of all documents for all queries, and the judgements."""

    vectors: Numbers  # (Q, N) cosines
    keywords: Numbers  # (Q, N) BM25
    qrels: dict[str, dict[str, int]]  # positions as text


def collections(options: argparse.Namespace) -> Iterator[tuple[str, Collection]]:
    """The sets' names and collections, clean."""
    validation = options.part == "validation"
    yield "cranfield", load_collection(str(options.cranfield), "even" if validation else "odd")
    yield "cisi", load_collection(str(options.cisi), "odd" if validation else "even")
    pages = [page for page in read(options.pages) if part_of(page["host"]) == options.part and headline(page)]
    asked = {page["id"]: headline(page) for page in pages}
    texts = {page["id"]: without(page["text"], asked[page["id"]]) or " " for page in pages}
    yield "pages", MemoryCollection("pages", texts, asked, {key: {key: 1} for key in asked})
    packages = read(options.packages)
    chosen = np.random.default_rng(0).choice(len(packages), PACKAGES, replace=False)
    texts = {f"p{i}": packages[i]["text"] for i in chosen}
    asked = {
        f"p{i}": packages[i]["title"] for i in (chosen[:SYNOPSES] if validation else chosen[SYNOPSES : 2 * SYNOPSES])
    }
    yield "packages", MemoryCollection("packages", texts, asked, {key: {key: 1} for key in asked})


def sets(options: argparse.Namespace) -> Iterator[tuple[str, Set]]:
    """Every set with every kind of vectors that is compared on it."""
    glot = GlotEncoder.from_pretrained("minilm", denoise=False, device="cpu", dtype="float32")
    mean = glot.with_pooling("mean")  # type: ignore[attr-defined]
    cache = VectorCache(options.cache) if options.cache else None
    words = analyzer("english")
    for name, collection in collections(options):
        for noise in ("none", *(NOISES if name in ("cranfield", "cisi") else ())):
            chosen = (
                [Method("mean", mean, mean), Method("glot", glot, glot)]
                if noise == "none"
                else [Method("mean", mean, mean)]
            )
            methods = Methods(chosen, cache)
            documents = NoisyDocuments(collection, parse_noise(noise), seed=0, max_words=170)
            texts = [documents[number].text for number in range(len(documents))]
            judged = collection.judged
            keywords = KeywordIndex.build((number + 1, words.document(text)) for number, text in enumerate(texts))
            keys = np.arange(1, len(texts) + 1)
            scores = [keywords.scored(words.query(query)).of(keys) for query in judged.queries.values()]
            qrels = {
                str(number): {str(collection.position(key)): grade for key, grade in judged.qrels[query].items()}
                for number, query in enumerate(judged.queries)
            }
            queries = methods.queries(list(judged.queries.values()))
            parts = [methods.documents(texts[start : start + 64]) for start in range(0, len(texts), 64)]
            for label, asked in queries.items():
                matrix = np.concatenate([part[label].vectors for part in parts])
                yield f"{name}, {noise}, {label}", Set(asked @ matrix.T, np.array(scores, np.float64), qrels)


def ndcg(each: Set, scores: Numbers) -> float:
    """Of scores, (Q, N); what is not found has -inf."""
    run = {}
    for number, row in enumerate(scores):
        best = np.argsort(-row, kind="stable")[:10]
        run[str(number)] = {str(place): float(row[place]) for place in best if np.isfinite(row[place])}
    return round(100 * measure(each.qrels, run, ["ndcg@10"])["ndcg@10"], 2)


def fused(each: Set, fusion: Fusion) -> Numbers:
    """As `GlotIndex` does it: of both, the best `depth`; each with both scores."""
    scores = np.full(each.vectors.shape, -np.inf)
    for row, (near, words) in enumerate(zip(each.vectors, each.keywords, strict=True)):
        best = np.argsort(-words, kind="stable")[: fusion.depth]
        found = np.union1d(np.argsort(-near, kind="stable")[: fusion.depth], best[words[best] > 0])
        scores[row, found] = fusion.fuse(near[found], words[found])
    return scores


def fusions() -> Iterator[Fusion]:
    """Those that are compared."""
    for method in ("convex", "rrf"):
        yield from (Fusion(method, weight=weight) for weight in WEIGHTS)
    yield from (Fusion(depth=depth) for depth in DEPTHS if depth != Fusion().depth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cranfield", "cisi", "pages", "packages"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--part", default="validation", choices=["validation", "report"])
    parser.add_argument("--cache", type=Path, help="directory of vectors")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = dict(sets(options))
    parts = {
        name: {
            "vectors": ndcg(each, each.vectors),
            "keywords": ndcg(each, np.where(each.keywords > 0, each.keywords, -np.inf)),
        }
        for name, each in measured.items()
    }
    report: dict[str, Any] = {"part": options.part, "sets": parts, "default": vars(Fusion()), "fusions": []}
    for fusion in fusions():
        values = {name: ndcg(each, fused(each, fusion)) for name, each in measured.items()}
        over = [values[name] - max(part.values()) for name, part in parts.items()]
        report["fusions"].append(
            {**vars(fusion), "worst": round(min(over), 2), "mean": round(float(np.mean(over)), 2), "ndcg@10": values}
        )
        print(f"{fusion}: over the better part at worst {min(over):+.2f}, on average {np.mean(over):+.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
