"""How much memory an evaluation takes as the collection grows: the peak of a process of its own for each size.

    python benchmarks/evaluate_memory.py --json benchmarks/results/evaluate_memory.json

Documents are synthetic, in a BEIR folder on disk; with `--kinds` also as a file of lines (`documents`), as a file each
(`files`) and as a collection of ir_datasets (`ir_datasets`). The encoder costs nothing (vectors of 384 drawn from a
hash of the text), so that what is measured is reading, noise, search, measuring and, where it is on, the cache of
vectors. There are 100 queries, each with one relevant document, and two poolings.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from glot_rag.embedder import Vectors
from glot_rag.evaluation import EvaluationSettings, evaluate
from glot_rag.evaluation.collections.registry import open_collection
from glot_rag.evaluation.report.results import library_versions
from glot_rag.evaluation.vector_cache import VectorCache

DIMENSION, WORDS, QUERIES = 384, 60, 100
KINDS = ("beir", "documents", "files", "ir_datasets")
POOLINGS = ("mean", "glot")


def write_collection(folder: Path, documents: int) -> None:
    """Documents of made-up words; a query is the first words of a document."""
    rng = random.Random(0)
    (folder / "qrels").mkdir(parents=True)
    every = documents // QUERIES
    vocabulary = [f"w{number}" for number in range(50_000)]
    asked = {}
    with open(folder / "corpus.jsonl", "w") as corpus:
        for number in range(documents):
            text = " ".join(rng.choices(vocabulary, k=WORDS))
            corpus.write(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
            if number % every == 0:
                asked[number] = " ".join(text.split()[:8])
    queries = [json.dumps({"_id": f"q{number}", "text": text}) + "\n" for number, text in asked.items()]
    (folder / "queries.jsonl").write_text("".join(queries))
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{number}\td{number}\t1\n" for number in asked))


def write_kind(kind: str, beir: Path) -> str:
    """The documents of a BEIR folder in another form -> what `open_collection` calls it."""
    if kind == "beir":
        return str(beir)
    if kind == "ir_datasets":
        return f"ir_datasets:{_register(beir)}"
    folder = beir.with_name(kind)
    if not folder.exists():
        folder.mkdir()
        with open(beir / "corpus.jsonl") as corpus, open(folder / "all.jsonl", "w") as lines:
            for line in corpus:
                record = json.loads(line)
                title, text = f"On {record['_id']}", record["text"]
                if kind == "documents":
                    lines.write(json.dumps({"id": record["_id"], "title": title, "text": text}) + "\n")
                else:
                    (folder / f"{record['_id']}.txt").write_text(f"{title}\n\n{text.capitalize()}\n")
        if kind == "files":
            (folder / "all.jsonl").unlink()
    return str(folder)


def _register(beir: Path) -> str:
    import ir_datasets
    from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericDoc, GenericQuery, TrecQrel

    class Docs(BaseDocs):  # type: ignore[misc]
        def docs_iter(self) -> Iterator[Any]:
            with open(beir / "corpus.jsonl") as lines:
                for line in lines:
                    record = json.loads(line)
                    yield GenericDoc(record["_id"], record["text"])

    class Queries(BaseQueries):  # type: ignore[misc]
        def queries_iter(self) -> Iterator[Any]:
            for line in (beir / "queries.jsonl").read_text().splitlines():
                yield GenericQuery(*json.loads(line).values())

    class Qrels(BaseQrels):  # type: ignore[misc]
        def qrels_iter(self) -> Iterator[Any]:
            for line in (beir / "qrels" / "test.tsv").read_text().splitlines():
                query, document, grade = line.split("\t")
                yield TrecQrel(query, document, int(grade), "0")

    name = f"glot-memory-{beir.parent.name}"  # one a process and folder
    ir_datasets.registry.register(name, ir_datasets.Dataset(Docs(), Queries(), Qrels()))
    return name


class HashEncoder:
    """Unit vectors drawn from a hash of the text: the same text has the same vector."""

    dimension = DIMENSION

    def __init__(self, name: str) -> None:
        self.fingerprint = name

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """N texts -> (N, D)."""
        out = np.empty((len(texts), DIMENSION), np.float32)
        for row, text in enumerate(texts):
            out[row] = np.frombuffer(hashlib.shake_128(text.encode()).digest(DIMENSION), np.int8)
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return out

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """As `encode_documents`."""
        return self.encode_documents(texts)


def peak_of_one(folder: Path, kind: str, noise: str, cache: Path | None) -> dict[str, float]:
    """Evaluate, in this process, and say what it took at most."""

    def resident() -> float:
        scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20

    import faiss  # noqa: F401  (what the libraries take on their own is told apart)
    import ir_measures  # noqa: F401
    from scipy import stats  # noqa: F401

    kept = VectorCache(cache) if cache else None
    name = write_kind(kind, folder)
    before = resident()
    settings = EvaluationSettings([noise], max_words=WORDS, costs=False)
    encoders = {name: HashEncoder(name) for name in POOLINGS}
    evaluate(open_collection(name, max_queries=QUERIES), encoders, settings, cache=kept)
    return {"start_mib": before, "peak_mib": resident()}


def main(
    sizes: Annotated[str, typer.Option(help="Documents, comma-separated.")] = "5000,20000,100000,500000",
    noise: Annotated[str, typer.Option(help="As for `glot-rag evaluate`.")] = "words:0.8",
    kinds: Annotated[str, typer.Option(help=f"Some of {','.join(KINDS)}.")] = "beir",
    cached: Annotated[bool, typer.Option("--cached", help="Measure with a cache of vectors on disk, too.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    one: Annotated[Path | None, typer.Option(hidden=True)] = None,
    cache: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure the peak memory of evaluations of growing size."""
    if one is not None:
        print(json.dumps(peak_of_one(one, kinds, noise, cache)))
        return
    table = Table("documents", "kind", "texts, MiB", "cache", "before, MiB", "peak, MiB")
    rows: list[dict[str, Any]] = []
    for size in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "collection"
            write_collection(folder, size)
            texts = (folder / "corpus.jsonl").stat().st_size / 2**20
            for kind, with_cache in itertools.product(kinds.split(","), (False, True) if cached else (False,)):
                if kind != "ir_datasets":  # which is registered where it is read
                    write_kind(kind, folder)
                command = [sys.executable, __file__, "--noise", noise, "--kinds", kind, "--one", str(folder)]
                command += ["--cache", str(Path(made) / "cache")] if with_cache else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row = {"documents": size, "kind": kind, "texts_mib": texts, "cache": with_cache}
                row |= json.loads(done.stdout)
                rows.append(row)
                table.add_row(
                    f"{size:,}",
                    kind,
                    f"{texts:,.0f}",
                    "on disk" if with_cache else "none",
                    *(f"{row[name]:,.0f}" for name in ("start_mib", "peak_mib")),
                )
                if json_file:  # after each, as the large ones take minutes
                    json_file.write_text(json.dumps({**settings(noise), "results": rows}, indent=2) + "\n")
    Console().print(table)


def settings(noise: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "noise": noise,
        "dimension": DIMENSION,
        "words": WORDS,
        "poolings": list(POOLINGS),
        "queries": QUERIES,
        "machine": platform.machine(),
        "versions": library_versions(),
    }


if __name__ == "__main__":
    typer.run(main)
