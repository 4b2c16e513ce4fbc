"""Measure what block graph heads keep of real pages, beside everything, trafilatura on the markup and the main content.

    python benchmarks/block_noise.py --pages pages.jsonl.gz --part all --head glot_rag/pretrained/minilm-blocks

The pages file has a JSON record a line: "text" (all visible text), "gold" (its main content), "kind", "host", and
optionally "trafilatura" (what the extractor makes of the markup) and "title". Prints F1 of the words kept against the
main content, a page and by kind; the calibration error; with --documents (what gather_blocks.py wrote) also what plain
documents lose and the F1 of other noise; with --retrieval nDCG@10 and hit@10 of headline queries, over pages (mean
pooling of the first window) and over chunks of 1,000 characters, 200 of which overlap (a page ranks by its best chunk).
Blocks are kept or dropped whole, at each document's own threshold. Heads are given as PATH or NAME=PATH.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glot_rag.denoise.block_noise import NoiseFound, find_noise
from glot_rag.denoise.block_states import TokenStates, early_states
from glot_rag.denoise.block_threshold import best_threshold
from glot_rag.denoise.recurrence import recurrence_features
from glot_rag.documents.blocks import split_blocks
from glot_rag.evaluation.block_measures import calibration_bins
from glot_rag.evaluation.kept_words import kept_words
from glot_rag.evaluation.metrics import measure
from glot_rag.head.block_graph import BlockGraphHead
from glot_rag.head.block_storage import load_block_head
from glot_rag.models.backbone import Backbone
from glot_rag.training.block_labels import noise_at, noise_of_page

PARTS = {0: "validation", 1: "report"}
BLOCKS_WHOLE = 0.5  # no word is further beyond the threshold than that
CHUNK, OVERLAP = 1000, 200  # characters
Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def part_of(host: str) -> str:
    return PARTS.get(zlib.crc32(host.encode()) % 5, "train")


def best_lines(page: Record) -> str:
    """The best that whole blocks can do: those of which more than half belongs to the main content."""
    noise = noise_of_page(page["text"], page["gold"])
    kept = []
    for block in split_blocks(page["text"]):
        words = [m.span() for m in re.finditer(r"\w+", page["text"][block.start : block.end])]
        spans = np.array(words, np.int64).reshape(-1, 2) + block.start
        if len(spans) and noise_at(noise, spans).mean() < 0.5:
            kept.append(page["text"][block.start : block.end])
    return "\n".join(kept)


class Looked:
    """What a head makes of texts.

    Args:
        head: a block graph head.
        texts: N strings.
        states: of each.
        groups: of each, to count what recurs within a group; None counts nothing.
        threshold: in the place of each document's own.
    """

    def __init__(
        self,
        head: BlockGraphHead,
        texts: Sequence[str],
        states: Sequence[TokenStates],
        groups: Sequence[str] | None,
        threshold: float | None,
    ) -> None:
        counts = None
        if groups is not None:
            counts = recurrence_features(texts, [split_blocks(text) for text in texts], groups)
        self.found: list[NoiseFound] = list(find_noise(head, texts, states, counts))
        self.kept = [found.kept_words(self._limit(head, found, threshold), BLOCKS_WHOLE) for found in self.found]
        self.texts = [found.text(text, kept) for found, text, kept in zip(self.found, texts, self.kept, strict=True)]

    @staticmethod
    def _limit(head: BlockGraphHead, found: NoiseFound, threshold: float | None) -> float:
        if threshold is not None:
            return threshold
        words = np.bincount(found.word_block, minlength=len(found.blocks))
        return max(head.config.noise_threshold, best_threshold(found.block_noise, words))


def by_kind(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for kind, value in values:
        kinds[kind].append(value)
        kinds["all"].append(value)
    return {kind: round(float(np.mean(each)), 4) for kind, each in sorted(kinds.items())}


@torch.inference_mode()
def mean_vectors(backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean pooling of the first window of each text: (N, D), rows of norm 1."""
    out = np.zeros((len(texts), backbone.state_size), np.float32)
    for batch in backbone.pack(backbone.tokenizer(texts)):
        states, mask = backbone.hidden_states(batch)
        real = mask[..., None].float()
        vectors = (states[0].float() * real).sum(1) / real.sum(1)
        out[batch.rows] = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
    return out


def headline(page: Record) -> str:
    """A page's title without the site's name, or its first sentence; at least four words, else nothing."""
    title = re.split(r"\s+[|–—·:»-]\s+", page.get("title") or "")[0].strip()
    query = title if len(title.split()) >= 4 else re.split(r"(?<=[.!?])\s", page["gold"].strip())[0][:300]
    return query if len(query.split()) >= 4 else ""


def without(text: str, query: str) -> str:
    return re.sub(re.escape(query), " ", text, flags=re.I)


def chunks(text: str) -> list[str]:
    """Pieces of `CHUNK` characters, each with the last `OVERLAP` of the one before; one at least."""
    starts = range(0, max(1, len(text) - OVERLAP), CHUNK - OVERLAP)
    return [text[start : start + CHUNK] for start in starts if text[start : start + CHUNK].strip()] or [" "]


def retrieval(
    backbone: Backbone, pages: Sequence[Record], ways: dict[str, Sequence[str]], *, by_chunk: bool
) -> dict[str, dict[str, float]]:
    """nDCG@10 and hit@10 (× 100) of headline queries, a way of cleaning at a time.

    The headline is taken out of every text. A page's score is that of its best chunk, or of its first window.
    """
    asked = [i for i, page in enumerate(pages) if headline(page)]
    queries = mean_vectors(backbone, [headline(pages[i]) for i in asked])
    qrels = {str(i): {str(i): 1} for i in asked}
    out = {}
    for name, texts in ways.items():
        cleaned = [without(texts[i], headline(pages[i])) or " " for i in asked]
        pieces = [chunks(text) if by_chunk else [text] for text in cleaned]
        vectors = mean_vectors(backbone, [piece for each in pieces for piece in each])
        first = np.cumsum([0, *(len(each) for each in pieces[:-1])])
        scores = np.maximum.reduceat(queries @ vectors.T, first, axis=1)
        run = {
            str(i): {str(j): float(s) for j, s in zip(asked, row, strict=True)}
            for i, row in zip(asked, scores, strict=True)
        }
        hits = [float((row > row[place]).sum() < 10) for place, row in enumerate(scores)]
        ndcg = measure(qrels, run, ["ndcg@10"])["ndcg@10"]
        out[name] = {"ndcg@10": round(100 * ndcg, 2), "hit@10": round(100 * float(np.mean(hits)), 2)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--part", default="all", choices=["all", "train", "validation", "report"])
    parser.add_argument("--head", action="append", default=[], help="PATH or NAME=PATH; may be given again")
    parser.add_argument("--backbone", default="minilm", help="of the heads")
    parser.add_argument("--skim", type=int, help="read so many tokens of each block (the denoiser: 12); default: all")
    parser.add_argument("--documents", type=Path, help="what gather_blocks.py wrote: plain documents, other noise")
    parser.add_argument("--threshold", type=float, help="noise probability; default: each document's own")
    parser.add_argument("--retrieval", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = Backbone.load(options.backbone)
    heads = {}
    for each in options.head:
        name, _, path = each.rpartition("=")
        heads[name or Path(path).name] = load_block_head(path)[0]
    layer = next((head.config.layer for head in heads.values()), 2)
    pages = [p for p in read(options.pages) if options.part == "all" or part_of(p["host"]) == options.part]
    texts = [page["text"] for page in pages]
    start = time.perf_counter()
    states = early_states(backbone, texts, layer, skim=options.skim)
    report: dict[str, Any] = {"pages": len(pages), "part": options.part, "states_seconds": time.perf_counter() - start}
    ways: dict[str, Sequence[str]] = {"everything": texts}
    if all("trafilatura" in page for page in pages):
        ways["trafilatura"] = [page["trafilatura"] or "" for page in pages]
    ways["best lines"] = [best_lines(page) for page in pages]
    for name, head in heads.items():
        start = time.perf_counter()
        looked = Looked(head, texts, states, None, options.threshold)
        seconds = time.perf_counter() - start
        ways[name] = looked.texts
        probability = np.concatenate([found.block_noise for found in looked.found])
        truth, weight = truths(pages, looked.found)
        bins = calibration_bins(probability, truth, weight)
        error = sum(abs(p - t) * w for p, t, w in bins) / sum(w for *_, w in bins)
        report[name] = {"head_seconds": seconds, "calibration_error": round(error, 4), "bins": bins}
    report["f1"] = {
        name: {
            **by_kind((p["kind"], kept_words(text, p["gold"])[2]) for p, text in zip(pages, kept, strict=True)),
            **by_kind_of_source(pages, kept),
        }
        for name, kept in ways.items()
    }
    if options.retrieval:
        gold = [page["gold"] for page in pages]
        asked = {**ways, "main content": gold}
        report["retrieval"] = {
            "pages": retrieval(backbone, pages, asked, by_chunk=False),
            "chunks": retrieval(backbone, pages, asked, by_chunk=True),
        }
    if options.documents:
        report["documents"] = of_documents(backbone, heads, read(options.documents), layer, options)
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def by_kind_of_source(pages: Sequence[Record], kept: Sequence[str]) -> dict[str, float]:
    """News pages are those of article-extraction-benchmark."""
    from_news = [str(page.get("id", "")).startswith("sh-") for page in pages]
    news = [kept_words(text, p["gold"])[2] for p, text, is_news in zip(pages, kept, from_news, strict=True) if is_news]
    return {"news": round(float(np.mean(news)), 4)} if news else {}


def truths(pages: Sequence[Record], found: Sequence[NoiseFound]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The share of noise of every block, and its words."""
    shares, weights = [], []
    for page, each in zip(pages, found, strict=True):
        noise = noise_at(noise_of_page(page["text"], page["gold"]), each.words)
        count = np.bincount(each.word_block, minlength=len(each.blocks))
        shares.append(np.bincount(each.word_block, noise, minlength=len(each.blocks)) / np.maximum(count, 1))
        weights.append(count)
    return np.concatenate(shares).astype(np.float32), np.concatenate(weights).astype(np.float32)


def of_documents(
    backbone: Backbone, heads: dict[str, BlockGraphHead], records: list[Record], layer: int, options: argparse.Namespace
) -> dict[str, Any]:
    """What plain documents lose of their words, and F1 on documents with other noise, of the part asked for."""
    chosen = [r for r in records if "gold" not in r and (options.part in ("all", r["part"]))]
    texts = [record["text"] for record in chosen]
    states = early_states(backbone, texts, layer, skim=options.skim)
    out: dict[str, Any] = {}
    for name, head in heads.items():
        ways = {name: None, f"{name}, fitted": [r["group"] for r in chosen]} if head.config.count_size else {name: None}
        for way, groups in ways.items():
            looked = Looked(head, texts, states, groups, options.threshold)
            lost: dict[str, list[int]] = defaultdict(lambda: [0, 0])
            f1: list[tuple[str, float]] = []
            for record, found, kept, text in zip(chosen, looked.found, looked.kept, looked.texts, strict=True):
                if record["kind"].startswith("clean-"):
                    lost[record["kind"]][0] += int((~kept).sum())
                    lost[record["kind"]][1] += len(kept)
                else:
                    noise = noise_at(record["noise"], found.words)
                    f1.append((record["kind"], kept_words(text, " ".join(words(record["text"], found, ~noise)))[2]))
            out[way] = {"lost": {k: round(a / b, 4) for k, (a, b) in sorted(lost.items())}, "f1": by_kind(f1)}
    everything = [
        (r["kind"], kept_words(r["text"], " ".join(words(r["text"], f, ~noise_at(r["noise"], f.words))))[2])
        for r, f in zip(chosen, looked.found, strict=True)
        if not r["kind"].startswith("clean-")
    ]
    out["everything"] = {"f1": by_kind(everything)}
    return out


def words(text: str, found: NoiseFound, chosen: NDArray[np.bool_]) -> list[str]:
    return [text[start:end] for start, end in found.words[chosen].tolist()]


if __name__ == "__main__":
    main()
