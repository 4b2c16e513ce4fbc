"""How many of the ten nearest each type of index finds, of vectors of real texts. `index.py` measures its speed.

    python benchmarks/recall.py ag_news.jsonl.gz debian_packages.jsonl.gz --json benchmarks/results/recall.json

The files hold a text a line, `{"text": …}`, some with a `title`, as in the shared data. Up to 2,000 titles, evenly
spread, are the queries: the first half of them for choosing a setting, the second half to report it. They search in the
texts, of which one is a title's own, and in their sentences. Vectors as `index.py` draws them are searched by others of
the kind; these are easier, since a drawn vector's nearest are all in one cluster.

The vectors are those of minilm, mean-pooled, by OpenVINO: the two files take a core a quarter of an hour.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from index_data import Figures, Given, Vectors, mixture
from rich.console import Console

from glot_rag import GlotEncoder
from glot_rag.index import Document, GlotIndex
from glot_rag.index.vectors.faiss_index import load_faiss

K, MOST_QUERIES, FEWEST_WORDS, BATCH = 10, 2_000, 5, 5_000
SETTINGS: dict[str, list[dict[str, int]]] = {
    "hnsw": [{}],
    "sq8": [{}],
    "ivf": [{"nprobe": lists} for lists in (8, 16, 32, 64, 128, 256)],
}


def main(
    files: Annotated[list[Path], typer.Argument(help="Texts, a JSON object a line; .gz.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure and print."""
    texts: dict[str, int] = {}
    own: dict[str, int] = {}  # title -> number of its text
    for file in files:
        for row in map(json.loads, gzip.decompress(file.read_bytes()).splitlines()):
            number = texts.setdefault(row["text"], len(texts))
            if row.get("title"):
                own.setdefault(row["title"], number)
    queries = list(own)[:: max(1, len(own) // MOST_QUERIES)][:MOST_QUERIES]
    pieces = (piece.strip() for text in texts for piece in re.split(r"(?<=[.!?:;])\s+|\n+", text))
    sentences = dict.fromkeys(piece for piece in pieces if len(piece.split()) >= FEWEST_WORDS)

    encoder = GlotEncoder.from_pretrained("minilm", backend="openvino", pooling="mean", denoise=False)
    asked = encoder.encode_queries(queries)
    drawn = np.concatenate(list(mixture(len(sentences), encoder.dimension, seed=1)))
    drawn_asked = np.concatenate(list(mixture(len(queries), encoder.dimension, seed=2)))
    sets: list[tuple[str, Vectors, Vectors, list[int] | None]] = [
        ("texts", encoder.encode_documents(list(texts), show_progress=True), asked, [own[each] for each in queries]),
        ("sentences", encoder.encode_documents(list(sentences), show_progress=True), asked, None),
        ("drawn", drawn, drawn_asked, None),
    ]
    console, found = Console(soft_wrap=True), []
    for name, vectors, searched, answers in sets:
        for figures in measured(vectors, searched, answers):
            found.append({"vectors": name, "rows": len(vectors), **figures})
            console.print(json.dumps(found[-1]), highlight=False)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"recall": found}, indent=2) + "\n")


def measured(vectors: Vectors, queries: Vectors, answers: Sequence[int] | None) -> Iterator[Figures]:
    """A type of index and a setting of a search each."""
    exact = load_faiss().IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    _, nearest = exact.search(queries, K)
    half = len(queries) // 2
    parts = {"choose": slice(half), "report": slice(half, None)}
    for index_type, settings in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder, filled(Path(folder) / "index", index_type, vectors) as index:
            about = {"type": index_type, "built_as": index.stats().serving}
            for setting in settings:
                yield {**about, "setting": setting, **searched(index, queries, setting, nearest, answers, parts)}


def filled(path: Path, index_type: str, vectors: Vectors) -> GlotIndex:
    """An index of vectors, with as many lists as it would have if it were built of all of them at once."""
    index = GlotIndex.create(path, encoder=Given(vectors.shape[1]), index_type=index_type)
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        index.add_vectors([Document(str(start + row), id=str(start + row)) for row in range(len(part))], part)
    index.reindex(index_type)
    return index


def searched(
    index: GlotIndex,
    queries: Vectors,
    setting: Mapping[str, Any],
    nearest: Any,
    answers: Sequence[int] | None,
    parts: Mapping[str, slice],
) -> Figures:
    """Recall, of the nearest and of the ten nearest; how well the answers are found, beside an exact search; time."""
    started = time.process_time()
    hits = index.search_vectors(queries, k=K, **setting)
    core_ms = 1000 * (time.process_time() - started) / len(queries)
    ids = np.array([[int(hit.id) for hit in each] + [-1] * (K - len(each)) for each in hits])
    same = (ids[:, :, None] == nearest[:, None, :]).any(1)
    found: Figures = {"core_ms": round(core_ms, 3)}
    for name, part in parts.items():
        found[name] = {"recall_at_1": float(same[part, 0].mean()), "recall_at_10": float(same[part].mean())}
        if answers is not None:
            right = np.array(answers)[part, None]
            found[name] |= {"mrr": reciprocal(ids[part] == right), "mrr_exact": reciprocal(nearest[part] == right)}
    return found


def reciprocal(right: Any) -> float:
    """Mean reciprocal rank of what is right in each row."""
    return float((right / np.arange(1, right.shape[1] + 1)).sum(1).mean())


if __name__ == "__main__":
    typer.run(main)
